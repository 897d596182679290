// SPDX-License-Identifier: GPL-2.0

//! DMA memory that CPU and device may use at the same time.

use super::Failure;
use crate::{
    cache::{
        Caches,
        Machine,
        Policy, //
    },
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
    memory: CoherentMemory,
}

impl Coherent {
    /// See [`super::Storage::new`].
    pub(crate) fn new(
        device: &Arc<DmaDevice>,
        machine: &Machine,
        size: usize,
        policy: Policy,
    ) -> Result<Self, Failure> {
        let writecombine = policy == Policy::Writecombine
            && policy != machine.default_policy(super::Kind::Coherent);
        let memory =
            CoherentMemory::new(device, size, writecombine).map_err(|_| Failure::Dma(size))?;
        // The allocator zeroes; the zeroes may still be in the write buffer.
        cpu::drain_write_buffer();
        Ok(Self { policy, memory })
    }

    /// See [`super::Storage::policy`].
    pub(crate) fn policy(&self) -> Policy {
        self.policy
    }

    /// The memory itself.
    pub(crate) fn memory(&self) -> &CoherentMemory {
        &self.memory
    }

    /// Without CMA, whose linear mapping is rewritten, the linear mapping of the memory stays and
    /// is cacheable. The kernel lives with it; before ARMv6 that is allowed.
    pub(crate) fn is_aliased(&self, machine: &Machine) -> bool {
        matches!(machine.caches, Caches::Nonaliasing | Caches::VipAliasing)
            && !self.memory.device().has_cma()
    }

    /// Drains the write buffer; there is nothing else to maintain.
    pub(crate) fn sync(&self) {
        cpu::drain_write_buffer();
    }
}
