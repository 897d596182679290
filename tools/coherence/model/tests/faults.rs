// SPDX-License-Identifier: MIT OR Apache-2.0
//! The faults that the model is for: each as the events that a driver with it
//! causes, on each core that has it.

mod common;

use coherence_model::cores::{Core, Indexing, Outer, CORES};
use coherence_model::events::{
    Device, Direction, Lines, Maintenance, MemoryType, Operation, PhysicalRange, Site,
};
use coherence_model::hazards::{Hazard, Holder, Party, Shown};
use coherence_model::Model;
use common::{cpu, names, Guest, LINEAR};

use Hazard::{
    DirtyOverDevice, LostWrite, NeverUnmapped, NotDrained, OwnedTouch, SharedLine,
    StaleInstruction, StaleRead, StrayDma, TwoMappings, TwoTypes, UnwrittenRead, WrongSync,
};
use Shown::{SomeCore, ThisCore};

/// The kernel's instruction.
const KERNEL: Site = Site(0x100);
/// The program's.
const PROGRAM: Site = Site(0x200);
/// The buffer: physical, in the linear mapping, in a program. Of two colours.
const PA: u32 = 0x0030_0000;
const LINEAR_VA: u32 = LINEAR + PA;
const USER_VA: u32 = 0x4000_1000;

const TO: Direction = Direction::ToDevice;
const FROM: Direction = Direction::FromDevice;
const BOTH: Direction = Direction::Bidirectional;

fn buffer(len: u32) -> PhysicalRange {
    PhysicalRange { pa: PA, len }
}

/// What is said of an instruction of the program at this address. A core with
/// colours keeps the colour of a line, and has no room for an address of another.
fn program_at(core: Core, va: u32) -> Party {
    let coloured = matches!(core.indexing, Indexing::Coloured { .. });
    cpu(if coloured { 0 } else { va }, PROGRAM)
}

#[test]
fn page_mapped_uncached_while_the_kernel_reads_its_cached_address() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.read(LINEAR_VA, 64, KERNEL);
        guest.fill(LINEAR_VA, 64, KERNEL);
        guest.map(USER_VA, PA, MemoryType::StronglyOrdered);
        guest.store(USER_VA + 4, 4, PROGRAM);
        guest.silent();
        guest.load(LINEAR_VA + 4, 4, KERNEL);
        let found = guest.only(&[(StaleRead, ThisCore), (TwoTypes, ThisCore)]);
        let victim = cpu(LINEAR_VA + 4, KERNEL);
        let writer = program_at(core, USER_VA + 4);
        names(&found, StaleRead, PA + 4, victim, writer);
        names(&found, TwoTypes, PA + 4, victim, writer);
        // The neighbour is as the kernel left it.
        guest.load(LINEAR_VA + 8, 4, KERNEL);
        guest.only(&[]);
    }
}

/// With the flush that people add, ARMv5 is right. With speculation nothing is.
#[test]
fn the_same_with_one_flush_before() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.read(LINEAR_VA, 64, KERNEL);
        guest.fill(LINEAR_VA, 64, KERNEL);
        guest.flush(LINEAR_VA, 64);
        guest.map(USER_VA, PA, MemoryType::StronglyOrdered);
        guest.store(USER_VA, 4, PROGRAM);
        guest.load(LINEAR_VA, 4, KERNEL);
        let stale = (StaleRead, ThisCore);
        let types = (TwoTypes, ThisCore);
        if core.speculates {
            guest.only(&[stale, types]);
        } else {
            guest.only(&[types]);
        }
    }
}

#[test]
fn a_program_stores_cached_and_the_kernel_reads_its_own_address() {
    for core in [Core::ARM926, Core::ARM1136] {
        let mut guest = Guest::new(core);
        guest.map(USER_VA, PA, MemoryType::WriteBack);
        guest.read(LINEAR_VA, 64, KERNEL);
        guest.read(USER_VA, 64, PROGRAM);
        guest.store(USER_VA + 8, 4, PROGRAM);
        guest.silent();
        guest.load(LINEAR_VA + 8, 4, KERNEL);
        let found = guest.only(&[(StaleRead, ThisCore)]);
        let writer = cpu(USER_VA + 8, PROGRAM);
        names(
            &found,
            StaleRead,
            PA + 8,
            cpu(LINEAR_VA + 8, KERNEL),
            writer,
        );
    }
    // Two cached addresses are one line here.
    let mut guest = Guest::new(Core::CORTEX_A9);
    guest.map(USER_VA, PA, MemoryType::WriteBack);
    guest.store(USER_VA + 8, 4, PROGRAM);
    guest.load(LINEAR_VA + 8, 4, KERNEL);
    guest.silent();
}

#[test]
fn the_kernel_stores_cached_and_a_program_reads_its_own_address() {
    for core in [Core::ARM926, Core::ARM1136] {
        let mut guest = Guest::new(core);
        guest.map(USER_VA, PA, MemoryType::WriteBack);
        guest.read(USER_VA, 64, PROGRAM);
        guest.read(LINEAR_VA, 64, KERNEL);
        guest.store(LINEAR_VA + 8, 4, KERNEL);
        guest.load(USER_VA + 8, 4, PROGRAM);
        let found = guest.only(&[(StaleRead, ThisCore)]);
        names(
            &found,
            StaleRead,
            PA + 8,
            cpu(USER_VA + 8, PROGRAM),
            cpu(LINEAR_VA + 8, KERNEL),
        );
    }
}

