// SPDX-License-Identifier: GPL-2.0

//! DMA memory that CPU and device may use at the same time.

use super::{
    Allocator,
    Failure, //
};
use crate::{
    cache::{
        Caches,
        Machine,
        Policy,
        Refusal, //
    },
    spec::Checked,
    sys::{
        cpu,
        dma::{
            CoherentMemory,
            DmaDevice, //
        },
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Memory of kind `coherent`. Its type is fixed when it is allocated, and dma_mmap_attrs() gives
/// the same to programs whatever they ask.
pub(crate) struct Coherent {
    policy: Policy,
    memory: Arc<CoherentMemory>,
}

impl Coherent {
    /// See [`super::Storage::new`].
    pub(crate) fn new(allocator: &Allocator, spec: &Checked) -> Result<Self, Failure> {
        if allocator.device.has_declared_memory() && spec.policy != Policy::Writecombine {
            return Err(Failure::Refused(spec.policy, spec.kind, Refusal::Declared));
        }
        let writecombine = spec.policy == Policy::Writecombine
            && spec.policy != allocator.machine.default_policy(spec.kind);
        let memory = CoherentMemory::new(&allocator.device, spec.size, writecombine)
            .map_err(|_| Failure::Dma(spec.size))?;
        let memory = Arc::new(memory, GFP_KERNEL).map_err(Error::from)?;
        // The allocator zeroes; the zeroes may still be in the write buffer.
        cpu::drain_write_buffer();
        Ok(Self {
            policy: spec.policy,
            memory,
        })
    }

    /// See [`super::Storage::policy`].
    pub(crate) fn policy(&self) -> Policy {
        self.policy
    }

    /// The memory itself.
    pub(crate) fn memory(&self) -> &Arc<CoherentMemory> {
        &self.memory
    }
}

/// Whether coherent memory of `device` has a cacheable alias: without CMA, whose linear mapping is
/// rewritten, the linear mapping of the memory stays. The kernel lives with it; before ARMv6 that
/// is allowed.
pub(super) fn is_aliased(device: &DmaDevice, machine: &Machine) -> bool {
    !matches!(machine.caches, Caches::Vivt | Caches::Snooping)
        && !device.has_cma()
        && !device.has_declared_memory()
}
