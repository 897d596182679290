// SPDX-License-Identifier: GPL-2.0

//! Waiting for work that was enqueued.

use kernel::{
    bindings,
    workqueue::Work, //
};

/// Waits until `work` is neither queued nor running. May sleep.
pub(crate) fn flush<T: ?Sized, const ID: u64>(work: &Work<T, ID>) {
    // SAFETY: The reference is valid, and a `Work` is initialized.
    unsafe { bindings::flush_work(Work::raw_get(work)) };
}
