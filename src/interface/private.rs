// SPDX-License-Identifier: GPL-2.0

//! Private buffers, which ALLOC makes.

use crate::{
    buffer::object::{
        Buffer,
        Kept, //
    },
    memory::{
        allocator::Allocator,
        limit::Limit, //
    },
    rules::{
        failure::Failure,
        kind::Kind,
        spec::Spec, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Where private buffers come from.
pub(crate) struct Private {
    allocator: Allocator,
    limit: Arc<Limit>,
}

impl Private {
    /// Private buffers that will come from `allocator`. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(allocator: Allocator) -> Result<Arc<Self>> {
        let private = Self {
            allocator,
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
    /// Those of [`Spec::check`] and [`Buffer::new`], [`Failure::Limit`], and [`Failure::NoRegion`].
    pub(crate) fn alloc(&self, spec: &Spec) -> Result<Arc<Buffer>, Failure> {
        if spec.kind == Kind::Region {
            return Err(Failure::NoRegion);
        }
        let spec = spec.check(&self.allocator.machine)?;
        let charged = self.limit.charge(spec.size)?;
        Buffer::new(self.allocator.clone(), &spec, None, Kept::Charge(charged))
    }
}
