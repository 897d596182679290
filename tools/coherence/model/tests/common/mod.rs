// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest as the model sees one: translations, accesses, and the maintenance
//! that Linux 7.3 does on each core.

#![allow(dead_code)] // No test file uses all of it.

use coherence_model::cores::{Core, Indexing, Outer};
use coherence_model::events::{
    Access, Device, Direction, Lines, Maintenance, Mapping, MemoryType, Operation, PhysicalRange,
    Site,
};
use coherence_model::hazards::{Finding, Hazard, Party, Shown};
use coherence_model::Model;

/// Memory at which the linear mapping begins.
pub const LINEAR: u32 = 0xc000_0000;

/// The instruction that does what is not looked at.
pub const KERNEL: Site = Site(1);

/// A guest on a core.
pub struct Guest {
    /// What it runs on.
    pub core: Core,
    /// The model.
    pub model: Model,
    /// Of what was done last.
    pub found: Vec<Finding>,
    // Virtual page, physical page and memory type, the newest first.
    mappings: Vec<(u32, u32, MemoryType)>,
}

impl Guest {
    /// Powered on, with 16 MiB of memory in a cached linear mapping.
    pub fn new(core: Core) -> Self {
        let mut guest = Self {
            core,
            model: Model::new(core),
            found: Vec::new(),
            mappings: Vec::new(),
        };
        for section in 0..16 {
            let live = Mapping::Live {
                va: LINEAR + (section << 20),
                pa: section << 20,
                len: 1 << 20,
                memory: MemoryType::WriteBack,
                asid: None,
            };
            guest.model.mapping(live, &mut |_| {});
        }
        guest
    }

    /// Bytes in a line.
    pub fn line(&self) -> u32 {
        self.core.data_cache.line
    }

    /// The lines of a range.
    fn lines(&self, start: u32, end: u32) -> impl Iterator<Item = u32> {
        let line = self.line();
        (start & !(line - 1)..end).step_by(line as usize)
    }

    /// Whether a copy is found by virtual address.
    pub fn is_virtual(&self) -> bool {
        self.core.indexing == Indexing::Virtual
    }

    /// Maps a page.
    pub fn map(&mut self, va: u32, pa: u32, memory: MemoryType) {
        self.mappings.insert(0, (va >> 12, pa >> 12, memory));
        let live = Mapping::Live {
            va,
            pa,
            len: 1 << 12,
            memory,
            asid: Some(1),
        };
        self.model.mapping(live, &mut |_| {});
    }

    /// Unmaps a page, and tells the TLB.
    pub fn unmap(&mut self, va: u32) {
        self.mappings.retain(|&(page, ..)| page != va >> 12);
        self.model
            .mapping(Mapping::Gone { va, asid: Some(1) }, &mut |_| {});
    }

    fn access(&self, va: u32, len: u32, site: Site) -> Access {
        let mapped = self.mappings.iter().find(|&&(page, ..)| page == va >> 12);
        let (pa, memory) = match mapped {
            Some(&(_, page, memory)) => ((page << 12) | va & 0xfff, memory),
            None => (va - LINEAR, MemoryType::WriteBack),
        };
        Access {
            va,
            pa,
            len,
            memory,
            site,
        }
    }

    /// Loads.
    pub fn load(&mut self, va: u32, len: u32, site: Site) {
        let access = self.access(va, len, site);
        let found = &mut self.found;
        self.model.load(&access, &mut |finding| found.push(finding));
    }

    /// Stores.
    pub fn store(&mut self, va: u32, len: u32, site: Site) {
        let access = self.access(va, len, site);
        let found = &mut self.found;
        self.model
            .store(&access, &mut |finding| found.push(finding));
    }

    /// Stores word by word, as memset does.
    pub fn fill(&mut self, va: u32, len: u32, site: Site) {
        for va in (va..va + len).step_by(4) {
            self.store(va, 4, site);
        }
    }

    /// Loads word by word.
    pub fn read(&mut self, va: u32, len: u32, site: Site) {
        for va in (va..va + len).step_by(4) {
            self.load(va, 4, site);
        }
    }

    /// Runs instructions.
    pub fn run(&mut self, va: u32, len: u32, site: Site) {
        let access = self.access(va, len, site);
        let found = &mut self.found;
        self.model
            .fetch(&access, &mut |finding| found.push(finding));
    }

    /// Maintains.
    pub fn maintain(&mut self, what: Maintenance) {
        self.model.maintain(what);
    }

    /// Maintains the inner data cache at an address.
    pub fn data(&mut self, operation: Operation, va: u32) {
        let pa = Some(self.access(va, 1, KERNEL).pa);
        self.maintain(Maintenance::Data(operation, Lines::Address { va, pa }));
    }

    fn data_range(&mut self, operation: Operation, va: u32, len: u32) {
        for va in self.lines(va, va + len) {
            self.data(operation, va);
        }
        self.maintain(Maintenance::Drain);
    }

    /// Maintains the outer cache, as arch/arm/mm/cache-l2x0.c does: lines that
    /// are not wholly in the range are never just invalidated.
    pub fn outer_range(&mut self, operation: Operation, pa: u32, len: u32) {
        if self.core.outer != Outer::Pl310 {
            return;
        }
        for line in self.lines(pa, pa + len) {
            let whole = pa <= line && line + self.line() <= pa + len;
            let operation = match operation {
                Operation::Invalidate if !whole => Operation::CleanInvalidate,
                other => other,
            };
            self.maintain(Maintenance::Outer(operation, line));
        }
        self.maintain(Maintenance::OuterSync);
    }

