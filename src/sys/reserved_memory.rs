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
/// address and the bytes.
///
/// # Errors
///
/// [`ENODEV`] if it refers to none.
pub(crate) fn range(node: &device::Device) -> Result<(bindings::phys_addr_t, u64)> {
    let (mut start, mut size) = (0, 0);
    // SAFETY: The device is valid, and the numbers outlive the call.
    to_result(unsafe { ffi::shmbuf_reserved_range(raw(node), &mut start, &mut size) })?;
    Ok((start, size))
}
