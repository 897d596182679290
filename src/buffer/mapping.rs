// SPDX-License-Identifier: GPL-2.0

//! User mappings of a buffer.

use super::{
    locked::Locked,
    object::Buffer, //
};
use crate::{
    rules::{
        failure::Failure,
        line_set::Member,
        range::Range,
        range_lock::{
            Mode,
            Request, //
        }, //
    },
    sys::{
        cpu,
        errno::EOPNOTSUPP,
        transfer::KernelBytes,
        vma::{
            Mapped,
            NewMapping,
            NewVma,
            Unfilled,
            UnfilledBlock, //
        },
        wait_queue::Patience, //
    },
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
};

impl Buffer {
    /// Maps the part that `vma` says, all of it, at once or by faults. A `synchronous` mapping is one
    /// for which nobody will call SYNC.
    ///
    /// # Errors
    ///
    /// Those of mmap(2) in `include/uapi/shmbuf.h`.
    pub(crate) fn mmap(
        self: &Arc<Self>,
        vma: NewVma<'_>,
        synchronous: bool,
    ) -> Result<(), Failure> {
        if !self.state.lock().storage.kind().is_mappable() {
            return Err(EOPNOTSUPP.into());
        }
        let new = NewMapping::new(vma, self.size)?;

        // From here on the storage stays.
        let storage = {
            let mut state = self.state.lock();
            *state.users.mappings()? += 1;
            state.storage.clone()
        };
        let policy = storage.policy();
        let is_refused = self.has_aliases(policy) && self.address_space().lock().has_some_of(&new);
        let mapped = if synchronous && self.machine().needs_sync(policy) {
            Err(Failure::Synchronous(policy))
        } else if is_refused {
            Err(EBUSY.into())
        } else {
            storage
                .mmap(new, self.clone(), self.mapping)
                .map_err(Failure::from)
        };
        match mapped {
            Ok(()) => {
                self.counters.maps.fetch_add(1, Relaxed);
            }
            Err(_) => self.mapping_closed(),
        }
        mapped
    }
}

impl Mapped for Buffer {
    fn mapping_opened(&self) {
        // What is mapped is not being replaced.
        if let Ok(mappings) = self.state.lock().users.mappings() {
            *mappings += 1;
        }
    }

    fn mapping_closed(&self) {
        if let Ok(mappings) = self.state.lock().users.mappings() {
            *mappings -= 1;
        }
    }

    fn fault(&self, unfilled: &Unfilled<'_>) -> Result {
        // Who is refused leaves the place to a block.
        if self.state.lock().access.ownership.is_lent(unfilled.page()) {
            return Err(EBUSY);
        }
        // Nobody is to wait for memory under the lock: others wait for it with the mmap lock held.
        unfilled.make_tables()?;
        // Under the lock: who lends bytes marks them, and takes these entries afterwards.
        let state = self.state.lock();
        let ownership = &state.access.ownership;
        if ownership.is_lent(unfilled.page()) {
            return Err(EBUSY);
        }
        let mut rest = Some(unfilled.around());
        while let Some(part) = ownership.first(&mut rest, Member::No) {
            if let Some(pages) = part.enclosed(PAGE_SIZE) {
                pages
                    .pieces(PAGE_SIZE)
                    .try_for_each(|page| unfilled.fill(page))?;
            }
        }
        Ok(())
    }

    fn fault_block(&self, block: &UnfilledBlock<'_>) -> Result {
        // Under the lock, as above.
        let state = self.state.lock();
        match state.access.ownership.is_lent(block.range()) {
            true => Err(EBUSY),
            false => block.fill(),
        }
    }

    fn access(&self, position: u64, mut data: KernelBytes<'_>) -> Result<usize> {
        let Some(range) = Range::clamped(position, data.len(), self.size) else {
            return Ok(0);
        };
        let mode = match data {
            KernelBytes::Read(_) => Mode::Shared,
            KernelBytes::Write(_) => Mode::Exclusive,
        };
        // Who holds the mmap lock does not wait.
        let locked = Locked::cpus(self, &[Request::exact(range, mode)], Patience::None)?;
        let storage = locked.storage();
        let policy = storage.policy();
        if self.has_aliases(policy) {
            return Err(EOPNOTSUPP);
        }
        if !policy.is_cached() {
            cpu::drain_write_buffer();
        }
        range.pieces(storage.window_size()).try_for_each(|piece| {
            let part = piece.relative_to(range);
            storage.with_view(piece, |view| data.copy(part, view))
        })?;
        if !policy.is_cached() {
            cpu::drain_write_buffer();
        }
        Ok(range.len())
    }
}
