// SPDX-License-Identifier: GPL-2.0

//! Copying memory by a DMA engine (`Documentation/driver-api/dmaengine/client.rst`).

use super::ffi;
use core::ptr::NonNull;
use kernel::{
    bindings,
    device,
    error::from_err_ptr,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        rcu, //
    },
    time::Jiffies,
    types::Opaque, //
};

/// A channel of an engine that copies memory, for nobody but us.
///
/// # Invariants
///
/// The channel was requested, and not released.
pub(crate) struct Channel(NonNull<ffi::dma_chan>);

// SAFETY: A channel belongs to no thread.
unsafe impl Send for Channel {}
// SAFETY: `copy` takes `&mut self`; the rest changes nothing.
unsafe impl Sync for Channel {}

impl Channel {
    /// Requests any channel that is free. It keeps the engine's driver. May sleep.
    pub(crate) fn request() -> Option<Self> {
        // SAFETY: The function has no requirements.
        let channel = from_err_ptr(unsafe { ffi::shmbuf_dma_request_channel() }).ok()?;
        // INVARIANT: Just requested.
        NonNull::new(channel).map(Self)
    }

    /// The device that reads and writes memory for the channel.
    pub(crate) fn device(&self) -> &device::Device {
        // SAFETY: By the type invariants; the engine keeps its device.
        unsafe { device::Device::from_raw(ffi::shmbuf_dma_channel_device(self.0.as_ptr())) }
    }

    /// Copies `len` bytes between two addresses of [`Self::device`], which do not overlap, and
    /// waits no longer than `patience`, of which the rest is returned. If it fails, the engine no
    /// longer touches the memory, and some of it was written. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EIO`] if the engine cannot do it, or says that it failed;
    /// - [`ETIMEDOUT`];
    /// - [`ECANCELED`] after [`Progress::cancel`];
    /// - [`EINTR`] if a signal came.
    pub(crate) fn copy(
        &mut self,
        from: bindings::dma_addr_t,
        to: bindings::dma_addr_t,
        len: usize,
        progress: &Progress,
        patience: Jiffies,
    ) -> Result<Jiffies> {
        let channel = self.0.as_ptr();
        progress.begin();
        // SAFETY: By the type invariants.
        let descriptor = unsafe { ffi::shmbuf_dma_prep_memcpy(channel, to, from, len) };
        if descriptor.is_null() {
            return Err(EIO);
        }
        // SAFETY: The descriptor was just made. The progress outlives the call, as this function
        // does not return before it was called or cannot be.
        let cookie = unsafe {
            ffi::shmbuf_dma_submit(
                descriptor,
                Some(Progress::ended),
                core::ptr::from_ref(progress).cast_mut().cast(),
            )
        };
        // SAFETY: By the type invariants.
        unsafe { ffi::shmbuf_dma_issue_pending(channel) };
        let waited = match cookie {
            0.. => progress.wait(patience),
            _ => Err(EIO),
        };
        let left = waited.or_else(|error| {
            // SAFETY: By the type invariants.
            unsafe { ffi::shmbuf_dma_terminate_sync(channel) };
            // Some engines cannot wait for their tasklet (no device_synchronize).
            rcu::synchronize_rcu();
            // The callback has ended or is not called any more, so what it says is the last word,
            // also if it was late.
            match progress.stage() {
                Stage::Done | Stage::Failed => Ok(patience),
                Stage::Running => Err(error),
            }
        })?;
        match progress.stage() {
            Stage::Done => Ok(left),
            Stage::Failed | Stage::Running => Err(EIO),
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; nothing is running.
        unsafe { ffi::shmbuf_dma_release_channel(self.0.as_ptr()) };
    }
}

/// How far a transfer is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Stage {
    Running,
    Done,
    Failed,
}

/// A transfer that is waited for, and that others may cancel.
#[pin_data]
pub(crate) struct Progress {
    stage: Atomic<u32>,
    cancelled: Atomic<bool>,
    #[pin]
    woken: Opaque<bindings::completion>,
}

// SAFETY: A completion belongs to no thread.
unsafe impl Send for Progress {}
// SAFETY: A completion has a lock of its own.
unsafe impl Sync for Progress {}

impl Progress {
    /// The progress of no transfer yet.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            stage: Atomic::new(Stage::Running as u32),
            cancelled: Atomic::new(false),
            woken <- Opaque::ffi_init(|slot: *mut bindings::completion| {
                // SAFETY: The slot is valid for writing.
                unsafe { bindings::init_completion(slot) };
            }),
        })
    }

    /// Whether the transfer was cancelled, by [`Self::cancel`].
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    /// Ends the transfer that runs, and lets none begin. Any context.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
        // SAFETY: The completion is initialized.
        unsafe { bindings::complete(self.woken.get()) };
    }

    fn begin(&self) {
        self.stage.store(Stage::Running as u32, Relaxed);
        // SAFETY: The completion is initialized, and nobody waits.
        unsafe { ffi::shmbuf_reinit_completion(self.woken.get()) };
    }

    /// The engine's callback, in a tasklet.
    ///
    /// # Safety
    ///
    /// `progress` must be valid, and `result` null or valid.
    unsafe extern "C" fn ended(progress: *mut c_void, result: *const ffi::dmaengine_result) {
        // SAFETY: By this function's contract.
        let progress = unsafe { &*progress.cast_const().cast::<Self>() };
        // SAFETY: By this function's contract.
        let failed = unsafe { ffi::shmbuf_dma_failed(result) };
        let stage = if failed { Stage::Failed } else { Stage::Done };
        progress.stage.store(stage as u32, Release);
        // SAFETY: The completion is initialized. Its lock is held until it is no longer touched, so
        // that the waiter may free it.
        unsafe { bindings::complete(progress.woken.get()) };
    }

    /// What the engine has said so far.
    fn stage(&self) -> Stage {
        let stage = self.stage.load(Acquire);
        [Stage::Done, Stage::Failed]
            .into_iter()
            .find(|&known| known as u32 == stage)
            .unwrap_or(Stage::Running)
    }

    /// Waits until the callback has ended, and returns how much of `patience` is left.
    fn wait(&self, patience: Jiffies) -> Result<Jiffies> {
        if self.is_cancelled() {
            return Err(ECANCELED);
        }
        // SAFETY: The completion is initialized.
        let left = unsafe {
            bindings::wait_for_completion_interruptible_timeout(self.woken.get(), patience)
        };
        if self.is_cancelled() {
            Err(ECANCELED)
        } else if left < 0 {
            Err(EINTR)
        } else if left == 0 {
            Err(ETIMEDOUT)
        } else {
            Ok(left as Jiffies)
        }
    }
}
