// SPDX-License-Identifier: GPL-2.0

//! DMA memory and mappings of a device of ours.
//!
//! The kernel crate has these for platform and PCI devices that are bound. Ours
//! is a faux device, which lives as long as any memory that belongs to it.

use super::{
    ffi,
    pages::ContiguousPages,
    span::Span, //
};
use crate::range::Range;
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    bindings,
    device,
    dma::DataDirection,
    error::to_result,
    faux,
    mm::virt::VmaNew,
    prelude::*,
    sync::Arc, //
};

/// A device without hardware, for which memory is allocated and mapped: one that can address all
/// memory, and does not snoop unless all of the machine's devices do.
///
/// # Invariants
///
/// The device is registered and has a DMA mask.
pub(crate) struct DmaDevice(faux::Registration);

impl DmaDevice {
    /// Registers the device. May sleep.
    pub(crate) fn new(name: &CStr) -> Result<Arc<Self>> {
        let this = Arc::new(Self(faux::Registration::new(name, None)?), GFP_KERNEL)?;
        // SAFETY: The device is valid, and nobody else uses it yet.
        unsafe { ffi::shmbuf_dma_init_mask(this.raw()) };
        // SAFETY: As above.
        to_result(unsafe { bindings::dma_set_mask_and_coherent(this.raw(), u64::MAX) })?;
        // INVARIANT: Both were just done.
        Ok(this)
    }

    fn raw(&self) -> *mut bindings::device {
        let faux: &faux::Device<device::Bound> = self.0.as_ref();
        let device: &device::Device<device::Bound> = faux.as_ref();
        // `Device` is a transparent wrapper of the C structure.
        ptr::from_ref(device).cast_mut().cast()
    }

    /// The name under which DMA addresses are reported.
    pub(crate) fn name(&self) -> &[u8] {
        // SAFETY: The name of a registered device is a string that does not change.
        unsafe { CStr::from_char_ptr(ffi::shmbuf_dev_name(self.raw())) }.to_bytes()
    }

    /// Whether coherent memory loses its cacheable linear mapping, as CMA's does.
    pub(crate) fn has_cma(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { ffi::shmbuf_cma_available(self.raw()) }
    }

    /// Cleans and invalidates every cache line of `pages`, down to memory, whatever address it was
    /// filled by. Nobody may use them meanwhile.
    ///
    /// This is what mapping and unmapping them for DMA in both directions does on caches that do
    /// not snoop (arch/arm/mm/dma-mapping.c), and it works for highmem too.
    pub(crate) fn flush_pages(self: &Arc<Self>, pages: &Arc<ContiguousPages>) -> Result {
        StreamingMapping::new(self, pages).map(drop)
    }
}

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

/// Pages mapped for DMA in both directions, which CPU and device own in turns.
///
/// # Invariants
///
/// `dma` is the address of a live mapping of all of `pages` for `device`.
pub(crate) struct StreamingMapping {
    dma: bindings::dma_addr_t,
    pages: Arc<ContiguousPages>,
    device: Arc<DmaDevice>,
}

impl StreamingMapping {
    /// Maps the pages, which the device owns from now on. May sleep.
    ///
    /// # Errors
    ///
    /// [`EIO`] if the device cannot address them.
    pub(crate) fn new(device: &Arc<DmaDevice>, pages: &Arc<ContiguousPages>) -> Result<Self> {
        // SAFETY: The device has a mask, and the pages are contiguous.
        let dma = unsafe {
            bindings::dma_map_page_attrs(
                device.raw(),
                pages.page(0),
                0,
                pages.size(),
                DataDirection::Bidirectional.into(),
                0,
            )
        };
        // SAFETY: As above.
        if unsafe { ffi::shmbuf_dma_mapping_error(device.raw(), dma) } {
            return Err(EIO);
        }
        // INVARIANT: Just mapped.
        Ok(Self {
            dma,
            pages: pages.clone(),
            device: device.clone(),
        })
    }

    /// The address of the first byte for the device.
    pub(crate) fn dma(&self) -> bindings::dma_addr_t {
        self.dma
    }

    /// The device it is mapped for.
    pub(crate) fn device(&self) -> &Arc<DmaDevice> {
        &self.device
    }

    /// Makes what the device wrote to `range` visible to the CPU, unless the direction is to the
    /// device. Lines of other virtual addresses remain on VIVT caches.
    pub(crate) fn sync_for_cpu(&self, range: Range, direction: DataDirection) {
        assert!(range.end() <= self.pages.size());
        // SAFETY: The range is inside the mapping.
        unsafe {
            ffi::shmbuf_dma_sync_for_cpu(
                self.device.raw(),
                self.dma + range.start() as bindings::dma_addr_t,
                range.len(),
                direction as u32,
            );
        }
    }

    /// Makes what the CPU wrote to `range` visible to the device. As the direction is always that
    /// of the mapping, both ways, dirty lines are cleaned and never discarded.
    pub(crate) fn sync_for_device(&self, range: Range) {
        assert!(range.end() <= self.pages.size());
        // SAFETY: The range is inside the mapping.
        unsafe {
            ffi::shmbuf_dma_sync_for_device(
                self.device.raw(),
                self.dma + range.start() as bindings::dma_addr_t,
                range.len(),
                DataDirection::Bidirectional as u32,
            );
        }
    }
}

impl Drop for StreamingMapping {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe {
            bindings::dma_unmap_page_attrs(
                self.device.raw(),
                self.dma,
                self.pages.size(),
                DataDirection::Bidirectional.into(),
                0,
            );
        }
    }
}
