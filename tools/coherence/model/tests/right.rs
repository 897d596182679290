// SPDX-License-Identifier: MIT OR Apache-2.0
//! Right sequences, as the kernel and good drivers do them. Nothing may be found.

mod common;

use coherence_model::cores::{Core, CORES};
use coherence_model::events::{
    Device, Direction, Lines, Maintenance, Mapping, MemoryType, Operation, PhysicalRange, Site,
};
use common::{Guest, KERNEL, LINEAR};

const PROGRAM: Site = Site(0x200);
const PA: u32 = 0x0030_0000;
const LINEAR_VA: u32 = LINEAR + PA;
/// Of the colour of `PA`, and of the other one.
const USER_VA: u32 = 0x4000_0000;
const OTHER_VA: u32 = 0x5000_1000;
/// Memory beyond the linear mapping.
const HIGHMEM: u32 = 0x0200_0000;

const TO: Direction = Direction::ToDevice;
const FROM: Direction = Direction::FromDevice;
const BOTH: Direction = Direction::Bidirectional;

#[test]
fn dma_map_and_unmap() {
    for core in CORES {
        let mut guest = Guest::new(core);
        for round in 0..3 {
            guest.read(LINEAR_VA, 256, KERNEL);
            guest.fill(LINEAR_VA, 256, KERNEL);
            guest.dma_map(PA, 256, TO);
            // A device that only reads leaves the CPU free to read.
            guest.read(LINEAR_VA, 256, KERNEL);
            guest.device(Device::Reads(PhysicalRange { pa: PA, len: 256 }));
            guest.dma_unmap(PA, 256, TO);
            guest.dma_map(PA, 256, FROM);
            guest.device(Device::Writes(PhysicalRange { pa: PA, len: 256 }));
            guest.dma_unmap(PA, 256, FROM);
            guest.read(LINEAR_VA, 256, KERNEL);
            guest.fill(LINEAR_VA, 256, KERNEL);
            guest.dma_map(PA, 256, BOTH);
            guest.dma_unmap(PA, 256, BOTH);
            guest.read(LINEAR_VA, 256, KERNEL);
            guest.silent();
            if round == 0 {
                let all = Maintenance::Data(Operation::CleanInvalidate, Lines::All);
                guest.maintain(all);
            }
        }
    }
}

/// Of a packet that is shorter than its buffer nobody reads more than the packet, but
/// for the rest of its last word.
#[test]
fn what_the_device_wrote_is_read() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.read(LINEAR_VA, 256, KERNEL);
        guest.fill(LINEAR_VA, 256, KERNEL);
        guest.dma_map(PA, 256, FROM);
        for (at, len) in [(0, 30), (64, 11)] {
            let pa = PA + at;
            guest.device(Device::Writes(PhysicalRange { pa, len }));
            guest.for_cpu(pa, 64, FROM);
            guest.read(LINEAR_VA + at, len, KERNEL);
            guest.fill(LINEAR_VA + at + len + 1, 8, KERNEL);
            guest.read(LINEAR_VA + at, len + 8, KERNEL);
            guest.for_device(pa, 64, FROM);
        }
        // The whole of it the next time, in pieces.
        for at in [128, 0, 192, 64] {
            let part = PhysicalRange {
                pa: PA + at,
                len: 64,
            };
            guest.device(Device::Writes(part));
        }
        guest.dma_unmap(PA, 256, FROM);
        guest.read(LINEAR_VA, 256, KERNEL);
        // What the device may read too has what was there before.
        guest.dma_map(PA, 256, BOTH);
        guest.device(Device::Writes(PhysicalRange { pa: PA, len: 8 }));
        guest.dma_unmap(PA, 256, BOTH);
        guest.read(LINEAR_VA, 256, KERNEL);
        // Who has the memory next writes there first, or does not care.
        guest.dma_map(PA, 256, FROM);
        guest.dma_unmap(PA, 256, FROM);
        let page = PhysicalRange { pa: PA, len: 4096 };
        guest.model.new_owner(page);
        guest.read(LINEAR_VA, 256, KERNEL);
        guest.silent();
    }
}

