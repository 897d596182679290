// SPDX-License-Identifier: GPL-2.0

//! The copy that goes on after a call has returned: one for each handle.

use super::{
    engine::Engine,
    job::Copy, //
};
use crate::sys::{
    dma_engine::Progress,
    eventfd::EventFd,
    work, //
};
use kernel::{
    impl_has_work, new_mutex, new_work,
    prelude::*,
    sync::{
        poll::PollCondVar,
        Arc,
        Mutex, //
    },
    time::Jiffies,
    workqueue::{
        self,
        Work,
        WorkItem, //
    },
};

/// What a handle copies in the background.
#[pin_data]
pub(crate) struct Background {
    #[pin]
    state: Mutex<State>,
    #[pin]
    progress: Progress,
    #[pin]
    work: Work<Self>,
    engine: Arc<Engine>,
}

enum State {
    Idle,
    Queued(Job),
    Running,
    /// It has ended, and nobody took the result yet.
    Ended(Result),
}

/// A copy, and who is told of its end.
pub(crate) struct Job {
    /// The copy, which has begun.
    pub(crate) copy: Copy,
    /// How long the engine may take.
    pub(crate) patience: Jiffies,
    /// What is signalled at the end.
    pub(crate) counter: Option<EventFd>,
}

impl_has_work! {
    impl HasWork<Self> for Background { self.work }
}

impl Background {
    /// What a new handle copies: nothing yet.
    pub(crate) fn new(engine: Arc<Engine>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                state <- new_mutex!(State::Idle, "shmbuf::background"),
                progress <- Progress::new(),
                work <- new_work!("shmbuf::background"),
                engine,
            }),
            GFP_KERNEL,
        )
    }

    /// Lets what `begin` begins go on. It is not called if there is a copy already.
    ///
    /// # Errors
    ///
    /// [`EINPROGRESS`] if there is one, or its result was not taken; those of `begin`.
    pub(crate) fn start(self: &Arc<Self>, begin: impl FnOnce() -> Result<Job>) -> Result {
        let mut state = self.state.lock();
        if !matches!(*state, State::Idle) {
            return Err(EINPROGRESS);
        }
        *state = State::Running;
        drop(state);
        let job = begin().inspect_err(|_| self.set(State::Idle))?;
        *self.state.lock() = State::Queued(job);
        // It is not in the queue yet: the one before has taken its job.
        let _ = workqueue::system_long().enqueue(self.clone());
        Ok(())
    }

    /// Enters a state in which no copy is running.
    fn set(&self, state: State) {
        *self.state.lock() = state;
        self.engine.ended().notify_all();
    }

    /// How it ended; the next may begin.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if it has not, [`ENODATA`] if there is none; those of [`Copy::run`].
    pub(crate) fn take_result(&self) -> Result {
        let mut state = self.state.lock();
        match *state {
            State::Idle => Err(ENODATA),
            State::Queued(_) | State::Running => Err(EAGAIN),
            State::Ended(result) => {
                *state = State::Idle;
                result
            }
        }
    }

    /// Whether no copy is running. `register` gets who is woken when that changes.
    pub(crate) fn poll(&self, register: impl FnOnce(&PollCondVar)) -> bool {
        register(self.engine.ended());
        matches!(*self.state.lock(), State::Idle | State::Ended(_))
    }

    /// Ends it, and waits until it has. For the handle's end: no other can begin. May sleep.
    pub(crate) fn stop(&self) {
        self.engine.cancel(&self.progress);
        work::flush(&self.work);
    }
}

impl WorkItem for Background {
    type Pointer = Arc<Self>;

    fn run(background: Arc<Self>) {
        let State::Queued(job) = core::mem::replace(&mut *background.state.lock(), State::Running)
        else {
            return;
        };
        let Job {
            copy,
            patience,
            counter,
        } = job;
        let result = copy.run(&background.engine, &background.progress, patience);
        // The buffers are free when it is said.
        drop(copy);
        background.set(State::Ended(result));
        if let Some(counter) = counter {
            counter.signal();
        }
    }
}
