// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fuzz target: whatever the events, the model does not panic, says no more
//! than one thing of a kind about a line, and keeps to its memory.
//!
//! `cargo test` runs it with random input; `cargo bolero test` with libFuzzer.

use std::collections::HashSet;

use bolero::{produce, TypeGenerator};
use coherence_model::cores::{Core, CORES};
use coherence_model::events::{
    Access, Device, Direction, Lines, Maintenance, Mapping, MemoryType, Operation, PhysicalRange,
    Site,
};
use coherence_model::hazards::{Finding, Hazard};
use coherence_model::Model;

#[derive(Debug, Clone, TypeGenerator)]
enum Event {
    Load(Place, u8, Type),
    Store(Place, u8, Type),
    Fetch(Place, u8, Type),
    Data(Work, Place),
    DataAll(Work),
    Instruction(Place),
    InstructionAll,
    Outer(Work, Place),
    OuterAll(Work),
    OuterSync,
    OuterSwitch(bool),
    Drain,
    Order,
    Device(Deed, Place, u16, Way),
    Live(Place, u8, Type, Option<u8>),
    Gone(Place, Option<u8>),
    GoneAsid(u8),
    GoneAll,
}

/// An address: few pages, so that things meet.
#[derive(Debug, Clone, Copy, TypeGenerator)]
struct Place {
    va: u8,
    pa: u8,
    offset: u16,
}

#[derive(Debug, Clone, Copy, TypeGenerator)]
enum Type {
    StronglyOrdered,
    Device,
    WriteCombine,
    WriteThrough,
    WriteBack,
}

#[derive(Debug, Clone, Copy, TypeGenerator)]
enum Work {
    Clean,
    Invalidate,
    CleanInvalidate,
}

#[derive(Debug, Clone, Copy, TypeGenerator)]
enum Deed {
    Reads,
    Finds,
    Writes,
    Map,
    MapEntry,
    OnStack,
    MapSharingLines,
    MapUnsynced,
    UnmapBegins,
    WrongCount,
    Freed,
    DriverGone,
    Snoops,
    Owns,
    Returns,
    Unmap,
    Coherent,
    CoherentCached,
    CoherentFreed,
}

#[derive(Debug, Clone, Copy, TypeGenerator)]
enum Way {
    To,
    From,
    Both,
}

impl Place {
    /// Virtual and physical. Some are at the end of memory.
    fn addresses(self) -> (u32, u32) {
        let offset = u32::from(self.offset) % 4096;
        let pages = [0x0010_0000, 0x0010_1000, 0x0020_0000, 0xffff_f000];
        let va = 0x4000_0000 + (u32::from(self.va % 4) << 12);
        (
            va + offset,
            pages[usize::from(self.pa) % pages.len()] + offset,
        )
    }
}

impl Type {
    fn memory(self) -> MemoryType {
        match self {
            Self::StronglyOrdered => MemoryType::StronglyOrdered,
            Self::Device => MemoryType::Device,
            Self::WriteCombine => MemoryType::WriteCombine,
            Self::WriteThrough => MemoryType::WriteThrough,
            Self::WriteBack => MemoryType::WriteBack,
        }
    }
}

impl Work {
    fn operation(self) -> Operation {
        match self {
            Self::Clean => Operation::Clean,
            Self::Invalidate => Operation::Invalidate,
            Self::CleanInvalidate => Operation::CleanInvalidate,
        }
    }
}

impl Way {
    fn direction(self) -> Direction {
        match self {
            Self::To => Direction::ToDevice,
            Self::From => Direction::FromDevice,
            Self::Both => Direction::Bidirectional,
        }
    }
}

