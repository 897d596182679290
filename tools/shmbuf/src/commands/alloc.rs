// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf alloc`: makes a private buffer and runs a command with it.

use std::{ffi::OsString, process::ExitCode};

use anyhow::{Context, Result};
use clap::{ArgGroup, Args};
use shmbuf::{Alloc, Buffer, Direction, Kind, MappingKind, Policy};

use super::verify;
use crate::{
    arguments::named,
    buffer::{self, VARIABLE},
    inherit,
    kernel_log::explained,
    size,
};

/// The kinds that a private buffer can have.
fn kinds() -> Vec<Kind> {
    let kinds = Kind::ALL.iter().copied();
    kinds.filter(|kind| kind.is_allocated()).collect()
}

/// Make a private buffer and run a command with it, or verify it
///
/// The command inherits the buffer as an open file descriptor, whose number is
/// in the environment variable SHMBUF_FD; for the commands of this program it is
/// the default BUFFER: "shmbuf alloc 1M -- shmbuf info". The buffer lives until
/// its last file descriptor, mapping and dma-buf are gone.
#[derive(Args)]
#[command(
    verbatim_doc_comment,
    group = ArgGroup::new("use").required(true),
    override_usage = "\
shmbuf alloc [OPTIONS] <BYTES> --verify
       shmbuf alloc [OPTIONS] <BYTES> -- <COMMAND>..."
)]
pub struct Options {
    /// How many bytes: whole pages, or for kind pool less than a page
    #[arg(value_name = "BYTES", value_parser = size::parse)]
    size: u64,
    /// Where the memory comes from
    #[arg(long, value_name = "KIND", default_value = "pages", value_parser = named(kinds(), Kind::name))]
    kind: Kind,
    /// The cache policy [default: the one that suits the kind]
    #[arg(long, value_name = "POLICY", value_parser = named(Policy::ALL, Policy::name))]
    policy: Option<Policy>,
    /// How mappings are made
    #[arg(long, value_name = "MAPPING", default_value = "pfnmap", value_parser = named(MappingKind::ALL, MappingKind::name))]
    mapping: MappingKind,
    /// What devices do with a buffer of kind streaming or scatter
    #[arg(long, value_name = "DIRECTION", default_value = "bidirectional", value_parser = named(Direction::ALL, Direction::name))]
    direction: Direction,
    /// A buffer of kind pool begins at a multiple of this power of two
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = size::parse_u32)]
    align: u32,
    /// A buffer of kind pool crosses no multiple of this power of two
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = size::parse_u32)]
    boundary: u32,
    /// Verify the buffer as the command verify does, and end
    #[arg(long, group = "use")]
    verify: bool,
    /// The command to run
    #[arg(value_name = "COMMAND", last = true, group = "use")]
    command: Vec<OsString>,
}

impl Options {
    pub fn run(self) -> Result<ExitCode> {
        let node = Buffer::open(buffer::DEFAULT).context(buffer::DEFAULT)?;
        let wanted = Alloc {
            size: self.size,
            kind: self.kind,
            policy: self.policy,
            mapping: self.mapping,
            direction: self.direction,
            align: self.align,
            boundary: self.boundary,
        };
        let buffer = explained(|| node.alloc(&wanted))?;
        if self.verify {
            verify::check(&buffer, &buffer.info()?, fastrand::u32(..)).map(verify::status)
        } else {
            inherit::exec(&self.command, buffer.into(), VARIABLE)
        }
    }
}
