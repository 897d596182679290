// SPDX-License-Identifier: MIT OR Apache-2.0
//! Borders between what is a hazard and what is not.

mod common;

use coherence_model::cores::{Core, CORES};
use coherence_model::events::{
    Access, Device, Direction, Lines, Maintenance, Mapping, MemoryType, Operation, PhysicalRange,
    Site,
};
use coherence_model::hazards::{Call, Finding, Hazard, Holder, Lent, Shown, Sink};
use common::{Guest, KERNEL, LINEAR};

const PA: u32 = 0x0030_0000;
const LINEAR_VA: u32 = LINEAR + PA;
const USER_VA: u32 = 0x4000_0000;

#[test]
fn one_finding_for_each_line_and_hazard() {
    let mut guest = Guest::new(Core::CORTEX_A9);
    guest.fill(LINEAR_VA, 96, KERNEL);
    guest.device(Device::Reads(PhysicalRange {
        pa: PA + 4,
        len: 90,
    }));
    let places: Vec<u32> = guest.found.iter().map(|f| f.pa - PA).collect();
    assert_eq!(places, [4, 32, 64]);
}

#[test]
fn who_gave_a_device_the_memory() {
    let mut guest = Guest::new(Core::CORTEX_A9);
    guest.fill(LINEAR_VA, 32, KERNEL);
    let buffer = PhysicalRange { pa: PA, len: 32 };
    let giver = Some(Site(42));
    for what in [
        Device::Map(buffer, Direction::ToDevice),
        Device::Owns(buffer, Direction::ToDevice),
    ] {
        let found = &mut guest.found;
        guest
            .model
            .device(what, giver, &mut |finding| found.push(finding));
    }
    guest.load(LINEAR_VA, 4, KERNEL);
    guest.store(LINEAR_VA, 4, KERNEL);
    let found: Vec<_> = guest
        .found
        .iter()
        .map(|f| (f.hazard, f.by_way_of))
        .collect();
    assert_eq!(found[0], (Hazard::StaleRead, giver));
    assert!(found[1..].iter().all(|(_, by_way_of)| by_way_of.is_none()));
    assert!(found.len() > 1);
}

/// A guest's device events, each by an instruction of its own.
fn device(guest: &mut Guest, what: Device, site: Site) {
    let found = &mut guest.found;
    guest
        .model
        .device(what, Some(site), &mut |finding| found.push(finding));
}

fn call(site: Site, order: u64) -> Call {
    Call {
        site: Some(site),
        order,
    }
}

const MAPS: Site = Site(0x10);
const SYNCS: Site = Site(0x20);
const UNMAPS: Site = Site(0x30);

#[test]
fn a_touch_says_who_gave_the_memory_away() {
    let buffer = PhysicalRange { pa: PA, len: 64 };
    let first = PhysicalRange { pa: PA, len: 32 };
    let from = Direction::FromDevice;
    for core in CORES {
        let mut guest = Guest::new(core);
        device(&mut guest, Device::Map(buffer, from), MAPS);
        device(&mut guest, Device::Owns(buffer, from), MAPS);
        guest.load(LINEAR_VA, 4, KERNEL);
        let found = guest.only(&[(Hazard::OwnedTouch, Shown::ThisCore)]);
        let lent = |holder| {
            let mapped = call(MAPS, 1);
            Some(Lent { mapped, holder })
        };
        assert_eq!(found[0].lent, lent(Holder::Device(call(MAPS, 2))));
        assert_eq!(found[0].order, 2);

        // The sync that gave a part of it again is nearer than the mapping.
        device(&mut guest, Device::Returns(first, from), SYNCS);
        guest.flush(LINEAR_VA, 32);
        device(&mut guest, Device::Owns(first, from), SYNCS);
        guest.load(LINEAR_VA, 4, KERNEL);
        guest.load(LINEAR_VA + 32, 4, KERNEL);
        let found = guest.only(&[(Hazard::OwnedTouch, Shown::ThisCore)]);
        assert_eq!(found[0].lent, lent(Holder::Device(call(SYNCS, 4))));
        assert_eq!(found[1].lent, lent(Holder::Device(call(MAPS, 2))));
    }
}

