// SPDX-License-Identifier: GPL-2.0

//! SYNC.

use super::object::{
    Buffer,
    State, //
};
use crate::{
    memory::storage::Storage,
    rules::{
        ownership::{
            Caller,
            Change,
            Handed,
            Outcome,
            Phase,
            Reach, //
        },
        policy::Policy,
        range::Range, //
    },
    sys::{
        cpu,
        dma_mapping::DeviceMapping,
        user::CurrentMappings, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
};

impl Buffer {
    /// CPU access to `range` begins or ends. If the caller writes, a buffer that devices reach goes
    /// to them or comes from them.
    ///
    /// # Errors
    ///
    /// - [`EBUSY`] if the device owns the buffer, and the caller does not write;
    /// - [`ERESTARTSYS`] if a signal came while waiting for a read or write;
    /// - [`ENOMEM`], see [`Storage::with_view`].
    pub(crate) fn sync(&self, range: Range, phase: Phase, caller: Caller) -> Result {
        let mapped = self
            .devices
            .lock()
            .iter()
            .map(DeviceMapping::range)
            .reduce(Range::hull);
        let sync = Sync::begin(self, |state| {
            let reach = Reach {
                importers: mapped.filter(|_| state.storage.policy().is_cached()),
                own: state.storage.kind().has_owner(),
                handed: state.access.handed(),
            };
            Change::of_sync(phase, range, caller, reach)
        })?;
        let Sync {
            storage,
            handed,
            change,
            ..
        } = &sync;

        let range = match *change {
            Change::HandOver(given) => {
                self.withdraw();
                given
            }
            _ => range,
        };
        self.flush_mappings(storage.policy(), handed.with(range));
        match change {
            Change::TakeBack => storage.sync_for_cpu(*handed, range)?,
            Change::HandOver(_) => storage.hand_over(*handed, range)?,
            Change::Keep => storage.sync_for_device(range)?,
        }
        // No importer maps or unmaps it from here on until the SYNC has ended.
        let devices = self.devices.lock();
        let moves_devices = match change {
            Change::TakeBack => self.state.lock().access.is_given(),
            Change::HandOver(_) => true,
            Change::Keep => false,
        };
        if moves_devices && storage.policy().is_cached() {
            for device in devices.iter() {
                match phase {
                    Phase::Start => device.sync_all_for_cpu(),
                    Phase::End => device.sync_all_for_device(),
                }
            }
            cpu::drain_write_buffer();
        }
        self.counters.syncs.fetch_add(1, Relaxed);
        sync.done();
        Ok(())
    }

    /// Cleans and invalidates what the calling process's mappings of `range` have in the cache, where
    /// that is not what the kernel's view has. May sleep, and takes the mmap lock.
    pub(crate) fn flush_mappings(&self, policy: Policy, range: Range) {
        if self.has_aliases(policy) {
            CurrentMappings::with(|mappings| {
                mappings.of(self, range, self.size).flush(range);
            });
        }
    }
}

/// A SYNC in flight. Dropped before it is done, it has failed, and leaves the owner as it was.
struct Sync<'a> {
    buffer: &'a Buffer,
    storage: Arc<Storage>,
    /// What devices had before it.
    handed: Handed,
    change: Change,
    outcome: Outcome,
}

impl<'a> Sync<'a> {
    fn begin(buffer: &'a Buffer, change: impl Fn(&State) -> Change) -> Result<Self> {
        let mut begun = None;
        let state = buffer.lock_when(|state| {
            let change = change(state);
            begun = Some((state.access.begin_sync(change)?, change));
            Ok(())
        })?;
        let (handed, change) = begun.ok_or(EIO)?;
        Ok(Self {
            buffer,
            storage: state.storage.clone(),
            handed,
            change,
            outcome: Outcome::Failed,
        })
    }

    fn done(mut self) {
        self.outcome = Outcome::Done;
    }
}

impl Drop for Sync<'_> {
    fn drop(&mut self) {
        self.buffer.state.lock().access.end_sync(self.outcome);
        self.buffer.idle.notify_all();
    }
}
