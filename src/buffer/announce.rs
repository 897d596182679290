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
            Usage, //
        },
        wait_queue::Patience, //
    },
};
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
            if met.reservation.has(met.usage, is_other) {
                return Err(NotAnnounced::Changed);
            }
            slots.push((held.reserve()?, met.usage), GFP_KERNEL)?;
        }
    }
    ready()?;
    for (plan, (_, exported)) in &plans {
        if !plan.buffer.fences.note(plan.uses, *exported, fence) {
            return Err(NotAnnounced::Changed);
        }
        // There is room.
        let _ = announced.push_within_capacity(Announced {
            buffer: plan.buffer.clone(),
            fence: fence.clone(),
        });
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
        self.buffer.fences.remove(&self.reservation);
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.buffer.fences.forget(&self.fence);
    }
}