/// A transfer over two mappings that are neighbours, and coherent memory after them.
#[test]
fn a_device_in_all_that_it_has() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.model.unmapped_is_stray();
        guest.device(Device::Coherent(PhysicalRange {
            pa: PA + 4096,
            len: 4096,
        }));
        for direction in [FROM, TO] {
            let part = PhysicalRange { pa: PA, len: 2048 };
            guest.device(Device::MapUnsynced(part, direction));
            guest.device(Device::Owns(part, direction));
        }
        guest.dma_map(PA + 2048, 2048, BOTH);
        let all = PhysicalRange { pa: PA, len: 8192 };
        guest.device(Device::Writes(all));
        guest.device(Device::Reads(all));
        guest.silent();
    }
}

#[test]
fn mappings_that_may_be_there_at_once() {
    let range = |at, len| PhysicalRange { pa: PA + at, len };
    for core in CORES {
        let mut guest = Guest::new(core);
        // Read only, or lines apart.
        guest.device(Device::Map(range(0, 70), TO));
        guest.device(Device::Map(range(8, 70), TO));
        guest.device(Device::Map(range(128, 8), FROM));
        // Their driver sees to it, or says so.
        for device in 0..2 {
            guest.device(Device::Of(device));
            guest.device(Device::MapUnsynced(range(0, 256), BOTH));
        }
        guest.device(Device::MapEntry(range(136, 8), FROM));
        guest.device(Device::MapSharingLines(range(144, 8), FROM));
        // One after the other.
        guest.device(Device::Unmap(range(128, 8), FROM));
        guest.device(Device::Map(range(128, 8), BOTH));
        guest.silent();
    }
}

/// A device that has mapped the same memory twice, as a buffer that two of its programs
/// import is: a sync of either mapping may be taken for one of the other.
#[test]
fn syncs_of_memory_that_is_mapped_twice() {
    let all = PhysicalRange { pa: PA, len: 512 };
    for core in CORES {
        let mut guest = Guest::new(core);
        for _ in 0..2 {
            guest.device(Device::MapUnsynced(all, BOTH));
        }
        for _ in 0..2 {
            guest.for_device(PA, 512, BOTH);
        }
        for _ in 0..2 {
            guest.for_cpu(PA, 512, BOTH);
        }
        guest.device(Device::Unmap(all, BOTH));
        // What was synced is what remains, as far as anybody can tell.
        guest.for_cpu(PA, 512, BOTH);
        guest.silent();
    }
}

/// A device that looks into the caches needs no maintenance.
#[test]
fn a_device_that_snoops() {
    let buffer = PhysicalRange { pa: PA, len: 256 };
    for core in CORES.into_iter().filter(|core| *core != Core::ARM926) {
        let mut guest = Guest::new(core);
        guest.device(Device::Of(1));
        for map in [Device::Map, Device::MapUnsynced, Device::Map] {
            guest.read(LINEAR_VA, 256, KERNEL);
            guest.fill(LINEAR_VA, 256, KERNEL);
            guest.device(map(buffer, BOTH));
            guest.device(Device::Snoops(1));
            for _ in 0..2 {
                guest.device(Device::Reads(buffer));
                guest.device(Device::Writes(buffer));
                guest.read(LINEAR_VA, 256, KERNEL);
                guest.fill(LINEAR_VA, 256, KERNEL);
            }
            guest.device(Device::Reads(buffer));
            guest.device(Device::Unmap(buffer, BOTH));
            guest.read(LINEAR_VA, 256, KERNEL);
            guest.silent();
        }
        guest.device(Device::CoherentCached(buffer));
        for _ in 0..2 {
            guest.fill(LINEAR_VA, 256, KERNEL);
            guest.device(Device::Reads(buffer));
            guest.device(Device::Writes(buffer));
            guest.read(LINEAR_VA, 256, KERNEL);
        }
        guest.device(Device::CoherentFreed(buffer));
        guest.silent();
    }
}

