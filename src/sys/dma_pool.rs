// SPDX-License-Identifier: GPL-2.0

//! Coherent DMA memory in blocks of less than a page.

use super::{
    dma_device::{
        addresses,
        DmaDevice, //
    },
    ffi,
    span::Span,
    NAME, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc, //
};

/// Bytes of the smallest block: where it is free, the pool keeps a pointer and an address in it
/// (`struct dma_block` in mm/dmapool.c).
pub(crate) const LEAST_BLOCK: usize = size_of::<(usize, bindings::dma_addr_t)>();

/// Coherent memory of less than a page, by `dma_pool`.
///
/// # Invariants
///
/// `pool` is a pool of `device` with blocks of `size` bytes, and ours.
pub(crate) struct Pool {
    pool: NonNull<ffi::dma_pool>,
    size: usize,
    device: Arc<DmaDevice>,
}

// SAFETY: A pool belongs to no thread.
unsafe impl Send for Pool {}
// SAFETY: A pool has a lock of its own.
unsafe impl Sync for Pool {}

impl Pool {
    /// A pool of blocks of `size` bytes, aligned to the power of two `align`, crossing no multiple
    /// of the power of two `boundary` unless that is zero. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`] if blocks or their alignment are more than a page;
    /// - [`ENOMEM`], also if there are no such blocks.
    pub(crate) fn new(
        device: &Arc<DmaDevice>,
        size: usize,
        align: usize,
        boundary: usize,
    ) -> Result<Self> {
        // The kernel's pools count in 32 bits.
        if size.max(align) > PAGE_SIZE {
            return Err(EINVAL);
        }
        // SAFETY: The device is valid and has a mask; the function copies the name, and refuses what
        // is no power of two, or zero.
        let pool = unsafe {
            ffi::shmbuf_dma_pool_create(
                NAME.as_char_ptr(),
                device.raw(),
                size,
                align.max(1),
                boundary,
            )
        };
        // INVARIANT: Just made.
        Ok(Self {
            pool: NonNull::new(pool).ok_or(ENOMEM)?,
            size,
            device: device.clone(),
        })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; blocks keep the pool.
        unsafe { ffi::shmbuf_dma_pool_destroy(self.pool.as_ptr()) };
    }
}

/// A block of a [`Pool`].
///
/// # Invariants
///
/// `cpu` and `dma` are the two addresses of a block of `pool`, which is ours.
pub(crate) struct Block {
    cpu: NonNull<u8>,
    dma: bindings::dma_addr_t,
    pool: Arc<Pool>,
}

// SAFETY: The memory belongs to no thread.
unsafe impl Send for Block {}
// SAFETY: No method changes anything through a shared reference but by `Span`.
unsafe impl Sync for Block {}

impl Block {
    /// A zeroed block of `pool`. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(pool: &Arc<Pool>) -> Result<Self> {
        let mut dma = 0;
        // SAFETY: By the invariants of `Pool`, and `dma` outlives the call.
        let cpu = unsafe { ffi::shmbuf_dma_pool_alloc(pool.pool.as_ptr(), &mut dma) };
        // INVARIANT: Just allocated, if not null.
        Ok(Self {
            cpu: NonNull::new(cpu.cast()).ok_or(ENOMEM)?,
            dma,
            pool: pool.clone(),
        })
    }

    /// Whether the device can address all of it: see [`CoherentMemory::is_in_reach`].
    ///
    /// [`CoherentMemory::is_in_reach`]: super::dma_coherent::CoherentMemory::is_in_reach
    pub(crate) fn is_in_reach(&self) -> bool {
        addresses(self.pool.device.device(), self.dma, self.pool.size)
    }

    /// The block, as the kernel reaches it.
    pub(crate) fn span(&self) -> Span<'_> {
        // SAFETY: By the type invariants; the memory lives as long as `self`.
        unsafe { Span::new(self.cpu, self.pool.size, self.phys()) }
    }

    /// The address of the block's first byte for the device.
    pub(crate) fn dma(&self) -> bindings::dma_addr_t {
        self.dma
    }

    /// The address of the block's first byte on the CPU's bus.
    pub(crate) fn phys(&self) -> bindings::phys_addr_t {
        // SAFETY: The address is one of this device, which has no IOMMU.
        unsafe { ffi::shmbuf_dma_to_phys(self.pool.device.raw(), self.dma) }
    }

    /// Whether kmap() has left a mapping, which is cacheable, of the block's page, as in
    /// [`CoherentMemory::is_kmapped`](super::dma_coherent::CoherentMemory::is_kmapped). May sleep.
    pub(crate) fn is_kmapped(&self) -> bool {
        // SAFETY: The function takes any address.
        let page = unsafe { ffi::shmbuf_phys_to_page(self.phys()) };
        // SAFETY: What is not null is a page.
        !page.is_null() && unsafe { ffi::shmbuf_page_is_kmapped(page) }
    }

    /// The device that the block was allocated for.
    pub(crate) fn device(&self) -> &Arc<DmaDevice> {
        &self.pool.device
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, and nothing uses it any more.
        unsafe {
            ffi::shmbuf_dma_pool_free(self.pool.pool.as_ptr(), self.cpu.as_ptr().cast(), self.dma);
        }
    }
}
