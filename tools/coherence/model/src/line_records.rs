// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds the record of a line, brings it up to date, and changes it.

use crate::byte_states::States;
use crate::cache_contents::ByteEvent;
use crate::caches::Caches;
use crate::dma_ownership::Owned;
use crate::line::{Fillable, Line, Writer};
use crate::line_bytes::{line_of, LineBytes};
use crate::line_storage::{chunk_bytes, chunk_in_page, Chunk, Page, CHUNK};
use crate::packed_line::{Packed, FETCHED, TOUCHED};
use crate::whole_cache_log::Whole;

/// The place of a line in its chunk.
#[inline]
pub(crate) fn index<B: LineBytes>(pa: u32) -> usize {
    (pa / B::LINE) as usize % CHUNK
}

impl<B: LineBytes> Caches<B> {
    /// The record of a page.
    pub(crate) fn page(&mut self, pa: u32) -> &mut Page<B> {
        let translations = &self.translations;
        self.storage.page_or_new(pa, |pa| translations.fillable(pa))
    }

    /// The record of a line as it is kept.
    pub(crate) fn packed(&mut self, pa: u32) -> Option<&mut Packed<B>> {
        Some(&mut self.storage.chunk_mut(pa)?.lines[index::<B>(pa)])
    }

    /// Looks at a line, and changes it. It counts as touched.
    pub(crate) fn edit<R>(
        &mut self,
        pa: u32,
        change: impl FnOnce(&mut Line, &mut States) -> R,
    ) -> R {
        if !self.ready(pa) {
            self.new_chunk(pa);
        }
        let mut new = false;
        if let Some(packed) = self.packed(pa) {
            new = packed.writer & TOUCHED == 0;
            packed.writer |= TOUCHED;
        }
        self.touched += u64::from(new);
        self.change(pa, change)
    }

    /// Looks at a line, and changes it, without touching it: for what happens to
    /// lines by the chunk.
    fn change<R>(&mut self, pa: u32, change: impl FnOnce(&mut Line, &mut States) -> R) -> R {
        let page = self.page(pa);
        let (fill, owned) = (page.fill, page.owned);
        page.closed = fill;
        let mut line = std::mem::take(&mut self.scratch);
        let mut packed = self
            .packed(pa)
            .map_or_else(Packed::default, |packed| *packed);
        self.packing.unpack(&packed, fill, &mut line);
        line.number_fillable(&mut self.states);
        if owned {
            // The device may have written just now.
            let bytes = self.owned_bytes(line_of::<B>(pa), Owned::ToWriteUnseen);
            let device = Some(Writer::DEVICE);
            line.split(
                &mut self.states,
                bytes,
                ByteEvent::DeviceMayWrite,
                ByteEvent::Nothing,
                device,
            );
        }
        let result = change(&mut line, &mut self.states);
        self.packing.pack(&mut self.states, &mut line, &mut packed);
        if let Some(kept) = self.packed(pa) {
            *kept = packed;
        }
        self.scratch = line;
        result
    }

    /// Applies an event to all bytes of a line; only if it has a copy with
    /// `key`, if that is given, and then as that copy's.
    pub(crate) fn step_line(&mut self, pa: u32, key: Option<u32>, event: ByteEvent) {
        let Some(page) = self.storage.page_mut(pa) else {
            return;
        };
        let (fill, owned) = (page.fill, page.owned);
        page.closed = fill;
        let Some(chunk) = &mut page.chunks[chunk_in_page::<B>(pa)] else {
            return;
        };
        let packed = &mut chunk.lines[index::<B>(pa)];
        let simple = !packed.is_complex();
        if simple && key.is_some_and(|key| !packed.has_copy(key, self.key_bits)) {
            return;
        }
        if simple
            && !owned
            && self
                .packing
                .step_simple(&mut self.states, packed, event, fill)
        {
            return;
        }
        self.change(pa, |line, states| match (key, event) {
            (Some(key), ByteEvent::Inner(_, operation)) => {
                if let Some(copy) = line.copy(key) {
                    line.step(states, ByteEvent::Inner(copy, operation));
                }
            }
            (Some(key), ByteEvent::Through(_, operation)) => {
                let event = match line.copy(key) {
                    Some(copy) => ByteEvent::Through(copy, operation),
                    None => ByteEvent::Outer(operation),
                };
                line.step(states, event);
            }
            _ => line.step(states, event),
        });
    }

    /// Applies an event to all bytes of all lines of a chunk.
    pub(crate) fn step_chunk(&mut self, pa: u32, event: ByteEvent) {
        let first = pa & !(chunk_bytes::<B>() - 1);
        for i in 0..CHUNK as u32 {
            self.step_line(first + i * B::LINE, None, event);
        }
    }

    /// Brings a chunk up to date. False if there is none.
    pub(crate) fn ready(&mut self, pa: u32) -> bool {
        let epoch = self.log.epoch();
        let instruction_epoch = self.instruction_epoch;
        let Some(chunk) = self.storage.chunk_mut(pa) else {
            return false;
        };
        if chunk.instruction_epoch != instruction_epoch {
            chunk.instruction_epoch = instruction_epoch;
            for line in &mut chunk.lines {
                line.writer &= !FETCHED;
            }
        }
        if chunk.epoch != epoch {
            let seen = std::mem::replace(&mut chunk.epoch, epoch);
            let missed: Vec<Whole> = self.log.missed(seen).collect();
            for what in missed {
                self.step_chunk(
                    pa,
                    match what {
                        Whole::Inner(operation) => ByteEvent::InnerAll(operation),
                        Whole::Outer(operation) => ByteEvent::Outer(operation),
                    },
                );
            }
        }
        true
    }

    /// Whether maintenance of a line can make a difference: it was touched, or
    /// it came by itself through a translation that is gone, or nobody knows.
    pub(crate) fn matters(&mut self, pa: u32) -> bool {
        if self.ready(pa) {
            return true;
        }
        let unknown = self.is_unknown(pa);
        let page = self.storage.page_mut(pa);
        let matters = unknown || page.is_some_and(|page| page.filled != page.fill);
        if matters {
            self.new_chunk(pa);
        }
        matters
    }

    /// A chunk that nobody touched: caches have what they filled by themselves,
    /// and what was there before.
    pub(crate) fn new_chunk(&mut self, pa: u32) {
        let instruction_epoch = self.instruction_epoch;
        let epoch = self.log.epoch();
        let first = self.untouched_line(pa);
        let page = self.page(pa);
        let (fill, filled, closed) = (page.fill, page.filled, page.closed);
        let chunk = Chunk {
            // Without a translation, those came no later than that.
            epoch: match fill.some_core {
                0 => page.filled_epoch,
                _ => epoch,
            },
            instruction_epoch,
            lines: [first; CHUNK],
        };
        self.storage.add_chunk(pa, chunk);
        if filled != Fillable::default() {
            self.page(pa).fill = filled;
            self.step_chunk(pa, ByteEvent::Nothing);
            let page = self.page(pa);
            page.fill = fill;
            // Of the other chunks this says nothing.
            page.closed = closed;
        }
        self.ready(pa);
    }
}
