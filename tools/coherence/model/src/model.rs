// SPDX-License-Identifier: MIT OR Apache-2.0
//! The model of a core, whose lines are short or long.

use crate::caches::{Caches, HISTORY_ENTRY};
use crate::cores::Core;
use crate::events::{Access, Device, Maintenance, Mapping, PhysicalRange, Site};
use crate::hazards::Sink;
use crate::line_bytes::{Bytes32, Bytes64, LineBytes};

/// The caches of a core, and its memory.
#[derive(Debug)]
pub struct Model(Lines);

#[derive(Debug)]
enum Lines {
    Short(Caches<Bytes32>),
    Long(Caches<Bytes64>),
}

/// Does the same with lines of either length.
macro_rules! with {
    ($model:expr, $caches:ident => $what:expr) => {
        match $model {
            Lines::Short($caches) => $what,
            Lines::Long($caches) => $what,
        }
    };
}

impl Model {
    /// Bytes that a mapping which ended takes.
    pub const HISTORY_ENTRY: usize = HISTORY_ENTRY;

    /// Bytes that a line may have.
    pub const LINES: [u32; 2] = [Bytes32::LINE, Bytes64::LINE];

    /// Power-on: memory holds what it holds, caches are empty.
    ///
    /// # Panics
    ///
    /// If no core has lines of this length.
    pub fn new(core: Core) -> Self {
        Self(match core.data_cache.line {
            Bytes32::LINE => Lines::Short(Caches::new(core)),
            Bytes64::LINE => Lines::Long(Caches::new(core)),
            line => panic!("there is no model of lines of {line} bytes"),
        })
    }

    /// From now on a device may only touch memory that was mapped for one. Else memory
    /// that nobody ever mapped is nobody's business: displays and FPGAs have such.
    pub fn unmapped_is_stray(&mut self) {
        with!(&mut self.0, caches => caches.unmapped_is_stray = true);
    }

    /// Of the mappings, and the coherent memory, that ended so many are remembered at most,
    /// [`Self::HISTORY_ENTRY`] bytes each. What a device does with memory of one that is
    /// forgotten is what it does with memory that was never mapped.
    pub fn remember_at_most(&mut self, most: usize) {
        with!(&mut self.0, caches => caches.dma.remember_at_most(most));
    }

    /// A load by the CPU.
    #[inline]
    pub fn load(&mut self, access: &Access, sink: &mut dyn Sink) {
        with!(&mut self.0, caches => caches.load(access, sink));
    }

    /// A store by the CPU.
    #[inline]
    pub fn store(&mut self, access: &Access, sink: &mut dyn Sink) {
        with!(&mut self.0, caches => caches.store(access, sink));
    }

    /// Instructions that are about to run for the first time since they, or
    /// the translation, changed.
    pub fn fetch(&mut self, access: &Access, sink: &mut dyn Sink) {
        with!(&mut self.0, caches => caches.fetch(access, sink));
    }

    /// Maintenance or a barrier.
    pub fn maintain(&mut self, what: Maintenance) {
        with!(&mut self.0, caches => caches.maintain(what));
    }

    /// Whether a barrier would make a difference.
    #[inline]
    pub fn is_barrier_due(&self) -> bool {
        with!(&self.0, caches => caches.buffers.is_barrier_due())
    }

    /// A translation came or went.
    pub fn mapping(&mut self, what: Mapping, sink: &mut dyn Sink) {
        with!(&mut self.0, caches => caches.mapping(what, sink));
    }

    /// A device does something, or may do it from now on; `site` is the
    /// instruction that set it off, if one is known.
    pub fn device(&mut self, what: Device, site: Option<Site>, sink: &mut dyn Sink) {
        with!(&mut self.0, caches => caches.device(what, site, sink));
    }

    /// What was before now nobody saw, but for what devices own. `uncached` is memory
    /// that is in use past the caches, so that its lines were cleaned in time, as those
    /// of what is mapped for devices.
    ///
    /// VIVT caches are taken as empty: a kernel that lives with aliases flushes them
    /// at its next switch to another program.
    pub fn history_is_unknown(&mut self, uncached: impl Iterator<Item = PhysicalRange>) {
        with!(&mut self.0, caches => caches.history_is_unknown(uncached));
    }

    /// Whole pages have a new owner, who does not care what was in them.
    pub fn new_owner(&mut self, pages: PhysicalRange) {
        with!(&mut self.0, caches => caches.new_owner(pages));
    }

    /// Whether the device that events are about now looks into the caches, as far as is known.
    pub fn is_snooping(&self) -> bool {
        with!(&self.0, caches => caches.dma.is_snooping())
    }

    /// Whether anything is mapped for a device.
    pub fn has_mappings(&self) -> bool {
        with!(&self.0, caches => !caches.dma.is_empty())
    }

    /// Lines that were ever touched, and bytes that their state takes now.
    pub fn cost(&self) -> (u64, u64) {
        with!(&self.0, caches => caches.cost())
    }

    /// How often something was taken as right because the room for what is rare
    /// was full: lines with more than two kinds of bytes or more than one inner
    /// copy (32768 at a time), and states of bytes (8192). More than 0 means
    /// that a silent run says less.
    pub fn forgotten(&self) -> u64 {
        with!(&self.0, caches => caches.packing.forgotten() + caches.states.forgotten())
    }
}
