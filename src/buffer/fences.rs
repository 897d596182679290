// SPDX-License-Identifier: GPL-2.0

//! Fences: until when somebody uses a range of a buffer that is exported. `announce.rs` has
//! what a buffer does with them.
//!
//! Each dma-buf has a reservation object of its own, so that who waits for one slot of a
//! ring does not wait for what goes on in another. A COPY adds its fence to those that its
//! ranges meet, and one that comes to be meanwhile gets it too. COPY and START wait for the
//! fences that others added, with nothing locked. They need not wait for those of a COPY in
//! the same buffer: the lock of ranges keeps them apart, byte for byte.

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

/// A dma-buf that is going to be used.
pub(super) struct Met {
    pub(super) exported: Range,
    pub(super) reservation: Arc<Reservation>,
    pub(super) usage: Usage,
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
    pub(super) fn met(&self, uses: &[(Range, Usage)]) -> Result<(KVec<Met>, u64)> {
        let mut room = Room::new(0)?;
        loop {
            let lists = self.lists.lock();
            let count = lists.exports.len();
            if count > room.capacity() {
                drop(lists);
                room = Room::new(count)?;
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
    pub(super) fn is_ours(&self, fence: &Fence, range: Range) -> bool {
        let lists = self.lists.lock();
        let mut uses = lists.uses.iter();
        uses.any(|used| core::ptr::eq(&*used.fence, fence) && used.range.intersect(range).is_some())
    }

    /// Makes room for `count` uses more. Others may take it.
    pub(super) fn make_room(&self, count: usize) -> Result {
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
    pub(super) fn add(
        &self,
        range: Range,
        reservation: &Arc<Reservation>,
    ) -> Result<KVec<(ARef<Fence>, Usage)>> {
        let mut running = Room::new(0)?;
        loop {
            let mut lists = self.lists.lock();
            let (exports, uses) = (lists.exports.len(), lists.uses.len());
            if exports == lists.exports.capacity() {
                drop(lists);
                let room = Room::new(2 * exports + 1)?;
                room.give(&mut self.lists.lock().exports);
                continue;
            }
            if uses > running.capacity() {
                drop(lists);
                running = Room::new(uses)?;
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

    /// Notes `uses` until [`Self::forget`], unless a dma-buf has come since there were ever `exported`, or
    /// there is no room. Whether it did.
    pub(super) fn note(&self, uses: &[(Range, Usage)], exported: u64, fence: &ARef<Fence>) -> bool {
        let mut lists = self.lists.lock();
        let room = lists.uses.capacity() - lists.uses.len();
        if lists.exported != exported || room < uses.len() {
            return false;
        }
        for &(range, usage) in uses {
            let fence = fence.clone();
            // There is room.
            let _ = lists.uses.push_within_capacity(Use {
                range,
                usage,
                fence,
            });
        }
        true
    }

    /// What `fence` stands for has ended.
    pub(super) fn forget(&self, fence: &Fence) {
        let is_other = |used: &mut Use| !core::ptr::eq(&*used.fence, fence);
        self.lists.lock().uses.retain(is_other);
    }

    /// A dma-buf is gone.
    pub(super) fn remove(&self, reservation: &Arc<Reservation>) {
        let is_other = |entry: &mut (Range, Arc<Reservation>)| !Arc::ptr_eq(&entry.1, reservation);
        self.lists.lock().exports.retain(is_other);
        self.exports.fetch_sub(1, Relaxed);
    }

    /// Whether there is a dma-buf.
    pub(super) fn is_exported(&self) -> bool {
        self.exports.load(Relaxed) > 0
    }
}
