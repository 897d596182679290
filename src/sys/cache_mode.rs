// SPDX-License-Identifier: GPL-2.0

//! How caches treat a mapping of memory.

use super::ffi;

/// How caches and write buffer treat a mapping of RAM.
///
/// Mappings of one page that differ in this are no danger to memory: what is read of the page is
/// one of the things that were written to it, and maybe not the last.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheMode {
    /// As the kernel maps RAM.
    Writeback,
    /// Writes go to memory at once; where the architecture has no such type, as [`Self::Writeback`].
    Writethrough,
    /// Not cached; writes may be buffered and merged.
    Writecombine,
    /// Neither cached nor buffered.
    Noncached,
}

/// What the page tables say of a mapping, in the kernel's names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryType {
    /// Neither cached nor buffered.
    Uncached,
    /// Not cached; writes are buffered.
    Bufferable,
    /// Cached; writes go to memory at once.
    Writethrough,
    /// Cached; lines are allocated by reads.
    Writeback,
    /// Cached; lines are allocated by reads and writes.
    Writealloc,
    /// Another.
    Other,
}

impl CacheMode {
    /// The number that `arch.c` knows it by.
    pub(super) fn number(self) -> ffi::shmbuf_cache_mode {
        match self {
            Self::Writeback => ffi::SHMBUF_MODE_WRITEBACK,
            Self::Writethrough => ffi::SHMBUF_MODE_WRITETHROUGH,
            Self::Writecombine => ffi::SHMBUF_MODE_WRITECOMBINE,
            Self::Noncached => ffi::SHMBUF_MODE_NONCACHED,
        }
    }

    /// The memory type of the page protection that the kernel has for it.
    pub(crate) fn memory_type(self) -> MemoryType {
        // SAFETY: The number is one of the enum.
        match unsafe { ffi::shmbuf_memory_type(self.number()) } {
            ffi::SHMBUF_MT_UNCACHED => MemoryType::Uncached,
            ffi::SHMBUF_MT_BUFFERABLE => MemoryType::Bufferable,
            ffi::SHMBUF_MT_WRITETHROUGH => MemoryType::Writethrough,
            ffi::SHMBUF_MT_WRITEBACK => MemoryType::Writeback,
            ffi::SHMBUF_MT_WRITEALLOC => MemoryType::Writealloc,
            _ => MemoryType::Other,
        }
    }
}
