// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes a page of a run, and SARIF for CI, of the report that the coherence
//! checker's plugin has written.

mod drawing;
#[cfg(test)]
mod example;
mod page;
mod run;
mod sarif;
mod sources;
mod timeline;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::run::Run;
use crate::sources::Sources;

/// Makes a page, or SARIF for CI, of what the coherence checker has found in a run.
#[derive(Parser)]
struct Arguments {
    /// The file that the plugin's argument report= has named
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
    match write_all(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("coherence-report: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// Errors: a sentence for the user.
fn write_all(arguments: &Arguments) -> Result<(), String> {
    let report = &arguments.report;
    let text = std::fs::read_to_string(report).map_err(of_file(report))?;
    let run = Run::parse(&text).map_err(of_file(report))?;
    if let Some(path) = &arguments.html {
        let sources = Sources::new(arguments.sources.clone());
        let page = page::render(&run, &sources).map_err(of_file(path))?;
        std::fs::write(path, page).map_err(of_file(path))?;
    }
    if let Some(path) = &arguments.sarif {
        std::fs::write(path, format!("{:#}\n", sarif::log(&run))).map_err(of_file(path))?;
    }
    Ok(())
}

fn of_file<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
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
    fn a_file_that_is_not_there_is_named() {
        let arguments = Arguments::parse_from(["coherence-report", "/nowhere"]);
        assert!(write_all(&arguments).unwrap_err().starts_with("/nowhere: "));
    }
}
