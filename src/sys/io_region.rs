// SPDX-License-Identifier: GPL-2.0

//! Device memory: registers, or memory that is not the kernel's.
//!
//! The kernel crate has this for as long as a device is bound. Ours lives as
//! long as any user of a buffer.

use super::{
    cache_mode::CacheMode,
    cpu,
    ffi,
    reserved_memory,
    span::Span,
    task::{
        self,
        STRETCH, //
    },
    NAME, //
};
use crate::rules::range::Range;
use core::ptr::NonNull;
use kernel::{
    bindings,
    device::Core,
    error::to_result,
    mm::virt::VmaNew,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    platform,
    prelude::*, //
};

/// How many bytes one access to a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    One,
    Two,
    Four,
    #[cfg(CONFIG_64BIT)]
    Eight,
}

impl Width {
    /// The width of an access of so many bytes; eight only where one instruction does that.
    pub(crate) fn new(bytes: u32) -> Option<Self> {
        match bytes {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            4 => Some(Self::Four),
            #[cfg(CONFIG_64BIT)]
            8 => Some(Self::Eight),
            _ => None,
        }
    }

    /// The number of bytes of one access.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
            #[cfg(CONFIG_64BIT)]
            Self::Eight => 8,
        }
    }
}

/// A range of physical addresses that a device answers to.
///
/// # Invariants
///
/// The firmware says that the range is that of a device, and the device is bound to this driver.
/// `start` is a multiple of the page size, and `size` is not zero.
#[derive(Clone, Copy)]
pub(crate) struct IoRange {
    start: bindings::phys_addr_t,
    size: usize,
    width: Width,
}

impl IoRange {
    /// The memory resource `index` of `device`, with accesses of `width`.
    ///
    /// # Errors
    ///
    /// - [`ENODEV`] if there is none;
    /// - [`EINVAL`] if it is empty, or does not begin at a page;
    /// - [`EFBIG`] if it is larger than the address space.
    pub(crate) fn of_resource(
        device: &platform::Device<Core<'_>>,
        index: u32,
        width: Width,
    ) -> Result<Self> {
        let resource = device.resource_by_index(index).ok_or(ENODEV)?;
        Self::new(resource.start(), resource.size().into(), width)
    }

    /// The reserved memory that the device-tree node of `device` refers to first, with accesses of
    /// `width`. What of it is RAM of the kernel's is busy, for whoever wants an [`IoRegion`] of it.
    ///
    /// # Errors
    ///
    /// Those of [`Self::of_resource`].
    pub(crate) fn of_reserved_memory(
        device: &platform::Device<Core<'_>>,
        width: Width,
    ) -> Result<Self> {
        let (start, size) = reserved_memory::range(device.as_ref())?;
        Self::new(start, size, width)
    }

    fn new(start: bindings::phys_addr_t, size: u64, width: Width) -> Result<Self> {
        if size == 0 || start % PAGE_SIZE as bindings::phys_addr_t != 0 {
            return Err(EINVAL);
        }
        // INVARIANT: Checked above; callers have it from the firmware.
        Ok(Self {
            start,
            size: usize::try_from(size).map_err(|_| EFBIG)?,
            width,
        })
    }

    /// The first physical address.
    pub(crate) fn start(&self) -> bindings::phys_addr_t {
        self.start
    }

    /// The length in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The bytes of each access.
    pub(crate) fn width(&self) -> Width {
        self.width
    }
}

/// A range that nobody else has, mapped for the kernel.
///
/// # Invariants
///
/// `range` was requested, and is ours; `address`, at the beginning of a page, is its mapping, which is one
/// of `mode`, or of the type that only devices have for [`CacheMode::Noncached`].
pub(crate) struct IoRegion {
    range: IoRange,
    mode: CacheMode,
    address: NonNull<c_void>,
}

