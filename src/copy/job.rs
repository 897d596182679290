// SPDX-License-Identifier: GPL-2.0

//! A copy as a job of the engine: waits for its turn, runs, and ends, once.

use super::{
    begun::Copy,
    engine::{
        Engine,
        Jobs,
        Unfinished, //
    }, //
};
use crate::sys::{
    dma_engine::Progress,
    errno::ECANCELED,
    eventfd::EventFd,
    work, //
};
use kernel::{
    impl_has_work,
    new_condvar,
    new_mutex,
    new_work,
    prelude::*,
    sync::{
        Arc,
        CondVar,
        Mutex, //
    },
    time::Jiffies,
    workqueue::{
        Work,
        WorkItem, //
    }, //
};

/// A copy, from its beginning to its end.
#[pin_data]
pub(crate) struct Job {
    #[pin]
    state: Mutex<State>,
    /// Woken when it has ended.
    #[pin]
    ended: CondVar,
    #[pin]
    progress: Progress,
    #[pin]
    work: Work<Self>,
    jobs: Arc<Jobs>,
    /// How long the engine may take.
    patience: Jiffies,
    /// What is signalled at the end.
    counter: Option<EventFd>,
}

enum State {
    /// It waits for its turn.
    Waits(Copy),
    /// Somebody begins, runs or ends it. If it is told to stop, why.
    Runs(Option<Error>),
    /// It has ended.
    Ended(Result),
}

impl_has_work! {
    impl HasWork<Self> for Job { self.work }
}

impl Job {
    /// For a copy that has not begun yet, and may take the engine at most `patience`. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(
        engine: &Engine,
        patience: Jiffies,
        counter: Option<EventFd>,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                state <- new_mutex!(State::Runs(None), "shmbuf::job"),
                ended <- new_condvar!("shmbuf::job"),
                progress <- Progress::new(),
                work <- new_work!("shmbuf::job"),
                jobs: engine.jobs().clone(),
                patience,
                counter,
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Lets `copy`, which has begun, run when those before it have ended. Allocates nothing, as others
    /// may wait for its fence.
    pub(crate) fn start(self: &Arc<Self>, engine: &Engine, copy: Copy) {
        *self.state.lock() = State::Waits(copy);
        if let Err(error) = engine.enqueue(self) {
            self.end(error);
        }
    }

    /// Runs `copy`, which has begun, and waits until it has ended. Sleeps.
    ///
    /// # Errors
    ///
    /// [`ERESTARTSYS`] if a signal came: it was ended, and can be done again; [`ENODEV`] if the engine's
    /// driver is leaving; those of [`Copy::run`].
    pub(crate) fn complete(self: &Arc<Self>, engine: &Engine, copy: Copy) -> Result {
        match engine.begin(self.clone()) {
            Ok(true) => self.carry_out(copy),
            Ok(false) => {
                self.start(engine, copy);
                self.wait()
            }
            Err(error) => self.finish(copy, Err(error)),
        }
    }

    /// How it ended, if it has.
    pub(crate) fn result(&self) -> Option<Result> {
        match &*self.state.lock() {
            State::Ended(result) => Some(*result),
            State::Waits(_) | State::Runs(_) => None,
        }
    }

    /// Waits until it has ended.
    fn wait(&self) -> Result {
        let mut state = self.state.lock();
        loop {
            if let State::Ended(result) = *state {
                return result;
            }
            if self.ended.wait_interruptible(&mut state) {
                drop(state);
                self.end(ERESTARTSYS);
                state = self.state.lock();
            }
        }
    }

    /// The copy, for who runs it.
    fn take(&self) -> Option<Copy> {
        let mut state = self.state.lock();
        if !matches!(*state, State::Waits(_)) {
            return None;
        }
        match core::mem::replace(&mut *state, State::Runs(None)) {
            State::Waits(copy) => Some(copy),
            _ => None,
        }
    }

    /// Runs `copy`, which is nobody else's, as its turn has come. Returns how it ended.
    fn carry_out(&self, mut copy: Copy) -> Result {
        let result = match copy.run(&self.progress, self.patience) {
            Err(ECANCELED) => Err(self.stopped().unwrap_or(ECANCELED)),
            result => result,
        };
        self.finish(copy, result)
    }

    /// `copy`, which is nobody else's, has ended with `result`, which is returned.
    fn finish(&self, copy: Copy, result: Result) -> Result {
        // Who finds it ended finds the ranges free, and who gets a range or waited for the fence finds
        // it ended.
        let mut state = self.state.lock();
        drop(copy.signal(result));
        *state = State::Ended(result);
        drop(state);
        self.ended.notify_all();
        self.jobs.ended(self);
        if let Some(counter) = &self.counter {
            counter.signal();
        }
        result
    }

    /// Why it was told to stop.
    fn stopped(&self) -> Option<Error> {
        match *self.state.lock() {
            State::Runs(error) => error,
            State::Waits(_) | State::Ended(_) => None,
        }
    }
}

impl Unfinished for Job {
    fn end(&self, error: Error) {
        let mut state = self.state.lock();
        match core::mem::replace(&mut *state, State::Runs(Some(error))) {
            State::Waits(copy) => {
                drop(state);
                work::cancel(self);
                // That is how it was to end.
                let _ = self.finish(copy, Err(error));
                return;
            }
            State::Runs(_) => self.progress.cancel(),
            ended @ State::Ended(_) => *state = ended,
        }
        while !matches!(*state, State::Ended(_)) {
            self.ended.wait(&mut state);
        }
    }
}

impl WorkItem for Job {
    type Pointer = Arc<Self>;

    fn run(job: Arc<Self>) {
        if !job.jobs.wait_for_turn(&*job) {
            return;
        }
        // Who ended it meanwhile has taken the copy.
        if let Some(copy) = job.take() {
            // Who waits for it finds how it ended.
            let _ = job.carry_out(copy);
        }
    }
}