    /// `dmac_inv_range`: proc-arm926.S, cache-v6.S, cache-v7.S.
    fn inner_invalidate(&mut self, va: u32, len: u32) {
        for edge in [va, va + len] {
            if edge % self.line() != 0 {
                self.data(Operation::CleanInvalidate, edge & !(self.line() - 1));
            }
        }
        for line in self.lines(va, va + len) {
            if va <= line && line + self.line() <= va + len {
                self.data(Operation::Invalidate, line);
            }
        }
        self.maintain(Maintenance::Drain);
    }

    /// `__cpuc_flush_dcache_area` and `outer_flush_range`.
    pub fn flush(&mut self, va: u32, len: u32) {
        self.data_range(Operation::CleanInvalidate, va, len);
        let pa = self.access(va, 1, KERNEL).pa;
        self.outer_range(Operation::CleanInvalidate, pa, len);
        // L1 may have taken a line from the outer cache in between.
        self.data_range(Operation::CleanInvalidate, va, len);
    }

    /// `flush_icache_range`.
    pub fn flush_icache(&mut self, va: u32, len: u32) {
        for va in self.lines(va, va + len) {
            let pa = Some(self.access(va, 1, KERNEL).pa);
            self.maintain(Maintenance::Unify { va, pa });
        }
        self.maintain(Maintenance::Drain);
        for va in self.lines(va, va + len) {
            let pa = Some(self.access(va, 1, KERNEL).pa);
            self.maintain(Maintenance::Instruction(Lines::Address { va, pa }));
        }
    }

    /// A device event.
    pub fn device(&mut self, what: Device) {
        let found = &mut self.found;
        self.model
            .device(what, Some(KERNEL), &mut |finding| found.push(finding));
    }

    /// What `arch_sync_dma_for_device` does (arch/arm/mm/dma-mapping.c).
    pub fn arch_for_device(&mut self, pa: u32, len: u32, direction: Direction) {
        let va = pa + LINEAR;
        match direction {
            Direction::FromDevice => {
                self.inner_invalidate(va, len);
                self.outer_range(Operation::Invalidate, pa, len);
            }
            Direction::Bidirectional if self.is_virtual() => {
                self.data_range(Operation::CleanInvalidate, va, len);
            }
            _ => {
                self.data_range(Operation::Clean, va, len);
                self.outer_range(Operation::Clean, pa, len);
            }
        }
    }

    /// What `arch_sync_dma_for_cpu` does. On ARM926 nothing
    /// (`arm926_dma_unmap_area`).
    pub fn arch_for_cpu(&mut self, pa: u32, len: u32, direction: Direction) {
        if direction != Direction::ToDevice {
            self.outer_range(Operation::Invalidate, pa, len);
            if !self.is_virtual() {
                self.inner_invalidate(pa + LINEAR, len);
            }
        }
    }

    /// `dma_map_single`.
    pub fn dma_map(&mut self, pa: u32, len: u32, direction: Direction) {
        self.device(Device::Map(PhysicalRange { pa, len }, direction));
        self.for_device(pa, len, direction);
    }

    /// `dma_sync_single_for_device`.
    pub fn for_device(&mut self, pa: u32, len: u32, direction: Direction) {
        self.arch_for_device(pa, len, direction);
        self.device(Device::Owns(PhysicalRange { pa, len }, direction));
    }

    /// `dma_sync_single_for_cpu`.
    pub fn for_cpu(&mut self, pa: u32, len: u32, direction: Direction) {
        self.device(Device::Returns(PhysicalRange { pa, len }, direction));
        self.arch_for_cpu(pa, len, direction);
    }

    /// `dma_unmap_single`.
    pub fn dma_unmap(&mut self, pa: u32, len: u32, direction: Direction) {
        self.device(Device::UnmapBegins(PhysicalRange { pa, len }, direction));
        self.arch_for_cpu(pa, len, direction);
        self.device(Device::Unmap(PhysicalRange { pa, len }, direction));
    }

    /// Nothing was found.
    #[track_caller]
    pub fn silent(&self) {
        assert_eq!(self.found, [], "{}", self.core.name);
    }

    /// These hazards were found, and no others. Forgets them.
    #[track_caller]
    pub fn only(&mut self, hazards: &[(Hazard, Shown)]) -> Vec<Finding> {
        let found = std::mem::take(&mut self.found);
        let mut got: Vec<_> = found.iter().map(|f| (f.hazard, f.shown)).collect();
        got.sort_unstable();
        got.dedup();
        let mut expected = hazards.to_vec();
        expected.sort_unstable();
        assert_eq!(got, expected, "{}: {found:#?}", self.core.name);
        found
    }
}

/// The CPU at this address.
pub fn cpu(va: u32, site: Site) -> Party {
    Party::Cpu { va, site }
}

/// The first finding of a hazard names these.
#[track_caller]
pub fn names(found: &[Finding], hazard: Hazard, pa: u32, victim: Party, writer: Party) {
    let first = found.iter().find(|f| f.hazard == hazard);
    let first = first.unwrap_or_else(|| panic!("no {hazard:?} in {found:#?}"));
    let got = (first.pa, first.victim, first.writer);
    assert_eq!(got, (pa, victim, writer), "{first:#?}");
}