/// Both store, to different words of one line: whoever is evicted last wins.
#[test]
fn two_dirty_lines_of_one_word_each() {
    let mut guest = Guest::new(Core::ARM926);
    guest.map(USER_VA, PA, MemoryType::WriteBack);
    guest.read(USER_VA, 64, PROGRAM);
    guest.read(LINEAR_VA, 64, KERNEL);
    guest.store(LINEAR_VA, 4, KERNEL);
    guest.store(USER_VA + 4, 4, PROGRAM);
    guest.silent();
    // Its own line may have been evicted, and written over by the program's.
    guest.load(LINEAR_VA, 4, KERNEL);
    let found = guest.only(&[(LostWrite, ThisCore)]);
    names(
        &found,
        LostWrite,
        PA,
        cpu(LINEAR_VA, KERNEL),
        cpu(LINEAR_VA, KERNEL),
    );
}

#[test]
fn source_not_cleaned_before_a_device_reads() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.read(LINEAR_VA, 64, KERNEL);
        guest.fill(LINEAR_VA, 64, KERNEL);
        guest.device(Device::Reads(buffer(64)));
        let found = guest.only(&[(StaleRead, ThisCore)]);
        names(&found, StaleRead, PA, Party::Device, cpu(LINEAR_VA, KERNEL));
        // The same by ownership.
        guest.device(Device::Map(buffer(64), TO));
        guest.device(Device::Owns(buffer(64), TO));
        let found = guest.only(&[(StaleRead, ThisCore)]);
        names(&found, StaleRead, PA, Party::Device, cpu(LINEAR_VA, KERNEL));
    }
}

/// What comes back from one device is not back from another one.
#[test]
fn touched_while_another_device_has_it() {
    for core in CORES {
        let mut guest = Guest::new(core);
        for device in [1, 2] {
            guest.device(Device::Of(device));
            guest.device(Device::MapUnsynced(buffer(64), BOTH));
            guest.for_device(PA, 64, BOTH);
        }
        guest.device(Device::Of(1));
        guest.for_cpu(PA, 64, BOTH);
        guest.load(LINEAR_VA, 4, KERNEL);
        guest.only(&[(OwnedTouch, ThisCore)]);
    }
}

/// The mapping of another device stays when one that has given nothing back ends.
#[test]
fn not_synced_before_it_is_unmapped_beside_another_mapping() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.device(Device::Of(1));
        guest.device(Device::Map(buffer(64), BOTH));
        guest.device(Device::Of(2));
        guest.read(LINEAR_VA, 64, KERNEL);
        guest.dma_map(PA, 64, BOTH);
        guest.device(Device::Writes(buffer(64)));
        guest.device(Device::Unmap(buffer(64), BOTH));
        guest.load(LINEAR_VA, 4, KERNEL);
        let hazards: Vec<_> = guest.found.iter().map(|it| it.hazard).collect();
        assert!(!hazards.contains(&OwnedTouch), "{hazards:?}");
    }
}

/// A store that misses goes past the cache of ARM926, but other caches of ARMv5
/// may allocate.
#[test]
fn source_not_cleaned_and_not_in_the_cache() {
    let mut guest = Guest::new(Core::ARM926);
    guest.fill(LINEAR_VA, 64, KERNEL);
    guest.device(Device::Reads(buffer(64)));
    let found = guest.only(&[(StaleRead, SomeCore)]);
    names(&found, StaleRead, PA, Party::Device, cpu(LINEAR_VA, KERNEL));
}

#[test]
fn destination_not_invalidated_before_the_cpu_reads() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.read(LINEAR_VA, 64, KERNEL);
        guest.device(Device::Writes(buffer(64)));
        guest.silent();
        guest.load(LINEAR_VA, 4, KERNEL);
        let found = guest.only(&[(StaleRead, ThisCore)]);
        names(&found, StaleRead, PA, cpu(LINEAR_VA, KERNEL), Party::Device);
    }
}

#[test]
fn destination_invalidated_only_before_the_transfer() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.read(LINEAR_VA, 64, KERNEL);
        guest.dma_map(PA, 64, FROM);
        guest.device(Device::Returns(buffer(64), FROM));
        guest.device(Device::Unmap(buffer(64), FROM));
        guest.load(LINEAR_VA, 4, KERNEL);
        if core.speculates {
            let found = guest.only(&[(StaleRead, ThisCore)]);
            names(&found, StaleRead, PA, cpu(LINEAR_VA, KERNEL), Party::Device);
        } else {
            guest.silent();
        }
    }
}

