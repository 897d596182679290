// SPDX-License-Identifier: GPL-2.0

//! Private buffers, which ALLOC makes.

use crate::{
    buffer::object::{
        Buffer,
        Kept, //
    },
    memory::{
        allocator::{
            Allocator,
            Source, //
        },
        limit::{
            Limit,
            Payer, //
        },
        pool::Pools, //
    },
    rules::{
        failure::Failure,
        kind::Kind,
        machine::Machine,
        spec::Spec, //
    },
    sys::dma_device::DmaDevice,
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Where private buffers come from.
pub(crate) struct Private {
    device: Arc<DmaDevice>,
    machine: Machine,
    pools: Arc<Pools>,
    limit: Arc<Limit>,
}

impl Private {
    /// Private buffers for `machine`, of which none is made yet. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(machine: Machine) -> Result<Arc<Self>> {
        let private = Self {
            device: DmaDevice::new(None)?,
            machine,
            pools: Pools::new()?,
            limit: Limit::new()?,
        };
        Ok(Arc::new(private, GFP_KERNEL)?)
    }

    /// The limit against which the memory of all private buffers counts.
    pub(crate) fn limit(&self) -> &Limit {
        &self.limit
    }

    /// A new buffer. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Spec::check`] and [`Buffer::new`], and [`Failure::NoRegion`].
    pub(crate) fn alloc(&self, spec: &Spec) -> Result<Arc<Buffer>, Failure> {
        if spec.kind == Kind::Region {
            return Err(Failure::NoRegion);
        }
        let spec = spec.check(&self.machine)?;
        let allocator = Allocator {
            device: self.device.clone(),
            machine: self.machine,
            pools: self.pools.clone(),
            payer: Payer::running(&self.limit),
            source: Source::Allocated,
        };
        Buffer::new(allocator, &spec, None, Kept::Nothing)
    }
}
