// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command of the coherence checker.
//!
//! | file | contents |
//! |---|---|
//! | `plugin.rs` | QEMU's arguments for the plugin |
//! | `machine.rs` | QEMU with a machine under the checker, and what it has found |

mod machine;
mod plugin;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use coherence_model::cores::emulated;

/// Looks for what caches may do to a driver, on a machine that QEMU emulates.
#[derive(Parser)]
#[command(name = "coherence")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Run a machine under the checker. The exit status is 0 if nothing was found, 2 if something
    /// was, and 1 if the checker or QEMU did not come to an end
    Run(Box<machine::Machine>),
    /// Print the arguments that a QEMU command line of yours needs
    Args(plugin::Checked),
    /// Make a page, or SARIF for CI, of a report
    Report(Report),
    /// List the cores that there is a model of
    Cores,
}

#[derive(clap::Args)]
struct Report {
    /// The file that the checker has written
    report: PathBuf,
    /// Write one self-contained page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write SARIF 2.1.0
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
    /// Where sources are that are not at the paths of the debug information, by
    /// those paths below this folder; may be repeated
    #[arg(long, value_name = "FOLDER")]
    sources: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().what {
        What::Run(arguments) => machine::run(&arguments),
        What::Args(arguments) => arguments.words().and_then(|words| print_args(&words)),
        What::Report(arguments) => write_all(arguments),
        What::Cores => {
            cores().for_each(|line| println!("{line}"));
            Ok(ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|sentence| {
        eprintln!("coherence: {sentence}");
        ExitCode::FAILURE
    })
}

/// As a shell takes them.
fn print_args(words: &[String]) -> Result<ExitCode, String> {
    let words = words.iter().map(String::as_str);
    println!(
        "{}",
        shlex::try_join(words).map_err(|error| error.to_string())?
    );
    Ok(ExitCode::SUCCESS)
}

fn write_all(arguments: Report) -> Result<ExitCode, String> {
    let run = coherence_report::read(&arguments.report)?;
    if let Some(file) = &arguments.html {
        coherence_report::write_html(&run, arguments.sources, file)?;
    }
    if let Some(file) = &arguments.sarif {
        coherence_report::write_sarif(&run, file)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for each core.
fn cores() -> impl Iterator<Item = String> {
    emulated().map(|(core, emulation)| format!("{:<12} {core}", emulation.argument))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn each_core_has_a_line() {
        assert_eq!(cores().count(), emulated().count());
        assert!(cores().any(|line| line.starts_with("cortex-a9    Cortex-A9: ARMv7, ")));
    }
}