#[test]
fn a_wrong_sync_says_who_mapped_the_memory() {
    let buffer = PhysicalRange { pa: PA, len: 64 };
    let (to, from) = (Direction::ToDevice, Direction::FromDevice);
    let mut guest = Guest::new(Core::CORTEX_A9);
    device(&mut guest, Device::Map(buffer, from), MAPS);
    device(&mut guest, Device::Owns(buffer, from), MAPS);
    device(&mut guest, Device::Returns(buffer, to), SYNCS);
    let mapped = call(MAPS, 1);
    let found = guest.only(&[(Hazard::WrongSync, Shown::ThisCore)]);
    let holder = Holder::Cpu;
    assert_eq!(found[0].lent, Some(Lent { mapped, holder }));

    device(&mut guest, Device::Unmap(buffer, from), UNMAPS);
    guest.silent();
    device(&mut guest, Device::Unmap(buffer, from), Site(0x40));
    let found = guest.only(&[(Hazard::WrongSync, Shown::ThisCore)]);
    let holder = Holder::Unmapped(call(UNMAPS, 4));
    assert_eq!(found[0].lent, Some(Lent { mapped, holder }));
}

/// What the device wrote is its own after the unmapping too. Memory that nobody
/// mapped, or that has another use by now, was given away by nobody.
#[test]
fn who_gave_the_memory_away_is_said_of_a_devices_values_alone() {
    let buffer = PhysicalRange { pa: PA, len: 64 };
    let from = Direction::FromDevice;
    let mut guest = Guest::new(Core::ARM926);
    device(&mut guest, Device::Map(buffer, from), MAPS);
    device(&mut guest, Device::Owns(buffer, from), MAPS);
    guest.read(LINEAR_VA, 32, KERNEL);
    guest.only(&[(Hazard::OwnedTouch, Shown::ThisCore)]);
    device(&mut guest, Device::Returns(buffer, from), UNMAPS);
    device(&mut guest, Device::Unmap(buffer, from), UNMAPS);
    guest.load(LINEAR_VA, 4, KERNEL);
    let found = guest.only(&[(Hazard::StaleRead, Shown::ThisCore)]);
    let holder = Holder::Unmapped(call(UNMAPS, 4));
    let mapped = call(MAPS, 1);
    assert_eq!(found[0].lent, Some(Lent { mapped, holder }));

    guest.flush(LINEAR_VA, 32);
    guest.map(USER_VA, PA, MemoryType::WriteBack);
    guest.load(USER_VA, 4, KERNEL);
    guest.load(LINEAR_VA, 4, KERNEL);
    guest.store(USER_VA, 4, KERNEL);
    guest.load(LINEAR_VA, 4, KERNEL);
    let found = guest.only(&[(Hazard::StaleRead, Shown::ThisCore)]);
    assert_eq!(found[0].lent, None);

    guest.flush(LINEAR_VA, 32);
    guest.flush(USER_VA, 32);
    guest.load(LINEAR_VA, 4, KERNEL);
    let page = PhysicalRange { pa: PA, len: 4096 };
    guest.device(Device::Writes(buffer));
    guest.load(LINEAR_VA, 4, KERNEL);
    let found = guest.only(&[
        (Hazard::StaleRead, Shown::ThisCore),
        (Hazard::StrayDma, Shown::ThisCore),
    ]);
    for finding in found {
        assert_eq!(finding.lent, Some(Lent { mapped, holder }));
    }
    guest.model.new_owner(page);
    guest.device(Device::Writes(buffer));
    guest.load(LINEAR_VA, 4, KERNEL);
    let found = guest.only(&[(Hazard::StaleRead, Shown::ThisCore)]);
    assert_eq!(found[0].lent, None);
}

#[test]
fn an_access_that_crosses_lines_is_two() {
    let mut guest = Guest::new(Core::CORTEX_A9);
    guest.store(LINEAR_VA + 30, 4, KERNEL);
    guest.device(Device::Reads(PhysicalRange { pa: PA, len: 64 }));
    let places: Vec<u32> = guest.found.iter().map(|f| f.pa - PA).collect();
    assert_eq!(places, [30, 32]);
}

