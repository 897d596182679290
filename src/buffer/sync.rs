// SPDX-License-Identifier: GPL-2.0

//! SYNC: what devices are lent, and what comes back from them. And fsync(2), which moves nothing.
//!
//! On VIVT caches the lines of the program's own mappings go first. To lend, bytes
//! are marked, so that nobody gets them from here on, then taken from strict
//! mappings, then cleaned. To take back, they are invalidated
//! first, and then marked. What is not lent or taken back is left alone. A kill comes between two
//! stretches, each of which is wholly the one's or the other's; but views of importers go as a whole.
//!
//! What a device that snoops wrote may be in the CPU's cache alone. So what another device has too is
//! cleaned before it is invalidated: as that one gets it, since a sync for a device that only writes
//! discards lines, as it comes back, or as the one that snoops does, if that is first.

use super::{
    locked::Locked,
    object::{
        Buffer,
        ImporterView,
        State, //
    }, //
};
use crate::{
    memory::storage::Storage,
    rules::{
        line_set::Member,
        machine::Caches,
        ownership::{
            Caller,
            Hold,
            Phase,
            WritesTo, //
        },
        range::Range,
        range_lock::{
            Mode,
            Request, //
        }, //
    },
    sys::{
        cpu,
        dma_fence::Usage,
        task::{
            self,
            STRETCH, //
        },
        wait_queue::{
            EndedBy,
            Patience, //
        }, //
    },
};
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};

/// What a caller may do to what he takes back.
fn usage_by(caller: Caller) -> Usage {
    match caller {
        Caller::Reads => Usage::Reads,
        Caller::Writes => Usage::Writes,
    }
}

/// What SYNC finds when it has locked a range. It stays so, but that views may go.
struct Found {
    /// Whether a device was lent some of it, which who only reads does not get.
    is_taken: bool,
    /// The range, and the views that it meets and that can be lent.
    reach: Range,
    has_views: bool,
    was_vmapped: bool,
}

impl Found {
    fn of(state: &State, range: Range, caller: Caller) -> Self {
        let ownership = &state.access.ownership;
        Self {
            is_taken: caller == Caller::Reads && ownership.is_lent(range),
            reach: ownership.with_views(range),
            has_views: ownership.has_views(range),
            was_vmapped: state.was_vmapped,
        }
    }
}

impl Buffer {
    /// CPU access to `range` begins or ends. If the caller writes, devices that reach it are lent it
    /// or return it; views of importers that it meets go as a whole.
    ///
    /// # Errors
    ///
    /// - [`EAGAIN`] without patience, if somebody uses some of it, or there are fences to wait for;
    /// - [`EBUSY`] if a device was lent some of it, and the caller does not write;
    /// - [`ERESTARTSYS`] if a signal came while waiting for who uses some of it, or for fences;
    /// - [`EINTR`] if the process was killed: some of the range may have another owner;
    /// - [`ENOMEM`], see [`Storage::with_view`]; the owner is as before.
    pub(crate) fn sync_with(
        &self,
        range: Range,
        phase: Phase,
        caller: Caller,
        patience: Patience,
    ) -> Result {
        if phase == Phase::Start {
            self.wait_for_others(range, usage_by(caller), patience)?;
        }
        let request = match caller {
            Caller::Reads => Request::exact(range, Mode::Shared),
            Caller::Writes => Request::with_views(range),
        };
        let look = |state: &State| Found::of(state, range, caller);
        let (locked, found) = Locked::looking(self, &[request], patience, look)?;
        if found.is_taken {
            return Err(EBUSY);
        }
        let storage = locked.storage();
        match storage.policy().is_cached() {
            true => self.maintain(storage, range, &found, phase, caller)?,
            // It has no lines, and nothing of it is ever lent.
            false => storage.clean_and_invalidate(range, phase)?,
        }
        self.counters.syncs.fetch_add(1, Relaxed);
        Ok(())
    }

    /// [`Self::sync_with`] of cached memory, which is locked.
    fn maintain(
        &self,
        storage: &Storage,
        range: Range,
        found: &Found,
        phase: Phase,
        caller: Caller,
    ) -> Result {
        if self.has_aliases(storage.policy()) {
            self.address_space().lock().flush(found.reach);
        }
        // For devices that the buffer does not know of, which have no business where it has one of its
        // own; and, where the kernel's view has lines of its own, for importers that use that view, or
        // did (dma_buf_vmap()).
        let has_vmaps = found.was_vmapped && self.has_aliases(storage.policy());
        if storage.own_view().is_none() || has_vmaps {
            self.clean_unlent(storage, range, phase)?;
        }
        match (caller, phase) {
            (Caller::Reads, _) => {}
            (Caller::Writes, Phase::Start) => {
                self.return_own(storage, range, task::go_on)?;
                if found.has_views {
                    self.return_views(storage, range);
                }
            }
            (Caller::Writes, Phase::End) => {
                self.lend_own(storage, range)?;
                if found.has_views {
                    self.lend_views(storage, range);
                }
            }
        }
        Ok(())
    }

