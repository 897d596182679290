// SPDX-License-Identifier: GPL-2.0

//! Memory that the device tree reserves for a device (`memory-region`).

use super::{
    dma_device::raw,
    ffi, //
};
use kernel::{
    bindings,
    device,
    error::to_result,
    prelude::*, //
};

/// The range of the reserved memory that the device-tree node of `node` refers to first: the first
/// address and the length in bytes.
///
/// # Errors
///
/// [`ENODEV`] if the node refers to none.
pub(crate) fn range(node: &device::Device) -> Result<(bindings::phys_addr_t, u64)> {
    let mut range = bindings::resource::default();
    // SAFETY: The device is valid, and the range outlives the call.
    to_result(unsafe { ffi::shmbuf_reserved_range(raw(node), &mut range) })?;
    // SAFETY: The range was filled.
    let size = unsafe { bindings::resource_size(&mut range) };
    Ok((range.start, size.into()))
}