#[test]
fn destination_dirty_when_the_device_writes() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.read(LINEAR_VA, 64, KERNEL);
        guest.fill(LINEAR_VA, 64, KERNEL);
        guest.device(Device::Writes(buffer(64)));
        let found = guest.only(&[(DirtyOverDevice, ThisCore)]);
        names(
            &found,
            DirtyOverDevice,
            PA,
            Party::Device,
            cpu(LINEAR_VA, KERNEL),
        );
        // By ownership too, where the kernel may read again only after a flush.
        let mut guest = Guest::new(core);
        guest.read(LINEAR_VA, 64, KERNEL);
        guest.fill(LINEAR_VA, 64, KERNEL);
        guest.device(Device::Map(buffer(64), FROM));
        guest.device(Device::Owns(buffer(64), FROM));
        let found = guest.only(&[(DirtyOverDevice, ThisCore)]);
        names(
            &found,
            DirtyOverDevice,
            PA,
            Party::Device,
            cpu(LINEAR_VA, KERNEL),
        );
        guest.device(Device::Returns(buffer(64), FROM));
        guest.flush(LINEAR_VA, 64);
        guest.load(LINEAR_VA, 4, KERNEL);
        let found = guest.only(&[(DirtyOverDevice, ThisCore)]);
        names(
            &found,
            DirtyOverDevice,
            PA,
            cpu(LINEAR_VA, KERNEL),
            Party::Device,
        );
    }
}

#[test]
fn variable_in_a_line_with_a_receive_buffer() {
    for core in CORES {
        let variable = LINEAR_VA + 16;
        let mut guest = Guest::new(core);
        guest.dma_map(PA, 16, FROM);
        guest.load(variable, 4, KERNEL);
        let shown = if core.speculates { SomeCore } else { ThisCore };
        guest.only(&[(SharedLine, shown)]);
        guest.store(variable, 4, KERNEL);
        let mut found = guest.only(&[(DirtyOverDevice, ThisCore), (SharedLine, ThisCore)]);
        found.retain(|it| it.hazard == DirtyOverDevice);
        names(
            &found,
            DirtyOverDevice,
            PA,
            Party::Device,
            cpu(variable, KERNEL),
        );
        guest.dma_unmap(PA, 16, FROM);
        guest.load(LINEAR_VA, 4, KERNEL);
        let found = guest.only(&[match core.indexing {
            // Nothing is done to the line, which lacks what the device wrote.
            Indexing::Virtual => (StaleRead, ThisCore),
            // The line is shared, so it is written back, over what it lacks.
            _ => (DirtyOverDevice, ThisCore),
        }]);
        let hazard = found[0].hazard;
        names(&found, hazard, PA, cpu(LINEAR_VA, KERNEL), Party::Device);
        // The variable itself is well.
        guest.load(variable, 4, KERNEL);
        guest.only(&[]);
    }
}

/// Only read, it is harmful where nothing is invalidated after the transfer.
#[test]
fn variable_in_a_line_with_a_receive_buffer_only_read() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.dma_map(PA, 16, FROM);
        guest.load(LINEAR_VA + 16, 4, KERNEL);
        let shown = if core.speculates { SomeCore } else { ThisCore };
        guest.only(&[(SharedLine, shown)]);
        guest.dma_unmap(PA, 16, FROM);
        guest.load(LINEAR_VA, 4, KERNEL);
        match core.indexing {
            Indexing::Virtual => {
                let found = guest.only(&[(StaleRead, ThisCore)]);
                names(&found, StaleRead, PA, cpu(LINEAR_VA, KERNEL), Party::Device);
            }
            _ => guest.silent(),
        }
    }
}

#[test]
fn cpu_writes_during_a_transfer() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.fill(LINEAR_VA, 64, KERNEL);
        guest.dma_map(PA, 64, TO);
        // What a device only reads may be read.
        guest.load(LINEAR_VA, 4, KERNEL);
        guest.silent();
        guest.store(LINEAR_VA + 40, 4, KERNEL);
        let found = guest.only(&[(OwnedTouch, ThisCore)]);
        let writer = cpu(LINEAR_VA + 40, KERNEL);
        names(&found, OwnedTouch, PA + 40, Party::Device, writer);
    }
}

#[test]
fn cpu_reads_during_a_receive() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.dma_map(PA, 64, FROM);
        guest.load(LINEAR_VA + 40, 4, KERNEL);
        let found = guest.only(&[(OwnedTouch, ThisCore)]);
        let victim = cpu(LINEAR_VA + 40, KERNEL);
        names(&found, OwnedTouch, PA + 40, victim, Party::Device);
    }
}

/// More than a copy's last word: two words, all of one, or a store.
#[test]
fn more_than_a_last_word() {
    for core in CORES {
        for (at, len, stores) in [
            (24, 8, false),
            (32, 4, false),
            (30, 1, false),
            (28, 4, true),
        ] {
            let mut guest = Guest::new(core);
            guest.dma_map(PA + 30, 34, FROM);
            if stores {
                guest.store(LINEAR_VA + at, len, KERNEL);
            } else {
                guest.load(LINEAR_VA + at, len, KERNEL);
            }
            let found = guest.found.iter().map(|it| it.hazard);
            assert!(found.collect::<Vec<_>>().contains(&OwnedTouch), "{at}");
        }
    }
}

#[test]
fn write_combined_data_not_drained() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.map(USER_VA, PA, MemoryType::WriteCombine);
        guest.device(Device::Coherent(buffer(4096)));
        guest.store(USER_VA + 4, 4, PROGRAM);
        // The CPU itself reads what it wrote.
        guest.load(USER_VA + 4, 4, PROGRAM);
        guest.silent();
        guest.device(Device::Reads(buffer(64)));
        let found = guest.only(&[(NotDrained, ThisCore)]);
        let writer = program_at(core, USER_VA + 4);
        names(&found, NotDrained, PA + 4, Party::Device, writer);
        guest.maintain(Maintenance::Drain);
        guest.device(Device::Reads(buffer(64)));
        if core.outer == Outer::Pl310 {
            let found = guest.only(&[(NotDrained, ThisCore)]);
            names(&found, NotDrained, PA + 4, Party::Device, writer);
            guest.maintain(Maintenance::OuterSync);
            guest.device(Device::Reads(buffer(64)));
        }
        guest.silent();
    }
}

