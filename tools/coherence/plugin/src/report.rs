// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is told at the end: each cause once, with a count, as JSON lines for
//! tools and a summary for people.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use coherence_model::events::{Lines, Maintenance, Site};
use coherence_model::hazards::{Finding, Hazard, Party, Shown, Sink};
use serde_json::{json, Value};

use crate::code_sites::{Owner, Sites};
use crate::symbols::Symbols;

/// The functions of all code.
#[derive(Default)]
pub struct Code {
    /// Functions of the kernel.
    pub kernel: Symbols,
    /// Modules' and programs', by their file's name without an ending.
    pub files: HashMap<String, Symbols>,
}

impl Code {
    /// Adds a module or a program. Errors: the file cannot be read.
    pub fn add(&mut self, path: &Path) -> Result<(), String> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        self.files.insert(key(&name), Symbols::from_elf(path)?);
        Ok(())
    }

    fn place(&self, pc: u32, owner: &Owner) -> CodePlace {
        let (unit, symbols, offset) = match owner {
            Owner::Kernel => ("", Some(&self.kernel), pc),
            Owner::Module { name, base } => (&**name, self.files.get(&key(name)), pc - base),
            Owner::Program(name) => (&**name, self.files.get(&key(name)), pc),
        };
        let found = symbols.and_then(|s| s.function(offset));
        CodePlace {
            unit: unit.to_owned(),
            function: found.map(|(name, offset)| (name.to_owned(), offset)),
            pc,
        }
    }
}

/// Names that mean the same: a module's has underscores where its file's may
/// have hyphens, and a task's has 15 bytes.
fn key(name: &str) -> String {
    name.replace('-', "_").chars().take(15).collect()
}

/// Where code is.
#[derive(Debug, Clone)]
struct CodePlace {
    /// Module or program; "" for the kernel.
    unit: String,
    function: Option<(String, u32)>,
    pc: u32,
}

impl CodePlace {
    /// What reports of one cause have in common.
    fn cause(&self) -> String {
        match &self.function {
            Some((name, _)) => format!("{name}@{}", self.unit),
            None => format!("{:#x}@{}", self.pc, self.unit),
        }
    }

    fn text(&self) -> String {
        let mut text = match &self.function {
            Some((name, offset)) => format!("{name}+{offset:#x}"),
            None => format!("{:#010x}", self.pc),
        };
        if !self.unit.is_empty() {
            let _ = write!(text, " [{}]", self.unit);
        }
        text
    }

    fn json(&self, va: u32) -> Value {
        json!({
            "text": self.text(),
            "unit": self.unit,
            "function": self.function.as_ref().map(|(name, _)| name),
            "offset": self.function.as_ref().map(|(_, offset)| offset),
            "pc": self.pc,
            "va": va,
        })
    }
}

/// Findings with the same of these are the same report, before any name is
/// looked up.
#[derive(PartialEq, Eq, Hash)]
struct FindingKey {
    hazard: Hazard,
    shown: Shown,
    victim: Option<Site>,
    writer: Option<Site>,
    by_way_of: Option<Site>,
    parties: (bool, bool),
    label: usize,
}

/// A report: the first finding of its cause.
struct Report {
    finding: Finding,
    task: String,
    label: usize,
    count: u64,
}

/// Cache maintenance while a label was set.
#[derive(Debug, Clone, Copy, Default)]
struct Maintained {
    /// Operations on one line, of the inner data cache or of the outer.
    lines: u64,
    /// Operations on all of the inner data cache.
    all: u64,
}

/// Collects findings.
pub struct Reporter {
    path: PathBuf,
    code: Code,
    /// All instructions.
    pub sites: Sites,
    /// The task that runs.
    pub task: String,
    labels: Vec<String>,
    /// By label.
    maintained: Vec<Maintained>,
    label: usize,
    reports: Vec<Report>,
    by_key: HashMap<FindingKey, usize>,
    causes: HashMap<String, usize>,
}

/// What a run cost, for its summary.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Loads and stores.
    pub accesses: u64,
    /// Lines ever touched.
    pub lines: u64,
    /// Bytes that the state of these lines takes.
    pub bytes: u64,
    /// How often the model took something as right for want of room.
    pub forgotten: u64,
    /// Lines of the inner data cache.
    pub cache: u32,
    /// Translations compared with QEMU's, and how many differed.
    pub checked: Option<(u64, u64)>,
}