// SAFETY: A mapping belongs to no thread.
unsafe impl Send for IoRegion {}
// SAFETY: A device answers to accesses of all threads.
unsafe impl Sync for IoRegion {}

impl IoRegion {
    /// Takes the range, and maps it: as the kernel maps RAM, write-combined, or as device memory if it
    /// is not to be cached at all. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`] if it is to be written through: the kernel gives modules no such mapping;
    /// - [`EBUSY`] if somebody else has some of it (see /proc/iomem);
    /// - [`ENOMEM`] if there is no vmalloc space.
    pub(crate) fn new(range: IoRange, mode: CacheMode) -> Result<Self> {
        let (start, size) = (range.start, range.size);
        if mode == CacheMode::Writethrough {
            return Err(EINVAL);
        }
        // SAFETY: The function takes any range, and the name lives as long as the module.
        let claimed = unsafe {
            bindings::request_mem_region(
                start,
                size as bindings::resource_size_t,
                NAME.as_char_ptr(),
            )
        };
        if claimed.is_null() {
            return Err(EBUSY);
        }
        let address = match mode {
            CacheMode::Writeback => {
                // What is the kernel's RAM was refused: the mapping is a new one.
                // SAFETY: The function takes any range.
                unsafe { bindings::memremap(start, size, bindings::MEMREMAP_WB as usize) }
            }
            // SAFETY: The function takes any range.
            CacheMode::Writecombine => unsafe { ffi::shmbuf_ioremap_wc(start, size) },
            // SAFETY: The function takes any range.
            _ => unsafe { bindings::ioremap(start, size) },
        };
        match NonNull::new(address) {
            // INVARIANT: Just requested and mapped.
            Some(address) => Ok(Self {
                range,
                mode,
                address,
            }),
            None => {
                // SAFETY: It was requested above.
                unsafe { bindings::release_mem_region(start, size as bindings::resource_size_t) };
                Err(ENOMEM)
            }
        }
    }

    /// The range of physical addresses.
    pub(crate) fn range(&self) -> IoRange {
        self.range
    }

    /// The kernel's address of the first byte.
    pub(crate) fn address(&self) -> usize {
        self.address.as_ptr() as usize
    }

