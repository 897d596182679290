// SPDX-License-Identifier: GPL-2.0

//! Private buffers, which ALLOC makes.

use crate::{
    buffer::object::{
        Buffer,
        Kept, //
    },
    memory::{
        allocator::{
            declared_policy,
            Allocator,
            Source, //
        },
        limit::{
            Limit,
            Payer, //
        },
        machine::machine_for, //
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
    limit: Arc<Limit>,
}

impl Private {
    /// Private buffers, of which none is made yet. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new() -> Result<Arc<Self>> {
        let private = Self {
            limit: Limit::new()?,
        };
        Ok(Arc::new(private, GFP_KERNEL)?)
    }

    /// The limit against which the memory of all private buffers counts.
    pub(crate) fn limit(&self) -> &Limit {
        &self.limit
    }

    /// A new buffer for the device of `other`. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Spec::check`] and [`Buffer::new`], and [`Failure::NoRegion`].
    pub(crate) fn alloc(&self, spec: &Spec, other: &Buffer) -> Result<Arc<Buffer>, Failure> {
        if spec.kind == Kind::Region {
            return Err(Failure::NoRegion);
        }
        let like = other.allocator();
        let source = Source::Allocated;
        let machine = machine_for(&like.machine, &like.device, spec.kind, source.contents());
        let policy = match spec.kind {
            Kind::Coherent | Kind::Pool => spec.policy.or(declared_policy(&like.device)),
            _ => spec.policy,
        };
        let spec = Spec { policy, ..*spec }.check(&machine)?;
        let allocator = Allocator {
            device: like.device.clone(),
            machine,
            pools: like.pools.clone(),
            payer: Payer::running(&self.limit),
            source,
        };
        Buffer::new(allocator, &spec, None, Kept::Nothing)
    }
}
