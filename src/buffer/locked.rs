// SPDX-License-Identifier: GPL-2.0

//! Ranges of a buffer that somebody uses.

use super::object::Buffer;
use crate::{
    memory::storage::Storage,
    rules::{
        access,
        line_set::Member,
        range::Range,
        range_lock::{
            Request,
            Ticket, //
        }, //
    },
    sys::wait_queue::EndedBy,
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
    /// - [`ERESTARTSYS`] if a signal came while waiting that ends the wait: nothing has been done;
    /// - [`ENOMEM`].
    pub(crate) fn wait(buffer: B, requests: &[Request], ended_by: EndedBy) -> Result<Self> {
        let (ticket, state) = access::enter(&*buffer, requests, ended_by)?;
        let storage = state.storage.clone();
        drop(state);
        Ok(Self {
            buffer,
            ticket,
            storage,
        })
    }

    /// [`Self::wait`], for bytes that have to be the CPU's. They stay so.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if a device was lent some of them; those of [`Self::wait`], for any signal.
    pub(crate) fn wait_for_cpus(buffer: B, requests: &[Request]) -> Result<Self> {
        let (ticket, state) = access::enter(&*buffer, requests, EndedBy::Signal)?;
        let (storage, owned) = (state.storage.clone(), state.are_cpus(requests));
        drop(state);
        Self::if_cpus(buffer, ticket, storage, owned)
    }

    /// [`Self::wait_for_cpus`], for who must not wait for others.
    ///
    /// # Errors
    ///
    /// - [`EAGAIN`] if somebody uses some of them, or waits for that;
    /// - [`EBUSY`] if a device was lent some of them;
    /// - [`ENOMEM`].
    pub(crate) fn try_cpus(buffer: B, requests: &[Request]) -> Result<Self> {
        let (ticket, state) = access::try_enter(&*buffer, requests)?;
        let (storage, owned) = (state.storage.clone(), state.are_cpus(requests));
        drop(state);
        Self::if_cpus(buffer, ticket, storage, owned)
    }

    /// What `ticket` stands for, if the CPU has `owned` all of it; else it is left again.
    fn if_cpus(buffer: B, ticket: Ticket, storage: Arc<Storage>, owned: bool) -> Result<Self> {
        let locked = Self {
            buffer,
            ticket,
            storage,
        };
        owned.then_some(locked).ok_or(EBUSY)
    }

    /// The first bytes of `range`, which is locked, as far as they are the CPU's. They stay so.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if a device was lent the first of them.
    pub(crate) fn first_of_cpus(&self, range: Range) -> Result<Range> {
        let state = self.buffer.state.lock();
        let first = state.access.ownership.first(&mut Some(range), Member::No);
        first
            .filter(|first| first.start() == range.start())
            .ok_or(EBUSY)
    }

    /// The buffer.
    pub(crate) fn buffer(&self) -> &B {
        &self.buffer
    }

    /// The memory of the buffer.
    pub(crate) fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }
}

impl<B: Deref<Target = Buffer>> Drop for Locked<B> {
    fn drop(&mut self) {
        access::leave(&*self.buffer, self.ticket);
    }
}
