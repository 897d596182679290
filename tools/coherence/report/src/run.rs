// SPDX-License-Identifier: MIT OR Apache-2.0
//! A run, as the report has it: a JSON object in each line.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What is found, and known.
const KNOWN: &str = include_str!("../../known");

/// A line of a source.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq, Hash)]
pub struct SourceLine {
    /// The function, which may be inlined.
    pub function: String,
    /// The file's path, as debug information has it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

/// Who took part: code of the CPU's, a device, or nobody.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Party {
    /// For people.
    pub text: String,
    /// The module or program; "" for the kernel. `None` if it is not code.
    pub unit: Option<String>,
    /// The function, if it is known.
    pub function: Option<String>,
    /// Its lines, if they are known: each is inlined in the next.
    #[serde(default)]
    pub source: Vec<SourceLine>,
}

impl Party {
    /// Whether the CPU's code did it.
    pub fn is_cpu(&self) -> bool {
        self.unit.is_some()
    }
}

/// A call of the DMA API.
#[derive(Debug, Clone, Deserialize)]
pub struct Call {
    /// Who called.
    pub by: Option<Party>,
    /// Its number among the events about devices.
    pub order: u64,
}

/// How a device came by the memory.
#[derive(Debug, Clone, Deserialize)]
pub struct Lent {
    /// Where it was mapped.
    pub mapped: Call,
    /// Where it was given to the device that has it.
    pub given: Option<Call>,
    /// Where it was unmapped.
    pub unmapped: Option<Call>,
}

impl Lent {
    /// Where it was given to the device, if that was not where it was mapped.
    pub fn given_again(&self) -> Option<&Call> {
        let place = |call: &Call| call.by.as_ref().map(|by| by.text.clone());
        self.given
            .as_ref()
            .filter(|given| place(given) != place(&self.mapped))
    }
}

/// One cause, however often it was met.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// For people, in several lines.
    pub text: String,
    /// What goes wrong.
    pub hazard: String,
    /// Which core would show it.
    pub shown: String,
    /// The physical address.
    pub pa: u32,
    /// Who runs into it.
    pub victim: Party,
    /// Who wrote last.
    pub writer: Party,
    /// Where a device was set off.
    pub by_way_of: Option<Party>,
    /// How a device came by the memory.
    pub lent: Option<Lent>,
    /// Its number among the events about devices.
    pub order: u64,
    /// Why it is wrong.
    pub reason: String,
    /// The task that ran.
    pub task: String,
    /// What the guest said that it was doing.
    pub label: String,
    /// How often it was met.
    pub count: u64,
    /// The reason, if it is known.
    #[serde(skip)]
    pub known: Option<&'static str>,
}

impl Finding {
    /// The code that takes part, each with its role.
    pub fn places(&self) -> Vec<(&'static str, &Party)> {
        let lent = self.lent.as_ref();
        let calls = [
            ("mapped by", lent.map(|lent| &lent.mapped)),
            ("given to the device by", lent.and_then(Lent::given_again)),
            ("unmapped by", lent.and_then(|lent| lent.unmapped.as_ref())),
        ];
        let callers = calls
            .into_iter()
            .map(|(role, call)| (role, call.and_then(|call| call.by.as_ref())));
        let (victim, writer) = match self.hazard.as_str() {
            "owned-touch" => ("loaded by", "stored by"),
            _ => ("found at", "written last by"),
        };
        let parties = [
            (victim, Some(&self.victim)),
            ("device set off by", self.by_way_of.as_ref()),
            (writer, Some(&self.writer)),
        ];
        parties
            .into_iter()
            .chain(callers)
            .filter_map(|(role, party)| Some((role, party?)))
            .filter(|(_, party)| party.is_cpu())
            .collect()
    }

    /// The module or program that takes part, "kernel" if there is none.
    pub fn driver(&self) -> String {
        let units = self
            .places()
            .into_iter()
            .filter_map(|(_, it)| it.unit.clone());
        let mut units = units.filter(|unit| !unit.is_empty());
        units.next().unwrap_or_else(|| "kernel".into())
    }

