// SPDX-License-Identifier: GPL-2.0

//! What programs map, and which of it one entry of their page tables can map.

use super::{
    cache_mode::CacheMode,
    cpu,
    dma_coherent::CoherentMemory,
    io_region::IoRegion,
    pages::Pages, //
};
use crate::rules::range::Range;
use kernel::{
    page::PAGE_SHIFT,
    sync::Arc, //
};

/// What a mapping is of, and keeps.
pub(super) enum MappedMemory {
    /// Pages by their frame numbers.
    Frames(Arc<Pages>, CacheMode),
    /// Pages by references to each.
    Refcounted(Arc<Pages>),
    /// Coherent memory.
    Coherent(Arc<CoherentMemory>, CacheMode),
    /// Device memory.
    Io(Arc<IoRegion>),
}

impl MappedMemory {
    /// The number of bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Frames(pages, _) | Self::Refcounted(pages) => pages.size(),
            Self::Coherent(memory, _) => memory.size(),
            Self::Io(region) => region.size(),
        }
    }

    /// How caches treat the mapping.
    pub(super) fn mode(&self) -> CacheMode {
        match self {
            Self::Frames(_, mode) | Self::Coherent(_, mode) => *mode,
            Self::Refcounted(_) => CacheMode::Writeback,
            Self::Io(region) => region.mode(),
        }
    }

    /// The frame number of the page that holds the byte at `offset`, which is inside.
    pub(super) fn pfn(&self, offset: usize) -> usize {
        match self {
            Self::Frames(pages, _) | Self::Refcounted(pages) => pages.pfn(offset),
            Self::Coherent(memory, _) => {
                (memory.phys() >> PAGE_SHIFT) as usize + (offset >> PAGE_SHIFT)
            }
            Self::Io(region) => region.pfn(offset),
        }
    }

    /// The first bytes of `range`, which is inside, as far as they are physically contiguous.
    pub(super) fn first_run(&self, range: Range) -> Range {
        match self {
            Self::Frames(pages, _) | Self::Refcounted(pages) => pages.first_run(range),
            Self::Coherent(..) | Self::Io(_) => range,
        }
    }

    /// The block around `address` that one entry can map in a mapping of `mapped` from the address
    /// `start` on, if it can: it is all mapped, contiguous, and aligned in physical memory as it is at
    /// its addresses. Device memory that is not write-combined keeps entries of pages.
    pub(super) fn block(&self, mapped: Range, start: usize, address: usize) -> Option<Range> {
        let size = cpu::block_size();
        if size == 0 || self.mode() == CacheMode::Noncached {
            return None;
        }
        let block = mapped.in_block(start, address, size);
        let is_block = block.len() == size
            && self.pfn(block.start()) & ((size >> PAGE_SHIFT) - 1) == 0
            && self.first_run(block) == block;
        is_block.then_some(block)
    }
}