#[test]
fn inner_clean_without_the_outer_one() {
    let mut guest = Guest::new(Core::CORTEX_A9);
    guest.fill(LINEAR_VA, 64, KERNEL);
    guest.data(Operation::Clean, LINEAR_VA);
    guest.data(Operation::Clean, LINEAR_VA + guest.line());
    guest.maintain(Maintenance::Drain);
    guest.device(Device::Reads(buffer(64)));
    let found = guest.only(&[(StaleRead, ThisCore)]);
    assert!(found[0].reason.contains("outer"), "{found:#?}");
    names(&found, StaleRead, PA, Party::Device, cpu(LINEAR_VA, KERNEL));
    guest.outer_range(Operation::Clean, PA, 64);
    guest.device(Device::Reads(buffer(64)));
    guest.silent();
    // The outer one alone does not do either.
    guest.fill(LINEAR_VA, 64, KERNEL);
    guest.outer_range(Operation::Clean, PA, 64);
    guest.device(Device::Reads(buffer(64)));
    guest.only(&[(StaleRead, ThisCore)]);
}

/// What instructions may see a device may not, where that is in an outer cache.
#[test]
fn cleaned_for_instructions_alone() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.read(LINEAR_VA, 64, KERNEL);
        guest.fill(LINEAR_VA, 64, KERNEL);
        guest.flush_icache(LINEAR_VA, 64);
        guest.run(LINEAR_VA, 4, KERNEL);
        guest.silent();
        guest.device(Device::Reads(buffer(64)));
        if core.outer != Outer::None {
            let found = guest.only(&[(StaleRead, ThisCore)]);
            names(&found, StaleRead, PA, Party::Device, cpu(LINEAR_VA, KERNEL));
            assert!(found[0].reason.contains("outer"), "{found:#?}");
        }
        guest.silent();
    }
}

/// A loop over the sets and ways of each level.
#[test]
fn one_level_cleaned_by_set_and_way() {
    let mut guest = Guest::new(Core::CORTEX_A15);
    guest.fill(LINEAR_VA, 64, KERNEL);
    guest.maintain(Maintenance::Data(Operation::Clean, Lines::All));
    guest.device(Device::Reads(buffer(64)));
    guest.only(&[(StaleRead, ThisCore)]);
    guest.maintain(Maintenance::OuterAll(Operation::Clean));
    guest.device(Device::Reads(buffer(64)));
    guest.silent();
    // The other way round does not do.
    guest.fill(LINEAR_VA, 64, KERNEL);
    guest.maintain(Maintenance::OuterAll(Operation::Clean));
    guest.maintain(Maintenance::Data(Operation::Clean, Lines::All));
    guest.device(Device::Reads(buffer(64)));
    guest.only(&[(StaleRead, ThisCore)]);
}

#[test]
fn a_sync_that_throws_a_store_away() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.dma_map(PA, 64, Direction::Bidirectional);
        guest.for_cpu(PA, 64, Direction::Bidirectional);
        guest.load(LINEAR_VA, 4, KERNEL);
        guest.store(LINEAR_VA, 4, KERNEL);
        // Linux invalidates, and the device may still read.
        guest.for_device(PA, 64, FROM);
        let found = guest.only(&[(LostWrite, ThisCore)]);
        names(&found, LostWrite, PA, Party::Device, cpu(LINEAR_VA, KERNEL));
    }
}

#[test]
fn more_is_read_than_the_device_wrote() {
    for core in CORES {
        let mut guest = Guest::new(core);
        // The first time that the device is seen, and the next.
        for written in [42, 10] {
            let (va, pa) = (LINEAR_VA + written, PA + written);
            guest.fill(LINEAR_VA, 64, PROGRAM);
            guest.flush(LINEAR_VA, 64);
            guest.dma_map(PA, 64, FROM);
            guest.device(Device::Writes(buffer(written)));
            guest.dma_unmap(PA, 64, FROM);
            // Its last word has something of it.
            guest.read(LINEAR_VA, written + 2, KERNEL);
            guest.silent();
            guest.load(va, 1, KERNEL);
            let found = guest.only(&[(UnwrittenRead, ThisCore)]);
            assert_eq!((found[0].pa, found[0].victim), (pa, cpu(va, KERNEL)));
            let lent = found[0].lent.unwrap();
            assert!(matches!(lent.holder, Holder::Unmapped(_)), "{found:#?}");
            guest.load(va + 2, 4, KERNEL);
            guest.only(&[(UnwrittenRead, ThisCore)]);
            // Of two words at once the second has nothing of it.
            guest.load(va - 2, 8, KERNEL);
            guest.only(&[(UnwrittenRead, ThisCore)]);
            guest.map(USER_VA, PA, MemoryType::StronglyOrdered);
            guest.load(USER_VA + 60, 4, PROGRAM);
            let found = guest.found.iter().map(|it| it.hazard);
            assert!(found.collect::<Vec<_>>().contains(&UnwrittenRead));
            guest.found.clear();
            guest.unmap(USER_VA);
            guest.dma_map(PA, 64, TO);
            guest.device(Device::Reads(buffer(64)));
            let found = guest.only(&[(UnwrittenRead, ThisCore)]);
            assert_eq!((found[0].pa, found[0].victim), (pa, Party::Device));
            guest.dma_unmap(PA, 64, TO);
        }
        // Who was there before is known where the device was seen before, and has written
        // nothing in the line.
        guest.load(LINEAR_VA + 40, 4, KERNEL);
        let found = guest.only(&[(UnwrittenRead, ThisCore)]);
        let writer = match guest.line() {
            ..=40 => cpu(LINEAR_VA + 40, PROGRAM),
            _ => Party::Nobody,
        };
        assert_eq!(found[0].writer, writer);
    }
}

