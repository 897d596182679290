// SPDX-License-Identifier: GPL-2.0

//! The DMA engine of this machine, and what it has to do.

use crate::{
    rules::room::Room,
    sys::{
        cpu,
        dma_engine::{
            Channel,
            Watch,
            Watcher, //
        },
        params,
        work::OrderedQueue, //
    }, //
};
use kernel::{
    device::Device,
    new_condvar,
    new_mutex,
    new_poll_condvar,
    prelude::*,
    sync::{
        aref::ARef,
        poll::PollCondVar,
        Arc,
        CondVar,
        Mutex, //
    },
    workqueue::{
        HasWork,
        WorkItem, //
    }, //
};

/// The DMA engine that copies, and the queue of its jobs.
#[pin_data(PinnedDrop)]
pub(crate) struct Engine {
    /// Runs one job after the other, but for those that their callers run. It is stopped first.
    queue: OrderedQueue,
    /// Who tells when the engine's driver leaves. Its lock is held by who asks for a channel.
    #[pin]
    watch: Mutex<Option<Pin<KBox<Watch<Jobs>>>>>,
    jobs: Arc<Jobs>,
}

/// Who runs a job.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The queue's worker.
    Worker,
    /// Who wants it done, and waits.
    Caller,
}

/// Something that the engine does for somebody.
pub(super) trait Unfinished: Send + Sync {
    /// Ends it with `error`, if it has not ended by itself, and waits until the engine has stopped: for
    /// no other, nor for a program. Sleeps.
    fn end(&self, error: Error);
}

/// The jobs that have not ended, and the channel that they need.
#[pin_data]
pub(crate) struct Jobs {
    #[pin]
    state: Mutex<State>,
    /// Woken when a job no longer needs the channel.
    #[pin]
    released: CondVar,
    /// Woken when a job ends, whosever it is: who waits for its end, and for the next turn.
    #[pin]
    ended: PollCondVar,
}

struct State {
    engine: Slot,
    /// In the order in which they began. There is room for one for each lease.
    list: KVec<Arc<dyn Unfinished>>,
    /// How many leases there are: each job has one, and who begins one.
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
    channel: Arc<Mutex<Channel>>,
    device: ARef<Device>,
    // Behind the channel: when it is gone, so may be the driver.
    _counted: Counted,
}

/// That a lease counts.
struct Counted(Arc<Jobs>);

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
    /// [`EOPNOTSUPP`] if no engine of the wanted name copies memory; [`ENODEV`] if its driver has just
    /// left; [`ENOMEM`].
    pub(super) fn find(&self) -> Result {
        let mut watch = self.watch.lock();
        if let Slot::Known(..) | Slot::Leaves = self.jobs.state.lock().engine {
            return Ok(());
        }
        let channel = Channel::request(params::engine()).ok_or_else(none)?;
        // That of an engine that has left waits until it is not running, so no lock that it takes is
        // held.
        *watch = Some(Watch::new(channel.provider(), self.jobs.clone())?);
        if !channel.is_bound() {
            return Err(ENODEV);
        }
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
    /// [`ENODEV`] if its driver has left or is leaving; [`ENOMEM`].
    pub(super) fn lease(&self) -> Result<Lease> {
        loop {
            let mut state = self.jobs.state.lock();
            let needed = state.leases + 1;
            if needed > state.list.capacity() {
                drop(state);
                let room = Room::new(2 * needed)?;
                room.give(&mut self.jobs.state.lock().list);
                continue;
            }
            let Slot::Known(channel, device) = &state.engine else {
                return Err(ENODEV);
            };
            let (channel, device) = (channel.clone(), device.clone());
            state.leases = needed;
            return Ok(Lease {
                channel,
                device,
                _counted: Counted(self.jobs.clone()),
            });
        }
    }

    /// Lets a new job, which has a lease, run when those before it have ended. Returns who runs it: `by`,
    /// unless there are some, which is the worker's to wait for. Allocates nothing.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the engine's driver is leaving: the job is to be ended.
    pub(super) fn enqueue<J>(&self, job: &Arc<J>, by: By) -> Result<By>
    where
        J: Unfinished + WorkItem<Pointer = Arc<J>> + HasWork<J> + 'static,
    {
        let mut state = self.jobs.state.lock();
        if !matches!(state.engine, Slot::Known(..)) {
            return Err(ENODEV);
        }
        let by = match state.list.is_empty() {
            true => by,
            false => By::Worker,
        };
        // There is room.
        let _ = state.list.push_within_capacity(job.clone());
        if by == By::Worker {
            self.queue.enqueue(job.clone());
        }
        Ok(by)
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
    /// Waits until those before `job` have ended. Returns whether it is to run: not if somebody has
    /// ended it, or is going to. Sleeps.
    pub(super) fn wait_for_turn(&self, job: &dyn Unfinished) -> bool {
        let mut state = self.state.lock();
        loop {
            match state.list.iter().position(|other| is(other, job)) {
                Some(0) => return true,
                Some(_) => self.ended.wait(&mut state),
                None => return false,
            }
        }
    }

    /// A job has ended: whoever waits for one looks whether it was his. May sleep.
    pub(super) fn ended(&self, job: &dyn Unfinished) {
        self.state.lock().list.retain(|other| !is(other, job));
        self.ended.notify_all();
    }
}

fn is(one: &Arc<dyn Unfinished>, other: &dyn Unfinished) -> bool {
    core::ptr::addr_eq(&**one, other)
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

#[pinned_drop]
impl PinnedDrop for Engine {
    fn drop(self: Pin<&mut Self>) {
        // While somebody watches whether the driver leaves.
        let engine = core::mem::replace(&mut self.jobs.state.lock().engine, Slot::Leaves);
        drop(engine);
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

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.state.lock().leases -= 1;
        self.0.released.notify_all();
    }
}