    /// The kernel's addresses, if it is mapped as RAM is; else it is for [`Self::read`] and
    /// [`Self::write`] alone.
    pub(crate) fn span(&self) -> Option<Span<'_>> {
        (self.mode == CacheMode::Writeback).then(|| {
            // SAFETY: By the type invariants, and the range is contiguous.
            unsafe { Span::new(self.address.cast(), self.range.size, self.range.start) }
        })
    }

    /// The accesses that `range`, of `len` bytes, consists of. Another range is a bug, and panics.
    fn accesses(&self, range: Range, len: usize) -> impl Iterator<Item = usize> {
        let width = self.range.width.bytes();
        assert!(range.len() == len && range.start() % width == 0 && len % width == 0);
        (range.start()..range.end()).step_by(width)
    }

    /// The kernel's address of `offset`, for one access.
    fn at(&self, offset: usize) -> *mut c_void {
        let width = self.range.width.bytes();
        assert!(offset % width == 0 && offset + width <= self.range.size);
        self.address.as_ptr().wrapping_byte_add(offset)
    }

    /// Reads `range`, whole accesses, to `to`, of the same length. Bytes stay in the order that the
    /// device has them in. Any context.
    pub(crate) fn read(&self, range: Range, to: &mut [u8]) {
        let accesses = self.accesses(range, to.len());
        for (at, to) in accesses.zip(to.chunks_exact_mut(self.range.width.bytes())) {
            let at = self.at(at);
            // The kernel's accessors take the device's order for the little-endian one.
            // SAFETY: Inside the mapping, by the type invariants, and aligned to the width, as that is.
            unsafe {
                match self.range.width {
                    Width::One => to.copy_from_slice(&bindings::readb_relaxed(at).to_le_bytes()),
                    Width::Two => to.copy_from_slice(&bindings::readw_relaxed(at).to_le_bytes()),
                    Width::Four => to.copy_from_slice(&bindings::readl_relaxed(at).to_le_bytes()),
                    #[cfg(CONFIG_64BIT)]
                    Width::Eight => to.copy_from_slice(&bindings::readq_relaxed(at).to_le_bytes()),
                }
            }
        }
    }

    /// Writes `from`, of the same length, to `range`, whole accesses. Bytes stay in their order.
    /// Any context.
    pub(crate) fn write(&self, range: Range, from: &[u8]) {
        let accesses = self.accesses(range, from.len());
        for (at, from) in accesses.zip(from.chunks_exact(self.range.width.bytes())) {
            let at = self.at(at);
            // SAFETY: Inside the mapping, by the type invariants, and aligned to the width, as that is.
            unsafe {
                match self.range.width {
                    Width::One => bindings::writeb_relaxed(u8::from_le_bytes(array(from)), at),
                    Width::Two => bindings::writew_relaxed(u16::from_le_bytes(array(from)), at),
                    Width::Four => bindings::writel_relaxed(u32::from_le_bytes(array(from)), at),
                    #[cfg(CONFIG_64BIT)]
                    Width::Eight => bindings::writeq_relaxed(u64::from_le_bytes(array(from)), at),
                }
            }
        }
    }

    /// The number of bytes.
    pub(super) fn size(&self) -> usize {
        self.range.size
    }

    /// How caches treat the kernel's mapping; [`CacheMode::Noncached`] is the type that only devices have.
    pub(super) fn mode(&self) -> CacheMode {
        self.mode
    }

    /// The frame number of the byte at `offset`, which is inside.
    pub(super) fn pfn(&self, offset: usize) -> usize {
        assert!(offset < self.range.size);
        (self.range.start >> PAGE_SHIFT) as usize + (offset >> PAGE_SHIFT)
    }

    /// Maps `range` at `vma`, at once and with the memory type that the kernel's mapping has. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`] if it is not inside the region;
    /// - [`ENOMEM`].
    ///
    /// # Safety
    ///
    /// Nothing must be mapped in the VMA, which has the length of the range, whole pages. The region
    /// must outlive the mapping.
    pub(super) unsafe fn mmap(&self, vma: &VmaNew, range: Range) -> Result {
        if range.end() > self.range.size {
            return Err(EINVAL);
        }
        let start = self.range.start + range.start() as bindings::phys_addr_t;
        // SAFETY: A new VMA may be filled; the frames begin with that of `start`, and are ours for as
        // long as it lives, by this function's contract.
        to_result(unsafe {
            ffi::shmbuf_io_remap(
                vma.as_ptr(),
                (start >> PAGE_SHIFT) as usize,
                self.mode.number(),
            )
        })
    }
}

impl Drop for IoRegion {
    fn drop(&mut self) {
        // Whoever has the range next may use it past the caches.
        if let Some(span) = self.span() {
            flush(span);
        }
        // SAFETY: By the type invariants, and nothing uses it any more.
        unsafe {
            match self.mode {
                CacheMode::Writeback => bindings::memunmap(self.address.as_ptr()),
                _ => bindings::iounmap(self.address.as_ptr()),
            }
            bindings::release_mem_region(
                self.range.start,
                self.range.size as bindings::resource_size_t,
            );
        }
    }
}

/// Cleans and invalidates all lines of `span`. May sleep.
fn flush(span: Span<'_>) {
    if cpu::flushes_all_instead(span.len()) {
        cpu::flush_all();
        return;
    }
    for stretch in Range::whole(span.len()).pieces(STRETCH) {
        let part = span.slice(stretch);
        part.flush();
        // A line that was read ahead between the two is of what is in memory.
        part.refresh();
        task::cond_resched();
    }
    cpu::drain_write_buffer();
}

/// The `N` bytes of a slice of that length.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}
