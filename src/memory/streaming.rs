// SPDX-License-Identifier: GPL-2.0

//! Cached pages that CPU and device own in turns.

use super::{
    pages::Pages,
    Allocator,
    Failure,
    Kind, //
};
use crate::{
    ownership::Owner,
    range::Range,
    spec::Checked,
    sys::{
        cpu,
        dma::{
            Backing,
            DeviceMapping,
            DmaDevice, //
        },
    },
};
use kernel::{
    bindings,
    dma::DataDirection,
    prelude::*,
    sync::Arc, //
};

/// Memory of kinds `streaming` and `scatter`: write-back pages, mapped for DMA.
pub(crate) struct Streaming {
    kind: Kind,
    // The mapping goes before the pages.
    mapping: DeviceMapping,
    pages: Pages,
    device: Arc<DmaDevice>,
}

impl Streaming {
    /// See [`super::Storage::new`].
    pub(crate) fn new(allocator: &Allocator, spec: &Checked) -> Result<Self, Failure> {
        let pages = Pages::new(allocator, spec)?;
        let mapping = DeviceMapping::new(
            allocator.device.device(),
            Backing::Pages(pages.pages().clone()),
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
            kind: spec.kind,
            mapping,
            pages,
            device: allocator.device.clone(),
        })
    }

    /// See [`super::Storage::kind`].
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The pages.
    pub(crate) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// The address of the first byte for the device.
    pub(crate) fn dma(&self) -> bindings::dma_addr_t {
        self.mapping.dma()
    }

    /// The device.
    pub(crate) fn device(&self) -> &DmaDevice {
        &self.device
    }

    /// What the device was given comes back. See [`super::Storage::sync_for_cpu`].
    pub(crate) fn take_back(&self, handed: Range) {
        self.mapping.sync_for_cpu(handed);
    }

    /// See [`super::Storage::hand_over`].
    pub(crate) fn hand_over(&self, from: Owner, range: Range) -> Result {
        let gap = match from {
            Owner::Cpu => None,
            Owner::Device { handed } => handed.gap(range),
        };
        for range in [Some(range), gap].into_iter().flatten() {
            if self.mapping.direction() == DataDirection::FromDevice {
                // The DMA API would discard what the CPU wrote around what the device will.
                self.pages.sync(range)?;
            }
            self.mapping.sync_for_device(range);
        }
        cpu::drain_write_buffer();
        Ok(())
    }
}
