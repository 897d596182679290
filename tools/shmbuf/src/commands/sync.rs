// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf sync`: begins or ends an access of the CPU.

use std::process::ExitCode;

use anyhow::{anyhow, Result};
use clap::{Args, ValueEnum};
use nix::errno::Errno;
use shmbuf::{Access, Buffer, Phase};

use crate::{arguments::RangeArguments, buffer::BufferArgument};

/// Start or end an access of the CPU to a buffer
///
/// "start" makes what a device wrote visible to the CPU, and takes the buffer
/// from a device that owns it. "end" makes what the CPU wrote visible to
/// devices, and hands a buffer of kind streaming or scatter over.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// Which end of the access
    #[arg(value_name = "PHASE")]
    phase: PhaseArgument,
    #[command(flatten)]
    buffer: BufferArgument,
    /// What the CPU does; "read" is all that a read-only handle can
    #[arg(long, value_name = "ACCESS", default_value = "both")]
    access: AccessArgument,
    #[command(flatten)]
    range: RangeArguments,
}

#[derive(Clone, Copy, ValueEnum)]
enum PhaseArgument {
    #[value(alias = "begin")]
    Start,
    End,
}

#[derive(Clone, Copy, ValueEnum)]
enum AccessArgument {
    Read,
    Write,
    Both,
}

impl Options {
    pub fn run(self) -> Result<ExitCode> {
        let (buffer, access) = match self.access {
            AccessArgument::Read => (self.buffer.open_read_only()?, Access::Read),
            AccessArgument::Write => (self.open()?, Access::Write),
            AccessArgument::Both => (self.open()?, Access::ReadWrite),
        };
        let phase = match self.phase {
            PhaseArgument::Start => Phase::Begin,
            PhaseArgument::End => Phase::End,
        };
        let range = self.range.within(buffer.size())?;
        let line = buffer.info()?.cache_line;
        let done = buffer.sync(range, access, phase);
        done.map_err(|error| match error.errno() {
            Some(Errno::EINVAL) => anyhow!(
                "SYNC: EINVAL: give an offset and a length that are multiples of the cache line of \
                 {line} bytes, and a length that is not zero"
            ),
            _ => error.into(),
        })?;
        Ok(ExitCode::SUCCESS)
    }

    fn open(&self) -> Result<Buffer> {
        self.buffer.open_unless("--access read")
    }
}