/// A device, and what it may not touch: the reason says why.
#[test]
fn a_device_touches_what_it_does_not_have() {
    let range = |at, len| PhysicalRange { pa: PA + at, len };
    for core in CORES {
        let mut guest = Guest::new(core);
        let stray = |guest: &mut Guest, what, pa, reason| {
            guest.device(what);
            let found = guest.only(&[(StrayDma, ThisCore)]);
            assert_eq!((found[0].pa, found[0].victim), (pa, Party::Device));
            assert!(found[0].reason.contains(reason), "{found:#?}");
            found[0].lent
        };
        guest.dma_map(PA, 64, TO);
        guest.dma_map(PA + 64, 64, FROM);
        stray(&mut guest, Device::Writes(range(4, 4)), PA + 4, "not let");
        stray(&mut guest, Device::Reads(range(60, 8)), PA + 64, "not let");
        stray(
            &mut guest,
            Device::Writes(range(120, 9)),
            PA + 128,
            "beyond",
        );
        // Word by word, the first word says it.
        stray(
            &mut guest,
            Device::Writes(range(128, 4)),
            PA + 128,
            "beyond",
        );
        guest.dma_unmap(PA, 64, TO);
        guest.dma_unmap(PA + 64, 64, FROM);
        let lent = stray(&mut guest, Device::Reads(range(0, 4)), PA, "ended");
        assert!(matches!(lent.unwrap().holder, Holder::Unmapped(_)));
        let page = PhysicalRange {
            pa: PA + 0x1000,
            len: 4096,
        };
        guest.device(Device::Coherent(page));
        guest.device(Device::Reads(page));
        guest.silent();
        guest.device(Device::CoherentFreed(page));
        stray(&mut guest, Device::Writes(page), page.pa, "ended");
        // That of somebody else by now.
        guest.model.new_owner(page);
        guest.device(Device::Writes(page));
        guest.silent();
        guest.model.unmapped_is_stray();
        let lent = stray(&mut guest, Device::Reads(page), page.pa, "not mapped");
        assert_eq!(lent, None);
    }
}

/// Data in a line of which a device may write something, by whoever touches it meanwhile.
#[test]
fn data_beside_what_a_device_has() {
    for core in CORES {
        for direction in [FROM, BOTH] {
            let mut guest = Guest::new(core);
            guest.dma_map(PA + 8, 64, direction);
            guest.silent();
            let shown = if core.speculates { SomeCore } else { ThisCore };
            for (at, found_at) in [(4, 8), (72, 64)] {
                guest.load(LINEAR_VA + at, 4, KERNEL);
                let found = guest.only(&[(SharedLine, shown)]);
                assert_eq!(found[0].pa, PA + found_at);
                assert_eq!(found[0].victim, cpu(LINEAR_VA + at, KERNEL));
                assert!(matches!(found[0].lent.unwrap().holder, Holder::Device(_)));
            }
            guest.dma_unmap(PA + 8, 64, direction);
            guest.load(LINEAR_VA + 4, 4, KERNEL);
            guest.load(LINEAR_VA + 72, 4, KERNEL);
            assert!(guest.found.iter().all(|it| it.hazard != SharedLine));
        }
    }
}

/// A buffer on the stack is told when it is mapped.
#[test]
fn a_buffer_on_the_stack() {
    for core in CORES {
        let mut guest = Guest::new(core);
        for (at, len, found_at) in [(4, 60, 4), (64, 60, 123), (132, 4, 132)] {
            let range = PhysicalRange { pa: PA + at, len };
            guest.dma_map(range.pa, len, FROM);
            guest.silent();
            guest.device(Device::OnStack(range));
            let found = guest.only(&[(SharedLine, ThisCore)]);
            assert_eq!(found[0].pa, PA + found_at);
            assert!(found[0].reason.contains("stack"), "{found:#?}");
        }
    }
}

