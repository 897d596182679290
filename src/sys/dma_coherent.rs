// SPDX-License-Identifier: GPL-2.0

//! Coherent DMA memory.

use super::{
    compat::dma_address,
    dma_device::{
        addresses,
        DmaDevice, //
    },
    ffi,
    span::Span,
    task, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    dma::{
        attrs::{
            DMA_ATTR_NO_WARN,
            DMA_ATTR_WRITE_COMBINE, //
        },
        Coherent, //
    },
    error::to_result,
    mm::virt::VmaNew,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::Arc, //
};

/// How many bytes are free of what the kernel has set aside for physically contiguous memory (CMA) of
/// devices that have no area of their own, if it has. Any context.
pub(crate) fn free_cma() -> Option<usize> {
    // SAFETY: The functions have no requirements.
    unsafe { ffi::shmbuf_has_cma().then(|| ffi::shmbuf_free_cma_pages() << PAGE_SHIFT) }
}

/// Memory that CPU and device share without cache maintenance.
///
/// # Invariants
///
/// `memory` was allocated for `device`, is physically contiguous from `phys` on, and write-combined
/// if `is_writecombine`.
pub(crate) struct CoherentMemory {
    // Freed before the device goes.
    memory: Coherent<[u8]>,
    device: Arc<DmaDevice>,
    phys: bindings::phys_addr_t,
    is_writecombine: bool,
}

impl CoherentMemory {
    /// Allocates `size` bytes of zeroes, write-combined if asked, else what the architecture calls
    /// coherent. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(device: &Arc<DmaDevice>, size: usize, is_writecombine: bool) -> Result<Self> {
        let attrs = match is_writecombine {
            true => DMA_ATTR_WRITE_COMBINE | DMA_ATTR_NO_WARN,
            false => DMA_ATTR_NO_WARN,
        };
        let memory =
            Coherent::<u8>::zeroed_slice_with_attrs(device.device(), size, GFP_KERNEL, attrs)?;
        // SAFETY: The address is one of this device, which has no IOMMU: nobody describes it.
        let phys = unsafe { ffi::shmbuf_dma_to_phys(device.raw(), dma_address(&memory)) };
        // INVARIANT: Just allocated. What has no IOMMU gets contiguous memory.
        Ok(Self {
            memory,
            device: device.clone(),
            phys,
            is_writecombine,
        })
    }

    /// The number of bytes.
    pub(super) fn size(&self) -> usize {
        self.memory.size()
    }

    /// How many bytes are taken at most for `size` bytes: where the page allocator serves, and not
    /// CMA, nobody gives back what its blocks have in excess, but 32-bit ARM.
    pub(crate) fn taken(device: &DmaDevice, size: usize) -> usize {
        // SAFETY: The device is valid.
        match unsafe { ffi::shmbuf_dma_returns_excess(device.raw()) } {
            true => size,
            false => size.next_power_of_two(),
        }
    }

    /// The memory, as the kernel reaches it.
    pub(crate) fn span(&self) -> Span<'_> {
        let address = self.memory.as_mut_ptr().cast();
        // SAFETY: The address is not null, and the memory lives as long as `self`.
        unsafe {
            Span::new(
                NonNull::new_unchecked(address),
                self.memory.size(),
                self.phys(),
            )
        }
    }

    /// The address of the memory's first byte for the device.
    pub(crate) fn dma(&self) -> bindings::dma_addr_t {
        dma_address(&self.memory)
    }

    /// The address of the memory's first byte on the CPU's bus.
    pub(crate) fn phys(&self) -> bindings::phys_addr_t {
        self.phys
    }

    /// The page that holds the byte at `offset`, which is inside the memory.
    pub(super) fn page(&self, offset: usize) -> *mut bindings::page {
        assert!(offset < self.memory.size());
        // SAFETY: The function takes any address; coherent memory is contiguous.
        unsafe { ffi::shmbuf_phys_to_page(self.phys() + offset as bindings::phys_addr_t) }
    }

    /// Whether kmap() has left a mapping, which is cacheable, of one of the memory's pages: CMA lends
    /// them as long as no device needs them, and the DMA API does not look. May sleep.
    pub(crate) fn is_kmapped(&self) -> bool {
        (0..self.size()).step_by(PAGE_SIZE).any(|offset| {
            task::cond_resched();
            let page = self.page(offset);
            // SAFETY: What is not null is a page.
            !page.is_null() && unsafe { ffi::shmbuf_page_is_kmapped(page) }
        })
    }

    /// Whether the device can address all of it. 32-bit ARM takes what CMA has, wherever it is, if
    /// the kernel serves the device's mask at all (__dma_alloc() of arch/arm/mm/dma-mapping.c).
    pub(crate) fn is_in_reach(&self) -> bool {
        addresses(self.device.device(), self.dma(), self.size())
    }

    /// The device that the memory was allocated for.
    pub(crate) fn device(&self) -> &Arc<DmaDevice> {
        &self.device
    }

    /// Maps the part that the offset of `vma` says, with the type that the memory has. May sleep.
    ///
    /// # Errors
    ///
    /// - [`ENXIO`] if it is not inside the memory;
    /// - [`ENOMEM`].
    ///
    /// # Safety
    ///
    /// Nothing must be mapped in the VMA, and the memory must outlive the mapping.
    pub(super) unsafe fn mmap(&self, vma: &VmaNew) -> Result {
        let attrs = match self.is_writecombine {
            true => bindings::DMA_ATTR_WRITE_COMBINE,
            false => 0,
        };
        // SAFETY: The memory, its addresses and what it was allocated with are those of the type
        // invariants, and a new VMA may be filled. The function looks whether it is long enough.
        to_result(unsafe {
            bindings::dma_mmap_attrs(
                self.device.raw(),
                vma.as_ptr(),
                self.memory.as_mut_ptr().cast(),
                self.dma(),
                self.memory.size(),
                attrs as usize,
            )
        })
    }
}
