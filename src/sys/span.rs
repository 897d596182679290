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
/// Its contents are shared with others that do not synchronize with us: programs, devices, other
/// threads of the kernel. To access them from Rust, but by volatile or atomic operations, would be a
/// data race. So there is no reference to them, only copying in and out, by functions in C that the
/// compiler does not see into: those are memmove() and memset() as the kernel has them for every
/// memory that others write, each byte one of those that were there at some time. No value of the
/// bytes is relied on here.
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
        // SAFETY: By the type invariants.
        unsafe { ffi::shmbuf_zero_shared(self.ptr.as_ptr().cast(), self.len) };
    }

    /// Copies `other`, of the same length, to this span. Another length is a bug, and panics.
    pub(crate) fn copy_from(&self, other: &Span<'_>) {
        assert!(self.len == other.len);
        // SAFETY: By the type invariants of both, which may be the same memory.
        unsafe { copy_shared(self.ptr.as_ptr(), other.ptr.as_ptr(), self.len) };
    }

    /// Copies the span to `to`, of the same length. Another length is a bug, and panics.
    pub(crate) fn copy_to_slice(&self, to: &mut [u8]) {
        assert!(self.len == to.len());
        // SAFETY: By the type invariants, and the reference.
        unsafe { copy_shared(to.as_mut_ptr(), self.ptr.as_ptr(), self.len) };
    }

    /// Copies `from`, of the same length, to the span. Another length is a bug, and panics.
    pub(crate) fn copy_from_slice(&self, from: &[u8]) {
        assert!(self.len == from.len());
        // SAFETY: By the type invariants, and the reference.
        unsafe { copy_shared(self.ptr.as_ptr(), from.as_ptr(), self.len) };
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
    /// too: what was written by it is in memory. A core that reads ahead may have lines again, of what is
    /// in memory now. A store at the same moment is not lost. Lines under other virtual addresses remain
    /// on VIVT caches. The outer cache goes by physical addresses: a span has to be physically contiguous
    /// to be flushed whole. What is flushed instead loses nothing. Any context.
    pub(crate) fn flush(&self) {
        // SAFETY: By the type invariants.
        unsafe { ffi::shmbuf_flush_to_memory(self.ptr.as_ptr().cast(), self.phys, self.len) };
    }

    /// [`Self::flush`], but in the other order: no line remains of what was in memory before it, and
    /// what was written by the span may be in the outer cache yet. Any context.
    pub(crate) fn refresh(&self) {
        // SAFETY: By the type invariants.
        unsafe { ffi::shmbuf_flush_from_memory(self.ptr.as_ptr().cast(), self.phys, self.len) };
    }
}

/// Copies `len` bytes, of which others may write any at the same time.
///
/// # Safety
///
/// `from` must be valid for reading, and `to` for writing, `len` bytes.
unsafe fn copy_shared(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: By this function's contract.
    unsafe { ffi::shmbuf_copy_shared(to.cast(), from.cast(), len) };
}
