// SPDX-License-Identifier: GPL-2.0

//! A queue of work of our own. The kernel crate has those of the system alone.

use super::ffi;
use core::ptr::NonNull;
use kernel::{
    bindings,
    prelude::*,
    sync::Arc,
    workqueue::{
        HasWork,
        Queue,
        Work,
        WorkItem, //
    }, //
};

/// A queue that runs one work item at a time, in order, and none while the system is suspended. It
/// has a thread of its own where there is no memory for another. To drop it waits for what is in it.
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

impl OrderedQueue {
    /// Adds work, unless it is in a queue.
    pub(crate) fn enqueue<T>(&self, work: Arc<T>)
    where
        T: WorkItem<Pointer = Arc<T>> + HasWork<T> + Send + Sync + 'static,
    {
        // SAFETY: By the type invariants; the reference does not outlive `self`.
        let queue = unsafe { Queue::from_raw(self.0.as_ptr()) };
        let _ = queue.enqueue(work);
    }
}

/// Takes `work` out of its queue, if it is in one and has not begun.
pub(crate) fn cancel<T>(work: &T)
where
    T: WorkItem<Pointer = Arc<T>> + HasWork<T>,
{
    let work = core::ptr::from_ref(work).cast_mut();
    // SAFETY: The reference is valid, and a `Work` is initialized.
    let cancelled = unsafe { bindings::cancel_work(Work::raw_get(T::raw_get_work(work))) };
    if cancelled {
        // SAFETY: Such work is in a queue by a reference that `Arc::into_raw` gave, which is ours now.
        drop(unsafe { Arc::from_raw(work) });
    }
}

impl Drop for OrderedQueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; nobody has a reference that could add work.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}