    /// [`Self::sync_with`], waiting until a signal comes.
    ///
    /// # Errors
    ///
    /// Those of [`Self::sync_with`].
    pub(crate) fn sync(&self, range: Range, phase: Phase, caller: Caller) -> Result {
        self.sync_with(range, phase, caller, Patience::Until(EndedBy::Signal))
    }

    /// Brings what the CPU wrote to the bytes from `first` to `last` to memory, as far as the buffer
    /// has them. Every byte keeps its owner; what a device was lent is left alone. Waits until a signal
    /// comes: who asks for this has no use for a refusal that means "later".
    ///
    /// # Errors
    ///
    /// - [`ERESTARTSYS`] if a signal came while waiting for who uses some of it;
    /// - [`EINTR`] if the process was killed: some of the range may not be in memory;
    /// - [`ENOMEM`], see [`Storage::with_view`].
    pub(crate) fn bring_to_memory(&self, first: u64, last: u64) -> Result {
        let Some(range) = Range::inclusive(first, last, self.size) else {
            return Ok(());
        };
        let patience = Patience::Until(EndedBy::Signal);
        let locked = Locked::wait(self, &[Request::exact(range, Mode::Shared)], patience)?;
        let storage = locked.storage();
        if !storage.policy().is_cached() {
            return storage.clean_and_invalidate(range, Phase::End);
        }
        self.flush_mappings(range);
        self.clean_unlent(storage, range, Phase::End)
    }

    /// Cleans and invalidates what of `range` the CPU owns.
    fn clean_unlent(&self, storage: &Storage, range: Range, phase: Phase) -> Result {
        let mut rest = Some(range);
        while let Some(part) = rest.and_then(|_| self.first(&mut rest, Member::No)) {
            storage.clean_and_invalidate(part, phase)?;
        }
        Ok(())
    }

    fn first(&self, rest: &mut Option<Range>, lent: Member) -> Option<Range> {
        self.state.lock().access.ownership.first(rest, lent)
    }

    /// The first bytes of `range` that devices were lent, as far as they follow each other. May sleep.
    pub(crate) fn first_lent(&self, range: Range) -> Option<Range> {
        self.state.lock().access.ownership.first_lent(range)
    }

    /// The buffer's own device, if it has one, is lent what of `range` it does not have.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if the process was killed; what was lent so far is.
    fn lend_own(&self, storage: &Storage, range: Range) -> Result {
        let Some(own) = storage.own_view() else {
            return Ok(());
        };
        task::in_stretches(range, |stretch| {
            let mut rest = Some(stretch);
            while let Some((part, is_missing)) = rest.and_then(|_| self.mark_own(&mut rest)) {
                self.withdraw(part);
                if is_missing {
                    storage.clean(part);
                }
                own.sync_for_device(part);
                cpu::drain_write_buffer();
            }
            Ok(())
        })
    }

    /// Marks the next part of `rest` that is to be lent, and tells whether it has to be cleaned for the
    /// device before it is synced: see [`Self::clean_for`].
    fn mark_own(&self, rest: &mut Option<Range>) -> Option<(Range, bool)> {
        let ownership = &mut self.state.lock().access.ownership;
        let part = ownership.first_of_own(rest, Member::No)?;
        ownership.lend_own(part);
        let is_missing = ownership.is_missing_in_memory(ownership.own_writes_to(), part);
        Some((part, is_missing))
    }

    /// What of `range` the buffer's own device was lent, if it has one, comes back.
    ///
    /// # Errors
    ///
    /// Those of `go_on`, which is called before each stretch; what came back so far has.
    pub(super) fn return_own(
        &self,
        storage: &Storage,
        range: Range,
        go_on: impl Fn() -> Result,
    ) -> Result {
        let Some(own) = storage.own_view() else {
            return Ok(());
        };
        range.pieces(STRETCH).try_for_each(|stretch| {
            go_on()?;
            let mut rest = Some(stretch);
            while let Some((part, cached_by)) = rest.and_then(|_| self.next_of_own(&mut rest)) {
                // An importer's device may be gone meanwhile, but none that snoops comes.
                let views = cached_by.map(|writes_to| (writes_to, self.views.lock()));
                match &views {
                    Some((WritesTo::Memory, _)) => {
                        storage.clean(part);
                        own.sync_for_device(part);
                    }
                    Some((WritesTo::Cache, views)) => self.clean_for_others(storage, views, part),
                    None => {}
                }
                own.sync_for_cpu(part);
                self.state.lock().access.ownership.return_own(part);
                self.came_back();
            }
            Ok(())
        })
    }

    fn first_of_own(&self, rest: &mut Option<Range>) -> Option<Range> {
        let state = self.state.lock();
        state.access.ownership.first_of_own(rest, Member::Yes)
    }

