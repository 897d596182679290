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
        machine::{
            machine,
            machine_for, //
        },
        pool::Pools, //
    },
    rules::{
        failure::{
            Failure,
            Invalid, //
        },
        kind::Kind,
        machine::Machine,
        name::Name,
        spec::Spec, //
    },
    sys::dma_device::{
        self,
        DmaDevice, //
    },
};
use kernel::{
    debugfs::{
        Dir,
        Scope, //
    },
    dma::DmaMask,
    prelude::*,
    sync::Arc, //
};

/// The device that memory of `kind` is for: one of the driver's own that drives so many address bits,
/// with the DMA of the device of the machine that has `name`, alone or with its bus, if one is given.
/// May sleep.
///
/// # Errors
///
/// - [`Failure::Invalid`] if no memory of the kind is for a device that has a name;
/// - [`Failure::NoDevice`], [`Failure::AmbiguousDevice`];
/// - [`Failure::Mask`], [`Failure::DeviceMask`], [`Failure::Translated`], [`ENOMEM`].
pub(crate) fn dma_device(
    name: Option<&CStr>,
    mask_bits: Option<u32>,
    kind: Kind,
) -> Result<Arc<DmaDevice>, Failure> {
    let mask = mask_bits.map(DmaMask::try_new).transpose()?;
    let made = match name {
        None => DmaDevice::new(mask),
        Some(_) if !kind.is_for_a_device() => {
            return Err(Failure::Invalid(Invalid::Device(kind)));
        }
        Some(name) => {
            let other = dma_device::find(name).map_err(|error| match error {
                EEXIST => Failure::AmbiguousDevice,
                _ => Failure::NoDevice,
            })?;
            DmaDevice::of_device(mask, &other)
        }
    };
    made.map_err(|error| Failure::of_device(error, mask_bits))
}

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
        let private = Private::new()?;
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
        let machine = machine_for(&self.machine, &device, spec.kind, source.contents());
        let allocator = Allocator {
            machine,
            pools: Pools::new()?,
            payer: Payer::Administrator,
            device,
            source,
        };
        let spec = spec.check(&machine)?;
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
