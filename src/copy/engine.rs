// SPDX-License-Identifier: GPL-2.0

//! The DMA engine of this machine.

use crate::sys::dma_engine::{
    Channel,
    Progress, //
};
use kernel::{
    device::Device,
    new_condvar, new_mutex, new_poll_condvar,
    prelude::*,
    sync::{
        aref::ARef,
        poll::PollCondVar,
        Arc,
        CondVar,
        Mutex, //
    },
};

/// The DMA engine of this machine: one channel of it, for one copy at a time.
#[pin_data]
pub(crate) struct Engine {
    #[pin]
    channel: Mutex<Slot>,
    /// Woken when the channel is put back.
    #[pin]
    free: CondVar,
    /// Woken when a copy in the background ends, whosever it is.
    #[pin]
    ended: PollCondVar,
}

/// Where the channel is.
enum Slot {
    /// Nobody has asked for it yet, or there was none.
    Unknown,
    Free(Channel),
    /// Somebody copies by it; the device that it is of.
    InUse(ARef<Device>),
}

impl Engine {
    /// An engine that has not been looked for yet.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                channel <- new_mutex!(Slot::Unknown, "shmbuf::engine"),
                free <- new_condvar!("shmbuf::engine"),
                ended <- new_poll_condvar!("shmbuf::ended"),
            }),
            GFP_KERNEL,
        )
    }

    /// Who waits for the end of copies in the background.
    pub(crate) fn ended(&self) -> &PollCondVar {
        &self.ended
    }

    /// The engine's device, if there is an engine. From then on the channel is ours. May sleep.
    pub(crate) fn device(&self) -> Option<ARef<Device>> {
        let mut slot = self.channel.lock();
        if let Slot::Unknown = *slot {
            *slot = Slot::Free(Channel::request()?);
        }
        match &*slot {
            Slot::Unknown => None,
            Slot::Free(channel) => Some(channel.device().into()),
            Slot::InUse(device) => Some(device.clone()),
        }
    }

    /// Calls `f` with the channel, while nobody else has it. Waits for copies of others.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] if no engine copies memory, [`ECANCELED`] after [`Self::cancel`],
    /// [`ERESTARTSYS`] if a signal came while waiting.
    pub(super) fn with<R>(
        &self,
        progress: &Progress,
        f: impl FnOnce(&mut Channel) -> R,
    ) -> Result<R> {
        let device = self.device().ok_or(EOPNOTSUPP)?;
        let mut channel = self.take(progress, device)?;
        let result = f(&mut channel);
        *self.channel.lock() = Slot::Free(channel);
        // Whoever is woken may have a signal, and leave without it.
        self.free.notify_all();
        Ok(result)
    }

    fn take(&self, progress: &Progress, device: ARef<Device>) -> Result<Channel> {
        let mut slot = self.channel.lock();
        while !progress.is_cancelled() {
            match core::mem::replace(&mut *slot, Slot::InUse(device.clone())) {
                Slot::Free(channel) => return Ok(channel),
                // Once it is ours it stays.
                Slot::Unknown => return Err(EOPNOTSUPP),
                Slot::InUse(_) => {
                    if self.free.wait_interruptible(&mut slot) {
                        return Err(ERESTARTSYS);
                    }
                }
            }
        }
        Err(ECANCELED)
    }

    /// Ends the copy of `progress`, and lets none of it begin; who waits for the channel goes too. May
    /// sleep.
    pub(crate) fn cancel(&self, progress: &Progress) {
        progress.cancel();
        // Who found it not cancelled is waiting when the lock is free.
        drop(self.channel.lock());
        self.free.notify_all();
    }
}
