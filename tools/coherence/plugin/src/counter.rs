// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts what the guest does between two marks: instructions, maintenance of
//! caches, accesses to memory that is not cached, exceptions. The marks are
//! hints.
//!
//! Nothing here depends on time, on the host or on a model: the same
//! instructions give the same counts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{LineWriter, Write as _};

use coherence_model::cores::Architecture;
use coherence_model::events::{Maintenance, MemoryType, Site};
use serde_json::{json, Map, Value};

use crate::arguments::Arguments;
use crate::cp15::{self, By, Cp15Operation};
use crate::hints::Hint;
use crate::instruction_decoder::{privileged, Decoder, InstructionKind};
use crate::mmu::{self, Backing, Control, Tlb};
use crate::qemu::{self, Block, Global, GuestMemory, Registers, Sizes, Transaction, Watcher};
use crate::vcpu::VcpuView;
use crate::watched_devices::{Addresses, DeviceEvent, Devices};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
enum Count {
    /// Instructions of programs.
    User,
    /// Instructions of the kernel.
    Kernel,
    /// Supervisor calls.
    Calls,
    /// Aborts of loads, stores and fetches: a page was not there.
    Faults,
    /// Interrupts.
    Interrupts,
    /// Undefined instructions.
    Undefined,
    /// Lines of the data cache that were maintained by address.
    Lines,
    /// Operations on the data cache by set and way.
    SetWay,
    /// Operations on all of the data cache.
    Whole,
    /// Maintenance of the instruction cache, of a line or of all.
    Fetch,
    /// Lines of the outer cache.
    OuterLines,
    /// Operations on all of the outer cache.
    OuterWhole,
    /// Drains of the write buffer, and synchronization barriers.
    Drains,
    /// Drains of the outer cache's buffers.
    OuterDrains,
    /// Maintenance of the TLB.
    Tlb,
    /// Accesses to memory that is not cached but buffered.
    Buffered,
    /// Accesses to memory that is neither cached nor buffered.
    Ordered,
    /// Accesses to registers of devices.
    Registers,
    /// Accesses to memory that is not cached, those as one that an instruction makes to bytes
    /// after each other: a bus can have them as one burst.
    Bursts,
    /// Accesses to memory that is not cached which are not aligned, as far as instructions need
    /// it: to words at most.
    Unaligned,
}

/// What is counted, by name, in the order of the counts.
const NAMES: [(Count, &str); 20] = [
    (Count::User, "user"),
    (Count::Kernel, "kernel"),
    (Count::Calls, "calls"),
    (Count::Faults, "faults"),
    (Count::Interrupts, "interrupts"),
    (Count::Undefined, "undefined"),
    (Count::Lines, "lines"),
    (Count::SetWay, "set-way"),
    (Count::Whole, "whole"),
    (Count::Fetch, "fetch"),
    (Count::OuterLines, "outer-lines"),
    (Count::OuterWhole, "outer-whole"),
    (Count::Drains, "drains"),
    (Count::OuterDrains, "outer-drains"),
    (Count::Tlb, "tlb"),
    (Count::Buffered, "buffered"),
    (Count::Ordered, "ordered"),
    (Count::Registers, "registers"),
    (Count::Bursts, "bursts"),
    (Count::Unaligned, "unaligned"),
];

/// How often each [`Count`] was.
type Counts = [u64; NAMES.len()];

/// What an exception is, by its vector's address. Linux has the vectors high.
fn exception(pc: u32) -> Option<Count> {
    Some(match pc {
        0xffff_0004 => Count::Undefined,
        0xffff_0008 => Count::Calls,
        0xffff_000c | 0xffff_0010 => Count::Faults,
        0xffff_0018 | 0xffff_001c => Count::Interrupts,
        _ => return None,
    })
}

/// What an operation of the system control coprocessor counts as, if anything.
fn maintenance(operation: Cp15Operation) -> Option<Count> {
    Some(match operation {
        Cp15Operation::Data(_, By::Address) | Cp15Operation::Unify => Count::Lines,
        Cp15Operation::Data(_, By::SetWay) => Count::SetWay,
        // Of the loop over test and clean QEMU runs one round.
        Cp15Operation::Data(_, By::Whole)
        | Cp15Operation::InvalidateBoth
        | Cp15Operation::TestAndClean(_) => Count::Whole,
        Cp15Operation::Instruction(_) => Count::Fetch,
        Cp15Operation::Tlb(_) => Count::Tlb,
        Cp15Operation::Drain => Count::Drains,
        Cp15Operation::Write(_)
        | Cp15Operation::SelectCache
        | Cp15Operation::CacheSize
        | Cp15Operation::Order => return None,
    })
}

