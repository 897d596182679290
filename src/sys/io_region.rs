// SPDX-License-Identifier: GPL-2.0

//! Device memory: registers, or memory that is not the kernel's.
//!
//! The kernel crate has this for as long as a device is bound. Ours lives as
//! long as any user of a buffer.

use super::ffi;
use crate::rules::{
    policy::Policy,
    range::Range, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::to_result,
    mm::virt::VmaNew,
    page::PAGE_SHIFT,
    prelude::*, //
};

/// The bytes of one access to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    One,
    Two,
    Four,
    Eight,
}

impl Width {
    /// The width of so many bytes; eight only where one instruction does that.
    pub(crate) fn new(bytes: u32) -> Option<Self> {
        match bytes {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            4 => Some(Self::Four),
            8 if cfg!(CONFIG_64BIT) => Some(Self::Eight),
            _ => None,
        }
    }

    /// How many bytes.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }
}

/// A range of physical addresses that a device answers to.
#[derive(Clone, Copy)]
pub(crate) struct IoRange {
    /// The first address.
    pub(crate) start: bindings::phys_addr_t,
    /// How many bytes.
    pub(crate) size: usize,
    /// How it is accessed.
    pub(crate) width: Width,
}

/// A range that nobody else has, mapped for the kernel.
///
/// # Invariants
///
/// `range` was requested, and is ours; `address` is its mapping with the type of `policy`.
pub(crate) struct IoRegion {
    range: IoRange,
    policy: Policy,
    address: NonNull<c_void>,
}

// SAFETY: A mapping belongs to no thread.
unsafe impl Send for IoRegion {}
// SAFETY: A device answers to accesses of all threads.
unsafe impl Sync for IoRegion {}

impl IoRegion {
    /// Takes the range, and maps it: as device memory for [`Policy::Noncached`], write-combined for
    /// [`Policy::Writecombine`]. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EBUSY`] if somebody else has some of it (see /proc/iomem);
    /// - [`ENOMEM`] if there is no vmalloc space.
    pub(crate) fn new(range: IoRange, policy: Policy) -> Result<Self> {
        // SAFETY: The functions take any range.
        to_result(unsafe { ffi::shmbuf_io_request(range.start, range.size) })?;
        // SAFETY: As above.
        let address = unsafe { ffi::shmbuf_io_map(range.start, range.size, policy.to_uapi()) };
        match NonNull::new(address) {
            // INVARIANT: Just requested and mapped.
            Some(address) => Ok(Self {
                range,
                policy,
                address,
            }),
            None => {
                // SAFETY: It was requested above.
                unsafe { ffi::shmbuf_io_release(range.start, range.size) };
                Err(ENOMEM)
            }
        }
    }

    /// The range.
    pub(crate) fn range(&self) -> IoRange {
        self.range
    }

    /// Where the kernel has it mapped.
    pub(crate) fn address(&self) -> usize {
        self.address.as_ptr() as usize
    }

    /// Checks that `range` is one of whole accesses.
    fn check(&self, range: Range, len: usize) {
        let width = self.range.width.bytes();
        assert!(range.end() <= self.range.size && range.len() == len);
        assert!(range.start() % width == 0 && range.len() % width == 0);
    }

    /// Reads `range`, whole accesses, to `to`, of the same length. Any context.
    pub(crate) fn read(&self, range: Range, to: &mut [u8]) {
        self.check(range, to.len());
        // SAFETY: Inside the mapping, by the type invariants and the check.
        unsafe {
            ffi::shmbuf_io_read(
                self.address.as_ptr().byte_add(range.start()),
                to.as_mut_ptr().cast(),
                to.len(),
                self.range.width.bytes() as u32,
            );
        }
    }

    /// Writes `from`, of the same length, to `range`, whole accesses. Any context.
    pub(crate) fn write(&self, range: Range, from: &[u8]) {
        self.check(range, from.len());
        // SAFETY: As above.
        unsafe {
            ffi::shmbuf_io_write(
                self.address.as_ptr().byte_add(range.start()),
                from.as_ptr().cast(),
                from.len(),
                self.range.width.bytes() as u32,
            );
        }
    }

    /// Maps `range`, whole pages, at `vma`, which has its length, at once and with the memory type
    /// that the kernel's mapping has. The region must outlive the mapping. May sleep.
    pub(crate) fn mmap(&self, vma: &VmaNew, range: Range) -> Result {
        let start = self.range.start + range.start() as bindings::phys_addr_t;
        // SAFETY: A new VMA may be filled; the frames are ours.
        to_result(unsafe {
            ffi::shmbuf_io_remap(
                vma.as_ptr(),
                (start >> PAGE_SHIFT) as usize,
                self.policy.to_uapi(),
            )
        })
    }
}

impl Drop for IoRegion {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, and nothing uses it any more.
        unsafe {
            ffi::shmbuf_io_unmap(self.address.as_ptr());
            ffi::shmbuf_io_release(self.range.start, self.range.size);
        }
    }
}