impl Sink for Reporter {
    fn found(&mut self, finding: Finding) {
        let site = |party| match party {
            Party::Cpu { site, .. } => Some(site),
            _ => None,
        };
        let key = FindingKey {
            hazard: finding.hazard,
            shown: finding.shown,
            victim: site(finding.victim),
            writer: site(finding.writer),
            by_way_of: finding.by_way_of,
            parties: (
                finding.victim == Party::Device,
                finding.writer == Party::Device,
            ),
            label: self.label,
        };
        if let Some(report) = self.by_key.get(&key) {
            self.reports[*report].count += 1;
            return;
        }
        let cause = format!(
            "{:?} {:?} {} {} {:?} {}",
            finding.hazard,
            finding.shown,
            self.cause(finding.victim),
            self.cause(finding.writer),
            finding.by_way_of.map(|site| self.place(site).cause()),
            self.label
        );
        let report = *self.causes.entry(cause).or_insert_with(|| {
            let task = self.task.clone();
            self.reports.push(Report {
                finding,
                task,
                label: self.label,
                count: 0,
            });
            self.reports.len() - 1
        });
        self.reports[report].count += 1;
        self.by_key.insert(key, report);
    }
}

impl Reporter {
    /// Nothing found yet. The reports go to `path`.
    pub fn new(path: PathBuf, code: Code) -> Self {
        Self {
            path,
            code,
            sites: Sites::default(),
            task: String::new(),
            labels: vec![String::new()],
            maintained: vec![Maintained::default()],
            label: 0,
            reports: Vec::new(),
            by_key: HashMap::new(),
            causes: HashMap::new(),
        }
    }

    /// Reports carry this label from now on.
    pub fn set_label(&mut self, label: String) {
        let found = self.labels.iter().position(|l| *l == label);
        self.label = found.unwrap_or_else(|| {
            self.labels.push(label);
            self.maintained.push(Maintained::default());
            self.labels.len() - 1
        });
    }

    /// The CPU maintains caches.
    pub fn maintained(&mut self, what: Maintenance) {
        let count = &mut self.maintained[self.label];
        match what {
            Maintenance::Data(_, Lines::Address { .. }) | Maintenance::Outer(..) => {
                count.lines += 1;
            }
            Maintenance::Data(_, Lines::All) => count.all += 1,
            _ => {}
        }
    }

    fn place(&self, site: Site) -> CodePlace {
        let (pc, owner) = self.sites.get(site);
        self.code.place(pc, owner)
    }

    fn cause(&self, party: Party) -> String {
        match party {
            Party::Cpu { site, .. } => self.place(site).cause(),
            Party::Device => "device".into(),
            Party::Nobody => "nobody".into(),
        }
    }

    fn party_json(&self, party: Party) -> Value {
        match party {
            Party::Cpu { va, site } => self.place(site).json(va),
            Party::Device => json!({ "text": "a device" }),
            Party::Nobody => json!({ "text": "nobody" }),
        }
    }

    fn party_text(&self, party: Party) -> String {
        match party {
            Party::Cpu { site, .. } => self.place(site).text(),
            Party::Device => "a device".into(),
            Party::Nobody => "nobody yet".into(),
        }
    }

    fn report_json(&self, report: &Report) -> Value {
        let finding = &report.finding;
        json!({
            "hazard": finding.hazard.name(),
            "shown": finding.shown.name(),
            "pa": finding.pa,
            "victim": self.party_json(finding.victim),
            "writer": self.party_json(finding.writer),
            "by-way-of": finding.by_way_of.map(|site| self.place(site).json(0)),
            "reason": finding.reason,
            "task": report.task,
            "label": self.labels[report.label],
            "count": report.count,
        })
    }