/// What an operation of the outer cache's controller counts as, if anything.
fn outer(event: DeviceEvent) -> Option<Count> {
    Some(match event {
        DeviceEvent::Maintenance(Maintenance::Outer(..)) => Count::OuterLines,
        DeviceEvent::Maintenance(Maintenance::OuterAll(_)) => Count::OuterWhole,
        DeviceEvent::Maintenance(Maintenance::OuterSync) => Count::OuterDrains,
        _ => return None,
    })
}

/// An access to memory, by the type of its page, if it is not cached.
fn uncached(memory: MemoryType) -> Option<Count> {
    match memory {
        MemoryType::WriteBack | MemoryType::WriteThrough => None,
        MemoryType::WriteCombine => Some(Count::Buffered),
        _ => Some(Count::Ordered),
    }
}

/// The bursts that accesses make.
#[derive(Debug, Default)]
struct Burst {
    /// The address at which the instruction that runs would go on.
    next: Option<u32>,
}

impl Burst {
    /// Another instruction is about to run.
    #[inline(always)]
    fn end(&mut self) {
        self.next = None;
    }

    /// Whether an access begins a burst.
    fn begins_at(&mut self, va: u32, bytes: u32) -> bool {
        self.next.replace(va.wrapping_add(bytes)) != Some(va)
    }
}

/// Whether an access is one that only some types of memory allow.
fn unaligned(va: u32, bytes: u32) -> bool {
    va % bytes.min(4) != 0
}

/// The most instructions of the kernel in a row during which nothing else could be scheduled.
#[derive(Debug, Default)]
struct Stretches {
    /// Where the process that makes the calls has its count of what keeps it from being preempted.
    preempt_count: Option<u32>,
    /// How many instructions of the kernel there were when that was no longer zero.
    disabled: Option<u64>,
    /// While that was not zero: in kernels that preempt, nothing else can be scheduled meanwhile.
    unpreempted: u64,
    /// Where the function is by which a driver lets others run.
    yields: Option<u32>,
    /// How many instructions of the kernel there were when it was called, or at the first mark.
    yielded: u64,
    /// Between two calls of that: in other kernels.
    unyielded: u64,
}

impl Stretches {
    /// Something is stored, after so many instructions of the kernel.
    #[inline(always)]
    fn store(&mut self, va: u32, value: impl FnOnce() -> u32, kernel: u64) {
        if self.preempt_count != Some(va) {
            return;
        }
        if value() != 0 {
            self.disabled.get_or_insert(kernel);
        } else if let Some(disabled) = self.disabled.take() {
            self.unpreempted = self.unpreempted.max(kernel - disabled);
        }
    }

    /// An instruction of the kernel is about to run.
    #[inline(always)]
    fn executed(&mut self, pc: u32, kernel: u64) {
        if self.yields == Some(pc) {
            self.yields_now(kernel);
        }
    }

    fn yields_now(&mut self, kernel: u64) {
        self.unyielded = self.unyielded.max(kernel - self.yielded);
        self.yielded = kernel;
    }

    /// The first mark, after so many instructions of the kernel.
    fn begin(&mut self, kernel: u64) {
        (self.unpreempted, self.unyielded, self.yielded) = (0, 0, kernel);
    }

