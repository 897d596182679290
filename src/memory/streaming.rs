// SPDX-License-Identifier: GPL-2.0

//! Kinds streaming and scatter: what is added to write-back pages, the mapping for
//! a device of the buffer's own, which owns them in turns with the CPU.

use crate::{
    memory::{
        allocator::Allocator,
        pages::ViewedPages, //
    },
    rules::{
        failure::Failure,
        range::Range,
        spec::Checked, //
    },
    sys::{
        dma_device::DmaDevice,
        dma_mapping::{
            Backing,
            DeviceMapping, //
        },
    },
};
use kernel::{
    bindings,
    prelude::*,
    sync::Arc, //
};

/// A mapping of all pages of a buffer for the allocator's device.
pub(crate) struct OwnMapping {
    mapping: DeviceMapping,
    device: Arc<DmaDevice>,
}

impl OwnMapping {
    /// Maps `pages` as `spec` says. May sleep.
    ///
    /// # Errors
    ///
    /// - [`Failure::Bounced`] if the kernel would copy for the device;
    /// - [`ENOMEM`].
    pub(super) fn new(
        allocator: &Allocator,
        spec: &Checked,
        pages: &ViewedPages,
    ) -> Result<Self, Failure> {
        let mapping = DeviceMapping::new(
            &allocator.device,
            Backing::pages(pages.pages().clone()),
            Range::whole(spec.size),
            spec.direction.dma(),
        )
        .map_err(|error| match error {
            // It reaches the pages, so there was no room for a copy.
            EIO => Failure::Bounced,
            error => Failure::Other(error),
        })?;
        if mapping.bounces() {
            // START would put the copy over what an importer's device has written.
            return Err(Failure::Bounced);
        }
        Ok(Self {
            mapping,
            device: allocator.device.clone(),
        })
    }

    /// The address of the first byte for the device, and the device.
    pub(super) fn dma(&self) -> (bindings::dma_addr_t, &DmaDevice) {
        (self.mapping.dma(), &self.device)
    }

    /// What of it is lent, or returned, is synced by this.
    pub(crate) fn mapping(&self) -> &DeviceMapping {
        &self.mapping
    }
}
