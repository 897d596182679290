// SPDX-License-Identifier: GPL-2.0

//! The machine that we run on, in the words of the rules.

use crate::{
    rules::{
        failure::{
            Cma,
            Limit,
            Supply,
            Wanted, //
        },
        kind::Kind,
        machine::{
            implements_writethrough,
            Caches,
            Contents,
            Machine,
            MemoryType, //
        },
        policy::Policy, //
    },
    sys::{
        cache_mode::{
            self,
            CacheMode, //
        },
        cpu::{
            self,
            CacheType, //
        },
        dma_coherent,
        dma_device::DmaDevice,
        params, //
    },
};

/// The machine that we run on. Any context; costs a few register reads.
pub(crate) fn machine() -> Machine {
    let caches = match cpu::cache_type() {
        CacheType::Vivt => Caches::Vivt,
        CacheType::VipAliasing => Caches::VipAliasing,
        CacheType::Nonaliasing => Caches::Nonaliasing,
        CacheType::Arm64 => Caches::Arm64,
        CacheType::Snooping => Caches::Snooping,
    };
    Machine {
        caches,
        types: Policy::ALL.map(memory_type),
        writethrough: match caches {
            Caches::Vivt => true,
            _ => implements_writethrough(cpu::midr(), cpu::says_writethrough()),
        },
        highmem: cpu::highmem() != 0,
        accept_alias: params::accept_alias(),
        device_snoops: false,
        contents: Contents::Registers,
    }
}

/// The memory type of the page protection that the kernel has for `policy`.
fn memory_type(policy: Policy) -> MemoryType {
    match cache_mode(policy).memory_type() {
        cache_mode::MemoryType::Uncached => MemoryType::Uncached,
        cache_mode::MemoryType::Bufferable => MemoryType::Bufferable,
        cache_mode::MemoryType::Writethrough => MemoryType::Writethrough,
        cache_mode::MemoryType::Writeback => MemoryType::Writeback,
        cache_mode::MemoryType::Writealloc => MemoryType::Writealloc,
        cache_mode::MemoryType::Other => MemoryType::Other,
    }
}

/// What the kernel has set aside for physically contiguous memory. Any context.
pub(super) fn cma() -> Cma {
    match dma_coherent::free_cma() {
        Some(free) => Cma::Free(free),
        None => Cma::None,
    }
}

/// What there is of the memory that pages of some kind come from. Any context.
pub(super) fn supply(wanted: Wanted) -> Supply {
    Supply {
        all: match wanted {
            Wanted::Highmem => cpu::highmem(),
            _ => cpu::memory(),
        },
        cma: cma(),
    }
}

/// `machine` for memory of `kind` that belongs to `device`, and that holds `contents` if it is a region.
pub(crate) fn machine_for(
    machine: &Machine,
    device: &DmaDevice,
    kind: Kind,
    contents: Contents,
) -> Machine {
    Machine {
        device_snoops: device.snoops() && kind.is_for_a_device(),
        contents,
        ..*machine
    }
}

/// What leaves memory out of reach of `device`.
pub(super) fn limit_of_reach(device: &DmaDevice) -> Limit {
    match device.is_limited_by_bus() {
        true => Limit::Bus,
        false => Limit::Mask,
    }
}

/// How memory of `policy` is mapped.
pub(super) fn cache_mode(policy: Policy) -> CacheMode {
    match policy {
        Policy::Writeback => CacheMode::Writeback,
        Policy::Writethrough => CacheMode::Writethrough,
        Policy::Writecombine => CacheMode::Writecombine,
        Policy::Noncached => CacheMode::Noncached,
    }
}
