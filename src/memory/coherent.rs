// SPDX-License-Identifier: GPL-2.0

//! Kind coherent: DMA memory that CPU and device may use at the same time.

use crate::{
    memory::{
        allocator::Allocator,
        limit::Charged,
        machine::{
            cma,
            limit_of_reach, //
        },
    },
    rules::{
        failure::{
            Failure,
            Refusal, //
        },
        machine::{
            Caches,
            Machine, //
        },
        policy::Policy,
        spec::Checked, //
    },
    sys::{
        cpu,
        dma_coherent::CoherentMemory,
        dma_device::DmaDevice,
        task, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Zeroed memory as `spec` says, and what counts for it. Its type is fixed when it is allocated, and
/// dma_mmap_attrs() gives the same to programs whatever they ask. May sleep.
///
/// # Errors
///
/// - [`Failure::Refused`] if the device has memory declared for it, which has another type;
/// - [`Failure::Limit`], [`Failure::Share`];
/// - [`Failure::Dma`] if nothing is free;
/// - [`Failure::Reach`] if what is free is out of the device's reach;
/// - [`EINTR`] if the process was killed.
pub(super) fn allocate(
    allocator: &Allocator,
    spec: &Checked,
) -> Result<(Arc<CoherentMemory>, Charged), Failure> {
    if allocator.device.has_declared_memory() && spec.policy != Policy::Writecombine {
        return Err(Failure::Refused(spec.policy, spec.kind, Refusal::Declared));
    }
    let writecombine = spec.policy == Policy::Writecombine
        && spec.policy != allocator.machine.default_policy(spec.kind);
    let charged = allocator
        .payer
        .charge(CoherentMemory::taken(&allocator.device, spec.size))?;
    let is_alias_wrong = allocator.machine.needs_highmem(spec.policy);
    // What is here is not given again, until this returns.
    let mut aside = KVVec::new();
    let memory = loop {
        let memory = CoherentMemory::new(&allocator.device, spec.size, writecombine)
            .map_err(|_| Failure::Dma(spec.size, cma()))?;
        if !is_alias_wrong || !memory.is_kmapped() {
            break memory;
        }
        aside
            .push(memory, GFP_KERNEL_ACCOUNT)
            .map_err(Error::from)?;
        task::go_on()?;
    };
    if !memory.is_in_reach() {
        return Err(Failure::Reach(spec.size, limit_of_reach(&allocator.device)));
    }
    let memory = Arc::new(memory, GFP_KERNEL_ACCOUNT).map_err(Error::from)?;
    // The allocator zeroes; the zeroes may still be in the write buffer.
    cpu::drain_write_buffer();
    Ok((memory, charged))
}

/// Whether coherent memory of `device` has a cacheable alias: without CMA, whose linear mapping is
/// rewritten, the linear mapping of the memory stays. The kernel lives with it; before ARMv6 that
/// is allowed.
pub(super) fn is_aliased(device: &DmaDevice, machine: &Machine) -> bool {
    !matches!(machine.caches, Caches::Vivt | Caches::Snooping)
        && !machine.device_snoops
        && !device.has_cma()
        && !device.has_declared_memory()
}
