// SPDX-License-Identifier: GPL-2.0

//! Kernel addresses of memory that programs and devices change at any time.

use super::ffi;
use crate::rules::range::Range;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
};

/// A span of kernel virtual addresses.
///
/// Its contents are shared with others that do not synchronize with us, so there is no reference
/// to them, only copying in and out by the kernel's functions for that.
///
/// # Invariants
///
/// `ptr` is valid for reading and writing `len` bytes for `'a`, and `phys` is the physical address
/// of the first. The bytes of one page are physically contiguous; the pages need not be.
#[derive(Clone, Copy)]
pub(crate) struct Span<'a> {
    ptr: NonNull<u8>,
    len: usize,
    phys: bindings::phys_addr_t,
    _memory: PhantomData<&'a ()>,
}

impl<'a> Span<'a> {
    /// # Safety
    ///
    /// The invariants of the type must hold.
    pub(super) unsafe fn new(ptr: NonNull<u8>, len: usize, phys: bindings::phys_addr_t) -> Self {
        // INVARIANT: By this function's contract.
        Self {
            ptr,
            len,
            phys,
            _memory: PhantomData,
        }
    }

    /// The length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The kernel virtual address of the first byte.
    pub(crate) fn address(&self) -> usize {
        self.ptr.as_ptr() as usize
    }

    /// The part `range` of the span. A range outside of it is a bug, and panics.
    pub(crate) fn slice(self, range: Range) -> Self {
        assert!(range.end() <= self.len);
        // SAFETY: The range is inside.
        let ptr = unsafe { self.ptr.add(range.start()) };
        // INVARIANT: The range is inside.
        Self {
            ptr,
            len: range.len(),
            phys: self.phys + range.start() as bindings::phys_addr_t,
            _memory: PhantomData,
        }
    }

    /// Fills the span with zeroes, by aligned stores as `memset()` of every architecture with
    /// strongly-ordered memory does.
    pub(crate) fn zero(&self) {
        // SAFETY: By the type invariants. Others may write to it, and no value is assumed here.
        unsafe { self.ptr.as_ptr().write_bytes(0, self.len) };
    }

    /// Copies `other`, of the same length, to this span.
    pub(crate) fn copy_from(&self, other: &Span<'_>) {
        assert!(self.len == other.len);
        // SAFETY: By the type invariants of both, which are of different memory.
        unsafe { self.ptr.as_ptr().copy_from(other.ptr.as_ptr(), self.len) };
    }

    /// Copies the span to `to`, of the same length.
    pub(crate) fn copy_to_slice(&self, to: &mut [u8]) {
        assert!(self.len == to.len());
        // SAFETY: By the type invariants; nobody else knows the slice.
        unsafe { self.ptr.as_ptr().copy_to(to.as_mut_ptr(), self.len) };
    }

    /// Copies `from`, of the same length, to the span.
    pub(crate) fn copy_from_slice(&self, from: &[u8]) {
        assert!(self.len == from.len());
        // SAFETY: By the type invariants.
        unsafe { self.ptr.as_ptr().copy_from(from.as_ptr(), self.len) };
    }

    /// Copies the span to `iter` and returns how many bytes went there. Sleeps on page faults unless
    /// they are disabled; then, or on a bad address, the copy is short.
    pub(crate) fn copy_to_iter(&self, iter: &mut IovIterDest<'_>) -> usize {
        // SAFETY: By the type invariants; the function copes with contents that change.
        unsafe { bindings::_copy_to_iter(self.ptr.as_ptr().cast(), self.len, iter.as_raw()) }
    }

    /// Copies from `iter` to the span and returns how many bytes came. Sleeps on page faults unless
    /// they are disabled; then, or on a bad address, the copy is short.
    pub(crate) fn copy_from_iter(&self, iter: &mut IovIterSource<'_>) -> usize {
        // SAFETY: By the type invariants; the function copes with contents that change.
        unsafe { bindings::_copy_from_iter(self.ptr.as_ptr().cast(), self.len, iter.as_raw()) }
    }

    /// Cleans and invalidates the cache lines of the span, down to memory and in the outer cache
    /// too. A store at the same moment is not lost. Lines under other virtual addresses remain on
    /// VIVT caches. The span must be physically contiguous. Any context.
    pub(crate) fn flush(&self) {
        // SAFETY: By the type invariants.
        unsafe {
            ffi::shmbuf_flush_kernel_range(self.ptr.as_ptr().cast(), self.phys, self.len);
        }
    }
}