    /// The last line: how much there was of what.
    fn totals_json(&self, cost: Cost) -> Value {
        let of = |shown| {
            self.reports
                .iter()
                .filter(|r| r.finding.shown == shown)
                .count()
        };
        let maintained: serde_json::Map<_, _> = self
            .labels
            .iter()
            .zip(&self.maintained)
            .map(|(label, count)| {
                let count = json!({ "lines": count.lines, "all": count.all });
                (label.clone(), count)
            })
            .collect();
        json!({ "totals": {
            "reports": self.reports.len(),
            "this-core": of(Shown::ThisCore),
            "some-core": of(Shown::SomeCore),
            "accesses": cost.accesses,
            "lines": cost.lines,
            "bytes": cost.bytes,
            "forgotten": cost.forgotten,
            "cache-lines": cost.cache,
            "maintained": maintained,
            "translations-checked": cost.checked.map(|(all, _)| all),
            "translations-different": cost.checked.map(|(_, different)| different),
        } })
    }

    fn summary(&self, cost: Cost) -> String {
        let mut text = String::new();
        for report in &self.reports {
            let finding = &report.finding;
            let label = &self.labels[report.label];
            let _ = writeln!(
                text,
                "{} ({}), {} times{}: {:#010x}: {}\n    by {}{}, written last by {}, task {:?}",
                finding.hazard.name(),
                finding.shown.name(),
                report.count,
                if label.is_empty() {
                    String::new()
                } else {
                    format!(" in {label}")
                },
                finding.pa,
                finding.reason,
                self.party_text(finding.victim),
                finding.by_way_of.map_or_else(String::new, |site| format!(
                    ", by way of {}",
                    self.place(site).text()
                )),
                self.party_text(finding.writer),
                report.task,
            );
        }
        let _ = writeln!(
            text,
            "coherence: {} reports; {} accesses, {} lines, {:.1} bytes a line",
            self.reports.len(),
            cost.accesses,
            cost.lines,
            cost.bytes as f64 / cost.lines.max(1) as f64,
        );
        if cost.forgotten != 0 {
            let _ = writeln!(
                text,
                "coherence: {} times the model had no room for what is rare, so it may have missed something",
                cost.forgotten,
            );
        }
        if let Some((all, different)) = cost.checked {
            let _ = writeln!(
                text,
                "coherence: {different} of {all} translations differ from QEMU's"
            );
        }
        text
    }

