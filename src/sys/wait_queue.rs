// SPDX-License-Identifier: GPL-2.0

//! Waiting for another thread, ended by the signals that the caller chooses.

use super::ffi;
use kernel::{
    bindings,
    fs::{
        file::flags,
        File, //
    },
    prelude::*,
    sync::{
        lock::{
            Backend,
            Guard, //
        },
        LockClassKey, //
    },
    types::Opaque, //
};

/// Which signals end a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndedBy {
    /// Any.
    Signal,
    /// One that ends the process.
    FatalSignal,
}

/// Whether something is waited for, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It is not: the file was opened with O_NONBLOCK, the call has RWF_NOWAIT, or a lock is held that
    /// others need.
    None,
    /// Until it is there, or a signal comes.
    Until(EndedBy),
}

impl Patience {
    /// That of a call by `file`.
    pub(super) fn of(file: &File) -> Self {
        match file.flags() & flags::O_NONBLOCK {
            0 => Self::Until(EndedBy::Signal),
            _ => Self::None,
        }
    }
}

/// Threads that wait for a condition. The kernel crate's `CondVar` has no wait that only a fatal
/// signal ends.
///
/// # Invariants
///
/// `head` is initialized.
#[pin_data]
pub(crate) struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
}

// SAFETY: A wait queue belongs to no thread.
unsafe impl Send for WaitQueue {}
// SAFETY: The queue has a lock of its own.
unsafe impl Sync for WaitQueue {}

impl WaitQueue {
    /// A queue in which nobody waits.
    pub(crate) fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        // INVARIANT: It is initialized here.
        pin_init!(Self {
            // SAFETY: The queue is pinned, and name and key live for ever.
            head <- Opaque::ffi_init(|head| unsafe {
                bindings::__init_waitqueue_head(head, name.as_char_ptr(), key.as_ptr())
            }),
        })
    }

    /// Lets go of the lock that `guard` holds, and waits for [`Self::wake`] with `key`. Who calls that
    /// after the lock was let go of is not missed. Returns whether a signal came that ends the wait; it
    /// may also end for no reason. Sleeps.
    pub(crate) fn wait<T, B: Backend>(
        &self,
        guard: Guard<'_, T, B>,
        key: usize,
        ended_by: EndedBy,
    ) -> bool {
        let state = match ended_by {
            EndedBy::Signal => bindings::TASK_INTERRUPTIBLE,
            EndedBy::FatalSignal => bindings::TASK_KILLABLE,
        };
        let waiter = Opaque::<Waiter>::uninit();
        // SAFETY: What is pointed to is not moved.
        let entry = unsafe { &raw mut (*waiter.get()).entry };
        // SAFETY: The queue is initialized. The waiter is not moved, and taken out of the queue before
        // it is gone.
        unsafe {
            (*waiter.get()).key = key;
            bindings::init_wait_entry(entry, 0);
            (*entry).func = Some(Waiter::wake);
            bindings::prepare_to_wait(self.head.get(), entry, state as c_int);
        }
        drop(guard);
        // SAFETY: Undoes what was prepared.
        unsafe {
            bindings::schedule();
            bindings::finish_wait(self.head.get(), entry);
        }
        match ended_by {
            EndedBy::Signal => kernel::current!().signal_pending(),
            // SAFETY: The function has no requirements.
            EndedBy::FatalSignal => unsafe { ffi::shmbuf_fatal_signal_pending() },
        }
    }

    /// Wakes those that wait with `key`. Any context.
    pub(crate) fn wake(&self, key: usize) {
        // SAFETY: The queue is initialized, and what its entries get is a number.
        unsafe {
            bindings::__wake_up(
                self.head.get(),
                bindings::TASK_NORMAL,
                0,
                key as *mut c_void,
            )
        };
    }
}

/// A thread in a [`WaitQueue`].
#[repr(C)]
struct Waiter {
    entry: bindings::wait_queue_entry,
    key: usize,
}

impl Waiter {
    /// Wakes the thread if it is meant.
    ///
    /// # Safety
    ///
    /// `entry` must be that of a waiter, in a queue whose lock is held.
    unsafe extern "C" fn wake(
        entry: *mut bindings::wait_queue_entry,
        mode: c_uint,
        flags: c_int,
        key: *mut c_void,
    ) -> c_int {
        // SAFETY: By this function's contract; the entry is the first field.
        if unsafe { (*entry.cast::<Self>()).key } != key as usize {
            return 0;
        }
        // SAFETY: By this function's contract.
        unsafe { bindings::autoremove_wake_function(entry, mode, flags, key) }
    }
}
