// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines that were accessed before anybody looked.
//!
//! Of such a line it is taken that whoever reads it gets the newest value: what
//! was written before may have been cleaned in time, and a finding would be a
//! guess. But the line may be dirty in any cache, or in none. So whoever stores
//! to it past the caches, or lets a device write there, without maintenance
//! before, is found out as ever.
//!
//! It is the same with a page that the kernel gives to another owner: what was
//! in it is nobody's any more, but its lines may be dirty.

use crate::cache_contents::ByteEvent;
use crate::caches::Caches;
use crate::events::PhysicalRange;
use crate::line::{Class, Fillable, Line, Writer};
use crate::line_bytes::{parts, LineBytes};
use crate::line_storage::chunk_bytes;
use crate::packed_line::Packed;

impl<B: LineBytes> Caches<B> {
    /// What was before now nobody saw, but for what devices own. `uncached` is memory
    /// that is in use past the caches, so that its lines were cleaned in time, as those
    /// of what is mapped for devices.
    ///
    /// VIVT caches are taken as empty: a kernel that lives with aliases flushes them
    /// at its next switch to another program.
    pub fn history_is_unknown(&mut self, uncached: impl Iterator<Item = PhysicalRange>) {
        let devices: Vec<_> = self.dma.all().map(|span| span.range()).collect();
        for range in uncached.chain(devices) {
            self.know(range);
        }
        self.unknown = true;
    }

    /// Whole pages have a new owner, who does not care what was in them.
    pub fn new_owner(&mut self, pages: PhysicalRange) {
        self.recent.clear();
        self.dma.forget_ended(pages);
        let end = u64::from(pages.pa) + u64::from(pages.len);
        for pa in self.pages(pages) {
            self.page(pa).stored = false;
        }
        for pa in (u64::from(pages.pa)..end).step_by(chunk_bytes::<B>() as usize) {
            if self.ready(pa as u32) {
                self.step_chunk(pa as u32, ByteEvent::Forget);
            }
        }
    }

    /// Lines of this memory are as at power-on.
    fn know(&mut self, range: PhysicalRange) {
        for (pa, _) in parts::<B>(range.pa, range.len) {
            if !self.ready(pa) {
                self.new_chunk(pa);
            }
        }
    }

    /// Whether caches may have a line from before, if it was not accessed since:
    /// there is a cached mapping, or was one. An operation on a whole cache ends that
    /// for all lines.
    pub(crate) fn is_unknown(&mut self, pa: u32) -> bool {
        let page = self.storage.page_mut(pa);
        self.unknown && page.is_some_and(|page| page.filled != Fillable::default())
    }

    /// A line that nobody accessed.
    pub(crate) fn untouched_line(&mut self, pa: u32) -> Packed<B> {
        let mut packed = Packed::default();
        if self.is_unknown(pa) {
            let mut line = Line {
                // The kernel's mappings agree with memory in what a colour is made of.
                keys: vec![(pa >> 12) & self.key_bits],
                classes: vec![Class {
                    bytes: B::ALL,
                    state: self.states.perhaps_dirty(),
                    writer: Writer::NOBODY,
                }],
                ..Line::default()
            };
            self.packing.pack(&mut self.states, &mut line, &mut packed);
        }
        packed
    }
}