/// Other data in lines of a mapping, where no device can be harmed by it.
#[test]
fn neighbours_of_what_devices_have() {
    for core in CORES {
        let mut guest = Guest::new(core);
        let range = |at, len| PhysicalRange { pa: PA + at, len };
        // Each bytes from 40 to 70 of its own 128.
        for (at, direction) in [(0, TO), (128, FROM), (256, BOTH), (384, FROM)] {
            let buffer = range(at + 40, 30);
            match at {
                // The device only reads.
                0 => guest.dma_map(buffer.pa, 30, direction),
                // The CPU has it back.
                128 => {
                    guest.dma_map(buffer.pa, 30, direction);
                    guest.for_cpu(buffer.pa, 30, direction);
                }
                // The driver says so, and nobody gave it away.
                256 => guest.device(Device::MapSharingLines(buffer, direction)),
                _ => guest.device(Device::MapUnsynced(buffer, direction)),
            }
            guest.read(LINEAR_VA + at, 40, KERNEL);
            guest.load(LINEAR_VA + at + 72, 4, KERNEL);
            guest.silent();
        }
        guest.device(Device::OnStack(range(40, 30)));
        guest.device(Device::OnStack(range(256 + 40, 30)));
        // One that fills its lines, and the entries of a list that do together.
        guest.dma_map(PA + 512, 64, FROM);
        guest.device(Device::OnStack(range(512, 64)));
        guest.read(LINEAR_VA + 480, 32, KERNEL);
        guest.read(LINEAR_VA + 576, 32, KERNEL);
        guest.device(Device::MapEntry(range(1024, 40), FROM));
        guest.device(Device::MapEntry(range(1064, 24), FROM));
        guest.device(Device::OnStack(range(1024, 40)));
        guest.device(Device::OnStack(range(1064, 24)));
        guest.silent();
    }
}

/// The driver of a device that looks into the caches need not unmap.
#[test]
fn what_is_not_unmapped_by_a_device_that_snoops() {
    let buffer = PhysicalRange { pa: PA, len: 256 };
    for core in CORES.into_iter().filter(|core| *core != Core::ARM926) {
        let mut guest = Guest::new(core);
        guest.device(Device::Of(1));
        guest.device(Device::Snoops(1));
        for device in [1, 1, 2] {
            guest.device(Device::Of(device));
            guest.device(Device::Map(buffer, FROM));
            guest.silent();
        }
        guest.dma_unmap(PA, 256, FROM);
        guest.device(Device::Freed(buffer));
        guest.device(Device::DriverGone(1));
        guest.silent();
    }
}

/// A buffer that a device which looks into the caches has too, each time for another one
/// that does not.
#[test]
fn two_devices_of_which_one_snoops() {
    let buffer = PhysicalRange { pa: PA, len: 256 };
    for core in CORES.into_iter().filter(|core| *core != Core::ARM926) {
        let mut guest = Guest::new(core);
        for (device, snoops) in [(1, true), (2, false)] {
            guest.device(Device::Of(device));
            guest.device(Device::MapUnsynced(buffer, BOTH));
            if snoops {
                guest.device(Device::Snoops(device));
            }
        }
        for _ in 0..2 {
            guest.fill(LINEAR_VA, 256, KERNEL);
            guest.device(Device::Reads(buffer));
            guest.device(Device::Of(2));
            guest.for_device(PA, 256, BOTH);
            guest.device(Device::Reads(buffer));
            guest.device(Device::Writes(buffer));
            guest.for_cpu(PA, 256, BOTH);
            guest.read(LINEAR_VA, 256, KERNEL);
            guest.fill(LINEAR_VA, 128, KERNEL);
            guest.device(Device::Of(1));
            guest.device(Device::Reads(buffer));
            guest.device(Device::Writes(buffer));
            guest.read(LINEAR_VA, 256, KERNEL);
        }
        guest.silent();
    }
}

