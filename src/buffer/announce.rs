// SPDX-License-Identifier: GPL-2.0

//! Telling those who have a dma-buf what goes on in the buffer, and waiting for them.

use super::{
    fences::Met,
    object::Buffer, //
};
use crate::{
    rules::range::Range,
    sys::{
        dma_fence::{
            Fence,
            Reservation,
            Slot,
            Usage, //
        },
        wait_queue::Patience, //
    },
};
use core::iter;
use kernel::{
    alloc::AllocError,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
};

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
#[derive(Clone, Copy)]
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

impl Buffer {
    /// The reservation object for a dma-buf of `range`. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn reserve(self: &Arc<Self>, range: Range) -> Result<Reserved> {
        let reservation = Arc::pin_init(Reservation::new(), GFP_KERNEL_ACCOUNT)?;
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
    /// - [`EAGAIN`] without patience, if there are any;
    /// - [`ERESTARTSYS`] if a signal came;
    /// - [`ENOMEM`].
    pub(crate) fn wait_for_others(&self, range: Range, usage: Usage, patience: Patience) -> Result {
        if !self.fences.is_exported() {
            return Ok(());
        }
        let (met, _) = self.fences.met(&[(range, usage)])?;
        for Met {
            exported,
            reservation,
            ..
        } in &met
        {
            let is_other = |fence: &Fence| !self.fences.is_ours(fence, *exported);
            match patience {
                Patience::None if reservation.has(usage, is_other) => return Err(EAGAIN),
                Patience::None => {}
                Patience::Until(_) => reservation.wait(usage, is_other)?,
            }
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
    first: Planned<'_>,
    second: Option<Planned<'_>>,
    fence: &ARef<Fence>,
    ready: impl FnOnce() -> Result,
) -> Result<(Announced, Option<Announced>), NotAnnounced> {
    let first = Plan::new(first)?;
    let second = second.map(Plan::new).transpose()?;
    let mut slots = KVec::new();
    for plan in Iterator::chain(iter::once(&first), &second) {
        for met in &plan.met {
            slots.push((plan.slot(met)?, met.usage), GFP_KERNEL)?;
        }
    }
    ready()?;
    let announced = (
        first.note(fence)?,
        second.as_ref().map(|plan| plan.note(fence)).transpose()?,
    );
    for (slot, usage) in slots {
        slot.add(fence, usage);
    }
    Ok(announced)
}

/// What somebody is going to do to ranges of a buffer, and the dma-bufs that he meets.
struct Plan<'a> {
    planned: Planned<'a>,
    met: KVec<Met>,
    /// How many dma-bufs there were ever.
    exported: u64,
}

impl<'a> Plan<'a> {
    fn new(planned: Planned<'a>) -> Result<Self> {
        let fences = &planned.buffer.fences;
        fences.make_room(planned.uses.len())?;
        let (met, exported) = fences.met(planned.uses)?;
        Ok(Self {
            planned,
            met,
            exported,
        })
    }

    /// Room for a fence in a dma-buf that he meets, of which nobody else uses what he needs.
    fn slot<'b>(&self, met: &'b Met) -> Result<Slot<'b>, NotAnnounced> {
        let Some(held) = met.reservation.try_lock() else {
            return Err(NotAnnounced::Held(met.reservation.clone()));
        };
        let fences = &self.planned.buffer.fences;
        let is_other = |fence: &Fence| !fences.is_ours(fence, met.exported);
        match met.reservation.has(met.usage, is_other) {
            true => Err(NotAnnounced::Changed),
            false => Ok(held.reserve()?),
        }
    }

    /// Tells those who get a dma-buf from here on.
    fn note(&self, fence: &ARef<Fence>) -> Result<Announced, NotAnnounced> {
        let Planned { buffer, uses } = self.planned;
        match buffer.fences.note(uses, self.exported, fence) {
            true => Ok(Announced {
                buffer: buffer.clone(),
                fence: fence.clone(),
            }),
            false => Err(NotAnnounced::Changed),
        }
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
        self.buffer.fences.remove(&self.reservation);
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.buffer.fences.forget(&self.fence);
    }
}
