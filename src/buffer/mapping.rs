// SPDX-License-Identifier: GPL-2.0

//! User mappings of a buffer.

use super::{
    object::Buffer,
    transfer::InFlight, //
};
use crate::{
    rules::range::Range,
    sys::{
        cpu,
        transfer::KernelBytes,
        user,
        vma::{
            Mapped,
            NewMapping,
            Unfilled, //
        },
    },
};
use kernel::{
    mm::virt::VmaNew,
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
};

impl Buffer {
    /// Maps the part that `vma` says, all of it, at once or by faults.
    ///
    /// # Errors
    ///
    /// Those of mmap(2) in `include/uapi/shmbuf.h`.
    pub(crate) fn mmap(self: &Arc<Self>, vma: &VmaNew) -> Result {
        if !self.state.lock().storage.kind().is_mappable() {
            return Err(EOPNOTSUPP);
        }
        let new = NewMapping::new(vma, self.size)?;

        // From here on the storage stays.
        let storage = {
            let mut state = self.state.lock();
            state.mappings += 1;
            state.storage.clone()
        };
        let mapped = if self.has_aliases(storage.policy())
            && user::maps_already(new.vma(), &**self, new.range(), self.size)
        {
            Err(EBUSY)
        } else {
            storage.mmap(new, self.clone(), self.mapping)
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
        self.state.lock().mappings += 1;
    }

    fn mapping_closed(&self) {
        self.state.lock().mappings -= 1;
    }

    fn is_mapped(&self) -> bool {
        self.state.lock().mappings > 0
    }

    fn fault(&self, unfilled: &Unfilled<'_>) -> Result {
        let state = self.state.lock();
        if !state.access.may_touch() {
            return Err(EBUSY);
        }
        // Under the lock: who gives the buffer away takes these entries afterwards.
        unfilled.fill()
    }

    fn access(&self, position: u64, mut data: KernelBytes<'_>) -> Result<usize> {
        let in_flight = InFlight::begin_at_once(self)?;
        let policy = in_flight.storage().policy();
        if self.has_aliases(policy) {
            return Err(EOPNOTSUPP);
        }
        let Some(range) = Range::clamped(position, data.len(), self.size) else {
            return Ok(0);
        };
        if !policy.is_cached() {
            cpu::drain_write_buffer();
        }
        range
            .pieces(in_flight.storage().window_size())
            .try_for_each(|piece| {
                let part = piece.relative_to(range);
                in_flight
                    .storage()
                    .with_view(piece, |view| data.copy(part, view))
            })?;
        if !policy.is_cached() {
            cpu::drain_write_buffer();
        }
        Ok(range.len())
    }
}