fn apply(model: &mut Model, event: &Event) -> Vec<Finding> {
    let mut found = Vec::new();
    let sink = &mut |finding| found.push(finding);
    let site = Site(7);
    let by_address = |place: Place| {
        let (va, pa) = place.addresses();
        Lines::Address { va, pa: Some(pa) }
    };
    let access = |place: Place, len: u8, memory: Type| {
        let (va, pa) = place.addresses();
        Access {
            va,
            pa,
            len: 1 + u32::from(len) % 64,
            memory: memory.memory(),
            site,
        }
    };
    match *event {
        Event::Load(place, len, memory) => model.load(&access(place, len, memory), sink),
        Event::Store(place, len, memory) => model.store(&access(place, len, memory), sink),
        Event::Fetch(place, len, memory) => model.fetch(&access(place, len, memory), sink),
        Event::Device(deed, place, len, way) => {
            let range = PhysicalRange {
                pa: place.addresses().1,
                len: len.into(),
            };
            let direction = way.direction();
            let what = match deed {
                Deed::Reads => Device::Reads(range),
                Deed::Finds => Device::Finds(range),
                Deed::Writes => Device::Writes(range),
                Deed::Map => Device::Map(range, direction),
                Deed::MapEntry => Device::MapEntry(range, direction),
                Deed::OnStack => Device::OnStack(range),
                Deed::MapSharingLines => Device::MapSharingLines(range, direction),
                Deed::MapUnsynced => Device::MapUnsynced(range, direction),
                Deed::UnmapBegins => Device::UnmapBegins(range, direction),
                Deed::WrongCount => Device::WrongCount(range),
                Deed::Freed => Device::Freed(range),
                Deed::DriverGone => Device::DriverGone(0),
                Deed::Snoops => Device::Snoops(0),
                Deed::Owns => Device::Owns(range, direction),
                Deed::Returns => Device::Returns(range, direction),
                Deed::Unmap => Device::Unmap(range, direction),
                Deed::Coherent => Device::Coherent(range),
                Deed::CoherentCached => Device::CoherentCached(range),
                Deed::CoherentFreed => Device::CoherentFreed(range),
            };
            model.device(what, Some(site), sink);
        }
        Event::Live(place, size, memory, asid) => {
            let (va, pa) = place.addresses();
            // Pages, a large page, a section, nonsense.
            let sizes = [
                1 << 12,
                1 << 12,
                1 << 12,
                1 << 16,
                1 << 20,
                12345,
                0,
                u32::MAX,
            ];
            let len = sizes[usize::from(size) % sizes.len()];
            let live = Mapping::Live {
                va,
                pa,
                len,
                memory: memory.memory(),
                asid,
            };
            model.mapping(live, sink);
        }
        Event::Gone(place, asid) => {
            let va = place.addresses().0;
            model.mapping(Mapping::Gone { va, asid }, sink);
        }
        Event::GoneAsid(asid) => model.mapping(Mapping::GoneAsid(asid), sink),
        Event::GoneAll => model.mapping(Mapping::GoneAll, sink),
        Event::Data(work, place) => {
            let what = Maintenance::Data(work.operation(), by_address(place));
            model.maintain(what);
        }
        Event::DataAll(work) => {
            let what = Maintenance::Data(work.operation(), Lines::All);
            model.maintain(what);
        }
        Event::Instruction(place) => {
            model.maintain(Maintenance::Instruction(by_address(place)));
        }
        Event::InstructionAll => model.maintain(Maintenance::Instruction(Lines::All)),
        Event::Outer(work, place) => {
            let pa = place.addresses().1;
            model.maintain(Maintenance::Outer(work.operation(), pa));
        }
        Event::OuterAll(work) => {
            model.maintain(Maintenance::OuterAll(work.operation()));
        }
        Event::OuterSync => model.maintain(Maintenance::OuterSync),
        Event::OuterSwitch(on) => model.maintain(Maintenance::OuterSwitch(on)),
        Event::Drain => model.maintain(Maintenance::Drain),
        Event::Order => model.maintain(Maintenance::Order),
    }
    found
}

fn run(core: Core, events: &[Event]) {
    let mut model = Model::new(core);
    for event in events {
        let found = apply(&mut model, event);
        let mut kinds = HashSet::new();
        for finding in &found {
            let kind = (finding.hazard, finding.pa / core.data_cache.line);
            // Of these there may be several mappings in a line.
            if finding.hazard == Hazard::NeverUnmapped {
                continue;
            }
            assert!(kinds.insert(kind), "{event:?}: {found:#?}");
        }
    }
    // Four sections, sets of states, tables with room to grow: a constant.
    let (lines, bytes) = model.cost();
    assert!(bytes <= 16 * lines + (4 << 20), "{bytes} for {lines} lines");
}

#[test]
fn any_events() {
    let events = produce::<Vec<Event>>().with().len(0..500usize);
    bolero::check!()
        .with_generator((0..CORES.len(), events))
        .with_iterations(300)
        .for_each(|(core, events)| {
            run(CORES[*core], events);
        });
}
