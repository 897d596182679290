// SPDX-License-Identifier: MIT OR Apache-2.0
//! A model that begins in the midst: what it does not know gives no finding, and
//! hides none.

mod common;

use coherence_model::cores::{Core, Indexing, Outer, CORES};
use coherence_model::events::{
    Device, Direction, Lines, Maintenance, MemoryType, Operation, PhysicalRange, Site,
};
use coherence_model::hazards::{Hazard, Party, Shown};
use common::{names, Guest, KERNEL, LINEAR};

use Hazard::{DirtyOverDevice, LostWrite, StaleRead};
use Shown::ThisCore;

const PA: u32 = 0x0030_0000;
const LINEAR_VA: u32 = LINEAR + PA;
const USER_VA: u32 = 0x4000_0000;
const PROGRAM: Site = Site(0x200);

const LINES: PhysicalRange = PhysicalRange { pa: PA, len: 64 };
const PAGE: PhysicalRange = PhysicalRange { pa: PA, len: 4096 };
/// Memory beyond the linear map.
const HIGH: u32 = 0x0200_0000;

/// A guest that ran before, with these pages in use uncached.
fn begun_late(core: Core, uncached: &[PhysicalRange]) -> Guest {
    let mut guest = Guest::new(core);
    begin(&mut guest, uncached);
    guest
}

fn begin(guest: &mut Guest, uncached: &[PhysicalRange]) {
    guest.model.history_is_unknown(uncached.iter().copied());
}

fn physical() -> impl Iterator<Item = Core> {
    CORES
        .into_iter()
        .filter(|core| core.indexing != Indexing::Virtual)
}

#[test]
fn who_reads_what_was_written_before_is_right() {
    for core in CORES {
        let mut guest = begun_late(core, &[]);
        guest.device(Device::Reads(LINES));
        guest.load(LINEAR_VA, 4, KERNEL);
        guest.run(LINEAR_VA, 64, KERNEL);
        guest.map(USER_VA, PA, MemoryType::StronglyOrdered);
        guest.load(USER_VA, 4, PROGRAM);
        guest.silent();
    }
}

/// Whoever had a page before may have left it as it likes.
#[test]
fn who_gets_a_page_reads_what_may_be() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.read(LINEAR_VA, 4096, KERNEL);
        guest.device(Device::Writes(PAGE));
        guest.silent();
        guest.model.new_owner(PAGE);
        guest.read(LINEAR_VA, 4096, KERNEL);
        guest.device(Device::Reads(PAGE));
        guest.silent();
    }
}

/// But a line that is dirty may be written back under the new owner.
#[test]
fn who_gets_a_page_may_get_dirty_lines() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.read(LINEAR_VA, 64, KERNEL);
        guest.fill(LINEAR_VA, 64, KERNEL);
        guest.model.new_owner(PAGE);
        guest.device(Device::Reads(LINES));
        guest.silent();
        guest.device(Device::Writes(LINES));
        guest.only(&[(DirtyOverDevice, ThisCore)]);
    }
}

#[test]
fn lines_of_before_may_be_written_over_an_uncached_store() {
    for core in physical() {
        let mut guest = begun_late(core, &[]);
        guest.map(USER_VA, PA, MemoryType::StronglyOrdered);
        guest.store(USER_VA, 4, PROGRAM);
        guest.load(USER_VA, 4, PROGRAM);
        guest.only(&[(LostWrite, ThisCore)]);
    }
}

#[test]
fn lines_of_before_may_be_written_over_what_a_device_writes() {
    for core in physical() {
        let mut guest = begun_late(core, &[]);
        guest.device(Device::Writes(LINES));
        let found = guest.only(&[(DirtyOverDevice, ThisCore)]);
        names(&found, DirtyOverDevice, PA, Party::Device, Party::Nobody);
    }
}

#[test]
fn lines_of_before_can_be_maintained() {
    for core in CORES {
        let mut guest = begun_late(core, &[]);
        guest.flush(LINEAR_VA, 64);
        guest.map(USER_VA, PA, MemoryType::StronglyOrdered);
        guest.store(USER_VA, 4, PROGRAM);
        guest.load(USER_VA, 4, PROGRAM);
        guest.silent();

        let mut guest = begun_late(core, &[]);
        guest.dma_map(PA, 64, Direction::FromDevice);
        guest.dma_unmap(PA, 64, Direction::FromDevice);
        guest.load(LINEAR_VA, 4, KERNEL);
        guest.silent();
    }
}

#[test]
fn an_operation_on_all_lines_is_on_those_of_before_too() {
    for core in CORES.into_iter().filter(|core| core.outer == Outer::None) {
        let mut guest = begun_late(core, &[]);
        let all = Maintenance::Data(Operation::CleanInvalidate, Lines::All);
        guest.maintain(all);
        guest.device(Device::Writes(LINES));
        guest.silent();
    }
}

#[test]
fn what_was_used_uncached_has_no_dirty_lines() {
    for core in CORES {
        let mut guest = begun_late(core, &[PAGE]);
        guest.map(USER_VA, PA, MemoryType::StronglyOrdered);
        guest.store(USER_VA, 4, PROGRAM);
        guest.load(USER_VA, 4, PROGRAM);
        guest.device(Device::Writes(LINES));
        guest.silent();
    }
}

#[test]
fn what_devices_own_is_known_from_before() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.device(Device::Map(LINES, Direction::FromDevice));
        guest.device(Device::Owns(LINES, Direction::FromDevice));
        begin(&mut guest, &[]);
        guest.device(Device::Writes(LINES));
        guest.silent();
        guest.load(LINEAR_VA + 60, 4, KERNEL);
        guest.only(&[(Hazard::OwnedTouch, ThisCore)]);
        guest.dma_unmap(PA, 64, Direction::FromDevice);
        guest.load(LINEAR_VA, 4, KERNEL);
        guest.silent();
    }
}

#[test]
fn what_has_no_cached_mapping_has_no_lines() {
    for core in CORES {
        let mut guest = begun_late(core, &[]);
        guest.map(USER_VA, HIGH, MemoryType::StronglyOrdered);
        guest.store(USER_VA, 4, PROGRAM);
        guest.load(USER_VA, 4, PROGRAM);
        guest.silent();
    }
    // The kernel maps a page of highmem only while it looks at it.
    for core in physical() {
        let mut guest = begun_late(core, &[]);
        guest.map(USER_VA, HIGH, MemoryType::WriteBack);
        guest.load(USER_VA, 4, KERNEL);
        guest.unmap(USER_VA);
        guest.map(USER_VA, HIGH, MemoryType::StronglyOrdered);
        guest.store(USER_VA, 4, PROGRAM);
        guest.load(USER_VA, 4, PROGRAM);
        guest.only(&[(LostWrite, ThisCore)]);
    }
}

#[test]
fn coherent_memory_has_no_dirty_lines() {
    for core in CORES {
        let mut guest = Guest::new(core);
        guest.device(Device::Coherent(PAGE));
        begin(&mut guest, &[]);
        guest.device(Device::Writes(LINES));
        guest.silent();
    }
}

#[test]
fn what_comes_after_is_judged_as_ever() {
    for core in CORES {
        let mut guest = begun_late(core, &[]);
        guest.load(LINEAR_VA, 4, KERNEL);
        guest.store(LINEAR_VA, 4, KERNEL);
        guest.device(Device::Reads(LINES));
        guest.only(&[(StaleRead, ThisCore)]);
    }
}