#[test]
fn memory_ends() {
    for core in CORES {
        let mut guest = Guest::new(core);
        let last = 0xffff_ffe0;
        guest.map(0x4000_0000, last & !0xfff, MemoryType::WriteBack);
        guest.load(0x4000_0fe0, 32, KERNEL);
        guest.store(0x4000_0ffc, 4, KERNEL);
        let range = PhysicalRange { pa: last, len: 32 };
        guest.device(Device::Map(range, Direction::ToDevice));
        guest.data(Operation::Clean, 0x4000_0fe0);
        guest.maintain(Maintenance::Drain);
        guest.maintain(Maintenance::Outer(Operation::Clean, last));
        guest.device(Device::Owns(range, Direction::ToDevice));
        guest.device(Device::Returns(range, Direction::ToDevice));
        guest.device(Device::Unmap(range, Direction::ToDevice));
        guest.silent();
    }
}

#[test]
fn two_types_only_while_both_are_mapped() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.map(USER_VA, PA, MemoryType::WriteCombine);
        guest.load(USER_VA, 4, KERNEL);
        guest.unmap(USER_VA);
        guest.load(LINEAR_VA, 4, KERNEL);
        guest.silent();
        // Mapped again but not used.
        guest.map(USER_VA, PA, MemoryType::WriteCombine);
        guest.load(LINEAR_VA, 4, KERNEL);
        guest.silent();
        // Used again, the cached one not yet.
        guest.load(USER_VA, 4, KERNEL);
        guest.silent();
        guest.load(LINEAR_VA, 4, KERNEL);
        guest.only(&[(Hazard::TwoTypes, Shown::ThisCore)]);
        // Translations of other processes do not go with this one's.
        guest.load(USER_VA, 4, KERNEL);
        guest.model.mapping(Mapping::GoneAsid(2), &mut |_| {});
        guest.load(LINEAR_VA, 4, KERNEL);
        guest.only(&[(Hazard::TwoTypes, Shown::ThisCore)]);
        guest.load(USER_VA, 4, KERNEL);
        guest.model.mapping(Mapping::GoneAsid(1), &mut |_| {});
        guest.load(LINEAR_VA, 4, KERNEL);
        guest.silent();
    }
}

/// A core that speculates walks the tables by itself: what they have is in use
/// again as soon as the TLB was flushed.
#[test]
fn flushing_the_tlb_ends_no_global_mapping() {
    struct Tables(Option<bool>, Vec<Finding>);
    impl Sink for Tables {
        fn found(&mut self, finding: Finding) {
            self.1.push(finding);
        }
        fn maps(&mut self, va: u32, pa: u32, _: MemoryType, _: Option<u8>) -> Option<bool> {
            self.0.map(|has| has && va - LINEAR == pa)
        }
    }
    for core in CORES {
        for has in [None, Some(false), Some(true)] {
            let mut guest = Guest::new(core);
            guest.load(LINEAR_VA, 4, KERNEL);
            let mut tables = Tables(has, Vec::new());
            guest.model.mapping(Mapping::GoneAll, &mut tables);
            let buffer = PhysicalRange { pa: PA, len: 32 };
            guest.dma_map(PA, 32, Direction::FromDevice);
            for end in [Device::Returns, Device::Unmap] {
                guest.device(end(buffer, Direction::FromDevice));
            }
            guest.load(LINEAR_VA, 4, KERNEL);
            if core.speculates && has == Some(true) {
                guest.only(&[(Hazard::StaleRead, Shown::ThisCore)]);
            } else {
                guest.silent();
            }
            assert!(tables.1.is_empty());
        }
    }
}