/// Freed is what nobody has mapped any more, and the neighbours'.
#[test]
fn memory_freed_after_its_mapping() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.dma_map(PA, 64, FROM);
        guest.dma_map(PA + 4096, 64, FROM);
        guest.dma_unmap(PA, 64, FROM);
        guest.device(Device::Freed(PhysicalRange { pa: PA, len: 4096 }));
        guest.dma_unmap(PA + 4096, 64, FROM);
        guest.device(Device::DriverGone(0));
        guest.silent();
    }
}

/// A copy loads its last word whole, of which the device has the rest.
#[test]
fn a_copys_last_word() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.fill(LINEAR_VA, 64, KERNEL);
        guest.dma_map(PA + 30, 100, FROM);
        guest.load(LINEAR_VA + 28, 4, KERNEL);
        // Across two lines too.
        guest.dma_map(PA + 200, 24, FROM);
        guest.load(LINEAR_VA + 222, 4, KERNEL);
        guest.silent();
    }
}

/// Which of two devices it was that wrote nobody knows.
#[test]
fn a_device_that_shares_a_buffer_is_not_seen() {
    const ALL: PhysicalRange = PhysicalRange { pa: PA, len: 128 };
    for core in CORES {
        let mut guest = Guest::new(core);
        for device in [1, 2] {
            guest.device(Device::Of(device));
            guest.device(Device::MapUnsynced(ALL, FROM));
            guest.for_device(ALL.pa, ALL.len, FROM);
        }
        guest.device(Device::Writes(ALL));
        for _ in [2, 1] {
            guest.device(Device::Unmap(ALL, FROM));
            guest.device(Device::Of(1));
        }
        guest.dma_map(ALL.pa, ALL.len, FROM);
        guest.dma_unmap(ALL.pa, ALL.len, FROM);
        guest.read(LINEAR_VA, ALL.len, KERNEL);
        guest.silent();
    }
}

#[test]
fn sync_pairs_by_range() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.dma_map(PA, 4096, FROM);
        for at in (0..4096).step_by(512) {
            guest.for_cpu(PA + at, 512, FROM);
            guest.read(LINEAR_VA + at, 512, KERNEL);
            guest.for_device(PA + at, 512, FROM);
        }
        guest.dma_unmap(PA, 4096, FROM);
        guest.read(LINEAR_VA, 4096, KERNEL);
        guest.silent();

        // A bidirectional mapping is synced with the direction of each pass.
        guest.dma_map(PA, 4096, BOTH);
        guest.for_cpu(PA, 256, BOTH);
        guest.fill(LINEAR_VA, 256, KERNEL);
        guest.for_device(PA, 256, TO);
        guest.for_cpu(PA, 256, TO);
        guest.for_device(PA, 256, FROM);
        guest.for_cpu(PA, 256, FROM);
        guest.read(LINEAR_VA, 256, KERNEL);
        guest.for_device(PA, 256, BOTH);
        guest.dma_unmap(PA, 4096, BOTH);
        guest.silent();
    }
}

#[test]
fn maps_smaller_than_a_line_and_several_at_once() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.fill(LINEAR_VA, 64, KERNEL);
        guest.dma_map(PA, 4, TO);
        guest.dma_map(PA, 4, TO);
        guest.dma_map(PA + 4, 8, TO);
        // A neighbour of what is only read is free.
        guest.store(LINEAR_VA + 16, 4, KERNEL);
        guest.dma_unmap(PA, 4, TO);
        guest.device(Device::Reads(PhysicalRange { pa: PA, len: 12 }));
        guest.dma_unmap(PA, 4, TO);
        guest.store(LINEAR_VA, 4, KERNEL);
        guest.dma_unmap(PA + 4, 8, TO);
        guest.dma_map(PA, 4, FROM);
        guest.device(Device::Writes(PhysicalRange { pa: PA, len: 4 }));
        guest.dma_unmap(PA, 4, FROM);
        guest.read(LINEAR_VA, 64, KERNEL);
        guest.silent();
    }
}