    /// [`Self::first_of_own`], and, if devices may have written some of it to the CPU's cache, where the
    /// buffer's own one writes.
    fn next_of_own(&self, rest: &mut Option<Range>) -> Option<(Range, Option<WritesTo>)> {
        let ownership = &self.state.lock().access.ownership;
        let part = ownership.first_of_own(rest, Member::Yes)?;
        let is_cached = ownership.is_written_in_cache(part);
        Some((part, is_cached.then_some(ownership.own_writes_to())))
    }

    /// What other devices may have written of `range` to the CPU's cache gets to memory, before a sync
    /// for a device that writes past the cache discards lines of it: for the device, too, where it only
    /// writes. Returns whether there may be anything; who has the bytes already is to be given them
    /// anew, by a sync for the device.
    pub(super) fn clean_for(&self, writes_to: WritesTo, storage: &Storage, range: Range) -> bool {
        let is_missing = {
            let ownership = &self.state.lock().access.ownership;
            ownership.is_missing_in_memory(writes_to, range)
        };
        if is_missing {
            storage.clean(range);
        }
        is_missing
    }

    /// The devices of importers get their views that meet `range`: those that they can be lent, if
    /// they are not, and else what the CPU wrote.
    fn lend_views(&self, storage: &Storage, range: Range) {
        let views = self.views.lock();
        for view in views.iter().filter(|view| view.meets(range)) {
            let lent = self.lend_view(view);
            if lent != Hold::Lent {
                if lent == Hold::Returned {
                    self.withdraw(view.mapping.range());
                }
                self.clean_for(view.writes_to, storage, view.mapping.range());
                view.mapping.sync_all_for_device();
                cpu::drain_write_buffer();
            }
        }
    }

    /// Marks a view as lent, if it can be. What its device had of it before.
    fn lend_view(&self, view: &ImporterView) -> Hold {
        let ownership = &mut self.state.lock().access.ownership;
        let before = ownership.hold(view.id);
        ownership.set_hold(view.id, Hold::Lent);
        before
    }

    /// What devices of importers were lent of views that meet `range` comes back.
    fn return_views(&self, storage: &Storage, range: Range) {
        let views = self.views.lock();
        for view in views.iter().filter(|view| view.meets(range)) {
            self.return_view(storage, &views, view);
        }
    }

    /// What the device of an importer was lent of a view comes back. `views` has all others.
    pub(super) fn return_view(
        &self,
        storage: &Storage,
        views: &[ImporterView],
        view: &ImporterView,
    ) {
        if !self.is_lent(view) {
            return;
        }
        let range = view.mapping.range();
        if self.clean_for(view.writes_to, storage, range) {
            view.mapping.sync_all_for_device();
        }
        view.mapping.sync_all_for_cpu();
        if view.writes_to == WritesTo::Cache {
            self.clean_for_others(storage, views, range);
        }
        let mut state = self.state.lock();
        state.access.ownership.set_hold(view.id, Hold::Returned);
        drop(state);
        self.came_back();
    }

    /// What of `range` a device has written to the CPU's cache gets to memory, as far as other
    /// devices, which write past the cache, have the bytes too: when these come back, lines are
    /// discarded.
    fn clean_for_others(&self, storage: &Storage, views: &[ImporterView], range: Range) {
        let writes_to = self.state.lock().access.ownership.own_writes_to();
        if let (Some(own), WritesTo::Memory) = (storage.own_view(), writes_to) {
            let mut rest = Some(range);
            while let Some(part) = rest.and_then(|_| self.first_of_own(&mut rest)) {
                storage.clean(part);
                own.sync_for_device(part);
            }
        }
        let past_the_cache = |view: &&ImporterView| view.writes_to == WritesTo::Memory;
        for view in views.iter().filter(past_the_cache) {
            if view.meets(range) && self.is_lent(view) {
                storage.clean(view.mapping.range());
                view.mapping.sync_all_for_device();
            }
        }
    }

    fn is_lent(&self, view: &ImporterView) -> bool {
        self.state.lock().access.ownership.hold(view.id) == Hold::Lent
    }

    /// Cleans and invalidates what the calling process's mappings of `range`, and of the views that it
    /// meets, have in the cache, where that is not what the kernel's view has. Nobody may touch the
    /// bytes by a mapping meanwhile, and a view that comes to be meanwhile is flushed by who maps it,
    /// so no range has to be locked. May sleep.
    pub(crate) fn flush_mappings(&self, range: Range) {
        if self.machine().caches != Caches::Vivt {
            return;
        }
        let state = self.state.lock();
        let has_aliases = self.has_aliases(state.storage.policy());
        let reach = state.access.ownership.with_views(range);
        drop(state);
        if has_aliases {
            self.address_space().lock().flush(reach);
        }
    }
}
