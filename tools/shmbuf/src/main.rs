// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf`: look at, fill, check and pass on the buffers of the shmbuf driver.

mod alloc;
mod arguments;
mod buffer;
mod completions;
mod copy;
mod export;
mod file;
mod info;
mod inherit;
mod list;
mod man;
mod read;
mod set_cache;
mod size;
mod sync;
mod verify;
mod watch;
mod write;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nix::sys::signal::{signal, SigHandler, Signal};

/// Look at, fill, check and pass on the buffers of the shmbuf driver
#[derive(Parser)]
#[command(name = "shmbuf", version, after_help = NOTES)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

const NOTES: &str = "\
BUFFER is a NAME for /dev/shmbuf-NAME, or a path; it is /dev/shmbuf where it is
left out. /dev/fd/N is the handle that was inherited as file descriptor N.

BYTES are a number with an optional suffix K, M or G, for powers of 1024.

The exit status is 0 if all went well, 1 if data is wrong, 2 if something was
refused, 64 if the arguments are wrong, and that of COMMAND where there is one:
126 or 127 if it cannot be run.";

#[derive(Subcommand)]
enum Command {
    Info(info::Options),
    List(list::Options),
    SetCache(set_cache::Options),
    Sync(sync::Options),
    Read(read::Options),
    Write(write::Options),
    Copy(copy::Options),
    Alloc(alloc::Options),
    Verify(verify::Options),
    Export(export::Options),
    Watch(watch::Options),
    Completions(completions::Options),
    Man(man::Options),
}

fn main() -> ExitCode {
    // A reader that goes away ends the program, as it ends others.
    // SAFETY: the default action runs no code of ours.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };

    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            let code = if error.use_stderr() { 64 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let result = match options.command {
        Command::Info(options) => options.run(),
        Command::List(options) => options.run(),
        Command::SetCache(options) => options.run(),
        Command::Sync(options) => options.run(),
        Command::Read(options) => options.run(),
        Command::Write(options) => options.run(),
        Command::Copy(options) => options.run(),
        Command::Alloc(options) => options.run(),
        Command::Verify(options) => options.run(),
        Command::Export(options) => options.run(),
        Command::Watch(options) => options.run(),
        Command::Completions(options) => options.run(),
        Command::Man(options) => options.run(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("shmbuf: {error:#}");
        ExitCode::from(2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_of_the_arguments_is_sound() {
        Options::command().debug_assert();
    }
}
