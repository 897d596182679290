// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page: one file, which needs no other, and can be read without scripts.

use std::collections::BTreeSet;

use askama::Template;

use crate::drawing::Drawing;
use crate::run::{Complaint, Finding, Party, Run, SourceLine};
use crate::sources::{ExcerptLine, Sources};
use crate::timeline::Timeline;

/// A line of a source, and what is around it.
struct Excerpt<'a> {
    place: &'a SourceLine,
    lines: Vec<ExcerptLine>,
}

/// Code that takes part.
struct Place<'a> {
    role: &'static str,
    party: &'a Party,
    excerpts: Vec<Excerpt<'a>>,
}

/// A finding, with what is drawn and quoted.
struct Shown<'a> {
    finding: &'a Finding,
    driver: String,
    drawing: Drawing,
    places: Vec<Place<'a>>,
}

impl<'a> Shown<'a> {
    fn new(finding: &'a Finding, sources: &Sources) -> Self {
        let excerpt = |place: &'a SourceLine| Excerpt {
            place,
            lines: sources.around(place),
        };
        let place = |(role, party): (&'static str, &'a Party)| Place {
            role,
            party,
            excerpts: party.source.iter().map(excerpt).collect(),
        };
        Self {
            finding,
            driver: finding.driver(),
            drawing: Drawing::of(&Timeline::of(finding)),
            places: finding.places().into_iter().map(place).collect(),
        }
    }
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    run: &'a Run,
    findings: Vec<Shown<'a>>,
    complaints: &'a [Complaint],
    hazards: BTreeSet<&'a str>,
    drivers: BTreeSet<String>,
}

/// The page of a run. Errors: those of the template.
pub fn render(run: &Run, sources: &Sources) -> Result<String, askama::Error> {
    let findings: Vec<_> = run
        .findings
        .iter()
        .map(|finding| Shown::new(finding, sources))
        .collect();
    Page {
        run,
        hazards: run.findings.iter().map(|it| it.hazard.as_str()).collect(),
        drivers: findings.iter().map(|it| it.driver.clone()).collect(),
        findings,
        complaints: &run.complaints,
    }
    .render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::REPORT;

    fn page() -> String {
        let run = Run::parse(REPORT).unwrap();
        render(&run, &Sources::new(Vec::new())).unwrap()
    }

    #[test]
    fn all_is_there_and_escaped() {
        let page = page();
        assert_eq!(page.matches("<article").count(), 5);
        assert_eq!(page.matches("<svg").count(), 4);
        assert!(page.contains("maps memory from stack"));
        assert!(
            !page.contains("modprobe <&>"),
            "what a guest said is no HTML"
        );
        // The source around the place of the touch, of this crate itself.
        assert!(page.contains("What the coherence checker&#39;s plugin has written"));
        for option in ["owned-touch", "stale-read", "lost-write", "mine", "kernel"] {
            assert!(
                page.contains(&format!("<option>{option}</option>")),
                "{option}"
            );
        }
    }

    #[test]
    fn it_needs_no_other_file() {
        let page = page();
        for word in ["src=", "href=\"http", "@import", "url("] {
            assert!(!page.contains(word), "{word}");
        }
    }
}
