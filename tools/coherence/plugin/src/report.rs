// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is told at the end: each cause once, with a count, as JSON lines for
//! tools and a summary for people. What was found about one mapping is together.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use coherence_model::cores::Geometry;
use coherence_model::events::{Device, Lines, Maintenance, Site};
use coherence_model::hazards::{Call, Finding, Hazard, Holder, Lent, Party, Shown, Sink};
use serde_json::{json, Value};

use crate::code_sites::{Owner, Sites};
use crate::module_layout::ModuleFile;
use crate::source_lines::{SourceLines, SourcePlace};
use crate::symbols::{demangled, is_alias, Symbols};

/// Causes of one hazard in one mapping that are listed, at most.
const OF_A_MAPPING: usize = 16;
/// And in memory that no device has.
const OF_NO_MAPPING: usize = 256;

/// The functions of a file, and its source lines, which are read when they are
/// wanted.
#[derive(Default)]
pub struct CodeFile {
    symbols: OnceCell<Symbols>,
    path: Option<PathBuf>,
    lines: OnceCell<Option<SourceLines>>,
}

impl CodeFile {
    /// A file with functions; its debug information is in `path`, if anywhere.
    pub fn new(symbols: Symbols, path: Option<PathBuf>) -> Self {
        Self {
            symbols: OnceCell::from(symbols),
            path,
            lines: OnceCell::new(),
        }
    }

    fn read(path: &Path) -> Result<Self, String> {
        Ok(Self::new(Symbols::from_elf(path)?, Some(path.to_owned())))
    }

    /// One of many, of which few are ever wanted.
    fn unread(path: PathBuf) -> Self {
        Self {
            path: Some(path),
            ..Self::default()
        }
    }

    fn symbols(&self) -> &Symbols {
        self.symbols.get_or_init(|| {
            let found = self.path.as_deref().map(Symbols::from_elf).transpose();
            found
                .map(Option::unwrap_or_default)
                .unwrap_or_else(|error| {
                    eprintln!("coherence: {error} The functions of this file are not named.");
                    Symbols::default()
                })
        })
    }

    fn source(&self, address: u32) -> Vec<SourcePlace> {
        let read = || SourceLines::read(self.path.as_ref()?);
        let lines = self.lines.get_or_init(read).as_ref();
        lines.map_or_else(Vec::new, |lines| lines.find(address))
    }
}

/// The functions of all code.
#[derive(Default)]
pub struct Code {
    /// The kernel.
    pub kernel: CodeFile,
    modules: HashMap<String, CodeFile>,
    programs: HashMap<String, CodeFile>,
}

impl Code {
    /// Adds a module by its file's name. Errors: the file cannot be read.
    pub fn add_module(&mut self, path: &Path) -> Result<(), String> {
        self.modules
            .insert(module_key(&file_name(path)), CodeFile::read(path)?);
        Ok(())
    }

    /// Adds the modules in a folder and in those below it, if none of the same name is there.
    /// Errors: the folder cannot be read, or there are none.
    pub fn add_modules_of(&mut self, folder: &Path) -> Result<(), String> {
        let before = self.modules.len();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let wrong = |error| format!("{}: {error}.", folder.display());
            for entry in folder.read_dir().map_err(wrong)? {
                let entry = entry.map_err(wrong)?;
                // A link may lead out of the folder, as "build" does, or round in a circle.
                if entry.file_type().map_err(wrong)?.is_dir() {
                    folders.push(entry.path());
                } else if is_module(&entry.path()) {
                    self.modules
                        .entry(module_key(&file_name(&entry.path())))
                        .or_insert_with(|| CodeFile::unread(entry.path()));
                }
            }
        }
        if self.modules.len() == before {
            return Err(format!(
                "{}: there are no modules (.ko, or .ko.gz, .ko.xz, .ko.zst).",
                folder.display()
            ));
        }
        Ok(())
    }

    /// Adds a program, which may have the name of a module. Errors: the file
    /// cannot be read.
    pub fn add_program(&mut self, path: &Path) -> Result<(), String> {
        self.programs
            .insert(program_key(&file_name(path)), CodeFile::read(path)?);
        Ok(())
    }

    /// What the file of a module says of its struct, if there is one.
    pub fn module_file(&self, name: &str) -> Option<ModuleFile> {
        ModuleFile::read(self.modules.get(&module_key(name))?.path.as_deref()?)
    }

    /// Whose an instruction is: the unit's name, its file, and the address there.
    fn find<'a>(&'a self, pc: u32, owner: &'a Owner) -> (&'a str, Option<&'a CodeFile>, u32) {
        match owner {
            Owner::Kernel => ("", Some(&self.kernel), pc),
            Owner::Module { name, base } => (
                name,
                self.modules.get(&module_key(name)),
                pc.wrapping_sub(*base),
            ),
            Owner::Program(name) => (name, self.programs.get(&program_key(name)), pc),
        }
    }

    fn place(&self, pc: u32, owner: &Owner) -> CodePlace {
        let (unit, file, address) = self.find(pc, owner);
        let found = file.and_then(|file| file.symbols().function(address));
        CodePlace {
            unit: unit.to_owned(),
            function: found.map(|(name, offset)| (demangled(name), offset)),
            pc,
            source: Vec::new(),
        }
    }

    /// A place with its lines.
    fn place_in_source(&self, pc: u32, owner: &Owner) -> CodePlace {
        let (_, file, address) = self.find(pc, owner);
        self.place(pc, owner)
            .in_source(file.map_or_else(Vec::new, |file| file.source(address)))
    }
}

