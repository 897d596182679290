// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the coherence checker's plugin has written of a run: read, and made a page, or SARIF for
//! CI.

mod drawing;
#[cfg(test)]
mod example;
mod page;
pub mod run;
mod sarif;
mod sources;
mod timeline;

use std::path::{Path, PathBuf};

use crate::run::Run;
use crate::sources::Sources;

/// Reads a report. Errors: a sentence for the user.
pub fn read(report: &Path) -> Result<Run, String> {
    let text = std::fs::read_to_string(report).map_err(of_file(report))?;
    Run::parse(&text).map_err(of_file(report))
}

/// Writes one self-contained page. Sources are at the paths of the debug information, or by those
/// paths below one of the folders. Errors: a sentence for the user.
pub fn write_html(run: &Run, sources: Vec<PathBuf>, file: &Path) -> Result<(), String> {
    let page = page::render(run, &Sources::new(sources)).map_err(of_file(file))?;
    std::fs::write(file, page).map_err(of_file(file))
}

/// Writes SARIF 2.1.0. Errors: a sentence for the user.
pub fn write_sarif(run: &Run, file: &Path) -> Result<(), String> {
    std::fs::write(file, format!("{:#}\n", sarif::log(run))).map_err(of_file(file))
}

fn of_file<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let path = Path::new("/nowhere");
        assert!(read(path).unwrap_err().starts_with("/nowhere: "));
        let file = Path::new("/nowhere/page");
        for result in [
            write_html(&Run::default(), Vec::new(), file),
            write_sarif(&Run::default(), file),
        ] {
            assert!(result.unwrap_err().starts_with("/nowhere/page: "));
        }
    }
}
