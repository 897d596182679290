// SPDX-License-Identifier: GPL-2.0

//! Ranges of a buffer that somebody uses.

use super::object::{
    Buffer,
    State, //
};
use crate::{
    memory::storage::Storage,
    rules::{
        access::{
            self,
            Monitor, //
        },
        range::Range,
        range_lock::{
            Mode,
            Request,
            Ticket, //
        }, //
    },
    sys::wait_queue::{
        EndedBy,
        Patience, //
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
    /// - [`EAGAIN`] without patience, if somebody uses some of them, or waits for that;
    /// - [`ERESTARTSYS`] if a signal came while waiting that ends the wait: nothing has been done;
    /// - [`ENOMEM`].
    pub(crate) fn wait(buffer: B, requests: &[Request], patience: Patience) -> Result<Self> {
        let (locked, ()) = Self::looking(buffer, requests, patience, |_| ())?;
        Ok(locked)
    }

    /// [`Self::wait`], and what `look` sees then.
    ///
    /// # Errors
    ///
    /// Those of [`Self::wait`].
    // See `enter`.
    #[inline(always)]
    pub(super) fn looking<R>(
        buffer: B,
        requests: &[Request],
        patience: Patience,
        look: impl FnOnce(&State) -> R,
    ) -> Result<(Self, R)> {
        let (ticket, state) = enter(&buffer, requests, patience)?;
        let storage = state.storage.clone();
        let seen = look(&state);
        drop(state);
        let locked = Self {
            buffer,
            ticket,
            storage,
        };
        Ok((locked, seen))
    }

    /// [`Self::wait`], for bytes that have to be the CPU's. They stay so.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if a device was lent some of them; those of [`Self::wait`].
    pub(crate) fn cpus(buffer: B, requests: &[Request], patience: Patience) -> Result<Self> {
        let are_cpus = |state: &State| state.are_cpus(requests);
        let (locked, owned) = Self::looking(buffer, requests, patience, are_cpus)?;
        // Left again if it is not to be had.
        owned.then_some(locked).ok_or(EBUSY)
    }

    /// [`Self::cpus`], waiting until a signal comes.
    ///
    /// # Errors
    ///
    /// Those of [`Self::cpus`].
    pub(crate) fn wait_for_cpus(buffer: B, requests: &[Request]) -> Result<Self> {
        Self::cpus(buffer, requests, Patience::Until(EndedBy::Signal))
    }

    /// [`Self::wait`] for `range`, and its first bytes, as far as they are the CPU's. They stay so.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if a device was lent the first of them; those of [`Self::wait`].
    // Each piece of a read comes here, with one request.
    #[inline(always)]
    pub(crate) fn first_of_cpus(
        buffer: B,
        range: Range,
        mode: Mode,
        patience: Patience,
    ) -> Result<(Self, Range)> {
        let first_of_cpus = |state: &State| state.access.ownership.first_of_cpus(range);
        let requests = [Request::exact(range, mode)];
        let (locked, first) = Self::looking(buffer, &requests, patience, first_of_cpus)?;
        // Left again if it is not to be had.
        Ok((locked, first.ok_or(EBUSY)?))
    }

    /// If nobody else uses the buffer, or waits for that: the first bytes of `range`, as far as they
    /// are the CPU's, instead of what is locked, which is one range.
    pub(crate) fn go_on(&self, range: Range) -> Option<Range> {
        let access = &mut self.buffer.lock().access;
        let first = access.ownership.first_of_cpus(range)?;
        access.go_on(first).then_some(first)
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

/// Takes places for `requests`, and waits as long as `patience` has it.
// See [`access::enter`].
#[inline(always)]
fn enter<'a>(
    buffer: &'a Buffer,
    requests: &[Request],
    patience: Patience,
) -> Result<(Ticket, <Buffer as Monitor>::Guard<'a>)> {
    match patience {
        Patience::None => access::try_enter(buffer, requests),
        Patience::Until(ended_by) => access::enter(buffer, requests, ended_by),
    }
}