/// What a device touches after its mapping has ended is known of the mappings that ended last:
/// 1024, or as many as is said.
#[test]
fn what_is_remembered_of_mappings_that_ended() {
    for most in [None, Some(1), Some(3), Some(1025)] {
        let mut guest = Guest::new(Core::CORTEX_A9);
        if let Some(most) = most {
            guest.model.remember_at_most(most);
        }
        let page = |n| PhysicalRange {
            pa: PA + 4096 * n,
            len: 64,
        };
        for n in 0..1030 {
            guest.dma_map(page(n).pa, 64, TO);
            guest.dma_unmap(page(n).pa, 64, TO);
        }
        guest.silent();
        let first = 1030 - most.unwrap_or(1024) as u32;
        for n in [first, 1029] {
            guest.device(Device::Reads(page(n)));
            let found = guest.only(&[(StrayDma, ThisCore)]);
            assert!(found[0].reason.contains("ended"), "{found:#?}");
        }
        guest.device(Device::Reads(page(first - 1)));
        guest.silent();
    }
}

/// What the documentation says that it costs.
#[test]
fn what_an_entry_of_the_history_takes() {
    assert_eq!(Model::HISTORY_ENTRY, 48);
    let costs = |most| {
        let mut guest = Guest::new(Core::CORTEX_A9);
        guest.model.remember_at_most(most);
        for _ in 0..2 * most {
            guest.dma_map(PA, 64, TO);
            guest.dma_unmap(PA, 64, TO);
        }
        guest.model.cost().1
    };
    assert_eq!(
        costs(2048) - costs(1024),
        1024 * Model::HISTORY_ENTRY as u64
    );
}

/// A device that looks into the caches, and a view past them of its memory.
#[test]
fn uncached_view_of_what_a_device_snoops() {
    for core in CORES
        .into_iter()
        .filter(|core| core.indexing != Indexing::Virtual)
    {
        let mut guest = Guest::new(core);
        guest.device(Device::Of(1));
        guest.device(Device::Map(buffer(64), BOTH));
        guest.device(Device::Snoops(1));
        guest.map(USER_VA, PA, MemoryType::WriteCombine);
        for round in 0..2 {
            guest.read(LINEAR_VA, 32, KERNEL);
            guest.found.clear();
            guest.store(USER_VA, 4, PROGRAM);
            let found = guest.only(&[(TwoTypes, ThisCore)]);
            names(&found, TwoTypes, PA, cpu(USER_VA, PROGRAM), Party::Nobody);
            guest.maintain(Maintenance::Drain);
            guest.maintain(Maintenance::OuterSync);
            guest.device(Device::Reads(buffer(32)));
            let found = guest.only(&[(StaleRead, ThisCore)]);
            assert_eq!(found[0].victim, Party::Device, "{round}");
        }
        // What it writes may be in a cache.
        guest.device(Device::Writes(buffer(4)));
        guest.silent();
        guest.load(USER_VA, 4, PROGRAM);
        let found = guest.only(&[(TwoTypes, ThisCore), (StaleRead, ThisCore)]);
        let read = found.iter().find(|it| it.hazard == StaleRead).unwrap();
        assert_eq!(read.writer, Party::Device);
    }
}

/// Of a mapping that its driver syncs, the call that takes it back tells that nothing gave it.
#[test]
fn a_driver_that_forgets_to_sync() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.device(Device::MapUnsynced(buffer(128), FROM));
        guest.for_cpu(PA, 128, FROM);
        let found = guest.only(&[(WrongSync, ThisCore)]);
        assert!(found[0].reason.contains("no sync has"), "{found:#?}");
        guest.device(Device::UnmapBegins(buffer(128), FROM));
        guest.only(&[(WrongSync, ThisCore)]);
        guest.for_device(PA, 64, FROM);
        guest.for_cpu(PA, 64, FROM);
        guest.dma_unmap(PA, 128, FROM);
        guest.silent();
    }
}

/// Which mappings may not be there at once, and where they meet.
#[test]
fn two_mappings_of_one_buffer() {
    for core in CORES {
        for (first, second) in [(FROM, TO), (TO, FROM), (FROM, FROM), (BOTH, TO)] {
            for (at, len, meet) in [(0, 64, 0), (32, 8, 32), (50, 100, 50), (72, 64, 64)] {
                let mut guest = Guest::new(core);
                guest.device(Device::Map(buffer(70), first));
                guest.silent();
                let range = PhysicalRange { pa: PA + at, len };
                guest.device(Device::Map(range, second));
                let found = guest.only(&[(TwoMappings, ThisCore)]);
                assert_eq!(found[0].pa, PA + meet);
                assert!(found[0].lent.is_some(), "{found:#?}");
            }
        }
        // By bytes, whoever sees to the lines.
        let mut guest = Guest::new(core);
        guest.device(Device::MapSharingLines(buffer(70), FROM));
        guest.device(Device::MapSharingLines(buffer(70), FROM));
        guest.only(&[(TwoMappings, ThisCore)]);
    }
}

#[test]
fn mappings_that_are_left() {
    for core in CORES {
        let page = PhysicalRange {
            pa: PA & !0xfff,
            len: 4096,
        };
        let mut guest = Guest::new(core);
        guest.device(Device::Of(1));
        guest.dma_map(PA + 64, 64, TO);
        guest.device(Device::Of(2));
        guest.dma_map(PA + 128, 64, TO);
        // An object, of which one byte is known, and its page; each mapping once.
        let object = PhysicalRange {
            pa: PA + 64,
            len: 1,
        };
        for (freed, left) in [(object, 64), (page, 128)] {
            guest.device(Device::Freed(freed));
            let found = guest.only(&[(NeverUnmapped, ThisCore)]);
            assert_eq!(found.len(), 1, "{found:#?}");
            assert_eq!(found[0].pa, PA + left);
            assert!(found[0].lent.is_some(), "{found:#?}");
        }
        guest.device(Device::Freed(page));
        guest.silent();
        guest.device(Device::DriverGone(2));
        let found = guest.only(&[(NeverUnmapped, ThisCore)]);
        assert_eq!((found.len(), found[0].pa), (1, PA + 128));
        // It has none of the memory any more.
        guest.store(LINEAR_VA + 128, 4, KERNEL);
        guest.device(Device::DriverGone(2));
        guest.silent();
        guest.store(LINEAR_VA + 64, 4, KERNEL);
        guest.only(&[(OwnedTouch, ThisCore)]);
    }
}

