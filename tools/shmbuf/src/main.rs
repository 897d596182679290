// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf`: look at, fill, check and pass on the buffers of the shmbuf driver.

mod arguments;
mod buffer;
mod commands;
mod counters;
mod file;
mod inherit;
mod kernel_log;
mod nodes;
mod processes;
mod size;

use std::process::ExitCode;

use clap::Parser;
use nix::sys::signal::{signal, SigHandler, Signal};

use crate::commands::Command;

/// Look at, fill, check and pass on the buffers of the shmbuf driver
#[derive(Parser)]
#[command(name = "shmbuf", version, after_help = format!("{NOTES}\n\n{EXIT_STATUS}"), max_term_width = WIDTH)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

/// Columns of a help text, at most.
const WIDTH: usize = 80;

const NOTES: &str = "\
BUFFER is a NAME for /dev/shmbuf-NAME, or a path. Without it, it is the buffer
that \"shmbuf alloc\" passed on to this program, else /dev/shmbuf. /dev/fd/N is
the handle that was inherited as file descriptor N.

BYTES are a number with an optional suffix K, M or G, for powers of 1024.";

const EXIT_STATUS: &str = "\
The exit status is 0 if all went well, 1 if data is wrong, 2 if something was
refused, 64 if the arguments are wrong, and that of COMMAND where there is one:
126 or 127 if it cannot be run.";

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
    options.command.run().unwrap_or_else(|error| {
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

    #[test]
    fn help_has_80_columns_and_one_layout() {
        let mut command = Options::command();
        command.build();
        for subcommand in command.get_subcommands_mut() {
            let name = subcommand.get_name().to_string();
            let text = subcommand.render_long_help().to_string();
            for line in text.lines() {
                assert!(line.chars().count() <= WIDTH, "{name}: {line}");
            }
            // What begins "--help" begins the long one, where an option has lines of its own.
            assert!(
                subcommand.get_long_about().is_some() || name == "help",
                "{name}"
            );
        }
        for line in command.render_long_help().to_string().lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }
}
