// SPDX-License-Identifier: GPL-2.0

//! Fences: until when somebody uses a range of a buffer that is exported.
//!
//! Each dma-buf has a reservation object of its own, so that who waits for one slot of a
//! ring does not wait for what goes on in another. A COPY adds its fence to those that its
//! ranges meet, and one that comes to be meanwhile gets it too. COPY and START wait for the
//! fences that others added, with nothing locked. They need not wait for those of a COPY in
//! the same buffer: the lock of ranges keeps them apart, byte for byte.

use super::object::Buffer;
use crate::{
    rules::{
        range::Range,
        room::Room, //
    },
    sys::dma_fence::{
        Fence,
        Reservation,
        Usage, //
    },
};
use kernel::{
    alloc::AllocError,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
};

/// The dma-bufs of a buffer, and what goes on in it.
#[pin_data]
pub(super) struct Fences {
    /// Nothing is taken, and no memory is waited for, while it is held: who signals fences takes it.
    #[pin]
    lists: Mutex<Lists>,
    /// How many dma-bufs there are, for who only has to know that there is none.
    exports: Atomic<usize>,
}

struct Lists {
    exports: KVec<(Range, Arc<Reservation>)>,
    uses: KVec<Use>,
    /// How many dma-bufs there were ever.
    exported: u64,
}

/// What goes on until a fence is signalled.
struct Use {
    range: Range,
    usage: Usage,
    fence: ARef<Fence>,
}

/// The reservation object of a dma-buf, for as long as this lives.
pub(crate) struct Reserved {
    buffer: Arc<Buffer>,
    reservation: Arc<Reservation>,
}

/// That something goes on in ranges, for those who get a dma-buf of them as long as this lives.
pub(crate) struct Announced {
    buffer: Arc<Buffer>,
    fence: ARef<Fence>,
}

/// What somebody is going to do to ranges of a buffer.
pub(crate) struct Planned<'a> {
    /// The buffer.
    pub(crate) buffer: &'a Arc<Buffer>,
    /// The ranges.
    pub(crate) uses: &'a [(Range, Usage)],
}

/// Why nothing was announced.
pub(crate) enum NotAnnounced {
    /// Others have begun to use some of it, or got a dma-buf: wait for their fences, and try again.
    Changed,
    /// Somebody holds this reservation object, perhaps while he waits for a range: wait for that with
    /// nothing locked, and try again.
    Held(Arc<Reservation>),
    /// It cannot be.
    Failed(Error),
}

impl From<Error> for NotAnnounced {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<AllocError> for NotAnnounced {
    fn from(error: AllocError) -> Self {
        Self::Failed(error.into())
    }
}

/// A dma-buf that is going to be used.
struct Met {
    exported: Range,
    reservation: Arc<Reservation>,
    usage: Usage,
}

impl Fences {
    /// Without dma-bufs, and nothing goes on.
    pub(super) fn new() -> impl PinInit<Self> {
        let lists = Lists {
            exports: KVec::new(),
            uses: KVec::new(),
            exported: 0,
        };
        pin_init!(Self {
            lists <- new_mutex!(lists, "shmbuf::fences"),
            exports: Atomic::new(0),
        })
    }

    /// The dma-bufs that `uses` meet, each once, and how many there were ever.
    fn met(&self, uses: &[(Range, Usage)]) -> Result<(KVec<Met>, u64)> {
        loop {
            let count = self.lists.lock().exports.len();
            let mut room = Room::new(count)?;
            let lists = self.lists.lock();
            if lists.exports.len() > room.capacity() {
                continue;
            }
            for (exported, reservation) in lists.exports.iter() {
                let meets = |usage| {
                    let mut uses = uses.iter().filter(|(_, used)| *used == usage);
                    uses.any(|(range, _)| exported.intersect(*range).is_some())
                };
                let usage = [Usage::Writes, Usage::Reads]
                    .into_iter()
                    .find(|&usage| meets(usage));
                if let Some(usage) = usage {
                    room.push(Met {
                        exported: *exported,
                        reservation: reservation.clone(),
                        usage,
                    });
                }
            }
            return Ok((room.into_list(), lists.exported));
        }
    }

    /// Whether `fence` is that of something that goes on in `range`.
    fn is_ours(&self, fence: &Fence, range: Range) -> bool {
        let lists = self.lists.lock();
        let mut uses = lists.uses.iter();
        uses.any(|used| core::ptr::eq(&*used.fence, fence) && used.range.intersect(range).is_some())
    }

    /// Makes room for `count` uses more. Others may take it.
    fn make_room(&self, count: usize) -> Result {
        let lists = self.lists.lock();
        let (len, capacity) = (lists.uses.len() + count, lists.uses.capacity());
        drop(lists);
        if len > capacity {
            let room = Room::new(2 * len)?;
            room.give(&mut self.lists.lock().uses);
        }
        Ok(())
    }

