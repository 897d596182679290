// SPDX-License-Identifier: GPL-2.0

//! A queue of work of our own. The kernel crate has those of the system alone.

use super::ffi;
use core::{
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    prelude::*,
    workqueue::Queue, //
};

/// A queue that runs one work item at a time, in order, and none while the system is suspended.
/// Memory reclaim may wait for its work. To drop it waits for what is in it.
///
/// # Invariants
///
/// The queue is valid, and ours.
pub(crate) struct OrderedQueue(NonNull<bindings::workqueue_struct>);

// SAFETY: A queue belongs to no thread.
unsafe impl Send for OrderedQueue {}
// SAFETY: A queue has a lock of its own.
unsafe impl Sync for OrderedQueue {}

impl OrderedQueue {
    /// A queue without work. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: The function has no requirements.
        let queue = NonNull::new(unsafe { ffi::shmbuf_ordered_queue() });
        // INVARIANT: Just made.
        queue.map(Self).ok_or(ENOMEM)
    }
}

impl Deref for OrderedQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        // SAFETY: By the type invariants; the reference does not outlive `self`.
        unsafe { Queue::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for OrderedQueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; nobody has a reference that could add work.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}
