// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sub-commands: a file for each, and a line in the enum and in `run`.

mod advise;
mod alloc;
mod completions;
mod copy;
mod export;
mod info;
mod list;
mod man;
mod read;
mod set_policy;
mod sync;
mod top;
mod verify;
mod watch;
mod write;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

#[derive(Subcommand)]
pub enum Command {
    Info(info::Options),
    List(list::Options),
    #[command(alias = "set-cache")]
    SetPolicy(set_policy::Options),
    Sync(sync::Options),
    Read(read::Options),
    Write(write::Options),
    Copy(copy::Options),
    Alloc(alloc::Options),
    Verify(verify::Options),
    Export(export::Options),
    Watch(watch::Options),
    Top(top::Options),
    Advise(advise::Options),
    Completions(completions::Options),
    Man(man::Options),
}

impl Command {
    /// Does what the sub-command is for. Returns the exit status of the program.
    pub fn run(self) -> Result<ExitCode> {
        match self {
            Self::Info(options) => options.run(),
            Self::List(options) => options.run(),
            Self::SetPolicy(options) => options.run(),
            Self::Sync(options) => options.run(),
            Self::Read(options) => options.run(),
            Self::Write(options) => options.run(),
            Self::Copy(options) => options.run(),
            Self::Alloc(options) => options.run(),
            Self::Verify(options) => options.run(),
            Self::Export(options) => options.run(),
            Self::Watch(options) => options.run(),
            Self::Top(options) => options.run(),
            Self::Advise(options) => options.run(),
            Self::Completions(options) => options.run(),
            Self::Man(options) => options.run(),
        }
    }
}