    /// Adds a dma-buf. Returns what goes on in it; what begins from here on finds it.
    fn add(
        &self,
        range: Range,
        reservation: &Arc<Reservation>,
    ) -> Result<KVec<(ARef<Fence>, Usage)>> {
        loop {
            let lists = self.lists.lock();
            let (exports, uses) = (lists.exports.len(), lists.uses.len());
            drop(lists);
            let (room, mut running) = (Room::new(exports + 1)?, Room::new(uses)?);
            let mut lists = self.lists.lock();
            room.give(&mut lists.exports);
            let is_full = lists.exports.len() == lists.exports.capacity();
            if is_full || lists.uses.len() > running.capacity() {
                continue;
            }
            let entry = (range, reservation.clone());
            // There is room.
            let _ = lists.exports.push_within_capacity(entry);
            lists.exported += 1;
            self.exports.fetch_add(1, Relaxed);
            for used in lists.uses.iter() {
                if used.range.intersect(range).is_some() {
                    running.push((used.fence.clone(), used.usage));
                }
            }
            return Ok(running.into_list());
        }
    }

    /// Notes what `plan` says, if no dma-buf has come since there were ever `exported`.
    fn note(
        &self,
        plan: &Planned<'_>,
        exported: u64,
        fence: &ARef<Fence>,
    ) -> Result<Announced, NotAnnounced> {
        let mut lists = self.lists.lock();
        let room = lists.uses.capacity() - lists.uses.len();
        if lists.exported != exported || room < plan.uses.len() {
            return Err(NotAnnounced::Changed);
        }
        for &(range, usage) in plan.uses {
            let fence = fence.clone();
            // There is room.
            let _ = lists.uses.push_within_capacity(Use {
                range,
                usage,
                fence,
            });
        }
        Ok(Announced {
            buffer: plan.buffer.clone(),
            fence: fence.clone(),
        })
    }
}

impl Buffer {
    /// The reservation object for a dma-buf of `range`. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn reserve(self: &Arc<Self>, range: Range) -> Result<Reserved> {
        let reservation = Arc::pin_init(Reservation::new(), GFP_KERNEL)?;
        let running = self.fences.add(range, &reservation)?;
        let reserved = Reserved {
            buffer: self.clone(),
            reservation,
        };
        for (fence, usage) in running {
            reserved.reservation.add(&fence, usage)?;
        }
        Ok(reserved)
    }

    /// Waits for the fences that others added to dma-bufs that meet `range`. Nothing may be locked.
    /// Sleeps.
    ///
    /// # Errors
    ///
    /// [`ERESTARTSYS`] if a signal came; [`ENOMEM`].
    pub(crate) fn wait_for_others(&self, range: Range, usage: Usage) -> Result {
        if self.fences.exports.load(Relaxed) == 0 {
            return Ok(());
        }
        let (met, _) = self.fences.met(&[(range, usage)])?;
        for Met {
            exported,
            reservation,
            ..
        } in &met
        {
            reservation.wait(usage, |fence| !self.fences.is_ours(fence, *exported))?;
        }
        Ok(())
    }
}

/// Tells those who have dma-bufs what goes on in ranges of one or two buffers until `fence` is
/// signalled. The ranges are locked, so it waits for nobody. Before anybody is told, and while no
/// other can begin, it calls `ready`; if that fails, or this, nobody waits for more than the signal
/// of `fence`. May sleep.
///
/// # Errors
///
/// See [`NotAnnounced`].
pub(crate) fn announce(
    planned: &[Planned<'_>],
    fence: &ARef<Fence>,
    ready: impl FnOnce() -> Result,
) -> Result<KVec<Announced>, NotAnnounced> {
    let mut announced = KVec::with_capacity(planned.len(), GFP_KERNEL)?;
    let mut plans = KVec::with_capacity(planned.len(), GFP_KERNEL)?;
    for plan in planned {
        plan.buffer.fences.make_room(plan.uses.len())?;
        plans.push((plan, plan.buffer.fences.met(plan.uses)?), GFP_KERNEL)?;
    }
    let mut slots = KVec::new();
    for (plan, (list, _)) in &plans {
        for met in list {
            let Some(held) = met.reservation.try_lock() else {
                return Err(NotAnnounced::Held(met.reservation.clone()));
            };
            let is_other = |fence: &Fence| !plan.buffer.fences.is_ours(fence, met.exported);
            if held.has(met.usage, is_other) {
                return Err(NotAnnounced::Changed);
            }
            slots.push((held.reserve()?, met.usage), GFP_KERNEL)?;
        }
    }
    ready()?;
    for (plan, (_, exported)) in &plans {
        let noted = plan.buffer.fences.note(plan, *exported, fence)?;
        // There is room.
        let _ = announced.push_within_capacity(noted);
    }
    for (slot, usage) in slots {
        slot.add(fence, usage);
    }
    Ok(announced)
}

impl Reserved {
    /// The reservation object.
    pub(crate) fn reservation(&self) -> &Arc<Reservation> {
        &self.reservation
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let fences = &self.buffer.fences;
        let is_other =
            |entry: &mut (Range, Arc<Reservation>)| !Arc::ptr_eq(&entry.1, &self.reservation);
        fences.lists.lock().exports.retain(is_other);
        fences.exports.fetch_sub(1, Relaxed);
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let mut lists = self.buffer.fences.lists.lock();
        lists
            .uses
            .retain(|used| !core::ptr::eq(&*used.fence, &*self.fence));
    }
}