    /// The second mark. No stretch without preemption is left over: the program runs.
    fn end(&mut self, kernel: u64) -> [(&'static str, u64); 2] {
        self.yields_now(kernel);
        [
            ("unpreempted", self.unpreempted),
            ("unyielded", self.unyielded),
        ]
    }
}

/// What is known of the time between two marks.
struct Interval {
    name: String,
    /// The counts at the first mark.
    before: Counts,
    /// Instructions by address, with `profile=on`.
    profile: BTreeMap<u32, u64>,
}

/// The plugin, when it counts.
pub struct Counter {
    architecture: Architecture,
    control: Control,
    tlb: Tlb,
    memory: GuestMemory,
    registers: Option<Registers>,
    outer: Devices,
    counts: Counts,
    burst: Burst,
    sizes: Sizes,
    stretches: Stretches,
    interval: Option<Interval>,
    profile: bool,
    report: LineWriter<File>,
}

impl Counter {
    /// Opens the report. Errors: a sentence for the user.
    pub fn new(arguments: &Arguments) -> Result<Self, String> {
        let path = &arguments.report;
        let report = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self {
            architecture: arguments.core.architecture,
            control: Control::default(),
            tlb: Tlb::new(),
            memory: GuestMemory::new(),
            registers: None,
            outer: Devices::new(&Addresses {
                pl310: arguments.devices.pl310,
                devices: Vec::new(),
            }),
            counts: [0; NAMES.len()],
            burst: Burst::default(),
            sizes: Sizes::new(),
            stretches: Stretches::default(),
            interval: None,
            profile: arguments.profile,
            report: LineWriter::new(report),
        })
    }

    #[inline(always)]
    fn count(&mut self, what: Count) {
        self.counts[what as usize] += 1;
    }

    /// An instruction is about to run. Its site is its address, with
    /// [`KERNEL`] in it.
    #[inline(always)]
    pub fn executed(&mut self, site: Site) {
        let kernel = site.0 & KERNEL != 0;
        self.count(if kernel { Count::Kernel } else { Count::User });
        self.burst.end();
        if kernel {
            let so_far = self.counts[Count::Kernel as usize];
            self.stretches.executed(site.0 & !KERNEL, so_far);
        }
        if site.0 >= VECTORS || self.profile {
            self.look_at(site.0 & !KERNEL);
        }
    }

    #[cold]
    fn look_at(&mut self, pc: u32) {
        if let Some(what) = exception(pc) {
            self.count(what);
        }
        if let (true, Some(interval)) = (self.profile, &mut self.interval) {
            *interval.profile.entry(pc).or_default() += 1;
        }
    }

    fn count_uncached(&mut self, what: Count, va: u32, bytes: u32) {
        self.count(what);
        if self.burst.begins_at(va, bytes) {
            self.count(Count::Bursts);
        }
        if unaligned(va, bytes) {
            self.count(Count::Unaligned);
        }
    }

    /// The type of the memory that an access went to, and what is there.
    #[inline(always)]
    fn target(&mut self, va: u32, transaction: Transaction) -> Option<(MemoryType, Backing, u32)> {
        let entry = match self.tlb.find(va) {
            Some(entry) => *entry,
            None => self.fill(va, transaction)?,
        };
        Some((entry.memory, entry.backing, entry.physical(va)))
    }

    #[cold]
    fn fill(&mut self, va: u32, transaction: Transaction) -> Option<mmu::Entry> {
        let memory = &mut self.memory;
        let translation = mmu::walk(self.architecture, &self.control, va, |pa| memory.word(pa))?;
        let target = if transaction.target(va)?.device {
            Backing::Device
        } else {
            Backing::Memory
        };
        Some(self.tlb.insert(va, &translation, target))
    }

    fn end(&mut self) {
        let Some(interval) = self.interval.take() else {
            return;
        };
        let mut line = Map::new();
        line.insert("name".into(), interval.name.into());
        for (what, name) in NAMES {
            let count = self.counts[what as usize] - interval.before[what as usize];
            line.insert(name.into(), count.into());
        }
        let kernel = self.counts[Count::Kernel as usize];
        for (name, longest) in self.stretches.end(kernel) {
            line.insert(name.into(), longest.into());
        }
        if self.profile {
            let profile = interval.profile.into_iter();
            let profile = profile.map(|(pc, count)| (format!("{pc:#x}"), json!(count)));
            line.insert("profile".into(), profile.collect());
        }
        writeln!(self.report, "{}", Value::from(line)).expect("the report can be written");
    }
}

/// In a site: the instruction is the kernel's. No address is odd.
const KERNEL: u32 = 1;
/// The page of the vectors.
const VECTORS: u32 = 0xffff_0000;