/// `dma_alloc_coherent`: zeroed through the linear mapping, flushed, then only
/// used through a mapping that is not cached; freed, and somebody else's.
#[test]
fn coherent_memory() {
    for core in CORES {
        let uncached = if guest_is_armv5(core) {
            MemoryType::StronglyOrdered
        } else {
            MemoryType::WriteCombine
        };
        let mut guest = Guest::new(core);
        for _ in 0..2 {
            guest.read(LINEAR_VA, 4096, KERNEL);
            guest.fill(LINEAR_VA, 4096, KERNEL);
            guest.flush(LINEAR_VA, 4096);
            guest.map(OTHER_VA, PA, uncached);
            guest.device(Device::Coherent(PhysicalRange { pa: PA, len: 4096 }));
            guest.read(OTHER_VA, 4096, KERNEL);
            guest.fill(OTHER_VA, 128, KERNEL);
            guest.maintain(Maintenance::Drain);
            guest.maintain(Maintenance::OuterSync);
            guest.device(Device::Reads(PhysicalRange { pa: PA, len: 128 }));
            guest.device(Device::Writes(PhysicalRange { pa: PA, len: 64 }));
            guest.read(OTHER_VA, 4096, KERNEL);
            guest.device(Device::CoherentFreed(PhysicalRange { pa: PA, len: 4096 }));
            // The translation stays for a while: vunmap flushes the TLB later.
            guest.store(LINEAR_VA + 8, 4, KERNEL);
            guest.read(LINEAR_VA, 4096, KERNEL);
            guest.unmap(OTHER_VA);
            guest.silent();
        }
    }
}

fn guest_is_armv5(core: Core) -> bool {
    core == Core::ARM926
}

/// Zeroed through the cached address, flushed, and used uncached from then on.
#[test]
fn zeroed_cached_flushed_and_used_uncached() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.read(LINEAR_VA, 4096, KERNEL);
        guest.fill(LINEAR_VA, 4096, KERNEL);
        guest.flush(LINEAR_VA, 4096);
        guest.map(USER_VA, PA, MemoryType::StronglyOrdered);
        guest.read(USER_VA, 4096, PROGRAM);
        guest.fill(USER_VA, 4096, PROGRAM);
        guest.read(USER_VA, 4096, PROGRAM);
        guest.silent();
    }
}

/// Given back: the uncached mapping goes, then what caches have of the page.
#[test]
fn uncached_and_then_cached_again() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.map(USER_VA, PA, MemoryType::StronglyOrdered);
        guest.fill(USER_VA, 4096, PROGRAM);
        guest.unmap(USER_VA);
        guest.flush(LINEAR_VA, 4096);
        guest.read(LINEAR_VA, 4096, KERNEL);
        guest.silent();
    }
}

/// `kmap_local_page`: short mappings of pages outside the linear one.
#[test]
fn highmem() {
    for core in CORES {
        let mut guest = Guest::new(core);
        for round in 0..4 {
            let page = HIGHMEM + ((round % 2) << 12);
            guest.map(OTHER_VA, page, MemoryType::WriteBack);
            guest.read(OTHER_VA, 4096, KERNEL);
            guest.fill(OTHER_VA, 4096, KERNEL);
            if guest.is_virtual() {
                // `kunmap_local` flushes on VIVT.
                guest.flush(OTHER_VA, 4096);
            }
            guest.unmap(OTHER_VA);
        }
        guest.silent();
    }
}

