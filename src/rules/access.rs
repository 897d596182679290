// SPDX-License-Identifier: GPL-2.0

//! What is locked of a buffer and what is lent of it, and how to wait for both.

use super::{
    ownership::{
        Hold,
        Ownership,
        Room,
        ViewId,
        WritesTo, //
    },
    range::Range,
    range_lock::{
        Full,
        RangeLock,
        Request,
        Ticket, //
    },
};
use core::ops::DerefMut;
use kernel::prelude::*;

/// Who uses which bytes of a buffer now, and who owns them.
///
/// Bytes are lent and returned by who has locked them, but that an importer's view is returned by its
/// end without: what it was lent nobody else uses.
pub(crate) struct Access {
    /// Who uses which bytes.
    lock: RangeLock,
    /// Who owns which bytes.
    pub(crate) ownership: Ownership,
}

impl Access {
    /// A buffer that nobody uses.
    pub(crate) fn new(ownership: Ownership) -> Self {
        Self {
            lock: RangeLock::new(),
            ownership,
        }
    }

    /// Who has locked something, and nobody else anything, goes on to `range`; see [`RangeLock::go_on`].
    pub(crate) fn go_on(&mut self, range: Range) -> bool {
        self.lock.go_on(range)
    }

    /// An importer, who has locked `range`, gets a view of it; see [`Ownership::add_view`].
    pub(crate) fn add_view(
        &mut self,
        range: Range,
        hold: Hold,
        writes_to: WritesTo,
        room: Room,
    ) -> Result<ViewId> {
        let id = self.ownership.add_view(range, hold, writes_to, room)?;
        if hold != Hold::Never {
            self.lock.view_added(range);
        }
        Ok(id)
    }
}

/// A lock of a buffer, and what is waited on with it.
pub(crate) trait Monitor {
    /// What is under the lock.
    type State: AsMut<Access>;
    /// The lock, held.
    type Guard<'a>: DerefMut<Target = Self::State>
    where
        Self: 'a;

    /// Which signals end a wait.
    type EndedBy: Copy;

    /// Takes the lock. May sleep.
    fn lock(&self) -> Self::Guard<'_>;
    /// Lets go of the lock until [`Self::wake`] is called for `ticket`. The lock is held again
    /// afterwards, and whether a signal came that ends the wait is told.
    fn wait<'a>(
        &'a self,
        guard: Self::Guard<'a>,
        ticket: Ticket,
        ended_by: Self::EndedBy,
    ) -> (Self::Guard<'a>, bool);
    /// Wakes who waits with `ticket`. Called with the lock held.
    fn wake(&self, ticket: Ticket);
}

/// Waits until all of `requests`, which do not conflict with each other, are granted. They are the
/// caller's until [`leave`]. Returns with the lock held. May sleep.
///
/// # Errors
///
/// - [`ERESTARTSYS`] if a signal came while waiting that ends the wait: nothing has been done;
/// - [`ENOMEM`] if so many wait that the queue needs memory, and there is none.
// How many requests there are is known where it is called, so most of it goes away.
#[inline(always)]
pub(crate) fn enter<'a, M: Monitor>(
    monitor: &'a M,
    requests: &[Request],
    ended_by: M::EndedBy,
) -> Result<(Ticket, M::Guard<'a>)> {
    let (ticket, mut state) = take_place(monitor, requests)?;
    if !state.as_mut().lock.is_granted(ticket) {
        state = wait_until_granted(monitor, ticket, state, ended_by)?;
    }
    Ok((ticket, state))
}

/// The part of [`enter`] where others come first.
#[cold]
fn wait_until_granted<'a, M: Monitor>(
    monitor: &'a M,
    ticket: Ticket,
    mut state: M::Guard<'a>,
    ended_by: M::EndedBy,
) -> Result<M::Guard<'a>> {
    while !state.as_mut().lock.is_granted(ticket) {
        let ended;
        (state, ended) = monitor.wait(state, ticket, ended_by);
        if ended {
            drop(state);
            leave(monitor, ticket);
            return Err(ERESTARTSYS);
        }
    }
    Ok(state)
}

/// [`enter`], for who must not wait for others.
///
/// # Errors
///
/// [`EAGAIN`] if somebody uses some of it, or waits for that; [`ENOMEM`] as [`enter`].
pub(crate) fn try_enter<'a, M: Monitor>(
    monitor: &'a M,
    requests: &[Request],
) -> Result<(Ticket, M::Guard<'a>)> {
    let (ticket, mut state) = take_place(monitor, requests)?;
    if state.as_mut().lock.is_granted(ticket) {
        return Ok((ticket, state));
    }
    // Nobody came after it.
    state.as_mut().lock.leave(ticket, |_| {});
    Err(EAGAIN)
}

// See `enter`.
#[inline(always)]
fn take_place<'a, M: Monitor>(
    monitor: &'a M,
    requests: &[Request],
) -> Result<(Ticket, M::Guard<'a>)> {
    let mut state = monitor.lock();
    loop {
        let Access { lock, ownership } = state.as_mut();
        match lock.enter(requests, |range| ownership.with_views(range)) {
            Ok(ticket) => return Ok((ticket, state)),
            Err(full) => state = make_room(monitor, state, full)?,
        }
    }
}

/// Lets go of the lock while there is more room made in the queue: who holds the mmap lock may wait
/// for this lock, but not for memory.
#[cold]
fn make_room<'a, M: Monitor>(
    monitor: &'a M,
    state: M::Guard<'a>,
    full: Full,
) -> Result<M::Guard<'a>> {
    drop(state);
    let room = full.make_room()?;
    let mut state = monitor.lock();
    state.as_mut().lock.grow(room);
    Ok(state)
}

/// Ends what [`enter`] or [`try_enter`] began, and wakes those that can go on by it.
pub(crate) fn leave<M: Monitor>(monitor: &M, ticket: Ticket) {
    let mut state = monitor.lock();
    let lock = &mut state.as_mut().lock;
    lock.leave(ticket, |granted| monitor.wake(granted));
}
