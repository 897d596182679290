// SPDX-License-Identifier: GPL-2.0

//! Coherent DMA memory.

use super::{
    dma_device::DmaDevice,
    ffi,
    span::Span, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::to_result,
    mm::virt::VmaNew,
    prelude::*,
    sync::Arc, //
};

/// Memory that CPU and device share without cache maintenance: `dma_alloc_attrs()`.
///
/// # Invariants
///
/// `cpu` and `dma` are the two addresses of `size` bytes allocated for `device` with `attrs`.
pub(crate) struct CoherentMemory {
    cpu: NonNull<u8>,
    dma: bindings::dma_addr_t,
    size: usize,
    attrs: usize,
    device: Arc<DmaDevice>,
}

// SAFETY: The memory belongs to no thread.
unsafe impl Send for CoherentMemory {}
// SAFETY: No method changes anything through a shared reference but by `Span`.
unsafe impl Sync for CoherentMemory {}

impl CoherentMemory {
    /// Allocates `size` bytes of zeroes, write-combined if asked, else what the architecture calls
    /// coherent. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(device: &Arc<DmaDevice>, size: usize, writecombine: bool) -> Result<Self> {
        let attrs = match writecombine {
            true => bindings::DMA_ATTR_WRITE_COMBINE | bindings::DMA_ATTR_NO_WARN,
            false => bindings::DMA_ATTR_NO_WARN,
        } as usize;
        let mut dma = 0;
        // SAFETY: The device has a mask, and `dma` outlives the call.
        let cpu = unsafe { ffi::shmbuf_dma_alloc(device.raw(), size, &mut dma, attrs) };
        // INVARIANT: Just allocated, if not null.
        Ok(Self {
            cpu: NonNull::new(cpu.cast()).ok_or(ENOMEM)?,
            dma,
            size,
            attrs,
            device: device.clone(),
        })
    }

    /// The bytes.
    pub(crate) fn span(&self) -> Span<'_> {
        // SAFETY: By the type invariants; the memory lives as long as `self`.
        unsafe { Span::new(self.cpu, self.size, self.phys()) }
    }

    /// The address of the first byte for the device.
    pub(crate) fn dma(&self) -> bindings::dma_addr_t {
        self.dma
    }

    /// The address of the first byte on the CPU's bus.
    pub(crate) fn phys(&self) -> bindings::phys_addr_t {
        // SAFETY: The address is one of this device, which has no IOMMU.
        unsafe { ffi::shmbuf_dma_to_phys(self.device.raw(), self.dma) }
    }

    /// The page that holds the byte at `offset`, which is inside.
    pub(super) fn page(&self, offset: usize) -> *mut bindings::page {
        assert!(offset < self.size);
        // SAFETY: The function takes any address; coherent memory is contiguous.
        unsafe { ffi::shmbuf_phys_to_page(self.phys() + offset as bindings::phys_addr_t) }
    }

    /// The device it was allocated for.
    pub(crate) fn device(&self) -> &Arc<DmaDevice> {
        &self.device
    }

    /// Maps the part that the offset of `vma` says, with the type that the memory has. The
    /// memory must outlive the mapping.
    pub(crate) fn mmap(&self, vma: &VmaNew) -> Result {
        // SAFETY: The memory and its addresses are those of the type invariants, and a new VMA
        // may be filled.
        to_result(unsafe {
            bindings::dma_mmap_attrs(
                self.device.raw(),
                vma.as_ptr(),
                self.cpu.as_ptr().cast(),
                self.dma,
                self.size,
                self.attrs,
            )
        })
    }
}

impl Drop for CoherentMemory {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, and nothing uses it any more.
        unsafe {
            bindings::dma_free_attrs(
                self.device.raw(),
                self.size,
                self.cpu.as_ptr().cast(),
                self.dma,
                self.attrs,
            );
        }
    }
}