impl Watcher for Counter {
    fn global() -> &'static Global<Self> {
        static COUNTER: Global<Counter> = Global::new();
        &COUNTER
    }

    fn vcpu_started(&mut self) -> Result<(), String> {
        self.registers.get_or_insert_with(Registers::find);
        Ok(())
    }

    fn translate(&mut self, block: &Block<Self>) -> Result<(), &'static str> {
        let Some(registers) = &mut self.registers else {
            return Ok(());
        };
        let cpsr = registers.read(qemu::CPSR);
        let kernel = if privileged(cpsr) { KERNEL } else { 0 };
        let mut decoder = Decoder::new(cpsr);
        for instruction in block.instructions() {
            let site = Site(instruction.address() | kernel);
            let (bytes, len) = instruction.bytes();
            match decoder.decode(bytes, len) {
                // The marks are not counted themselves.
                InstructionKind::Hint => {
                    instruction.watch_hint(site);
                    continue;
                }
                InstructionKind::System(word) => {
                    // These do nothing that is counted, and there are many.
                    if cp15::decode(self.architecture, word)
                        .is_some_and(|it| it != Cp15Operation::Order)
                    {
                        instruction.watch_system(site, word);
                    }
                }
                InstructionKind::Other => {}
            }
            instruction.watch_any(site);
            instruction.watch_memory(site);
        }
        Ok(())
    }

    #[inline(always)]
    fn load(&mut self, va: u32, transaction: Transaction, _: Site) {
        match self.target(va, transaction) {
            Some((_, Backing::Device, _)) => self.count(Count::Registers),
            Some((memory, ..)) => {
                if let Some(what) = uncached(memory) {
                    let bytes = self.sizes.of(transaction);
                    self.count_uncached(what, va, bytes);
                }
            }
            None => {}
        }
    }

    #[inline(always)]
    fn store(&mut self, va: u32, transaction: Transaction, site: Site) {
        self.load(va, transaction, site);
        let kernel = self.counts[Count::Kernel as usize];
        let value = || transaction.value();
        self.stretches.store(va, value, kernel);
        if let Some((_, Backing::Device, pa)) = self.target(va, transaction) {
            let counts = &mut self.counts;
            let value = transaction.value();
            self.outer.store(pa, value, |_| None, &mut |event| {
                if let Some(what) = outer(event) {
                    counts[what as usize] += 1;
                }
            });
        }
    }

    fn system_instruction(&mut self, _: Site, word: u32) {
        let Some(registers) = &mut self.registers else {
            return;
        };
        let cpsr = registers.read(qemu::CPSR);
        let Some(operation) = cp15::effect(self.architecture, word, cpsr) else {
            return;
        };
        let value = match operation {
            Cp15Operation::Write(_) | Cp15Operation::Tlb(_) => registers.read(cp15::source(word)),
            _ => 0,
        };
        match operation {
            Cp15Operation::Write(register) => {
                register.write(&mut self.control, &mut self.tlb, value);
            }
            Cp15Operation::Tlb(entries) => entries.drop_from(&mut self.tlb, value),
            _ => {}
        }
        if let Some(what) = maintenance(operation) {
            self.count(what);
        }
    }

    fn hint(&mut self, _: Site) {
        let Some(registers) = &mut self.registers else {
            return;
        };
        match Hint::decode([0, 1, 2].map(|number| registers.read(number))) {
            Some(Hint::CountBegin(name)) => {
                let (architecture, control) = (self.architecture, self.control);
                let mut cpu = VcpuView::new(registers, &mut self.memory, architecture, control);
                self.stretches.begin(self.counts[Count::Kernel as usize]);
                self.interval = Some(Interval {
                    name: name.read(&mut cpu),
                    before: self.counts,
                    profile: BTreeMap::new(),
                });
            }
            Some(Hint::CountEnd) => self.end(),
            Some(Hint::CountPreemption(va)) => self.stretches.preempt_count = Some(va),
            Some(Hint::CountYields(va)) => self.stretches.yields = Some(va),
            // They are for the other purpose.
            Some(
                Hint::DeviceReads(_)
                | Hint::DeviceWrites(_)
                | Hint::AsDevice { .. }
                | Hint::Label(_),
            )
            | None => {}
        }
    }

    fn exit(&mut self) -> Result<(), &'static str> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Architecture::{V5, V7};

    #[test]
    fn names_are_in_order() {
        for (i, (what, name)) in NAMES.into_iter().enumerate() {
            assert_eq!(what as usize, i, "{name}");
        }
    }

    #[test]
    fn exceptions() {
        assert_eq!(exception(0xffff_0008), Some(Count::Calls));
        assert_eq!(exception(0xffff_000c), Some(Count::Faults));
        assert_eq!(exception(0xffff_0010), Some(Count::Faults));
        assert_eq!(exception(0xffff_0018), Some(Count::Interrupts));
        // Reset, and a helper for programs in the same page.
        assert_eq!(exception(0xffff_0000), None);
        assert_eq!(exception(0xffff_0fc0), None);
    }

    #[test]
    fn operations() {
        let count = |architecture, word| cp15::decode(architecture, word).and_then(maintenance);
        // mcr p15, 0, r1, c7, c10, 1
        assert_eq!(count(V7, 0xee07_1f3a), Some(Count::Lines));
        // mcr p15, 0, r1, c7, c14, 2
        assert_eq!(count(V7, 0xee07_1f5e), Some(Count::SetWay));
        // mrc p15, 0, r15, c7, c14, 3
        assert_eq!(count(V5, 0xee17_ff7e), Some(Count::Whole));
        // mcr p15, 0, r1, c7, c10, 4
        assert_eq!(count(V5, 0xee07_1f9a), Some(Count::Drains));
        // mcr p15, 0, r1, c7, c5, 1
        assert_eq!(count(V5, 0xee07_1f35), Some(Count::Fetch));
        // mcr p15, 0, r1, c8, c7, 0
        assert_eq!(count(V5, 0xee08_1f17), Some(Count::Tlb));
        // mcr p15, 0, r1, c1, c0, 0: the control register
        assert_eq!(count(V7, 0xee01_1f10), None);
    }

    #[test]
    fn memory_types() {
        assert_eq!(uncached(MemoryType::WriteBack), None);
        assert_eq!(uncached(MemoryType::WriteThrough), None);
        assert_eq!(uncached(MemoryType::WriteCombine), Some(Count::Buffered));
        assert_eq!(uncached(MemoryType::StronglyOrdered), Some(Count::Ordered));
        assert_eq!(uncached(MemoryType::Device), Some(Count::Ordered));
    }

    #[test]
    fn bursts() {
        let mut burst = Burst::default();
        // A load of three words, and another one behind it.
        assert_eq!(
            [0x100, 0x104, 0x108].map(|va| burst.begins_at(va, 4)),
            [true, false, false]
        );
        burst.end();
        assert!(burst.begins_at(0x10c, 4));
        assert!(burst.begins_at(0x200, 8));
        assert!(!burst.begins_at(0x208, 1));
    }

    #[test]
    fn alignment() {
        let at = |va| [1, 2, 4, 8].map(|bytes| unaligned(va, bytes));
        assert_eq!(at(8), [false; 4]);
        assert_eq!(at(4), [false; 4]);
        assert_eq!(at(2), [false, false, true, true]);
        assert_eq!(at(1), [false, true, true, true]);
    }

    #[test]
    fn longest_stretches() {
        let mut stretches = Stretches {
            preempt_count: Some(8),
            yields: Some(0x100),
            ..Default::default()
        };
        stretches.begin(1000);
        // Nested, then a shorter one; another address is none.
        let stores = [(8, 1), (8, 2), (8, 1), (4, 7), (8, 0), (8, 1), (8, 0)];
        for (kernel, (va, value)) in (1000..).step_by(10).zip(stores) {
            stretches.store(va, || value, kernel);
        }
        for (pc, kernel) in [(0x100, 1010), (0x104, 1020), (0x100, 1090)] {
            stretches.executed(pc, kernel);
        }
        let found = stretches.end(1100);
        assert_eq!(found, [("unpreempted", 40), ("unyielded", 80)]);
        stretches.begin(2000);
        assert_eq!(stretches.end(2030), [("unpreempted", 0), ("unyielded", 30)]);
    }

    #[test]
    fn outer_cache() {
        let mut devices = Devices::new(&Addresses {
            pl310: Some(0x1e00_a000),
            devices: Vec::new(),
        });
        let mut found = Vec::new();
        for (offset, value) in [(0x100, 1), (0x7b0, 0x6000_0000), (0x730, 0), (0x7fc, 0xff)] {
            devices.store(0x1e00_a000 + offset, value, |_| None, &mut |event| {
                found.extend(outer(event));
            });
        }
        assert_eq!(
            found,
            [Count::OuterLines, Count::OuterDrains, Count::OuterWhole]
        );
    }
}