/// `vmap`, `flush_kernel_vmap_range`, DMA by the pages, and
/// `invalidate_kernel_vmap_range` (Documentation/core-api/cachetlb.rst).
#[test]
fn vmap_with_its_flushes() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.map(OTHER_VA, PA, MemoryType::WriteBack);
        guest.flush(LINEAR_VA, 4096);
        guest.fill(OTHER_VA, 4096, KERNEL);
        guest.read(OTHER_VA, 4096, KERNEL);
        guest.flush(OTHER_VA, 4096);
        guest.dma_map(PA, 4096, TO);
        guest.dma_unmap(PA, 4096, TO);
        guest.flush(OTHER_VA, 4096);
        guest.dma_map(PA, 4096, FROM);
        guest.dma_unmap(PA, 4096, FROM);
        for line in (0..4096).step_by(guest.line() as usize) {
            guest.data(Operation::Invalidate, OTHER_VA + line);
        }
        guest.read(OTHER_VA, 4096, KERNEL);
        guest.silent();
    }
}

/// Copy on write: the kernel copies the parent's page by addresses of its own,
/// and the child's address maps the copy from then on.
#[test]
fn fork() {
    for core in CORES {
        let mut guest = Guest::new(core);
        let copy = PA + 0x1000;
        guest.map(USER_VA, PA, MemoryType::WriteBack);
        guest.read(USER_VA, 4096, PROGRAM);
        guest.fill(USER_VA, 4096, PROGRAM);
        // `flush_cache_page`, then `copy_user_highpage`.
        guest.flush(USER_VA, 4096);
        for at in (0..4096).step_by(4) {
            guest.load(LINEAR_VA + at, 4, KERNEL);
            guest.store(LINEAR + copy + at, 4, KERNEL);
        }
        // `flush_dcache_page`, before the program sees it.
        guest.flush(LINEAR + copy, 4096);
        guest.flush(LINEAR_VA, 4096);
        guest.unmap(USER_VA);
        guest.map(USER_VA, copy, MemoryType::WriteBack);
        guest.read(USER_VA, 4096, PROGRAM);
        guest.fill(USER_VA, 4096, PROGRAM);
        guest.silent();
    }
}

/// A buffer's own device and an importer's have mappings that overlap: each sync is of the mapping of
/// its device.
#[test]
fn mappings_of_two_devices() {
    const ALL: PhysicalRange = PhysicalRange { pa: PA, len: 128 };
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.device(Device::Of(1));
        guest.device(Device::MapUnsynced(ALL, BOTH));
        guest.device(Device::Of(2));
        guest.device(Device::MapUnsynced(ALL, BOTH));
        // The importer's device has all, and then the buffer's a part of it too.
        guest.for_device(ALL.pa, ALL.len, BOTH);
        guest.device(Device::Of(1));
        guest.for_device(PA, 64, BOTH);
        guest.for_cpu(PA, 32, BOTH);
        guest.for_cpu(PA + 32, 32, BOTH);
        guest.device(Device::Of(2));
        guest.for_cpu(ALL.pa, ALL.len, BOTH);
        guest.read(LINEAR_VA, 128, KERNEL);
        guest.fill(LINEAR_VA, 128, KERNEL);
        guest.device(Device::Unmap(ALL, BOTH));
        guest.silent();
    }
}

/// A page of a file: a device fills it, a program maps it shared and stores, the
/// kernel reads it for write(2), a device writes it out.
#[test]
fn page_cache() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.dma_map(PA, 4096, FROM);
        guest.dma_unmap(PA, 4096, FROM);
        guest.read(LINEAR_VA, 4096, KERNEL);
        // `flush_dcache_page`.
        guest.flush(LINEAR_VA, 4096);
        guest.map(OTHER_VA, PA, MemoryType::WriteBack);
        guest.read(OTHER_VA, 4096, PROGRAM);
        guest.fill(OTHER_VA, 4096, PROGRAM);
        guest.flush(OTHER_VA, 4096);
        guest.flush(LINEAR_VA, 4096);
        guest.read(LINEAR_VA, 4096, KERNEL);
        guest.dma_map(PA, 4096, TO);
        guest.dma_unmap(PA, 4096, TO);
        guest.silent();
    }
}

