// SPDX-License-Identifier: GPL-2.0

//! A value that a probe and a new folder in configfs get at: the kernel crate's platform drivers have
//! no context, and nor has a subsystem's folder in Linux 7.2.

use core::any::Any;
use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    },
};

kernel::sync::global_lock! {
    // SAFETY: `set` initializes it, once, and nobody locks it unless it is `READY`.
    unsafe(uninit) static VALUE: Mutex<Option<KBox<dyn Any + Send>>> = None;
}

/// Whether somebody has called [`set`].
static TAKEN: Atomic<bool> = Atomic::new(false);

/// Whether the lock is initialized.
static READY: Atomic<bool> = Atomic::new(false);

/// Keeps the value that was [`set`] for [`get`], as long as this lives.
pub(crate) struct Set(());

/// Makes `value` what [`get`] returns. May sleep.
///
/// # Errors
///
/// [`EBUSY`] after the first time, [`ENOMEM`].
pub(crate) fn set<T: Any + Send>(value: T) -> Result<Set> {
    let value = KBox::new(value, GFP_KERNEL)?;
    if TAKEN.xchg(true, Relaxed) {
        return Err(EBUSY);
    }
    // SAFETY: This is called once.
    unsafe { VALUE.init() };
    *VALUE.lock() = Some(value);
    READY.store(true, Release);
    Ok(Set(()))
}

/// A clone of the value that was [`set`]. May sleep.
///
/// # Errors
///
/// [`ENODEV`] where there is none of this type, or none any more.
pub(crate) fn get<T: Any + Clone>() -> Result<T> {
    if !READY.load(Acquire) {
        return Err(ENODEV);
    }
    let value = VALUE.lock();
    let value: &dyn Any = &**value.as_ref().ok_or(ENODEV)?;
    value.downcast_ref::<T>().cloned().ok_or(ENODEV)
}

impl Drop for Set {
    fn drop(&mut self) {
        let value = VALUE.lock().take();
        // What it holds may take its time, or call `get`.
        drop(value);
    }
}
