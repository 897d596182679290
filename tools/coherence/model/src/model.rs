// SPDX-License-Identifier: MIT OR Apache-2.0
//! The model: what it keeps, and which part answers which event.

use std::collections::HashMap;

use crate::byte_states::States;
use crate::cores::{Core, Indexing};
use crate::dma_ownership::{Dma, Ended};
use crate::events::MemoryType;
use crate::fast_path::Recent;
use crate::line::Line;
use crate::line_storage::LineStorage;
use crate::live_translations::LiveTranslations;
use crate::packed_line::{key_bits, Packing};
use crate::small_key_hash::SmallKeyHash;
use crate::store_buffers::StoreBuffers;
use crate::vivt_lines::VirtualLines;
use crate::whole_cache_log::Log;

/// The caches of a core, and its memory.
#[derive(Debug)]
pub struct Model {
    pub(crate) core: Core,
    pub(crate) states: States,
    pub(crate) packing: Packing,
    pub(crate) storage: LineStorage,
    /// Operations on all lines.
    pub(crate) log: Log,
    /// Epoch of the last one after which the inner cache was empty.
    pub(crate) emptied: u32,
    /// Invalidations of the whole instruction cache.
    pub(crate) instruction_epoch: u32,
    /// By line number: bytes written since the line was fetched.
    pub(crate) changed: HashMap<u32, u32, SmallKeyHash>,
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

impl Model {
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
            dma: Dma::default(),
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

    /// From now on a device may only touch memory that was mapped for one. Else memory
    /// that nobody ever mapped is nobody's business: displays and FPGAs have such.
    pub fn unmapped_is_stray(&mut self) {
        self.unmapped_is_stray = true;
    }

    /// Of the mappings, and the coherent memory, that ended so many are remembered at most,
    /// [`Self::HISTORY_ENTRY`] bytes each. What a device does with memory of one that is
    /// forgotten is what it does with memory that was never mapped.
    pub fn remember_at_most(&mut self, most: usize) {
        self.dma.remember_at_most(most);
    }

    /// Bytes that a mapping which ended takes.
    pub const HISTORY_ENTRY: usize = size_of::<Ended>();

    /// Whether anything is mapped for a device.
    pub fn has_mappings(&self) -> bool {
        !self.dma.is_empty()
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
            + self.changed.capacity() * 9;
        (self.touched, size as u64)
    }

    /// How often something was taken as right because the room for what is rare
    /// was full: lines with more than two kinds of bytes or more than one inner
    /// copy (32768 at a time), and states of bytes (8192). More than 0 means
    /// that a silent run says less.
    pub fn forgotten(&self) -> u64 {
        self.packing.forgotten() + self.states.forgotten()
    }
}
