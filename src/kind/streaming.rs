// SPDX-License-Identifier: GPL-2.0

//! Cached pages that CPU and device own in turns.

use super::{
    pages::Pages,
    Failure, //
};
use crate::{
    cache::{
        Machine,
        Policy, //
    },
    ownership::Owner,
    range::Range,
    sys::{
        cpu,
        dma::{
            DmaDevice,
            StreamingMapping, //
        },
    },
};
use kernel::{
    dma::DataDirection,
    prelude::*,
    sync::Arc, //
};

/// Memory of kind `streaming`: write-back pages of the linear map, mapped for DMA.
pub(crate) struct Streaming {
    // The mapping goes before the pages.
    mapping: StreamingMapping,
    pages: Pages,
}

impl Streaming {
    /// See [`super::Storage::new`].
    pub(crate) fn new(
        device: &Arc<DmaDevice>,
        machine: &Machine,
        size: usize,
    ) -> Result<Self, Failure> {
        let pages = Pages::new(device, machine, size, Policy::Writeback)?;
        let mapping = StreamingMapping::new(device, pages.pages())?;
        // A mapping belongs to the device at first, a new buffer to the CPU.
        mapping.sync_for_cpu(Range::whole(size), DataDirection::Bidirectional);
        Ok(Self { mapping, pages })
    }

    /// The pages.
    pub(crate) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// The mapping.
    pub(crate) fn mapping(&self) -> &StreamingMapping {
        &self.mapping
    }

    /// See [`super::Storage::sync_for_cpu`].
    ///
    /// If the CPU owned the buffer already, lines of the range may be dirty, and are somebody's
    /// data: they are cleaned before they are invalidated. If the device did, all that it was
    /// given comes back, and there a dirty line would overwrite what it wrote.
    pub(crate) fn sync_for_cpu(
        &self,
        from: Owner,
        range: Range,
        direction: DataDirection,
    ) -> Result {
        match from {
            Owner::Cpu => self.pages.sync(range),
            Owner::Device { handed } => {
                if handed.hull(range) != handed {
                    self.pages.sync(range)?;
                }
                self.mapping.sync_for_cpu(handed, direction);
                Ok(())
            }
        }
    }

    /// See [`super::Storage::hand_over`].
    pub(crate) fn hand_over(&self, from: Owner, range: Range) {
        self.mapping.sync_for_device(range);
        if let Owner::Device { handed } = from {
            if let Some(gap) = handed.gap(range) {
                self.mapping.sync_for_device(gap);
            }
        }
        cpu::drain_write_buffer();
    }
}