#[test]
fn a_sync_of_what_the_cpu_has() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.dma_map(PA, 128, FROM);
        guest.for_cpu(PA, 64, FROM);
        // A part of it is the device's.
        guest.for_cpu(PA, 128, FROM);
        guest.silent();
        guest.for_cpu(PA, 64, FROM);
        let found = guest.only(&[(WrongSync, ThisCore)]);
        assert!(found[0].reason.contains("CPU has this"), "{found:#?}");
        guest.dma_unmap(PA, 128, FROM);
        guest.silent();
    }
}

#[test]
fn a_list_with_another_number_of_entries() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.dma_map(PA, 64, TO);
        guest.device(Device::WrongCount(buffer(64)));
        let found = guest.only(&[(WrongSync, ThisCore)]);
        assert!(found[0].lent.is_some(), "{found:#?}");
    }
}

/// The device has failed, and so what was in the cache is in no place any more.
#[test]
fn a_copy_that_fails_loses_what_was_dirty() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.dma_map(PA, 64, FROM);
        guest.device(Device::Writes(buffer(64)));
        guest.dma_unmap(PA, 64, FROM);
        guest.read(LINEAR_VA, 64, KERNEL);
        guest.fill(LINEAR_VA, 64, KERNEL);
        guest.dma_map(PA, 64, FROM);
        guest.dma_unmap(PA, 64, FROM);
        guest.silent();
        guest.load(LINEAR_VA, 4, KERNEL);
        let found = guest.only(&[(LostWrite, ThisCore)]);
        assert_eq!(found[0].writer, cpu(LINEAR_VA, KERNEL));
    }
}

#[test]
fn sync_in_the_wrong_direction() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.dma_map(PA, 64, FROM);
        guest.for_cpu(PA, 64, TO);
        let found = guest.only(&[(WrongSync, ThisCore)]);
        names(&found, WrongSync, PA, cpu(0, common::KERNEL), Party::Nobody);
        guest.load(LINEAR_VA, 4, KERNEL);
        if core.speculates {
            // So nothing was invalidated.
            let found = guest.only(&[(StaleRead, ThisCore)]);
            names(&found, StaleRead, PA, cpu(LINEAR_VA, KERNEL), Party::Device);
        }
        guest.silent();

        let mut guest = Guest::new(core);
        guest.device(Device::Map(buffer(64), TO));
        guest.device(Device::Owns(buffer(64), TO));
        guest.device(Device::Returns(buffer(64), TO));
        guest.device(Device::Owns(buffer(64), FROM));
        guest.only(&[(WrongSync, ThisCore)]);
    }
}

/// A bidirectional mapping takes each direction. What the device writes after it
/// was given the buffer to read may be hidden by the lines that were left.
#[test]
fn given_to_read_and_taken_back_as_written() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.dma_map(PA, 64, Direction::Bidirectional);
        guest.for_cpu(PA, 64, Direction::Bidirectional);
        guest.read(LINEAR_VA, 64, KERNEL);
        guest.for_device(PA, 64, TO);
        guest.for_cpu(PA, 64, FROM);
        guest.load(LINEAR_VA, 4, KERNEL);
        if guest.is_virtual() {
            let found = guest.only(&[(StaleRead, ThisCore)]);
            names(&found, StaleRead, PA, cpu(LINEAR_VA, KERNEL), Party::Device);
        }
        guest.silent();
    }
}

#[test]
fn sync_of_what_is_not_mapped() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.for_cpu(PA, 64, FROM);
        guest.only(&[(WrongSync, ThisCore)]);
        guest.dma_map(PA, 64, FROM);
        guest.for_cpu(PA + 32, 64, FROM);
        guest.only(&[(WrongSync, ThisCore)]);
        guest.dma_unmap(PA, 32, FROM);
        guest.only(&[(WrongSync, ThisCore)]);
    }
}

#[test]
fn sync_too_short_by_one_line() {
    for core in CORES {
        // For the device: the last line is not cleaned.
        let mut guest = Guest::new(core);
        let last = 128 - guest.line();
        guest.read(LINEAR_VA, 128, KERNEL);
        guest.dma_map(PA, 128, TO);
        guest.for_cpu(PA, 128, TO);
        guest.fill(LINEAR_VA, 128, KERNEL);
        guest.for_device(PA, last, TO);
        guest.silent();
        guest.device(Device::Reads(buffer(128)));
        let found = guest.only(&[(StaleRead, ThisCore)]);
        let writer = cpu(LINEAR_VA + last, KERNEL);
        names(&found, StaleRead, PA + last, Party::Device, writer);

        // For the CPU: the device still owns the last line.
        let mut guest = Guest::new(core);
        guest.dma_map(PA, 128, FROM);
        guest.for_cpu(PA, last, FROM);
        guest.read(LINEAR_VA, last, KERNEL);
        guest.silent();
        guest.load(LINEAR_VA + last, 4, KERNEL);
        let found = guest.only(&[(OwnedTouch, ThisCore)]);
        let victim = cpu(LINEAR_VA + last, KERNEL);
        names(&found, OwnedTouch, PA + last, victim, Party::Device);
    }
}