    /// Writes the file, and the summary to stderr.
    pub fn finish(&self, cost: Cost) {
        eprint!("{}", self.summary(cost));
        let lines = self.reports.iter().map(|report| self.report_json(report));
        let all: String = lines
            .chain([self.totals_json(cost)])
            .map(|line| line.to_string() + "\n")
            .collect();
        let written =
            std::fs::File::create(&self.path).and_then(|mut file| file.write_all(all.as_bytes()));
        if let Err(error) = written {
            eprintln!("coherence: no report: {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coherence_model::events::Operation;

    const MAP: &str = "c0008000 T reader\nc0009000 T writer\nc000a000 T _etext\n";
    const COST: Cost = Cost {
        accesses: 10,
        lines: 2,
        bytes: 24,
        forgotten: 3,
        cache: 512,
        checked: Some((5, 1)),
    };

    fn reporter() -> Reporter {
        let code = Code {
            kernel: Symbols::from_system_map(MAP).unwrap(),
            ..Code::default()
        };
        let mut reporter = Reporter::new("/dev/null".into(), code);
        reporter.task = "sh".into();
        reporter
    }

    fn find(reporter: &mut Reporter, victim: Party, writer: Party) {
        let finding = Finding {
            hazard: Hazard::StaleRead,
            shown: Shown::ThisCore,
            pa: 0x6000_0040,
            victim,
            writer,
            reason: "it is old",
            by_way_of: None,
            lent: None,
            order: 0,
        };
        reporter.found(finding);
    }

    fn kernel_code(reporter: &mut Reporter, pc: u32) -> Party {
        let owner = reporter.sites.owner(Owner::Kernel);
        Party::Cpu {
            va: 0xc100_0000,
            site: reporter.sites.site(pc, owner),
        }
    }

    #[test]
    fn one_cause_is_one_report() {
        let mut reporter = reporter();
        let writer = kernel_code(&mut reporter, 0xc000_9004);
        for pc in [0xc000_8004, 0xc000_8004, 0xc000_8010] {
            let reader = kernel_code(&mut reporter, pc);
            find(&mut reporter, reader, writer);
        }
        find(&mut reporter, Party::Device, writer);
        find(&mut reporter, Party::Device, Party::Nobody);
        reporter.set_label("a test".into());
        find(&mut reporter, Party::Device, writer);
        reporter.set_label(String::new());
        find(&mut reporter, Party::Device, writer);

        let counts: Vec<_> = reporter
            .reports
            .iter()
            .map(|r| (r.count, r.label))
            .collect();
        assert_eq!(counts, [(3, 0), (2, 0), (1, 0), (1, 1)]);
    }

    #[test]
    fn words() {
        let mut reporter = reporter();
        let reader = kernel_code(&mut reporter, 0xc000_8004);
        find(&mut reporter, reader, Party::Nobody);
        let line = reporter.report_json(&reporter.reports[0]);
        assert_eq!(line["hazard"], "stale-read");
        assert_eq!(line["shown"], "this-core");
        assert_eq!(line["victim"]["function"], "reader");
        assert_eq!(line["victim"]["offset"], 4);
        assert_eq!(line["victim"]["va"], 0xc100_0000u32);
        assert_eq!(line["writer"]["text"], "nobody");
        assert_eq!(line["task"], "sh");
        let totals = reporter.totals_json(COST);
        assert_eq!(totals["totals"]["this-core"], 1);
        assert_eq!(totals["totals"]["some-core"], 0);
        assert_eq!(
            reporter.summary(COST),
            "stale-read (this-core), 1 times: 0x60000040: it is old
    by reader+0x4, written last by nobody yet, task \"sh\"
coherence: 1 reports; 10 accesses, 2 lines, 12.0 bytes a line
coherence: 3 times the model had no room for what is rare, so it may have missed something
coherence: 1 of 5 translations differ from QEMU's\n"
        );
    }

    #[test]
    fn maintenance_is_counted_by_label() {
        let line = Lines::Address { va: 0, pa: None };
        let mut reporter = reporter();
        reporter.maintained(Maintenance::Data(Operation::Clean, line));
        reporter.set_label("a test".into());
        for what in [
            Maintenance::Data(Operation::Invalidate, line),
            Maintenance::Outer(Operation::Invalidate, 0),
            Maintenance::Data(Operation::CleanInvalidate, Lines::All),
            Maintenance::Instruction(Lines::All),
            Maintenance::Drain,
        ] {
            reporter.maintained(what);
        }
        let totals = &reporter.totals_json(COST)["totals"];
        assert_eq!(totals["cache-lines"], 512);
        assert_eq!(
            totals["maintained"],
            json!({ "": { "lines": 1, "all": 0 }, "a test": { "lines": 2, "all": 1 } })
        );
    }

    #[test]
    fn who_set_a_device_off() {
        let mut reporter = reporter();
        let writer = kernel_code(&mut reporter, 0xc000_9004);
        for pc in [0xc000_8004, 0xc000_8008, 0xc000_9008] {
            let Party::Cpu { site, .. } = kernel_code(&mut reporter, pc) else {
                panic!();
            };
            reporter.found(Finding {
                hazard: Hazard::StaleRead,
                shown: Shown::ThisCore,
                pa: 0x6000_0040,
                victim: Party::Device,
                writer,
                reason: "it is old",
                by_way_of: Some(site),
                lent: None,
                order: 0,
            });
        }
        let counts: Vec<_> = reporter.reports.iter().map(|r| r.count).collect();
        assert_eq!(counts, [2, 1]);
        let line = reporter.report_json(&reporter.reports[0]);
        assert_eq!(line["by-way-of"]["function"], "reader");
        assert!(reporter
            .summary(COST)
            .contains("by a device, by way of reader+0x4, written last by writer+0x4,"));
    }

    #[test]
    fn names_of_code() {
        let mut code = Code::default();
        let symbols = Symbols::from_system_map("00000010 T probe\n00000100 T _etext\n").unwrap();
        code.files.insert(key("my-driver"), symbols);
        let module = Owner::Module {
            name: "my_driver".into(),
            base: 0xbf00_0000,
        };
        assert_eq!(
            code.place(0xbf00_0018, &module).text(),
            "probe+0x8 [my_driver]"
        );
        let program = Owner::Program("sh".into());
        assert_eq!(code.place(0x10018, &program).text(), "0x00010018 [sh]");
        assert_eq!(code.place(0x8000, &Owner::Kernel).text(), "0x00008000");
    }
}
