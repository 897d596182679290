// SPDX-License-Identifier: GPL-2.0

//! Counters that programs wait for (eventfd(2)).

use core::ptr::NonNull;
use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*, //
};

/// A reference to the counter of an eventfd.
///
/// # Invariants
///
/// The pointer is valid, and the reference is ours.
pub(crate) struct EventFd(NonNull<bindings::eventfd_ctx>);

// SAFETY: A counter belongs to no thread.
unsafe impl Send for EventFd {}
// SAFETY: A counter has a lock of its own.
unsafe impl Sync for EventFd {}

impl EventFd {
    /// Takes a reference to the counter behind a descriptor of the calling process.
    ///
    /// # Errors
    ///
    /// [`EBADF`] if there is no such descriptor, [`EINVAL`] if it is of another file.
    pub(crate) fn get(descriptor: i32) -> Result<Self> {
        // SAFETY: The function takes any number.
        let counter = from_err_ptr(unsafe { bindings::eventfd_ctx_fdget(descriptor) })?;
        // INVARIANT: The function returned a reference.
        NonNull::new(counter).map(Self).ok_or(EBADF)
    }

    /// Adds one to the counter, and wakes who waits for it. Any context.
    pub(crate) fn signal(&self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::eventfd_signal_mask(self.0.as_ptr(), 0) };
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::eventfd_ctx_put(self.0.as_ptr()) };
    }
}