/// VIVT: the same virtual address is another page in another process. The
/// kernel flushes the whole cache between them.
#[test]
fn context_switches() {
    let mut guest = Guest::new(Core::ARM926);
    for round in 0..100 {
        let page = PA + ((round % 3) << 12);
        guest.map(USER_VA, page, MemoryType::WriteBack);
        guest.read(USER_VA, 4096, PROGRAM);
        guest.fill(USER_VA, 4096, PROGRAM);
        guest.maintain(Maintenance::Data(Operation::CleanInvalidate, Lines::All));
        guest.maintain(Maintenance::Drain);
        guest.unmap(USER_VA);
        guest.read(LINEAR + page, 4096, KERNEL);
        guest.maintain(Maintenance::Data(Operation::CleanInvalidate, Lines::All));
    }
    guest.silent();
}

/// A module is loaded, runs, and makes room for another.
#[test]
fn modules() {
    for core in CORES {
        let mut guest = Guest::new(core);
        for _ in 0..3 {
            guest.map(OTHER_VA, HIGHMEM, MemoryType::WriteBack);
            guest.fill(OTHER_VA, 4096, KERNEL);
            guest.flush_icache(OTHER_VA, 4096);
            guest.run(OTHER_VA, 4096, KERNEL);
            // A variable on a page of its own.
            guest.store(LINEAR_VA, 4, KERNEL);
            guest.run(OTHER_VA, 4096, KERNEL);
            if guest.is_virtual() {
                guest.flush(OTHER_VA, 4096);
            }
            guest.unmap(OTHER_VA);
        }
        guest.silent();
    }
}

/// Booting: everything is strongly-ordered until the MMU is on.
#[test]
fn before_and_after_the_mmu() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.model.mapping(Mapping::GoneAll, &mut |_| {});
        guest.maintain(Maintenance::Data(Operation::Invalidate, Lines::All));
        guest.maintain(Maintenance::OuterAll(Operation::Invalidate));
        guest.map(PA, PA, MemoryType::StronglyOrdered);
        guest.fill(PA, 4096, KERNEL);
        guest.read(PA, 4096, KERNEL);
        guest.run(PA, 64, KERNEL);
        guest.model.mapping(Mapping::GoneAll, &mut |_| {});
        let live = Mapping::Live {
            va: LINEAR_VA,
            pa: PA,
            len: 1 << 20,
            memory: MemoryType::WriteBack,
            asid: None,
        };
        guest.model.mapping(live, &mut |_| {});
        guest.read(LINEAR_VA, 4096, KERNEL);
        guest.fill(LINEAR_VA, 4096, KERNEL);
        guest.run(LINEAR_VA + 4096, 64, KERNEL);
        guest.silent();
    }
}

/// While the outer cache is off, cleaning the inner one reaches memory.
#[test]
fn outer_cache_switched_on_late() {
    let mut guest = Guest::new(Core::CORTEX_A9);
    let device = PhysicalRange { pa: PA, len: 64 };
    guest.maintain(Maintenance::OuterSwitch(false));
    guest.fill(LINEAR_VA, 64, KERNEL);
    guest.maintain(Maintenance::Data(Operation::Clean, Lines::All));
    guest.device(Device::Reads(device));
    guest.silent();
    guest.maintain(Maintenance::OuterAll(Operation::Invalidate));
    guest.maintain(Maintenance::OuterSwitch(true));
    guest.device(Device::Reads(device));
    guest.silent();
    guest.fill(LINEAR_VA, 64, KERNEL);
    guest.maintain(Maintenance::Data(Operation::Clean, Lines::All));
    guest.device(Device::Reads(device));
    assert!(!guest.found.is_empty(), "it is on again");
}
