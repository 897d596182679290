// SPDX-License-Identifier: GPL-2.0

//! Those that wait by poll(2) and the like.

use super::ffi;
use kernel::{
    bindings,
    prelude::*,
    sync::{
        Arc,
        LockClassKey, //
    },
    types::Opaque, //
};

/// Who waits by poll(2), epoll(7) or io_uring for something that files tell of. The kernel crate's
/// `PollCondVar` waits for a grace period when it is dropped, since it may go before the files; this
/// one is kept by them.
///
/// # Invariants
///
/// `head` is initialized.
#[pin_data]
pub(crate) struct PollQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
}

// SAFETY: A wait queue belongs to no thread.
unsafe impl Send for PollQueue {}
// SAFETY: The queue has a lock of its own.
unsafe impl Sync for PollQueue {}

impl PollQueue {
    /// A queue in which nobody waits.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> Result<Arc<Self>> {
        Arc::pin_init(
            // INVARIANT: It is initialized here.
            pin_init!(Self {
                // SAFETY: The queue is pinned, and name and key live for ever.
                head <- Opaque::ffi_init(|head| unsafe {
                    bindings::__init_waitqueue_head(head, name.as_char_ptr(), key.as_ptr())
                }),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Lets all that wait look again. Who registers before he looks does not miss it. Any context.
    pub(crate) fn wake(&self) {
        // SAFETY: The queue is initialized; without a key all entries are meant.
        unsafe {
            bindings::__wake_up(
                self.head.get(),
                bindings::TASK_NORMAL,
                0,
                core::ptr::null_mut(),
            )
        };
    }

    /// Registers who polls `file`.
    ///
    /// # Safety
    ///
    /// The file is open and keeps the queue until it is released; `table` is null or valid.
    pub(super) unsafe fn register(
        &self,
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) {
        // SAFETY: The queue is initialized. Entries are taken out of it before the file is released.
        unsafe { ffi::shmbuf_poll_wait(file, self.head.get(), table) };
    }
}
