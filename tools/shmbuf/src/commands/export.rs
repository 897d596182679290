// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf export`: makes a dma-buf and runs a command with it.

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::Args;
use shmbuf::Protection;

use crate::{arguments::RangeArguments, buffer::BufferArgument, inherit};

/// The environment variable that has the number of the file descriptor.
const VARIABLE: &str = "SHMBUF_DMABUF_FD";

/// Make a dma-buf of whole pages of a buffer and run a command with it
///
/// The command inherits the dma-buf as an open file descriptor, whose number is
/// in the environment variable SHMBUF_DMABUF_FD. The memory lives until the
/// last user of the dma-buf is gone.
#[derive(Args)]
#[command(
    verbatim_doc_comment,
    override_usage = "shmbuf export [OPTIONS] [BUFFER] -- <COMMAND>..."
)]
pub struct Options {
    #[command(flatten)]
    buffer: BufferArgument,
    #[command(flatten)]
    range: RangeArguments,
    /// Let importers only read it
    #[arg(long)]
    read_only: bool,
    /// The command to run
    #[arg(value_name = "COMMAND", last = true, required = true)]
    command: Vec<OsString>,
}

impl Options {
    pub fn run(self) -> Result<ExitCode> {
        let (buffer, rights) = if self.read_only {
            (self.buffer.open_read_only()?, Protection::Read)
        } else {
            let buffer = self.buffer.open_unless("--read-only")?;
            (buffer, Protection::ReadWrite)
        };
        let range = self.range.within(buffer.size())?;
        let dma_buf = buffer.export(range, rights)?;
        inherit::exec(&self.command, dma_buf, VARIABLE)
    }
}
