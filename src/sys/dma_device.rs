// SPDX-License-Identifier: GPL-2.0

//! A device that DMA memory is allocated and mapped for.
//!
//! It is a faux device, which lives as long as any memory that belongs to it.

use super::{
    compat::bound,
    ffi,
    pages::Pages,
    task::{
        self,
        STRETCH, //
    },
    NAME, //
};
use crate::rules::range::Range;
use core::ptr;
use kernel::{
    bindings, device,
    dma::DmaMask,
    error::to_result,
    faux,
    prelude::*,
    str::{
        BStr,
        CString, //
    },
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};

/// A device without hardware, for which memory is allocated and mapped: one that can address all
/// memory, and does not snoop unless all of the machine's devices do.
///
/// # Invariants
///
/// The device is registered and has a DMA mask.
pub(crate) struct DmaDevice(faux::Registration);

impl DmaDevice {
    /// Registers the device, which addresses what `mask` says, or all memory. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EIO`] if the kernel serves no device whose mask is so small on this machine;
    /// - [`ENOMEM`].
    pub(crate) fn new(mask: Option<DmaMask>) -> Result<Arc<Self>> {
        // Some may still be in use when their names are free again.
        static NEXT: Atomic<u32> = Atomic::new(0);

        let number = NEXT.fetch_add(1, Relaxed);
        let name = CString::try_from_fmt(fmt!("{}.{number}", BStr::from_bytes(NAME.to_bytes())))?;
        let made = Arc::new(Self(faux::Registration::new(&name, None)?), GFP_KERNEL)?;
        let mask = mask.map_or(u64::MAX, |mask| mask.value());
        let device = made.raw();
        // A faux device has none: dma_set_mask() fails and dma_alloc_attrs() warns.
        // SAFETY: The device is valid, and nobody else uses it yet.
        unsafe { (*device).dma_mask = &raw mut (*device).coherent_dma_mask };
        // SAFETY: The device is valid, and nobody else uses it yet.
        to_result(unsafe { bindings::dma_set_mask_and_coherent(device, mask) })?;
        // INVARIANT: Both were just done.
        Ok(made)
    }

    /// Registers a device whose coherent memory is the reserved memory that the device-tree node of
    /// `node` refers to first (`memory-region`). It addresses what `mask` says, or all memory. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// - [`ENODEV`] if the node refers to no reserved memory, or to one that is no
    ///   `shared-dma-pool`;
    /// - [`EIO`] if the kernel serves no device whose mask is so small on this machine;
    /// - [`ENOMEM`].
    pub(crate) fn with_reserved_memory(
        mask: Option<DmaMask>,
        node: &device::Device,
    ) -> Result<Arc<Self>> {
        let made = Self::new(mask)?;
        // SAFETY: Both devices are valid; `drop` undoes it.
        to_result(unsafe { ffi::shmbuf_reserved_attach(made.raw(), raw(node)) })?;
        Ok(made)
    }

    /// Whether the device's coherent memory was declared for it alone: it is reserved with `no-map`.
    pub(crate) fn has_declared_memory(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { ffi::shmbuf_has_declared_memory(self.raw()) }
    }

    /// The device, as the driver core has it. Not for others: what is allocated for it would have to
    /// go before it.
    pub(super) fn device(&self) -> &device::Device<device::Bound> {
        bound(&self.0)
    }

    pub(super) fn raw(&self) -> *mut bindings::device {
        raw(self.device())
    }

    /// The name under which DMA addresses are reported.
    pub(crate) fn name(&self) -> &[u8] {
        self.device().name().to_bytes()
    }

    /// Whether coherent memory of the device loses its cacheable linear mapping, as CMA's does on
    /// 32-bit ARM.
    pub(crate) fn has_cma(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { ffi::shmbuf_cma_remapped(self.raw()) }
    }

    /// Whether all of `pages` is inside the DMA mask, so that no copy is needed for the device.
    pub(crate) fn reaches(&self, pages: &Pages) -> bool {
        let stretches = Range::whole(pages.size()).pieces(STRETCH);
        let mut runs = stretches.flat_map(|stretch| pages.runs(stretch));
        runs.all(|run| {
            task::cond_resched();
            let (phys, size) = (pages.phys(run.start()), run.len());
            reaches(self.device(), phys, size)
        })
    }
}

impl Drop for DmaDevice {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; nothing is allocated any more. It does nothing where
        // nothing is attached.
        unsafe { ffi::shmbuf_reserved_detach(self.raw()) };
    }
}

/// Whether `device` reaches the `size` bytes from `phys` on, as `dma_capable()` decides for memory
/// that is not encrypted.
pub(super) fn reaches(device: &device::Device, phys: bindings::phys_addr_t, size: usize) -> bool {
    let device = raw(device);
    // SAFETY: The device is valid.
    let (first, mask, bus_limit) = unsafe {
        (
            ffi::shmbuf_phys_to_dma(device, phys),
            ffi::shmbuf_dma_mask(device),
            (*device).bus_dma_limit,
        )
    };
    let last = first.wrapping_add(size as bindings::dma_addr_t - 1);
    let limit = match bus_limit {
        0 => mask,
        _ => mask.min(bus_limit),
    };
    u64::from(last) <= limit
}

/// The C structure of `device`, which is a transparent wrapper of it.
pub(super) fn raw(device: &device::Device) -> *mut bindings::device {
    ptr::from_ref(device).cast_mut().cast()
}
