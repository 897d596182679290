// SPDX-License-Identifier: GPL-2.0

//! The copy that goes on after a call has returned: one for each handle.

use super::{
    begun::Begun,
    engine::{
        Engine,
        Unfinished, //
    },
    job::Job, //
};
use crate::sys::errno::{
    ECANCELED,
    EINPROGRESS,
    ENODATA, //
};
use kernel::{
    fs::File,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    },
};

/// What a handle copies in the background.
#[pin_data]
pub(crate) struct Background {
    #[pin]
    copy: Mutex<Copy>,
}

enum Copy {
    /// There is none, or its result was taken.
    None,
    /// A call begins one.
    Begins,
    /// It was begun, and nobody took the result.
    Begun(Arc<Job>),
}

impl Background {
    /// What a new handle copies: nothing yet.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            copy <- new_mutex!(Copy::None, "shmbuf::background"),
        })
    }

    /// Lets what `begin` begins go on, as `job`. It is not called if there is a copy already. Returns
    /// the file that it returns.
    ///
    /// # Errors
    ///
    /// [`EINPROGRESS`] if there is one, or its result was not taken; those of `begin`.
    pub(crate) fn start(
        &self,
        engine: &Engine,
        job: &Arc<Job>,
        begin: impl FnOnce() -> Result<Begun>,
    ) -> Result<Option<ARef<File>>> {
        let mut copy = self.copy.lock();
        let Copy::None = *copy else {
            return Err(EINPROGRESS);
        };
        *copy = Copy::Begins;
        drop(copy);
        match begin() {
            Ok((copy, file)) => {
                // Who is told of its end finds it here.
                *self.copy.lock() = Copy::Begun(job.clone());
                job.start(engine, copy);
                Ok(file)
            }
            Err(error) => {
                *self.copy.lock() = Copy::None;
                engine.ended().notify_all();
                Err(error)
            }
        }
    }

    /// How it ended; the next may begin.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if it has not, [`ENODATA`] if there is none; those of [`Job::complete`].
    pub(crate) fn take_result(&self) -> Result {
        let mut copy = self.copy.lock();
        let result = match &*copy {
            Copy::None => return Err(ENODATA),
            Copy::Begins => return Err(EAGAIN),
            Copy::Begun(job) => job.result().ok_or(EAGAIN)?,
        };
        *copy = Copy::None;
        result
    }

    /// Whether no copy goes on.
    pub(crate) fn is_idle(&self) -> bool {
        match &*self.copy.lock() {
            Copy::None => true,
            Copy::Begins => false,
            Copy::Begun(job) => job.result().is_some(),
        }
    }

    /// Ends it, and waits until it has ended. For the handle's end: no other can begin. May sleep.
    pub(crate) fn stop(&self) {
        if let Copy::Begun(job) = &*self.copy.lock() {
            job.end(ECANCELED);
        }
    }
}
