// SPDX-License-Identifier: GPL-2.0

//! Where memory comes from, and for whom.

use crate::{
    memory::{
        limit::Payer,
        pool::Pools, //
    },
    rules::{
        machine::{
            Contents,
            Machine, //
        },
        policy::Policy, //
    },
    sys::{
        dma_device::DmaDevice,
        io_region::IoRange, //
    },
};
use kernel::sync::Arc;

/// What a buffer is made of.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// What is allocated, for the allocator's device.
    Allocated,
    /// Device memory, for kind region, and what the firmware says is there.
    Region(IoRange, Contents),
}

impl Source {
    /// What device memory holds, if it is made of that.
    pub(crate) fn contents(self) -> Contents {
        match self {
            Self::Allocated => Contents::Registers,
            Self::Region(_, contents) => contents,
        }
    }
}

/// Where memory comes from, and for whom.
#[derive(Clone)]
pub(crate) struct Allocator {
    /// The device that DMA memory belongs to.
    pub(crate) device: Arc<DmaDevice>,
    /// The machine that memory is for.
    pub(crate) machine: Machine,
    /// The pools of `device`.
    pub(crate) pools: Arc<Pools>,
    /// Who pays for it.
    pub(crate) payer: Payer,
    /// What the memory is made of.
    pub(crate) source: Source,
}

/// The policy of memory that was declared for `device` alone, if there is such memory: what the kernel
/// maps it as.
pub(crate) fn declared_policy(device: &DmaDevice) -> Option<Policy> {
    device.has_declared_memory().then_some(Policy::Writecombine)
}