/// Linux flushes the TLB long after vunmap().
#[test]
fn two_types_only_while_the_tables_have_both() {
    struct Tables {
        has: Option<bool>,
        asked: Vec<(u32, u32, MemoryType, Option<u8>)>,
        found: Vec<Finding>,
    }
    impl Sink for Tables {
        fn found(&mut self, finding: Finding) {
            self.found.push(finding);
        }
        fn maps(&mut self, va: u32, pa: u32, memory: MemoryType, asid: Option<u8>) -> Option<bool> {
            self.asked.push((va, pa, memory, asid));
            self.has
        }
    }
    for (core, has) in CORES
        .into_iter()
        .flat_map(|core| [None, Some(true), Some(false)].map(|has| (core, has)))
    {
        let mut guest = Guest::new(core);
        guest.map(USER_VA, PA, MemoryType::WriteCombine);
        guest.load(USER_VA + 8, 4, KERNEL);
        let mut tables = Tables {
            has,
            asked: Vec::new(),
            found: Vec::new(),
        };
        let access = Access {
            va: LINEAR_VA,
            pa: PA,
            len: 4,
            memory: MemoryType::WriteBack,
            site: KERNEL,
        };
        guest.model.load(&access, &mut tables);
        let hazards: Vec<_> = tables.found.iter().map(|finding| finding.hazard).collect();
        assert_eq!(
            hazards,
            if has == Some(false) {
                vec![]
            } else {
                vec![Hazard::TwoTypes]
            }
        );
        assert_eq!(
            tables.asked,
            [(USER_VA, PA, MemoryType::WriteCombine, Some(1))]
        );
    }
}

/// Write-through is not cached on Cortex-A9 (ARM DDI 0388I, 7.4.3), and is on
/// others: whom it clashes with depends.
#[test]
fn write_through_on_a_core_that_has_none() {
    let through = |memory| {
        let mut guest = Guest::new(Core::CORTEX_A9);
        guest.map(USER_VA, PA, MemoryType::WriteThrough);
        guest.map(USER_VA + 0x1000, PA, memory);
        guest.load(USER_VA, 4, KERNEL);
        guest.silent();
        guest.load(USER_VA + 0x1000, 4, KERNEL);
        guest.load(USER_VA, 4, KERNEL);
        guest
    };
    through(MemoryType::WriteBack).only(&[(Hazard::TwoTypes, Shown::ThisCore)]);
    through(MemoryType::WriteCombine).only(&[(Hazard::TwoTypes, Shown::SomeCore)]);
}

/// A store to memory that a device may read at any moment may come any time. But
/// a cached one may be written back over what the device writes.
#[test]
fn coherent_memory_stored_to_through_its_cached_alias() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.device(Device::Coherent(PhysicalRange { pa: PA, len: 4096 }));
        guest.load(LINEAR_VA, 4, KERNEL);
        guest.found.clear();
        guest.store(LINEAR_VA, 4, KERNEL);
        guest.only(&[(Hazard::DirtyOverDevice, Shown::ThisCore)]);
    }
}

/// Coherent memory that the device wrote to, read through a cached alias.
#[test]
fn coherent_memory_read_through_its_cached_alias() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.load(LINEAR_VA, 4, KERNEL);
        guest.device(Device::Coherent(PhysicalRange { pa: PA, len: 4096 }));
        guest.silent();
        guest.load(LINEAR_VA, 4, KERNEL);
        guest.only(&[(Hazard::StaleRead, Shown::ThisCore)]);
    }
}

/// The outer cache's sync says nothing about the core's write buffer.
#[test]
fn buffers_are_drained_in_order() {
    let mut guest = Guest::new(Core::CORTEX_A9);
    let device = Device::Reads(PhysicalRange { pa: PA, len: 4 });
    guest.map(USER_VA, PA, MemoryType::WriteCombine);
    guest.store(USER_VA, 4, KERNEL);
    guest.maintain(Maintenance::OuterSync);
    guest.maintain(Maintenance::Drain);
    guest.device(device);
    guest.only(&[(Hazard::NotDrained, Shown::ThisCore)]);
    guest.maintain(Maintenance::OuterSync);
    guest.device(device);
    guest.silent();
    // Strongly-ordered stores wait for nothing.
    guest.map(USER_VA + 0x1000, PA + 0x1000, MemoryType::StronglyOrdered);
    guest.store(USER_VA + 0x1000, 4, KERNEL);
    guest.device(Device::Reads(PhysicalRange {
        pa: PA + 0x1000,
        len: 4,
    }));
    guest.silent();
}