#[test]
fn zeroed_through_the_cached_address_and_mapped_uncached() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.read(LINEAR_VA, 64, KERNEL);
        guest.fill(LINEAR_VA, 64, KERNEL);
        guest.map(USER_VA, PA, MemoryType::WriteCombine);
        guest.load(USER_VA, 4, PROGRAM);
        let found = guest.only(&[(StaleRead, ThisCore)]);
        names(
            &found,
            StaleRead,
            PA,
            cpu(USER_VA, PROGRAM),
            cpu(LINEAR_VA, KERNEL),
        );
        // A line of zeroes may still be written over what the program stores.
        guest.store(USER_VA + 4, 4, PROGRAM);
        guest.load(USER_VA + 4, 4, PROGRAM);
        let found = guest.only(&[(LostWrite, ThisCore)]);
        let victim = cpu(USER_VA + 4, PROGRAM);
        let writer = program_at(core, USER_VA + 4);
        names(&found, LostWrite, PA + 4, victim, writer);
    }
}

#[test]
fn write_combined_and_cached_mappings_of_one_page() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.map(USER_VA, PA, MemoryType::WriteCombine);
        guest.map(USER_VA + 0x1000, PA, MemoryType::WriteBack);
        guest.load(USER_VA, 4, PROGRAM);
        guest.silent();
        guest.load(USER_VA + 0x1004, 4, KERNEL);
        let found = guest.only(&[(TwoTypes, ThisCore)]);
        let victim = cpu(USER_VA + 0x1004, KERNEL);
        names(&found, TwoTypes, PA + 4, victim, Party::Nobody);
    }
}

#[test]
fn code_written_and_run_without_maintenance() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.read(LINEAR_VA, 32, KERNEL);
        guest.fill(LINEAR_VA, 32, KERNEL);
        guest.run(LINEAR_VA, 8, PROGRAM);
        let found = guest.only(&[(StaleInstruction, ThisCore)]);
        let victim = cpu(LINEAR_VA, PROGRAM);
        names(&found, StaleInstruction, PA, victim, cpu(LINEAR_VA, KERNEL));

        // Once run, it may be in the instruction cache.
        let mut guest = Guest::new(core);
        guest.run(LINEAR_VA, 8, PROGRAM);
        guest.fill(LINEAR_VA, 8, KERNEL);
        guest.flush(LINEAR_VA, 32);
        // What was not written may run: code and data share a line.
        guest.run(LINEAR_VA + 8, 8, PROGRAM);
        guest.silent();
        guest.run(LINEAR_VA, 8, PROGRAM);
        let found = guest.only(&[(StaleInstruction, ThisCore)]);
        assert_eq!(found[0].victim, victim);
        guest.flush_icache(LINEAR_VA, 32);
        guest.run(LINEAR_VA, 8, PROGRAM);
        guest.silent();
    }
}

#[test]
fn stores_invalidated_before_they_were_written_back() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.read(LINEAR_VA, 32, KERNEL);
        guest.fill(LINEAR_VA, 32, KERNEL);
        guest.data(Operation::Invalidate, LINEAR_VA);
        guest.silent();
        guest.load(LINEAR_VA, 4, KERNEL);
        let found = guest.only(&[(LostWrite, ThisCore)]);
        assert!(found[0].reason.contains("invalidated"), "{found:#?}");
        let victim = cpu(LINEAR_VA, KERNEL);
        assert_eq!((found[0].pa, found[0].victim), (PA, victim));
        // A later store heals.
        guest.store(LINEAR_VA, 4, KERNEL);
        guest.load(LINEAR_VA, 4, KERNEL);
        guest.silent();
    }
}

#[test]
fn an_old_line_under_a_virtual_address_that_maps_something_else() {
    let mut guest = Guest::new(Core::ARM926);
    guest.map(USER_VA, PA, MemoryType::WriteBack);
    guest.load(USER_VA, 4, PROGRAM);
    guest.unmap(USER_VA);
    guest.map(USER_VA, PA + 0x1000, MemoryType::WriteBack);
    guest.load(USER_VA + 4, 4, PROGRAM);
    let found = guest.only(&[(StaleRead, ThisCore)]);
    names(
        &found,
        StaleRead,
        PA + 0x1004,
        cpu(USER_VA + 4, PROGRAM),
        Party::Nobody,
    );
    guest.store(USER_VA, 4, PROGRAM);
    guest.silent();
    guest.map(USER_VA, PA, MemoryType::WriteBack);
    guest.store(USER_VA, 4, KERNEL);
    let found = guest.only(&[(LostWrite, ThisCore)]);
    names(
        &found,
        LostWrite,
        PA,
        cpu(USER_VA, KERNEL),
        cpu(USER_VA, KERNEL),
    );
}
