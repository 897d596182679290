// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a model keeps, and which part answers which event.

use std::collections::HashMap;

use crate::byte_states::States;
use crate::cores::{Core, Indexing};
use crate::dma_ownership::{Dma, Ended};
use crate::events::MemoryType;
use crate::fast_path::Recent;
use crate::line::Line;
use crate::line_bytes::LineBytes;
use crate::line_storage::LineStorage;
use crate::live_translations::LiveTranslations;
use crate::packed_line::{key_bits, Packing};
use crate::small_key_hash::SmallKeyHash;
use crate::store_buffers::StoreBuffers;
use crate::vivt_lines::VirtualLines;
use crate::whole_cache_log::Log;

/// The caches of a core, and its memory; `B` says how long its lines are.
#[derive(Debug)]
pub struct Caches<B> {
    pub(crate) core: Core,
    pub(crate) states: States,
    pub(crate) packing: Packing,
    pub(crate) storage: LineStorage<B>,
    /// Operations on all lines.
    pub(crate) log: Log,
    /// Epoch of the last one after which the inner cache was empty.
    pub(crate) emptied: u32,
    /// Invalidations of the whole instruction cache.
    pub(crate) instruction_epoch: u32,
    /// By line number: bytes written since the line was fetched.
    pub(crate) changed: HashMap<u32, u64, SmallKeyHash>,
    pub(crate) virtual_lines: VirtualLines,
    pub(crate) translations: LiveTranslations,
    pub(crate) dma: Dma,
    /// Events about devices so far.
    pub(crate) order: u64,
    pub(crate) buffers: StoreBuffers,
    /// Whether lines that nobody accessed yet may be dirty, from before.
    pub(crate) unknown: bool,
    /// Whether a device may only touch what was mapped for one.
    pub(crate) unmapped_is_stray: bool,
    /// Lines ever touched.
    pub(crate) touched: u64,
    /// Bits of the virtual page number that tell inner copies apart.
    pub(crate) key_bits: u32,
    /// All bits where the cache is VIVT, else none.
    pub(crate) virtual_bits: u32,
    pub(crate) recent: Recent,
    /// For a line while it is unpacked.
    pub(crate) scratch: Line,
}

/// Bytes that a mapping which ended takes.
pub const HISTORY_ENTRY: usize = size_of::<Ended>();

/// Memory types in one group may be mixed, as far as caches care.
pub(crate) const UNCACHED: u8 = 0;
/// Write-through.
pub(crate) const THROUGH: u8 = 1;
/// Write-back.
pub(crate) const BACK: u8 = 2;

/// The number of the group of a memory type.
#[inline]
pub(crate) fn group(memory: MemoryType) -> u8 {
    match memory {
        MemoryType::StronglyOrdered | MemoryType::Device | MemoryType::WriteCombine => UNCACHED,
        MemoryType::WriteThrough => THROUGH,
        MemoryType::WriteBack => BACK,
    }
}

impl<B: LineBytes> Caches<B> {
    /// Power-on: memory holds what it holds, caches are empty.
    pub fn new(core: Core) -> Self {
        let mut states = States::new(&core);
        let key_bits = key_bits(core.indexing);
        Self {
            packing: Packing::new(core.indexing, &mut states),
            states,
            storage: LineStorage::new(),
            log: Log::default(),
            emptied: 0,
            instruction_epoch: 0,
            changed: HashMap::default(),
            virtual_lines: VirtualLines::default(),
            translations: LiveTranslations::new(core),
            dma: Dma::new(B::LINE),
            order: 0,
            buffers: StoreBuffers::default(),
            unknown: false,
            unmapped_is_stray: false,
            touched: 0,
            key_bits,
            virtual_bits: match core.indexing {
                Indexing::Virtual => key_bits,
                _ => 0,
            },
            recent: Recent::new(),
            scratch: Line::default(),
            core,
        }
    }

    /// Lines that were ever touched, and bytes that their state takes now.
    pub fn cost(&self) -> (u64, u64) {
        let size = self.storage.size()
            + self.packing.size()
            + self.states.size()
            + self.translations.size()
            + self.virtual_lines.size()
            + self.dma.size()
            + self.recent.size()
            + self.buffers.size()
            + self.changed.capacity() * (size_of::<(u32, u64)>() + 1);
        (self.touched, size as u64)
    }
}
