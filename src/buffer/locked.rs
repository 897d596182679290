// SPDX-License-Identifier: GPL-2.0

//! Ranges of a buffer that somebody uses.

use super::object::Buffer;
use crate::{
    memory::storage::Storage,
    rules::{
        access,
        range::Range,
        range_lock::{
            Request,
            Ticket, //
        }, //
    },
};
use core::ops::Deref;
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Ranges of a buffer that somebody uses, until this is dropped: the owner stays, or is changed by
/// him alone. The storage stays too.
pub(crate) struct Locked<B: Deref<Target = Buffer>> {
    buffer: B,
    ticket: Ticket,
    storage: Arc<Storage>,
}

impl<B: Deref<Target = Buffer>> Locked<B> {
    /// Waits, in order of arrival, until all of `requests` can be used. They do not conflict with each
    /// other. May sleep.
    ///
    /// # Errors
    ///
    /// - [`ERESTARTSYS`] if a signal came while waiting: nothing has been done;
    /// - [`ENOMEM`].
    pub(crate) fn wait(buffer: B, requests: &[Request]) -> Result<Self> {
        let (ticket, state) = access::enter(&*buffer, requests)?;
        let storage = state.storage.clone();
        drop(state);
        Ok(Self {
            buffer,
            ticket,
            storage,
        })
    }

    /// [`Self::wait`], for who must not wait for others.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if somebody uses some of it, or waits for that; [`ENOMEM`].
    pub(crate) fn at_once(buffer: B, requests: &[Request]) -> Result<Self> {
        let (ticket, state) = access::try_enter(&*buffer, requests)?;
        let storage = state.storage.clone();
        drop(state);
        Ok(Self {
            buffer,
            ticket,
            storage,
        })
    }

    /// The buffer.
    pub(crate) fn buffer(&self) -> &B {
        &self.buffer
    }

    /// The memory of the buffer.
    pub(crate) fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    /// Checks that `range`, which is locked, is the CPU's. It stays so.
    ///
    /// # Errors
    ///
    /// [`EBUSY`].
    pub(crate) fn check_owned(&self, range: Range) -> Result {
        match self.buffer.state.lock().access.ownership.is_lent(range) {
            true => Err(EBUSY),
            false => Ok(()),
        }
    }
}

impl<B: Deref<Target = Buffer>> Drop for Locked<B> {
    fn drop(&mut self) {
        access::leave(&*self.buffer, self.ticket);
    }
}