    /// The least comes first.
    fn rank(&self) -> (bool, bool, bool) {
        let of_kernel = self.driver() == "kernel";
        (self.known.is_some(), self.shown != "this-core", of_kernel)
    }
}

/// A complaint of the kernel's own.
#[derive(Debug, Clone, Deserialize)]
pub struct Complaint {
    /// Of which sort, such as "Oops".
    pub kind: String,
    /// The line of the log, from 1.
    pub line: u32,
    /// What is wrong.
    pub said: String,
    /// What is around it in the log.
    pub text: String,
}

/// What was run.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct About {
    /// The board's name.
    pub board: String,
    /// What the board's shell ran.
    pub command: String,
    /// Its exit status, if it ended.
    pub status: Option<i32>,
    /// Why the run ended before.
    pub ended: String,
    /// Whether somebody ended it.
    pub interrupted: bool,
}

/// Counts of the whole run.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Totals {
    /// Loads and stores.
    pub accesses: u64,
    /// Causes that are not listed.
    pub unlisted: u64,
    /// About these, for people.
    #[serde(default)]
    pub more: Vec<String>,
    /// Calls of the DMA API, by module; the kernel's own have no name.
    #[serde(default)]
    pub drivers: BTreeMap<String, Calls>,
}

/// How often a driver called the DMA API.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Calls {
    /// Mappings, each entry of a list for itself.
    pub mappings: u64,
    /// Those of them that are for a device which looks into the caches.
    pub snooped: u64,
    /// Syncs, also as a part of a mapping or its end.
    pub syncs: u64,
    /// Allocations of coherent memory.
    pub coherent: u64,
}

/// A line of the report.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Finding(Box<Finding>),
    Kernel { kernel: Complaint },
    Run { run: About },
    Totals { totals: Totals },
}

/// All of a report.
#[derive(Debug, Default)]
pub struct Run {
    /// What was run, if the report says it.
    pub about: Option<About>,
    /// What the checker found, the worst first, and what is known last.
    pub findings: Vec<Finding>,
    /// What the kernel said.
    pub complaints: Vec<Complaint>,
    /// The counts, if the checker came to its end.
    pub totals: Option<Totals>,
}

impl Run {
    /// Reads a report. Errors: a line that is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let known = known();
        let mut run = Self::default();
        for (number, line) in text.lines().enumerate() {
            let parsed = serde_json::from_str(line)
                .map_err(|error| format!("line {}: {error}", number + 1))?;
            match parsed {
                Line::Finding(mut finding) => {
                    let entry = known.iter().find(|entry| entry.fits(&finding));
                    finding.known = entry.map(|entry| entry.reason);
                    run.findings.push(*finding);
                }
                Line::Kernel { kernel } => run.complaints.push(kernel),
                Line::Run { run: about } => run.about = Some(about),
                Line::Totals { totals } => run.totals = Some(totals),
            }
        }
        // Those of one rank stay as they are, together by mapping.
        run.findings.sort_by_key(Finding::rank);
        Ok(run)
    }

    /// Findings that are known.
    pub fn known(&self) -> usize {
        self.findings.len() - self.findings.iter().filter(|it| it.known.is_none()).count()
    }

    /// Findings that count: not those that are known.
    pub fn counted(&self) -> usize {
        let new = self.findings.iter().filter(|it| it.known.is_none()).count();
        let unlisted = self.totals.as_ref().map_or(0, |totals| totals.unlisted);
        new + unlisted as usize + self.complaints.len()
    }
}

/// An entry of the file of what is known.
struct Known {
    hazard: &'static str,
    /// A function of the kernel's, or one of those below.
    place: &'static str,
    reason: &'static str,
}

/// Before a function and its driver, with a `@` between.
const MAPPED_BY: &str = "mapped-by=";
/// Written last by kernel code without a name, which ran while the MMU was off.
const UNTRANSLATED: &str = "written-by=untranslated";

