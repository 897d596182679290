// SPDX-License-Identifier: GPL-2.0

//! What the kernel crate has from Linux 7.3 on, made for Linux 7.2 too. The errors among it are in
//! `errno`.

use kernel::{
    bindings,
    device::{
        Bound,
        Device, //
    },
    dma::{
        Coherent,
        DmaAddress, //
    },
    faux, //
};

#[cfg(not(linux_7_2))]
pub(crate) use kernel::{
    configfs_attrs,
    of_device_table,
    sync::rcu::synchronize_rcu, //
};

/// [`kernel::configfs_attrs!`], which wants the module by this name.
#[cfg(linux_7_2)]
macro_rules! configfs_attrs {
    ($($words:tt)*) => {{
        use crate::THIS_MODULE;

        kernel::configfs_attrs!($($words)*)
    }};
}

/// [`kernel::of_device_table!`], which wants a second name.
#[cfg(linux_7_2)]
macro_rules! of_device_table {
    ($table:ident, $($words:tt)*) => {
        kernel::of_device_table!($table, MODULE_TABLE, $($words)*);
    };
}

#[cfg(linux_7_2)]
pub(crate) use {
    configfs_attrs,
    of_device_table, //
};

/// Waits for an RCU grace period. May sleep.
#[cfg(linux_7_2)]
pub(crate) fn synchronize_rcu() {
    // SAFETY: The function has no requirements where it may sleep.
    unsafe { bindings::synchronize_rcu() }
}

/// This module, as the owner of what programs have open.
pub(super) const fn this_module() -> *mut bindings::module {
    #[cfg(not(linux_7_2))]
    let module = kernel::module::this_module::<crate::LocalModule>();
    #[cfg(linux_7_2)]
    let module = &crate::THIS_MODULE;
    module.as_ptr()
}

/// The device of a registration, which is bound as long as it is registered.
#[cfg(not(linux_7_2))]
pub(super) fn bound(registration: &faux::Registration) -> &Device<Bound> {
    let faux: &faux::Device<Bound> = registration.as_ref();
    faux.as_ref()
}

/// The device of a registration, which is bound as long as it is registered.
#[cfg(linux_7_2)]
pub(super) fn bound(registration: &faux::Registration) -> &Device<Bound> {
    // SAFETY: A faux device is bound when it has been registered, and nothing unbinds it earlier
    // than it is unregistered (`suppress_bind_attrs`).
    unsafe { registration.as_ref().as_bound() }
}

/// The address of coherent memory for its device.
#[cfg(not(linux_7_2))]
pub(super) fn dma_address(memory: &Coherent<[u8]>) -> DmaAddress {
    memory.dma_address()
}

/// The address of coherent memory for its device.
#[cfg(linux_7_2)]
pub(super) fn dma_address(memory: &Coherent<[u8]>) -> DmaAddress {
    memory.dma_handle()
}