/// A bidirectional mapping may be synced in any direction, one of the others
/// only in its own (`check_sync()` in kernel/dma/debug.c).
#[test]
fn directions_that_fit() {
    use Direction::{Bidirectional, FromDevice, ToDevice};
    let all = [ToDevice, FromDevice, Bidirectional];
    for mapped in all {
        for synced in all {
            let mut guest = Guest::new(Core::CORTEX_A9);
            guest.dma_map(PA, 256, mapped);
            guest.silent();
            guest.for_cpu(PA + 64, 64, synced);
            let fits = mapped == Bidirectional || mapped == synced;
            let wrong = guest.found.iter().any(|f| f.hazard == Hazard::WrongSync);
            assert_eq!(wrong, !fits, "mapped {mapped:?}, synced {synced:?}");
            // Unmapped in another direction is wrong for each.
            guest.found.clear();
            guest.device(Device::Unmap(PhysicalRange { pa: PA, len: 256 }, synced));
            let wrong = guest.found.iter().any(|f| f.hazard == Hazard::WrongSync);
            assert_eq!(
                wrong,
                mapped != synced,
                "mapped {mapped:?}, unmapped {synced:?}"
            );
        }
    }
}

/// An empty range is nothing: dma_sync_single_for_cpu(..., 0, ...).
#[test]
fn empty_ranges() {
    let mut guest = Guest::new(Core::CORTEX_A9);
    let nothing = PhysicalRange { pa: PA, len: 0 };
    for direction in [Direction::ToDevice, Direction::FromDevice] {
        guest.device(Device::Map(nothing, direction));
        guest.device(Device::Owns(nothing, direction));
        guest.device(Device::Returns(nothing, direction));
        guest.device(Device::Unmap(nothing, direction));
    }
    guest.device(Device::Reads(nothing));
    guest.device(Device::Writes(nothing));
    guest.device(Device::Coherent(nothing));
    guest.device(Device::CoherentFreed(nothing));
    guest.silent();
    guest.store(LINEAR_VA, 4, Site(2));
    guest.silent();
}

/// A table walk that found nothing gives no physical address; a VIVT cache
/// needs none.
#[test]
fn maintenance_of_an_unmapped_address() {
    let mut guest = Guest::new(Core::ARM926);
    guest.load(LINEAR_VA, 4, KERNEL);
    guest.store(LINEAR_VA, 4, KERNEL);
    let lines = Lines::Address {
        va: LINEAR_VA + 4,
        pa: None,
    };
    guest.maintain(Maintenance::Data(Operation::Clean, lines));
    guest.device(Device::Reads(PhysicalRange { pa: PA, len: 4 }));
    guest.silent();
}

/// A translation that comes back may bring each line of the page, whatever
/// happened to other lines meanwhile.
#[test]
fn lines_come_with_the_translation() {
    const HIGHMEM: u32 = 0x0200_0000;
    let mut guest = Guest::new(Core::CORTEX_A9);
    let live = Mapping::Live {
        va: USER_VA,
        pa: HIGHMEM,
        len: 1 << 12,
        memory: MemoryType::WriteBack,
        asid: Some(1),
    };
    let gone = Mapping::Gone {
        va: USER_VA,
        asid: None,
    };
    let device = Device::Writes(PhysicalRange {
        pa: HIGHMEM,
        len: 4,
    });
    guest.map(USER_VA, HIGHMEM, MemoryType::WriteBack);
    guest.load(USER_VA, 4, KERNEL);
    guest.model.mapping(gone, &mut |_| {});
    guest.data(Operation::Invalidate, USER_VA);
    guest.maintain(Maintenance::Outer(Operation::Invalidate, HIGHMEM));
    // Nothing holds the line. What the device writes is seen.
    guest.device(device);
    guest.load(USER_VA, 4, KERNEL);
    guest.silent();
    guest.data(Operation::Invalidate, USER_VA);
    guest.maintain(Maintenance::Outer(Operation::Invalidate, HIGHMEM));
    // Far from it.
    guest.load(USER_VA + 2048, 4, KERNEL);
    guest.model.mapping(live, &mut |_| {});
    guest.device(device);
    guest.load(USER_VA, 4, KERNEL);
    guest.only(&[(Hazard::StaleRead, Shown::ThisCore)]);
}