/// Names that mean the same: a module's has underscores where its file's may have hyphens.
fn module_key(name: &str) -> String {
    name.replace('-', "_")
}

/// And a task's has 15 bytes of its program's.
fn program_key(name: &str) -> String {
    name.chars().take(15).collect()
}

/// Without what tells its kind, and how it is packed.
fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let end = name.find(".ko").or_else(|| name.rfind('.'));
    name[..end.unwrap_or(name.len())].to_owned()
}

fn is_module(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    [".ko", ".ko.gz", ".ko.xz", ".ko.zst"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

/// Where code is.
#[derive(Debug, Clone)]
struct CodePlace {
    /// Module or program; "" for the kernel.
    unit: String,
    function: Option<(String, u32)>,
    pc: u32,
    /// The lines, if they are known and were asked for: each is inlined in the next.
    source: Vec<SourcePlace>,
}

impl CodePlace {
    /// With its lines. A compiler may leave a module's function no name but the
    /// alias that module_init() makes: the source has the other.
    fn in_source(mut self, source: Vec<SourcePlace>) -> Self {
        if let (Some((name, _)), Some(outermost)) = (&mut self.function, source.last()) {
            if is_alias(name) {
                name.clone_from(&outermost.function);
            }
        }
        self.source = source;
        self
    }

    /// What reports of one cause have in common.
    fn cause(&self) -> String {
        match &self.function {
            Some((name, _)) => format!("{name}@{}", self.unit),
            None => format!("{:#x}@{}", self.pc, self.unit),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let (outermost, inlined) = match self.source.split_last() {
            Some((last, others)) => (Some(last), others),
            None => (None, &[][..]),
        };
        for place in inlined {
            let _ = write!(text, "{} at {}, inlined in ", place.function, line(place));
        }
        let _ = match &self.function {
            Some((name, offset)) => write!(text, "{name}+{offset:#x}"),
            None => write!(text, "{:#010x}", self.pc),
        };
        if !self.unit.is_empty() {
            let _ = write!(text, " [{}]", self.unit);
        }
        if let Some(place) = outermost {
            let _ = write!(text, " at {}", line(place));
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
            "source": self.source.iter().map(|place| json!({
                "function": place.function,
                "file": place.file,
                "line": place.line,
            })).collect::<Value>(),
        })
    }
}

/// A line of a source, for people.
fn line(place: &SourcePlace) -> String {
    let name = place.file.rsplit('/').next().unwrap_or_default();
    format!("{name}:{}", place.line)
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
    mapped: Option<Option<Site>>,
    parties: (bool, bool),
    label: usize,
}

/// Where the memory of a finding was mapped for a device, if it was.
fn mapped(finding: &Finding) -> Option<Option<Site>> {
    finding.lent.map(|lent| lent.mapped.site)
}

/// A report: the first finding of its cause.
struct Report {
    finding: Finding,
    /// Loads and stores until then.
    accesses: u64,
    task: String,
    label: usize,
    count: u64,
}

/// Causes of one hazard in one mapping, or in none, while a label was set.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct GroupKey {
    hazard: Hazard,
    shown: Shown,
    label: usize,
    mapped: Option<Option<Site>>,
}

/// What is listed of a group, and what is only counted.
struct Group {
    key: GroupKey,
    listed: usize,
    /// Causes that are not listed.
    more: u64,
    /// How often these were met.
    times: u64,
}

impl Group {
    fn is_full(&self) -> bool {
        let most = match self.key.mapped {
            Some(_) => OF_A_MAPPING,
            None => OF_NO_MAPPING,
        };
        self.listed >= most
    }
}

/// What becomes of a cause.
#[derive(Clone, Copy)]
enum Cause {
    /// It has a report.
    Listed(usize),
    /// Its group has enough of them.
    Counted(usize),
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
    /// What the names in findings are from.
    pub code: Code,
    /// All instructions.
    pub sites: Sites,
    /// The task that runs.
    pub task: String,
    /// Loads and stores so far.
    pub accesses: u64,
    /// Whether the summary goes to stderr at the end.
    pub tells: bool,
    labels: Vec<String>,
    /// By label.
    maintained: Vec<Maintained>,
    label: usize,
    /// By module; the kernel's own have no name.
    drivers: BTreeMap<String, Calls>,
    reports: Vec<Report>,
    groups: Vec<Group>,
    by_key: HashMap<FindingKey, Cause>,
    causes: HashMap<String, Cause>,
}

/// How often a driver called the DMA API.
#[derive(Debug, Default)]
struct Calls {
    mappings: u64,
    /// Those of them that are for a device which looks into the caches.
    snooped: u64,
    /// For the device and for the CPU, also as a part of a mapping or its end.
    syncs: u64,
    /// Allocations of coherent memory.
    coherent: u64,
}

impl Calls {
    fn json(&self) -> Value {
        let Self {
            mappings,
            snooped,
            syncs,
            coherent,
        } = self;
        json!({ "mappings": mappings, "snooped": snooped, "syncs": syncs, "coherent": coherent })
    }
}

/// What a run cost, for its summary.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Lines ever touched.
    pub lines: u64,
    /// Bytes that the state of these lines takes.
    pub bytes: u64,
    /// How often the model took something as right for want of room.
    pub forgotten: u64,
    /// The inner data cache.
    pub cache: Geometry,
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
            mapped: mapped(&finding),
            parties: (
                finding.victim == Party::Device,
                finding.writer == Party::Device,
            ),
            label: self.label,
        };
        let cause = match self.by_key.get(&key) {
            Some(cause) => *cause,
            None => {
                let cause = self.cause_of(&finding);
                self.by_key.insert(key, cause);
                cause
            }
        };
        match cause {
            Cause::Listed(report) => self.reports[report].count += 1,
            Cause::Counted(group) => self.groups[group].times += 1,
        }
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
            accesses: 0,
            tells: true,
            labels: vec![String::new()],
            maintained: vec![Maintained::default()],
            label: 0,
            drivers: BTreeMap::new(),
            reports: Vec::new(),
            groups: Vec::new(),
            by_key: HashMap::new(),
            causes: HashMap::new(),
        }
    }

    /// The cause of a finding that has another key than all before.
    fn cause_of(&mut self, finding: &Finding) -> Cause {
        let name = format!(
            "{:?} {:?} {} {} {:?} {:?} {}",
            finding.hazard,
            finding.shown,
            self.cause(finding.victim),
            self.cause(finding.writer),
            finding.by_way_of.map(|site| self.place(site).cause()),
            mapped(finding),
            self.label
        );
        if let Some(cause) = self.causes.get(&name) {
            return *cause;
        }
        let number = self.group(finding);
        let group = &mut self.groups[number];
        let cause = if group.is_full() {
            group.more += 1;
            Cause::Counted(number)
        } else {
            group.listed += 1;
            self.reports.push(Report {
                finding: *finding,
                accesses: self.accesses,
                task: self.task.clone(),
                label: self.label,
                count: 0,
            });
            Cause::Listed(self.reports.len() - 1)
        };
        self.causes.insert(name, cause);
        cause
    }

    /// The number of a finding's group.
    fn group(&mut self, finding: &Finding) -> usize {
        let key = GroupKey {
            hazard: finding.hazard,
            shown: finding.shown,
            label: self.label,
            mapped: mapped(finding),
        };
        let found = self.groups.iter().position(|group| group.key == key);
        found.unwrap_or_else(|| {
            self.groups.push(Group {
                key,
                listed: 0,
                more: 0,
                times: 0,
            });
            self.groups.len() - 1
        })
    }

    /// The reports as they are told: those of a mapping together, and of these
    /// those of a function; else in the order in which they were found.
    fn in_order(&self) -> Vec<&Report> {
        let mut first = HashMap::new();
        let mut order: Vec<_> = (0..self.reports.len())
            .map(|i| {
                let report = &self.reports[i];
                let Some(mapped) = mapped(&report.finding) else {
                    return (i, i, i);
                };
                let mapping = (report.label, mapped);
                let function = self.function(&report.finding);
                let of_mapping = *first.entry((mapping, None)).or_insert(i);
                let of_function = *first.entry((mapping, Some(function))).or_insert(i);
                (of_mapping, of_function, i)
            })
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(.., i)| &self.reports[i]).collect()
    }

    /// The function of the CPU's that a finding is about.
    fn function(&self, finding: &Finding) -> String {
        match (finding.victim, finding.writer) {
            (Party::Cpu { site, .. }, _) | (_, Party::Cpu { site, .. }) => self.place(site).cause(),
            _ => String::new(),
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
            Maintenance::Data(_, Lines::Address { .. })
            | Maintenance::Unify { .. }
            | Maintenance::Outer(..) => {
                count.lines += 1;
            }
            Maintenance::Data(_, Lines::All) => count.all += 1,
            _ => {}
        }
    }

    /// A driver, whose code is there, calls the DMA API, for a device that may look into the caches.
    pub fn called(&mut self, what: Device, site: Site, snoops: bool) {
        let (mappings, syncs, coherent) = match what {
            Device::Map(..)
            | Device::MapEntry(..)
            | Device::MapSharingLines(..)
            | Device::MapUnsynced(..) => (1, 0, 0),
            Device::Owns(..) | Device::Returns(..) | Device::UnmapBegins(..) => (0, 1, 0),
            Device::Coherent(_) | Device::CoherentCached(_) => (0, 0, 1),
            _ => return,
        };
        let driver = match self.sites.get(site).1 {
            Owner::Module { name, .. } => name.clone(),
            Owner::Kernel | Owner::Program(_) => String::new(),
        };
        let calls = self.drivers.entry(driver).or_default();
        calls.mappings += mappings;
        calls.snooped += if snoops { mappings } else { 0 };
        calls.syncs += syncs;
        calls.coherent += coherent;
    }

    fn place(&self, site: Site) -> CodePlace {
        let (pc, owner) = self.sites.get(site);
        self.code.place(pc, owner)
    }

    fn place_in_source(&self, site: Site) -> CodePlace {
        let (pc, owner) = self.sites.get(site);
        self.code.place_in_source(pc, owner)
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
            Party::Cpu { va, site } => self.place_in_source(site).json(va),
            Party::Device => json!({ "text": "a device" }),
            Party::Nobody => json!({ "text": "nobody" }),
        }
    }

    fn party_text(&self, party: Party) -> String {
        match party {
            Party::Cpu { site, .. } => self.place_in_source(site).text(),
            Party::Device => "a device".into(),
            Party::Nobody => "nobody".into(),
        }
    }

    /// Who took part in a finding: a sentence without its end.
    fn parties_text(&self, finding: &Finding) -> String {
        let &Finding { victim, writer, .. } = finding;
        if finding.hazard == Hazard::OwnedTouch {
            return match writer {
                Party::Cpu { .. } => format!("stored by {}", self.party_text(writer)),
                _ => format!("loaded by {}", self.party_text(victim)),
            };
        }
        let mut text = match (finding.hazard, victim) {
            (hazard, Party::Device) if hazard.is_of_a_call() => {
                "by a call that is not known".into()
            }
            _ => format!("by {}", self.party_text(victim)),
        };
        if let Some(site) = finding.by_way_of {
            let _ = write!(text, ", by way of {}", self.place_in_source(site).text());
        }
        if writer != Party::Nobody {
            let _ = write!(text, ", written last by {}", self.party_text(writer));
        }
        text
    }

    /// A report, for people: its first line, and what is known besides.
    fn report_text(&self, report: &Report) -> String {
        let finding = &report.finding;
        let mut text = format!(
            "{} ({}), {} times{}: {:#010x}: {}\n    {}, task {:?}",
            finding.hazard.name(),
            finding.shown.name(),
            report.count,
            label_text(&self.labels[report.label]),
            finding.pa,
            finding.reason,
            self.parties_text(finding),
            report.task,
        );
        if let Some(lent) = finding.lent {
            let _ = write!(text, "\n    {}", self.lent_text(lent));
        }
        if std::ptr::eq(report, &self.reports[0]) {
            let _ = write!(
                text,
                "\n    the first that was found: after event {}, {} accesses",
                finding.order, report.accesses
            );
        }
        text
    }

    fn call_text(&self, call: Call) -> String {
        let site = call.site.map(|site| self.place_in_source(site).text());
        let place = site.unwrap_or_else(|| "nobody known".into());
        format!("{place} in event {}", call.order)
    }

    fn call_json(&self, call: Call) -> Value {
        json!({
            "by": call.site.map(|site| self.place_in_source(site).json(0)),
            "order": call.order,
        })
    }

    /// How a device came by the memory: a sentence without its end.
    fn lent_text(&self, lent: Lent) -> String {
        let mapped = self.call_text(lent.mapped);
        match lent.holder {
            Holder::Device(given) if given.site == lent.mapped.site => {
                format!(
                    "given to the device by {}, not unmapped by then",
                    self.call_text(given)
                )
            }
            Holder::Device(given) => format!(
                "given to the device by {}, not unmapped by then, mapped by {mapped}",
                self.call_text(given)
            ),
            Holder::Cpu => format!("mapped for the device by {mapped}, and with the CPU now"),
            Holder::Unmapped(call) => format!(
                "mapped for the device by {mapped}, unmapped by {}",
                self.call_text(call)
            ),
        }
    }

    fn lent_json(&self, lent: Lent) -> Value {
        let (given, unmapped) = match lent.holder {
            Holder::Device(call) => (Some(call), None),
            Holder::Cpu => (None, None),
            Holder::Unmapped(call) => (None, Some(call)),
        };
        json!({
            "text": self.lent_text(lent),
            "mapped": self.call_json(lent.mapped),
            "given": given.map(|call| self.call_json(call)),
            "unmapped": unmapped.map(|call| self.call_json(call)),
        })
    }

    fn report_json(&self, report: &Report) -> Value {
        let finding = &report.finding;
        json!({
            "text": self.report_text(report),
            "hazard": finding.hazard.name(),
            "shown": finding.shown.name(),
            "pa": finding.pa,
            "victim": self.party_json(finding.victim),
            "writer": self.party_json(finding.writer),
            "by-way-of": finding.by_way_of.map(|site| self.place_in_source(site).json(0)),
            "lent": finding.lent.map(|lent| self.lent_json(lent)),
            "order": finding.order,
            "accesses": report.accesses,
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
        let drivers = self
            .drivers
            .iter()
            .map(|(name, calls)| (name.clone(), calls.json()));
        json!({ "totals": {
            "drivers": drivers.collect::<serde_json::Map<_, _>>(),
            "reports": self.reports.len(),
            "this-core": of(Shown::ThisCore),
            "some-core": of(Shown::SomeCore),
            "unlisted": self.groups.iter().map(|group| group.more).sum::<u64>(),
            "more": self.more_texts(cost).collect::<Vec<_>>(),
            "accesses": self.accesses,
            "lines": cost.lines,
            "bytes": cost.bytes,
            "forgotten": cost.forgotten,
            "cache-lines": cost.cache.lines(),
            "line-bytes": cost.cache.line,
            "maintained": maintained,
            "translations-checked": cost.checked.map(|(all, _)| all),
            "translations-different": cost.checked.map(|(_, different)| different),
        } })
    }

    /// What is to be said of a run besides its findings.
    fn more_texts(&self, cost: Cost) -> impl Iterator<Item = String> + '_ {
        let groups = self.groups.iter().filter(|group| group.more > 0);
        let forgotten = (cost.forgotten != 0).then(|| {
            format!(
                "{} times the model had no room for what is rare, so it may have missed something",
                cost.forgotten,
            )
        });
        groups.map(|group| self.more_text(group)).chain(forgotten)
    }

    /// What was found of causes that are not listed.
    fn more_text(&self, group: &Group) -> String {
        let key = group.key;
        let memory = match key.mapped {
            Some(Some(site)) => format!("mapped by {}", self.place_in_source(site).text()),
            Some(None) => "mapped by nobody known".into(),
            None => "that no device has".into(),
        };
        let label = label_text(&self.labels[key.label]);
        let Group { more, times, .. } = group;
        format!(
            "{} ({}){label}: {more} more causes, {times} times, in memory {memory}",
            key.hazard.name(),
            key.shown.name(),
        )
    }

    fn summary(&self, cost: Cost) -> String {
        let mut text = String::new();
        for report in self.in_order() {
            let _ = writeln!(text, "{}", self.report_text(report));
        }
        for more in self.more_texts(cost) {
            let _ = writeln!(text, "{more}");
        }
        let _ = writeln!(
            text,
            "coherence: {} reports; {} accesses, {} lines, {:.1} bytes a line",
            self.reports.len(),
            self.accesses,
            cost.lines,
            cost.bytes as f64 / cost.lines.max(1) as f64,
        );
        if let Some((all, different)) = cost.checked {
            let _ = writeln!(
                text,
                "coherence: {different} of {all} translations differ from QEMU's"
            );
        }
        text
    }

    /// Writes the file, and the summary to stderr unless `tells` is false.
    pub fn finish(&self, cost: Cost) {
        if self.tells {
            eprint!("{}", self.summary(cost));
        }
        let reports = self.in_order().into_iter();
        let lines = reports.map(|report| self.report_json(report));
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

fn label_text(label: &str) -> String {
    if label.is_empty() {
        String::new()
    } else {
        format!(" in {label}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coherence_model::events::{Direction, Operation, PhysicalRange};

    const MAP: &str = "c0008000 T reader\nc0009000 T writer\nc000a000 T _etext\n";
    const COST: Cost = Cost {
        lines: 2,
        bytes: 24,
        forgotten: 3,
        cache: Geometry::new(16 << 10, 4, 32),
        checked: Some((5, 1)),
    };

    fn reporter() -> Reporter {
        let code = Code {
            kernel: CodeFile::new(Symbols::from_system_map(MAP).unwrap(), None),
            ..Code::default()
        };
        let mut reporter = Reporter::new("/dev/null".into(), code);
        reporter.task = "sh".into();
        reporter.accesses = 10;
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
            order: 7,
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
        let text = line["text"].as_str().unwrap().to_owned() + "\n";
        assert!(reporter.summary(COST).starts_with(&text), "{text}");
        let totals = reporter.totals_json(COST);
        assert_eq!(totals["totals"]["this-core"], 1);
        assert_eq!(totals["totals"]["some-core"], 0);
        assert_eq!(
            reporter.summary(COST),
            "stale-read (this-core), 1 times: 0x60000040: it is old
    by reader+0x4, task \"sh\"
    the first that was found: after event 7, 10 accesses
3 times the model had no room for what is rare, so it may have missed something
coherence: 1 reports; 10 accesses, 2 lines, 12.0 bytes a line
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
        assert_eq!(totals["line-bytes"], 32);
        assert_eq!(
            totals["maintained"],
            json!({ "": { "lines": 1, "all": 0 }, "a test": { "lines": 2, "all": 1 } })
        );
    }

    #[test]
    fn calls_are_counted_by_driver() {
        let mut reporter = reporter();
        let owner = reporter.sites.owner(Owner::Module {
            name: "mine".into(),
            base: 0xbf00_0000,
        });
        let mine = reporter.sites.site(0xbf00_0010, owner);
        let owner = reporter.sites.owner(Owner::Kernel);
        let kernel = reporter.sites.site(0xc000_9004, owner);
        let range = PhysicalRange { pa: 0, len: 4 };
        let way = Direction::ToDevice;
        for (what, site, snoops) in [
            (Device::Map(range, way), mine, false),
            (Device::Owns(range, way), mine, false),
            (Device::MapEntry(range, way), mine, true),
            (Device::Of(1), mine, false),
            (Device::Coherent(range), kernel, false),
        ] {
            reporter.called(what, site, snoops);
        }
        assert_eq!(
            reporter.totals_json(COST)["totals"]["drivers"],
            json!({
                "": { "mappings": 0, "snooped": 0, "syncs": 0, "coherent": 1 },
                "mine": { "mappings": 2, "snooped": 1, "syncs": 1, "coherent": 0 },
            })
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
                order: 7,
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

    /// The CPU that touches what a device has is no device, and nobody is not told.
    #[test]
    fn who_touches_what() {
        let mut reporter = reporter();
        let cpu = kernel_code(&mut reporter, 0xc000_8004);
        let told = |hazard, victim, writer| {
            reporter.parties_text(&Finding {
                hazard,
                shown: Shown::ThisCore,
                pa: 0x6000_0040,
                victim,
                writer,
                reason: "it is so",
                by_way_of: None,
                lent: None,
                order: 7,
            })
        };
        let (device, nobody) = (Party::Device, Party::Nobody);
        for (hazard, victim, writer, text) in [
            (Hazard::OwnedTouch, cpu, device, "loaded by reader+0x4"),
            (Hazard::OwnedTouch, device, cpu, "stored by reader+0x4"),
            (Hazard::WrongSync, cpu, nobody, "by reader+0x4"),
            (
                Hazard::WrongSync,
                device,
                nobody,
                "by a call that is not known",
            ),
            (
                Hazard::StaleRead,
                cpu,
                device,
                "by reader+0x4, written last by a device",
            ),
            (Hazard::StaleRead, device, nobody, "by a device"),
        ] {
            assert_eq!(told(hazard, victim, writer), text);
        }
    }

    fn kernel_site(reporter: &mut Reporter, pc: u32) -> Site {
        match kernel_code(reporter, pc) {
            Party::Cpu { site, .. } => site,
            _ => unreachable!(),
        }
    }

    /// A touch of memory that was mapped at one place and given at another.
    fn touch(reporter: &mut Reporter, victim: Party, mapped: Site, given: Site) {
        let call = |site, order| Call {
            site: Some(site),
            order,
        };
        reporter.found(Finding {
            hazard: Hazard::OwnedTouch,
            shown: Shown::ThisCore,
            pa: 0x6000_0040,
            victim,
            writer: Party::Device,
            reason: "it is the device's",
            by_way_of: None,
            lent: Some(Lent {
                mapped: call(mapped, 3),
                holder: Holder::Device(call(given, 5)),
            }),
            order: 7,
        });
    }

    #[test]
    fn who_gave_it_away() {
        let mut reporter = reporter();
        let reader = kernel_code(&mut reporter, 0xc000_8004);
        let mapper = kernel_site(&mut reporter, 0xc000_9004);
        let giver = kernel_site(&mut reporter, 0xc000_9008);
        touch(&mut reporter, reader, mapper, mapper);
        touch(&mut reporter, reader, giver, mapper);
        let summary = reporter.summary(COST);
        for text in [
            "\n    given to the device by writer+0x4 in event 5, not unmapped by then\n",
            "\n    given to the device by writer+0x4 in event 5, not unmapped by then, mapped by writer+0x8 in event 3\n",
        ] {
            assert_eq!(summary.matches(text).count(), 1, "{summary}");
        }
        let line = reporter.report_json(&reporter.reports[1]);
        let lent = &line["lent"];
        assert_eq!(lent["mapped"]["by"]["offset"], 8);
        assert_eq!(lent["given"]["by"]["offset"], 4);
        assert_eq!(
            (&lent["mapped"]["order"], &lent["given"]["order"]),
            (&json!(3), &json!(5))
        );
        assert_eq!((&line["order"], &line["accesses"]), (&json!(7), &json!(10)));

        let told = |holder| {
            let mapped = Call {
                site: Some(mapper),
                order: 3,
            };
            reporter.lent_text(Lent { mapped, holder })
        };
        assert_eq!(
            told(Holder::Cpu),
            "mapped for the device by writer+0x4 in event 3, and with the CPU now"
        );
        let unmapped = Call {
            site: None,
            order: 9,
        };
        assert_eq!(
            told(Holder::Unmapped(unmapped)),
            "mapped for the device by writer+0x4 in event 3, unmapped by nobody known in event 9"
        );
    }

    #[test]
    fn what_was_found_of_one_mapping_is_together() {
        let mut reporter = reporter();
        let one = kernel_site(&mut reporter, 0xc000_9004);
        let other = kernel_site(&mut reporter, 0xc000_9008);
        let reads = kernel_code(&mut reporter, 0xc000_8004);
        let writes = kernel_code(&mut reporter, 0xc000_9010);
        touch(&mut reporter, reads, one, one);
        find(&mut reporter, reads, Party::Nobody);
        touch(&mut reporter, reads, other, other);
        touch(&mut reporter, writes, one, one);
        let functions: Vec<_> = reporter
            .in_order()
            .iter()
            .map(|report| (mapped(&report.finding), reporter.function(&report.finding)))
            .collect();
        let (reader, writer) = ("reader@".to_owned(), "writer@".to_owned());
        assert_eq!(
            functions,
            [
                (Some(Some(one)), reader.clone()),
                (Some(Some(one)), writer),
                (None, reader.clone()),
                (Some(Some(other)), reader),
            ]
        );
    }

    /// One fault that all of the kernel runs into.
    #[test]
    fn many_causes_in_one_mapping() {
        const FUNCTIONS: u32 = 16208;
        let map = |i: u32| format!("{:08x} t f{i}\n", 0xc010_0000 + 16 * i);
        let map: String = (0..FUNCTIONS).map(map).collect();
        let symbols = Symbols::from_system_map(
            &(MAP.replace("c000a000 T _etext\n", "") + &map + "c0200000 T _etext\n"),
        );
        let mut reporter = reporter();
        reporter.code.kernel = CodeFile::new(symbols.unwrap(), None);
        let mapper = kernel_site(&mut reporter, 0xc000_9004);
        for _ in 0..2 {
            for i in 0..FUNCTIONS {
                let victim = kernel_code(&mut reporter, 0xc010_0004 + 16 * i);
                touch(&mut reporter, victim, mapper, mapper);
            }
        }
        // Another hazard there, and another mapping, have their own room.
        let giver = kernel_site(&mut reporter, 0xc000_9008);
        let victim = kernel_code(&mut reporter, 0xc000_8004);
        touch(&mut reporter, victim, giver, giver);
        find(&mut reporter, victim, Party::Nobody);
        assert_eq!(reporter.reports.len(), OF_A_MAPPING + 2);
        let more = FUNCTIONS - OF_A_MAPPING as u32;
        assert_eq!(reporter.totals_json(COST)["totals"]["unlisted"], more);
        let text = format!(
            "\nowned-touch (this-core): {more} more causes, {} times, in memory mapped by writer+0x4\n",
            2 * more
        );
        let summary = reporter.summary(COST);
        assert!(summary.contains(&text), "{summary}");
        let all = Cost {
            forgotten: 0,
            ..COST
        };
        assert_eq!(
            reporter.totals_json(all)["totals"]["more"],
            json!([text.trim()])
        );
    }

    #[test]
    fn lines_of_the_source() {
        let at = |function: &str, line| SourcePlace {
            function: function.into(),
            file: format!("drivers/my/{function}.c"),
            line,
        };
        let mut place = CodePlace {
            unit: "my".into(),
            function: Some(("probe".into(), 8)),
            pc: 0xbf00_0018,
            source: vec![at("probe", 12)],
        };
        assert_eq!(place.text(), "probe+0x8 [my] at probe.c:12");
        place.source.insert(0, at("fill", 3));
        place.source.insert(0, at("put", 99));
        assert_eq!(
            place.text(),
            "put at put.c:99, inlined in fill at fill.c:3, inlined in probe+0x8 [my] at probe.c:12"
        );
        let source = &place.json(0)["source"];
        assert_eq!(source[0]["file"], "drivers/my/put.c");
        assert_eq!(
            (&source[2]["function"], &source[2]["line"]),
            (&json!("probe"), &json!(12))
        );
    }

    #[test]
    fn an_alias_is_not_the_name_in_the_source() {
        let place = CodePlace {
            unit: "my".into(),
            function: Some(("init_module".into(), 8)),
            pc: 0xbf00_0018,
            source: Vec::new(),
        };
        assert_eq!(place.text(), "init_module+0x8 [my]");
        let line = SourcePlace {
            function: "my_init".into(),
            file: "my.c".into(),
            line: 5,
        };
        let found = place.in_source(vec![line]);
        assert_eq!(found.text(), "my_init+0x8 [my] at my.c:5");
    }

    #[test]
    fn names_of_code() {
        let mut code = Code::default();
        let file = |map| CodeFile::new(Symbols::from_system_map(map).unwrap(), None);
        let module = file("00000010 T probe\n00000100 T _etext\n");
        code.modules.insert(module_key("my-driver"), module);
        // A program may have the same name.
        let program = file("00000010 T main\n00000100 T _etext\n");
        code.programs.insert(program_key("my-driver"), program);
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

    #[test]
    fn modules_are_told_apart_by_their_whole_names() {
        let mut code = Code::default();
        for (name, function) in [
            ("snd-soc-simple-card", "card"),
            ("snd-soc-simple-card-utils", "utils"),
        ] {
            let map = format!("00000010 T {function}\n00000100 T _etext\n");
            let file = CodeFile::new(Symbols::from_system_map(&map).unwrap(), None);
            code.modules.insert(module_key(name), file);
        }
        let module = Owner::Module {
            name: "snd_soc_simple_card".into(),
            base: 0,
        };
        assert_eq!(
            code.place(0x18, &module).text(),
            "card+0x8 [snd_soc_simple_card]"
        );
    }

    #[test]
    fn a_folder_of_modules() {
        let folder = std::env::temp_dir().join(format!("coherence-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("kernel/net")).unwrap();
        let mut code = Code::default();
        let none = code.add_modules_of(&folder).unwrap_err();
        assert!(none.contains("there are no modules"), "{none}");
        std::fs::copy(
            std::env::current_exe().unwrap(),
            folder.join("kernel/net/own-test.ko"),
        )
        .unwrap();
        std::fs::write(folder.join("kernel/broken.ko.xz"), "no archive").unwrap();
        std::fs::write(folder.join("kernel/modules.order"), "").unwrap();
        code.add_modules_of(&folder).unwrap();
        let functions = |name: &str| {
            let symbols = code.modules[name].symbols();
            symbols.address("main").is_some()
        };
        assert!(functions("own_test"));
        assert!(!functions("broken"));
        assert_eq!(code.modules.len(), 2);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(code.add_modules_of(&folder).is_err());
    }

    #[test]
    fn names_of_files() {
        for (file, name, module) in [
            ("a-b.ko", "a-b", true),
            ("x/a.ko.xz", "a", true),
            ("a.ko.zst", "a", true),
            ("a.ko.gz", "a", true),
            ("program", "program", false),
            ("program.elf", "program", false),
        ] {
            assert_eq!(file_name(Path::new(file)), name);
            assert_eq!(is_module(Path::new(file)), module, "{file}");
        }
    }
}
