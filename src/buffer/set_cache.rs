// SPDX-License-Identifier: GPL-2.0

//! SET_CACHE.

use super::{
    locked::Locked,
    object::{
        Buffer,
        Users, //
    }, //
};
use crate::{
    memory::storage::Storage,
    rules::{
        failure::Failure,
        policy::Policy,
        range::Range,
        range_lock::{
            Mode,
            Request, //
        }, //
    },
    sys::wait_queue::Patience,
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc,
        UniqueArc, //
    },
};

impl Buffer {
    /// Changes the cache policy. Contents survive.
    ///
    /// # Errors
    ///
    /// - [`EOPNOTSUPP`] if this kind or machine cannot give it;
    /// - [`EBUSY`] if there are mappings or dma-bufs, or the device owns the buffer;
    /// - [`ENOMEM`] if other memory is needed, and there is none;
    /// - [`EAGAIN`] without patience, if somebody uses some of it;
    /// - [`ERESTARTSYS`] if a signal came while waiting for who uses some of it;
    /// - [`EINTR`] if the process was killed.
    pub(crate) fn set_policy(&self, policy: Policy, patience: Patience) -> Result<(), Failure> {
        // What can never be is refused at once.
        self.state
            .lock()
            .storage
            .check_policy(self.machine(), policy)?;
        let whole = Range::whole(self.size);
        let requests = [Request::exact(whole, Mode::Exclusive)];
        let locked = Locked::cpus(self, &requests, patience)?;
        let old = locked.storage();
        if !old.check_policy(self.machine(), policy)? {
            self.state.lock().users.check_none()?;
            return Ok(());
        }
        let replacing = Replacing::begin(self)?;
        // First what can fail: afterwards the old views are gone.
        let slot = UniqueArc::<Storage>::new_uninit(GFP_KERNEL_ACCOUNT).map_err(Error::from)?;
        let storage = old.with_policy(&self.allocator, policy)?;
        replacing.done(slot.write(storage).into());
        self.counters.policy_changes.fetch_add(1, Relaxed);
        Ok(())
    }
}

/// The storage of a buffer is being replaced: nobody maps or exports it until this is dropped.
struct Replacing<'a>(&'a Buffer);

impl<'a> Replacing<'a> {
    /// # Errors
    ///
    /// [`EBUSY`] if the buffer is mapped or exported.
    fn begin(buffer: &'a Buffer) -> Result<Self> {
        let mut state = buffer.state.lock();
        state.users.check_none()?;
        state.users = Users::Replacing;
        Ok(Self(buffer))
    }

    fn done(self, storage: Arc<Storage>) {
        self.0.state.lock().storage = storage;
    }
}

impl Drop for Replacing<'_> {
    fn drop(&mut self) {
        self.0.state.lock().users = Users::NONE;
    }
}
