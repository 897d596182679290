// SPDX-License-Identifier: GPL-2.0

//! SET_CACHE.

use super::object::Buffer;
use crate::{
    memory::storage::Storage,
    rules::{
        failure::Failure,
        policy::Policy, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
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
    /// - [`ERESTARTSYS`] if a signal came while waiting for a read or write.
    pub(crate) fn set_policy(&self, policy: Policy) -> Result<(), Failure> {
        // What can never be is refused at once.
        self.state
            .lock()
            .storage
            .check_policy(self.machine(), policy)?;
        let mut state = self.lock_when(|state| state.access.check_idle())?;
        let new = state.storage.check_policy(self.machine(), policy)?;
        if state.mappings > 0 || state.exports > 0 {
            return Err(EBUSY.into());
        }
        if new {
            // First what can fail: afterwards the old views are gone.
            let slot = UniqueArc::<Storage>::new_uninit(GFP_KERNEL).map_err(Error::from)?;
            let storage = state.storage.with_policy(&self.allocator, policy)?;
            state.storage = slot.write(storage).into();
            self.counters.policy_changes.fetch_add(1, Relaxed);
        }
        Ok(())
    }
}
