// SPDX-License-Identifier: GPL-2.0

//! The DMA engine of this machine, and what it has to do.

use super::job::Job;
use crate::sys::{
    cpu,
    dma_engine::{
        Channel,
        Watch,
        Watcher, //
    },
    params,
    work::OrderedQueue, //
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

/// The DMA engine that copies, and the queue of its jobs.
#[pin_data]
pub(crate) struct Engine {
    /// Runs one job after the other. It is stopped first.
    queue: OrderedQueue,
    /// Who tells when the engine's driver leaves. Its lock is held by who asks for a channel.
    #[pin]
    watch: Mutex<Option<Pin<KBox<Watch<Jobs>>>>>,
    jobs: Arc<Jobs>,
}

/// The jobs that have not ended, and the channel that they need.
#[pin_data]
pub(crate) struct Jobs {
    #[pin]
    state: Mutex<State>,
    /// Woken when a job no longer needs the channel.
    #[pin]
    released: CondVar,
    /// Woken when a job ends, whosever it is.
    #[pin]
    ended: PollCondVar,
}

struct State {
    engine: Slot,
    list: KVec<Arc<Job>>,
    /// How many leases there are.
    leases: usize,
}

/// Whether there is an engine.
enum Slot {
    /// Nobody has asked for it yet, or there was none.
    Unknown,
    /// Its channel, which the worker takes for a transfer, and its device.
    Known(Arc<Mutex<Channel>>, ARef<Device>),
    /// Its driver is leaving the device.
    Leaves,
}

/// The right to use the channel: while it lives the engine's driver stays.
pub(super) struct Lease {
    jobs: Arc<Jobs>,
    channel: Arc<Mutex<Channel>>,
    device: ARef<Device>,
}

impl Engine {
    /// An engine that has not been looked for yet. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new() -> Result<Arc<Self>> {
        let state = State {
            engine: Slot::Unknown,
            list: KVec::new(),
            leases: 0,
        };
        let jobs = Arc::pin_init(
            pin_init!(Jobs {
                state <- new_mutex!(state, "shmbuf::engine"),
                released <- new_condvar!("shmbuf::released"),
                ended <- new_poll_condvar!("shmbuf::ended"),
            }),
            GFP_KERNEL,
        )?;
        Arc::pin_init(
            pin_init!(Self {
                queue: OrderedQueue::new()?,
                watch <- new_mutex!(None, "shmbuf::watch"),
                jobs,
            }? Error),
            GFP_KERNEL,
        )
    }

    /// The engine's device, if somebody has asked for the engine. May sleep.
    pub(crate) fn device(&self) -> Option<ARef<Device>> {
        match &self.jobs.state.lock().engine {
            Slot::Known(_, device) => Some(device.clone()),
            Slot::Unknown | Slot::Leaves => None,
        }
    }

    /// Who waits for the end of jobs.
    pub(crate) fn ended(&self) -> &PollCondVar {
        &self.jobs.ended
    }

    /// Asks for the engine, if nobody has. From then on the channel is ours. May sleep.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] if no engine of the wanted name copies memory; [`ENOMEM`].
    pub(super) fn find(&self) -> Result {
        let mut watch = self.watch.lock();
        if let Slot::Known(..) | Slot::Leaves = self.jobs.state.lock().engine {
            return Ok(());
        }
        let channel = Channel::request(params::engine()).ok_or_else(none)?;
        // That of an engine that has left waits until it is not running, so no lock that it takes is
        // held.
        *watch = Some(Watch::new(channel.provider(), self.jobs.clone())?);
        let device = channel.device().into();
        let channel = Arc::pin_init(new_mutex!(channel, "shmbuf::channel"), GFP_KERNEL)?;
        let mut state = self.jobs.state.lock();
        if let Slot::Unknown = state.engine {
            state.engine = Slot::Known(channel, device);
        }
        Ok(())
    }

    /// The right to use the engine that was found. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if its driver has left or is leaving.
    pub(super) fn lease(&self) -> Result<Lease> {
        let mut state = self.jobs.state.lock();
        let Slot::Known(channel, device) = &state.engine else {
            return Err(ENODEV);
        };
        let (channel, device) = (channel.clone(), device.clone());
        state.leases += 1;
        drop(state);
        Ok(Lease {
            jobs: self.jobs.clone(),
            channel,
            device,
        })
    }

    /// Lets a new job run when those before it have ended. May sleep.
    ///
    /// # Errors
    ///
    /// - [`ENODEV`] if the engine's driver is leaving: the job is to be ended;
    /// - [`ENOMEM`].
    pub(super) fn enqueue(&self, job: &Arc<Job>) -> Result {
        let mut state = self.jobs.state.lock();
        if !matches!(state.engine, Slot::Known(..)) {
            return Err(ENODEV);
        }
        state.list.push(job.clone(), GFP_KERNEL)?;
        // It is new, so it is not in the queue yet.
        let _ = self.queue.enqueue(job.clone());
        Ok(())
    }

    /// The jobs that have not ended.
    pub(super) fn jobs(&self) -> &Arc<Jobs> {
        &self.jobs
    }
}

/// There is no engine; says what to do if one was named.
fn none() -> Error {
    let name = params::engine();
    if !name.is_empty() && cpu::log_allowed() {
        pr_notice!("COPY: engine={name}: no free channel copies memory; see /sys/class/dma\n");
    }
    EOPNOTSUPP
}

impl Jobs {
    /// A job has ended: whoever waits for one looks whether it was his. May sleep.
    pub(super) fn ended(&self, job: &Job) {
        let is_other = |other: &mut Arc<Job>| !core::ptr::eq(&**other, job);
        self.state.lock().list.retain(is_other);
        self.ended.notify_all();
    }
}

impl Watcher for Jobs {
    fn leaves(&self) {
        let mut state = self.state.lock();
        let engine = core::mem::replace(&mut state.engine, Slot::Leaves);
        while let Some(job) = state.list.pop() {
            drop(state);
            job.end(ENODEV);
            state = self.state.lock();
        }
        while state.leases > 0 {
            self.released.wait(&mut state);
        }
        drop(state);
        // The channel goes with it.
        drop(engine);
    }

    fn left(&self) {
        self.state.lock().engine = Slot::Unknown;
    }
}

impl Lease {
    /// The device that reads and writes memory.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// The channel, for one transfer at a time.
    pub(super) fn channel(&self) -> &Mutex<Channel> {
        &self.channel
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.jobs.state.lock().leases -= 1;
        self.jobs.released.notify_all();
    }
}
