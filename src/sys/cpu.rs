// SPDX-License-Identifier: GPL-2.0

//! What this machine is, and its write buffer.

use super::{
    ffi,
    params, //
};
use crate::rules::{
    machine::{
        implements_writethrough,
        Caches,
        Machine,
        MemoryType, //
    },
    policy::Policy, //
};
use kernel::{
    bindings,
    prelude::*, //
};

/// The machine we run on. Any context; costs a few register reads.
pub(crate) fn machine() -> Machine {
    // SAFETY: The functions have no requirements.
    let (cache_type, midr, ccsidr_wt, highmem) = unsafe {
        (
            ffi::shmbuf_cpu_cache_type(),
            ffi::shmbuf_cpu_midr(),
            ffi::shmbuf_cpu_writethrough_available(),
            ffi::shmbuf_total_highmem_pages() != 0,
        )
    };
    let caches = match cache_type {
        ffi::SHMBUF_CACHE_VIVT => Caches::Vivt,
        ffi::SHMBUF_CACHE_VIPT_ALIASING => Caches::VipAliasing,
        ffi::SHMBUF_CACHE_NONALIASING => Caches::Nonaliasing,
        ffi::SHMBUF_CACHE_ARM64 => Caches::Arm64,
        _ => Caches::Snooping,
    };
    Machine {
        caches,
        types: Policy::ALL.map(memory_type),
        writethrough: match caches {
            Caches::Vivt => true,
            _ => implements_writethrough(midr, ccsidr_wt),
        },
        highmem,
        accept_alias: params::accept_alias(),
    }
}

/// The memory type of the page protection that the kernel has for `policy`.
fn memory_type(policy: Policy) -> MemoryType {
    // SAFETY: The function takes any number.
    match unsafe { ffi::shmbuf_memory_type(policy.to_uapi()) } {
        ffi::SHMBUF_MT_UNCACHED => MemoryType::Uncached,
        ffi::SHMBUF_MT_BUFFERABLE => MemoryType::Bufferable,
        ffi::SHMBUF_MT_WRITETHROUGH => MemoryType::Writethrough,
        ffi::SHMBUF_MT_WRITEBACK => MemoryType::Writeback,
        ffi::SHMBUF_MT_WRITEALLOC => MemoryType::Writealloc,
        _ => MemoryType::Other,
    }
}

/// The unit of cache maintenance for DMA in bytes, at least the longest cache line.
pub(crate) fn cache_line() -> usize {
    // SAFETY: The function has no requirements.
    unsafe { ffi::shmbuf_dma_cache_alignment() as usize }
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
    // SAFETY: We are in process context, and the capability exists.
    unsafe { bindings::capable_noaudit(bindings::CAP_SYS_RAWIO as c_int) }
}

/// Whether a line that a program can cause may go to the log now.
pub(crate) fn log_allowed() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { ffi::shmbuf_log_allowed() }
}
