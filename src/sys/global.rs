// SPDX-License-Identifier: GPL-2.0

//! What a probe gets at: the driver's own state, as the kernel crate's platform
//! drivers have no context.

use crate::driver::Driver;
use kernel::{
    prelude::*,
    sync::Arc, //
};

kernel::sync::global_lock! {
    // SAFETY: Initialized by `set`, before anything is registered that calls `driver`.
    unsafe(uninit) static DRIVER: Mutex<Option<Arc<Driver>>> = None;
}

/// The state is there as long as this lives.
pub(crate) struct Set(());

/// Makes `driver` what [`driver`] returns. For the module's initialization alone.
pub(crate) fn set(driver: Arc<Driver>) -> Set {
    // SAFETY: The module is initialized once, and nothing is registered yet.
    unsafe { DRIVER.init() };
    *DRIVER.lock() = Some(driver);
    Set(())
}

/// The driver's state.
///
/// # Errors
///
/// [`ENODEV`] when the module goes.
pub(crate) fn driver() -> Result<Arc<Driver>> {
    DRIVER.lock().clone().ok_or(ENODEV)
}

impl Drop for Set {
    fn drop(&mut self) {
        *DRIVER.lock() = None;
    }
}
