// SPDX-License-Identifier: GPL-2.0

//! What this machine is, and its write buffer.

use super::ffi;
use kernel::{
    bindings,
    page::PAGE_SHIFT,
    prelude::*, //
};

/// How the data caches of this machine find their lines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheType {
    /// Virtually indexed, virtually tagged: two mappings of one page are two sets of lines.
    Vivt,
    /// Virtually indexed with more than one colour a page.
    VipAliasing,
    /// One line for one physical address, on 32-bit ARM.
    Nonaliasing,
    /// One line for one physical address, on 64-bit ARM.
    Arm64,
    /// One line for one physical address, and devices snoop them.
    Snooping,
}

/// How the data caches find their lines. Any context.
pub(crate) fn cache_type() -> CacheType {
    // SAFETY: The function has no requirements.
    match unsafe { ffi::shmbuf_cpu_cache_type() } {
        ffi::SHMBUF_CACHE_VIVT => CacheType::Vivt,
        ffi::SHMBUF_CACHE_VIPT_ALIASING => CacheType::VipAliasing,
        ffi::SHMBUF_CACHE_NONALIASING => CacheType::Nonaliasing,
        ffi::SHMBUF_CACHE_ARM64 => CacheType::Arm64,
        _ => CacheType::Snooping,
    }
}

/// The main ID register of 32-bit ARM, and zero elsewhere. Any context.
pub(crate) fn midr() -> u32 {
    // SAFETY: The function has no requirements.
    unsafe { ffi::shmbuf_cpu_midr() }
}

/// Whether the core says that its caches can write through, or had no way to say so yet. Any context.
pub(crate) fn says_writethrough() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { ffi::shmbuf_cpu_writethrough_available() }
}

/// How many bytes of memory the kernel has, in use or not. Any context.
pub(crate) fn memory() -> u64 {
    // SAFETY: The function has no requirements.
    let pages = unsafe { ffi::shmbuf_total_pages() };
    (pages as u64) << PAGE_SHIFT
}

/// How many bytes of it are outside of the linear map. Any context.
pub(crate) fn highmem() -> u64 {
    // SAFETY: The function has no requirements.
    let pages = unsafe { ffi::shmbuf_total_highmem_pages() };
    (pages as u64) << PAGE_SHIFT
}

/// The unit of cache maintenance for DMA in bytes, at least the longest cache line.
pub(crate) fn cache_line() -> usize {
    // SAFETY: The function has no requirements.
    unsafe { ffi::shmbuf_dma_cache_alignment() as usize }
}

/// Whether to [`flush_all`] instead of `size` bytes, line by line: that reaches memory, and takes no
/// longer. Any context.
pub(crate) fn flushes_all_instead(size: usize) -> bool {
    // SAFETY: The function has no requirements.
    unsafe { ffi::shmbuf_flushes_all_instead(size) }
}

/// Cleans and invalidates all lines of this CPU's own caches, of whatever memory. Any context.
pub(crate) fn flush_all() {
    // SAFETY: The function has no requirements.
    unsafe { ffi::shmbuf_flush_all() };
}

/// Waits until the writes before it have left the write buffer, and the outer cache's, for
/// memory. Any context.
pub(crate) fn drain_write_buffer() {
    // SAFETY: The function has no requirements.
    unsafe { ffi::shmbuf_drain_write_buffer() };
}

/// Whether the caller may see physical and bus addresses (CAP_SYS_RAWIO).
pub(crate) fn may_see_addresses() -> bool {
    // Who lacks it has done nothing that wants a record.
    // SAFETY: There is always a current task, and the capability exists.
    unsafe { ffi::shmbuf_capable_noaudit(bindings::CAP_SYS_RAWIO as c_int) }
}

/// Whether a line that a program can cause may go to the log now: a user has so many of them in some
/// seconds, whatever others do.
pub(crate) fn log_allowed() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { ffi::shmbuf_log_allowed() }
}

/// How many bytes a block has, a power of two: what an entry of the level above that of pages maps.
/// Zero where programs cannot have such entries of memory by its frame numbers. So it is on 32-bit ARM,
/// whatever the format of its tables: only arm64, powerpc, RISC-V and x86-64 select
/// ARCH_SUPPORTS_HUGE_PFNMAP. There remap_pfn_range() makes entries of pages, and nothing marks a
/// section of a program's as one without references, which fork(2) would need.
pub(super) fn block_size() -> usize {
    // SAFETY: The function has no requirements.
    unsafe { ffi::shmbuf_block_size() }
}
