// SPDX-License-Identifier: GPL-2.0

//! Fences: until when somebody uses a range of a buffer that is exported.
//!
//! Each dma-buf has a reservation object of its own, so that who waits for one slot of a
//! ring does not wait for what goes on in another. A COPY adds its fence to those that its
//! ranges meet, also to one that comes to be meanwhile. COPY and SYNC wait for the fences
//! that others added, with nothing locked. They need not wait for those of a COPY in the same
//! range: the lock of ranges keeps them apart, byte for byte.

use super::object::Buffer;
use crate::{
    rules::range::Range,
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

/// The dma-bufs of a buffer, and what goes on in it. The lock is held while nothing else is taken.
#[pin_data]
pub(super) struct Fences {
    #[pin]
    lists: Mutex<Lists>,
    /// How many dma-bufs there are, for who only has to know that there is none.
    exports: Atomic<usize>,
}

struct Lists {
    exports: KVec<(Range, Arc<Reservation>)>,
    uses: KVec<Use>,
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

/// That something goes on in a range, for those who get a dma-buf of it as long as this lives.
pub(crate) struct Announced {
    buffer: Arc<Buffer>,
    fence: ARef<Fence>,
}

impl Fences {
    /// Without dma-bufs, and nothing goes on.
    pub(super) fn new() -> impl PinInit<Self> {
        let lists = Lists {
            exports: KVec::new(),
            uses: KVec::new(),
        };
        pin_init!(Self {
            lists <- new_mutex!(lists, "shmbuf::fences"),
            exports: Atomic::new(0),
        })
    }

    /// The reservation objects of dma-bufs that meet `range`.
    fn reservations(&self, range: Range) -> Result<KVec<(Range, Arc<Reservation>)>> {
        let lists = self.lists.lock();
        let mut met = KVec::new();
        for (exported, reservation) in lists.exports.iter() {
            if exported.intersect(range).is_some() {
                met.push((*exported, reservation.clone()), GFP_KERNEL)?;
            }
        }
        Ok(met)
    }

    /// Whether `fence` is that of something that goes on in `range`.
    fn is_ours(&self, fence: &Fence, range: Range) -> bool {
        let lists = self.lists.lock();
        let mut uses = lists.uses.iter();
        uses.any(|used| core::ptr::eq(&*used.fence, fence) && used.range.intersect(range).is_some())
    }

    /// What goes on in `range`.
    fn uses(&self, range: Range) -> Result<KVec<(ARef<Fence>, Usage)>> {
        let lists = self.lists.lock();
        let mut met = KVec::new();
        for used in lists.uses.iter() {
            if used.range.intersect(range).is_some() {
                met.push((used.fence.clone(), used.usage), GFP_KERNEL)?;
            }
        }
        Ok(met)
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
        let entry = (range, reservation.clone());
        self.fences.lists.lock().exports.push(entry, GFP_KERNEL)?;
        self.fences.exports.fetch_add(1, Relaxed);
        let reserved = Reserved {
            buffer: self.clone(),
            reservation,
        };
        // What begins from here on finds it in the list.
        for (fence, usage) in self.fences.uses(range)? {
            reserved.reservation.add(&fence, usage)?;
        }
        Ok(reserved)
    }

    /// Tells those who have a dma-buf that meets `range` what goes on in it until `fence` is
    /// signalled. Takes reservation locks. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]: some may know of it.
    pub(crate) fn announce(
        self: &Arc<Self>,
        range: Range,
        usage: Usage,
        fence: &ARef<Fence>,
    ) -> Result<Announced> {
        let entry = Use {
            range,
            usage,
            fence: fence.clone(),
        };
        self.fences.lists.lock().uses.push(entry, GFP_KERNEL)?;
        let announced = Announced {
            buffer: self.clone(),
            fence: fence.clone(),
        };
        for (_, reservation) in self.fences.reservations(range)? {
            reservation.add(fence, usage)?;
        }
        Ok(announced)
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
        for (exported, reservation) in self.fences.reservations(range)? {
            reservation.wait(usage, |fence| !self.fences.is_ours(fence, exported))?;
        }
        Ok(())
    }
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
