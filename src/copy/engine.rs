// SPDX-License-Identifier: GPL-2.0

//! The DMA engine of this machine, and what it has to do.

use crate::{
    rules::room::Room,
    sys::{
        cpu,
        dma_engine::{
            self,
            Watcher, //
        },
        errno::EOPNOTSUPP,
        params,
        work::OrderedQueue, //
    }, //
};
use kernel::{
    device::Device,
    new_mutex,
    new_poll_condvar,
    prelude::*,
    sync::{
        aref::ARef,
        poll::PollCondVar,
        Arc,
        Mutex, //
    },
    workqueue::{
        HasWork,
        WorkItem, //
    }, //
};

/// The DMA engine that copies, and the queue of its jobs.
#[pin_data]
pub(crate) struct Engine {
    /// Runs one job after the other, but for those that their callers run. It is stopped first.
    queue: OrderedQueue,
    /// Held by who looks for an engine, which may have to wait for a device.
    #[pin]
    looking: Mutex<()>,
    /// The one that was found last.
    #[pin]
    found: Mutex<Option<Arc<dma_engine::Engine<Jobs>>>>,
    jobs: Arc<Jobs>,
}

/// Something that the engine does for somebody.
pub(super) trait Unfinished: Send + Sync {
    /// Ends it with `error`, if it has not ended by itself, and waits until the engine has stopped: for
    /// no other, nor for a program. Sleeps.
    fn end(&self, error: Error);
}

/// The jobs that have not ended, and whether the engine that they need is there.
#[pin_data]
pub(crate) struct Jobs {
    #[pin]
    state: Mutex<State>,
    /// Woken when a job ends, whosever it is: who waits for its end, and for the next turn.
    #[pin]
    ended: PollCondVar,
}

struct State {
    engine: Slot,
    /// In the order in which they began. There is room for one for each place besides: a job gives up
    /// its place before it leaves the list.
    list: KVec<Arc<dyn Unfinished>>,
    /// How many places there are: each job has one, and who begins one.
    places: usize,
}

/// Whether there is an engine.
enum Slot {
    /// Nobody has asked for it yet, or there was none.
    Unknown,
    /// Its device.
    Known(ARef<Device>),
    /// Its driver is leaving the device.
    Leaves,
}

/// The right to use the engine, for a job.
pub(super) struct Lease {
    engine: dma_engine::Lease<Jobs>,
    _place: Place,
}

/// A place in the list of jobs.
struct Place(Arc<Jobs>);

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
            places: 0,
        };
        let jobs = Arc::pin_init(
            pin_init!(Jobs {
                state <- new_mutex!(state, "shmbuf::engine"),
                ended <- new_poll_condvar!("shmbuf::ended"),
            }),
            GFP_KERNEL,
        )?;
        Arc::pin_init(
            pin_init!(Self {
                queue: OrderedQueue::new()?,
                looking <- new_mutex!((), "shmbuf::looking"),
                found <- new_mutex!(None, "shmbuf::found"),
                jobs,
            }? Error),
            GFP_KERNEL,
        )
    }

    /// The engine's device, if somebody has asked for the engine. May sleep.
    pub(crate) fn device(&self) -> Option<ARef<Device>> {
        match &self.jobs.state.lock().engine {
            Slot::Known(device) => Some(device.clone()),
            Slot::Unknown | Slot::Leaves => None,
        }
    }

    /// Who waits for the end of jobs.
    pub(crate) fn ended(&self) -> &PollCondVar {
        &self.jobs.ended
    }

    /// Asks for the engine, if nobody has. From then on a channel of it is ours. Sleeps.
    ///
    /// # Errors
    ///
    /// - [`EOPNOTSUPP`] if no engine of the wanted name copies memory;
    /// - [`ERESTARTSYS`] if a signal came;
    /// - [`ENOMEM`].
    pub(super) fn find(&self) -> Result {
        if self.jobs.know_engine() {
            return Ok(());
        }
        let _looking = self.looking.lock();
        if self.jobs.know_engine() {
            return Ok(());
        }
        let old = self.found.lock().take();
        // It no longer says what becomes of its driver.
        drop(old);
        let engine = dma_engine::Engine::request(params::engine(), self.jobs.clone())
            .inspect_err(|&error| explain(error))?;
        *self.found.lock() = Some(engine.clone());
        let mut state = self.jobs.state.lock();
        if engine.stays() {
            state.engine = Slot::Known(engine.device().clone());
        }
        Ok(())
    }

    /// The right to use the engine that was found. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if its driver has left or is leaving; [`ENOMEM`].
    pub(super) fn lease(&self) -> Result<Lease> {
        let place = self.jobs.place()?;
        let found = self.found.lock();
        let engine = found.as_ref().ok_or(ENODEV)?.lease()?;
        Ok(Lease {
            engine,
            _place: place,
        })
    }

    /// Lets a new job, which has a lease, run when those before it have ended. Allocates nothing.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the engine's driver is leaving, [`ENOMEM`] if the job has no place: it is to be ended.
    pub(super) fn enqueue<J>(&self, job: &Arc<J>) -> Result
    where
        J: Unfinished + WorkItem<Pointer = Arc<J>> + HasWork<J> + 'static,
    {
        let mut state = self.jobs.state.lock();
        state.add(job.clone())?;
        self.queue.enqueue(job.clone());
        Ok(())
    }

    /// Whether a new job, which has a lease, can run now, as there is no other: the caller runs it, or
    /// ends it. Allocates nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Self::enqueue`].
    pub(super) fn begin(&self, job: Arc<impl Unfinished + 'static>) -> Result<bool> {
        let mut state = self.jobs.state.lock();
        match state.list.is_empty() {
            true => state.add(job).map(|()| true),
            false => Ok(false),
        }
    }

    /// The jobs that have not ended.
    pub(super) fn jobs(&self) -> &Arc<Jobs> {
        &self.jobs
    }
}

/// Says what to do if there is no engine of the name that was given.
fn explain(error: Error) {
    let name = params::engine();
    if error == EOPNOTSUPP && !name.is_empty() && cpu::log_allowed() {
        pr_notice!("COPY: engine={name}: no free channel copies memory; see /sys/class/dma\n");
    }
}

impl State {
    fn add(&mut self, job: Arc<dyn Unfinished>) -> Result {
        if !matches!(self.engine, Slot::Known(_)) {
            return Err(ENODEV);
        }
        let pushed = self.list.push_within_capacity(job);
        pushed.map_err(|_| ENOMEM)
    }
}

impl Jobs {
    /// Whether nobody has to ask for the engine.
    fn know_engine(&self) -> bool {
        !matches!(self.state.lock().engine, Slot::Unknown)
    }

    /// A place in the list. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    fn place(self: &Arc<Self>) -> Result<Place> {
        loop {
            let mut state = self.state.lock();
            let needed = state.list.len() + state.places + 1;
            if needed <= state.list.capacity() {
                state.places += 1;
                return Ok(Place(self.clone()));
            }
            drop(state);
            let room = Room::new(2 * needed)?;
            room.give(&mut self.state.lock().list);
        }
    }

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
        state.engine = Slot::Leaves;
        while let Some(job) = state.list.pop() {
            drop(state);
            job.end(ENODEV);
            state = self.state.lock();
        }
    }

    fn left(&self) {
        self.state.lock().engine = Slot::Unknown;
    }
}

impl Lease {
    /// The engine.
    pub(super) fn engine(&self) -> &dma_engine::Lease<Jobs> {
        &self.engine
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.state.lock().places -= 1;
    }
}
