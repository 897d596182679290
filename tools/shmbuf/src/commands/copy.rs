// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf copy`: has a DMA engine copy between buffers.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::{arguments::within, buffer::BufferName, size};

/// Copy from a buffer to another, or within one, by a DMA engine
///
/// "shmbuf info" says which engine that is.
#[derive(Args)]
pub struct Options {
    /// The buffer to copy from
    #[arg(value_name = "SOURCE")]
    source: BufferName,
    /// The buffer to copy to
    #[arg(value_name = "TARGET")]
    target: BufferName,
    /// Where to begin in SOURCE
    #[arg(long, alias = "offset", value_name = "BYTES", default_value = "0", value_parser = size::parse)]
    from: u64,
    /// How much [default: up to the end of SOURCE]
    #[arg(long, value_name = "BYTES", value_parser = size::parse)]
    length: Option<u64>,
    /// Where to begin in TARGET
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = size::parse)]
    to: u64,
}

impl Options {
    pub fn run(self) -> Result<ExitCode> {
        let source = self.source.open_read_only()?;
        let range = within(self.from, self.length, source.size())?;
        self.target.open()?.copy_from(self.to, &source, range)?;
        Ok(ExitCode::SUCCESS)
    }
}
