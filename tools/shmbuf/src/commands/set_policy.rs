// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf set-cache`: changes the cache policy of a buffer.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use shmbuf::Policy;

use crate::{arguments::named, buffer::BufferArgument};

/// Change the cache policy of a buffer, and say which memory type that is
///
/// The contents survive. Nobody may have the buffer mapped or exported.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// The policy
    #[arg(value_name = "POLICY", value_parser = named(Policy::ALL, Policy::name))]
    policy: Policy,
    #[command(flatten)]
    buffer: BufferArgument,
}

impl Options {
    pub fn run(self) -> Result<ExitCode> {
        let buffer = self.buffer.open()?;
        buffer.set_cache(self.policy)?;
        println!("{}: {}", self.policy, buffer.info()?.memory_type);
        Ok(ExitCode::SUCCESS)
    }
}