impl Known {
    fn fits(&self, finding: &Finding) -> bool {
        if self.hazard != finding.hazard {
            return false;
        }
        if self.place == UNTRANSLATED {
            let writer = &finding.writer;
            return writer.unit.as_deref() == Some("") && writer.function.is_none();
        }
        let Some(place) = self.place.strip_prefix(MAPPED_BY) else {
            return finding.victim.function.as_deref() == Some(self.place);
        };
        let (function, driver) = place.split_once('@').unwrap_or((place, ""));
        let lent = finding.lent.as_ref();
        let Some(by) = lent.and_then(|lent| lent.mapped.by.as_ref()) else {
            return false;
        };
        let inlined = by.source.iter().map(|line| line.function.as_str());
        let mut functions = inlined.chain(by.function.as_deref());
        let of_it = by
            .unit
            .as_deref()
            .is_some_and(|unit| ["", driver].contains(&unit));
        of_it && functions.any(|it| it == function)
    }
}

/// What is known.
fn known() -> Vec<Known> {
    let lines = KNOWN.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut words = line.splitn(3, ' ');
            Some(Known {
                hazard: words.next()?,
                place: words.next()?,
                reason: words.next()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::REPORT;

    #[test]
    fn all_of_a_report() {
        let run = Run::parse(REPORT).unwrap();
        let about = run.about.as_ref().unwrap();
        assert_eq!(
            (about.board.as_str(), about.status),
            ("vexpress-a9", Some(0))
        );
        assert_eq!(run.totals.as_ref().unwrap().accesses, 123_456_789);
        assert_eq!(run.complaints[0].kind, "DMA-API");
        assert_eq!(run.counted(), 4);
        // The kernel's own is last, what only some core shows before it.
        let ranks: Vec<_> = run
            .findings
            .iter()
            .map(|it| (it.hazard.as_str(), it.shown.as_str(), it.driver()))
            .collect();
        assert_eq!(
            ranks,
            [
                ("owned-touch", "this-core", "mine".to_owned()),
                ("stale-read", "this-core", "kernel".to_owned()),
                ("stale-read", "some-core", "mine".to_owned()),
                ("lost-write", "this-core", "kernel".to_owned()),
            ]
        );
        assert!(run.findings[3].known.unwrap().starts_with("A test at boot"));
    }

    #[test]
    fn known_by_who_mapped_the_memory() {
        let known = |function: &str, unit: &str| {
            let mut run = Run::parse(REPORT).unwrap();
            let mut finding = run.findings.remove(0);
            let by = finding.lent.as_mut().unwrap().mapped.by.as_mut().unwrap();
            by.function = Some(function.into());
            by.unit = Some(unit.into());
            known().iter().any(|entry| entry.fits(&finding))
        };
        assert!(known("e100_rx_alloc_skb", "e100"));
        assert!(known("e100_rx_alloc_skb", ""));
        assert!(!known("e100_rx_alloc_skb", "mine"));
        assert!(!known("e100_up", "e100"));
    }

    #[test]
    fn known_by_who_wrote_before_the_mmu_was_on() {
        let known = |function: Option<&str>, unit: Option<&str>| {
            let mut run = Run::parse(REPORT).unwrap();
            let mut finding = run.findings.remove(1);
            assert_eq!(finding.hazard, "stale-read");
            finding.writer.function = function.map(str::to_owned);
            finding.writer.unit = unit.map(str::to_owned);
            known().iter().any(|entry| entry.fits(&finding))
        };
        assert!(known(None, Some("")));
        assert!(!known(Some("memset"), Some("")));
        assert!(!known(None, Some("mine")));
        assert!(!known(None, None));
    }

    #[test]
    fn who_takes_part() {
        let run = Run::parse(REPORT).unwrap();
        let roles: Vec<_> = run.findings[0]
            .places()
            .into_iter()
            .map(|(role, place)| (role, place.function.clone().unwrap()))
            .collect();
        assert_eq!(
            roles,
            [
                ("stored by", "mine_init".to_owned()),
                ("mapped by", "mine_init".to_owned()),
            ]
        );
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let error = Run::parse("{\"totals\":{\"accesses\":1,\"unlisted\":0}}\n{}\n").unwrap_err();
        assert!(error.starts_with("line 2: "), "{error}");
    }
}
