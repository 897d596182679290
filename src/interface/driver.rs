// SPDX-License-Identifier: GPL-2.0

//! What all buffers have in common, and how one gets a name.

use super::{
    debugfs,
    handle::Opened,
    named::{
        Named,
        Names, //
    },
    private::Private, //
};
use crate::{
    buffer::object::{
        Buffer,
        Kept, //
    },
    copy::engine::Engine,
    memory::{
        allocator::{
            Allocator,
            Source, //
        },
        limit::Payer,
        machine::machine,
        pool::Pools, //
    },
    rules::{
        failure::Failure,
        machine::Machine,
        name::Name,
        spec::Spec, //
    },
    sys::{
        dma_device::DmaDevice, //
    },
};
use kernel::{
    debugfs::{
        Dir,
        Scope, //
    },
    prelude::*,
    sync::Arc, //
};

/// What all buffers have in common.
pub(crate) struct Driver {
    machine: Machine,
    names: Arc<Names>,
    private: Arc<Private>,
    engine: Arc<Engine>,
    // Its files go before it.
    _private_folder: Pin<KBox<Scope<Arc<Private>>>>,
    folder: Dir,
}

impl Driver {
    /// The driver, without any buffer yet. May sleep.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let machine = machine();
        let folder = Dir::new(c"shmbuf");
        let private = Private::new(machine)?;
        Ok(Arc::new(
            Self {
                machine,
                names: Names::new()?,
                engine: Engine::new()?,
                _private_folder: KBox::pin_init(
                    debugfs::private_folder(&folder, private.clone()),
                    GFP_KERNEL,
                )?,
                private,
                folder,
            },
            GFP_KERNEL,
        )?)
    }

    /// A new buffer as `spec` says, of `source` for `device`, and its node: /dev/shmbuf-`name`, or
    /// /dev/shmbuf if there is no name. `kept` is kept as long as the buffer lives. May sleep.
    ///
    /// # Errors
    ///
    /// - those of [`Spec::check`] and [`Buffer::new`];
    /// - [`Failure::Name`] if another buffer has the name.
    pub(crate) fn publish(
        &self,
        name: Option<Name>,
        spec: &Spec,
        device: Arc<DmaDevice>,
        source: Source,
        kept: Kept,
    ) -> Result<Pin<KBox<Named>>, Failure> {
        let allocator = Allocator {
            machine: self.machine,
            pools: Pools::new()?,
            payer: Payer::Administrator,
            device,
            source,
        };
        let spec = spec.check(&self.machine)?;
        let taken = match &name {
            Some(name) => Some(self.names.take(name)?),
            None => None,
        };
        let buffer = Buffer::new(allocator, &spec, name, kept)?;
        let node = buffer.node_name()?;
        let opened = Opened {
            buffer,
            private: self.private.clone(),
            engine: self.engine.clone(),
        };
        let named = Named::new(&self.folder, &node, taken, opened)?;
        pr_info!(
            "/dev/{}: {} bytes of kind {}, {}\n",
            &*node,
            spec.size,
            spec.kind,
            spec.policy
        );
        Ok(named)
    }
}
