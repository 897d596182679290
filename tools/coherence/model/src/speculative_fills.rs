// SPDX-License-Identifier: MIT OR Apache-2.0
//! Translations come and go, and with them lines that come by themselves.
//!
//! Speculative accesses go through any translation that is in use (ARM DDI
//! 0406C, A3.5.7, B2.2.2). ARMv5 cores do not speculate into the data cache.

use crate::cache_contents::ByteEvent;
use crate::caches::{group, Caches, UNCACHED};
use crate::events::Mapping;
use crate::hazards::Sink;
use crate::line_bytes::LineBytes;
use crate::line_storage::chunks;
use crate::live_translations::{LiveTranslation, LiveTranslations};

impl<B: LineBytes> Caches<B> {
    /// A translation came or went.
    pub fn mapping(&mut self, what: Mapping, sink: &mut dyn Sink) {
        self.recent.clear();
        let speculates = self.core.speculates;
        let mut goes = |it: &LiveTranslation| {
            !speculates
                || it.asid.is_some()
                || sink.maps(it.va, it.pa, it.memory, None) != Some(true)
        };
        let gone = match what {
            Mapping::Live {
                va,
                pa,
                len,
                memory,
                asid,
            } => {
                let new = LiveTranslations::translation(va, pa, len, memory, asid);
                if self.translations.add(new) {
                    self.know_pages(&new);
                    self.translation_changed(&new);
                }
                return;
            }
            Mapping::Gone { va, asid } => self.translations.remove(Some(va), |it| {
                (asid.is_none() || it.asid.is_none() || it.asid == asid) && goes(it)
            }),
            Mapping::GoneAsid(asid) => self.translations.remove(None, |it| it.asid == Some(asid)),
            Mapping::GoneAll => self.translations.remove(None, goes),
        };
        for translation in gone {
            self.translation_changed(&translation);
        }
    }

    /// Caches may hold lines of pages that nobody touched, also when the
    /// translation is gone. So they need records.
    fn know_pages(&mut self, translation: &LiveTranslation) {
        if group(translation.memory) != UNCACHED && self.virtual_bits == 0 {
            for section in translation.pa >> 20..=translation.last() >> 20 {
                self.page(section << 20);
            }
        }
    }

    /// Its pages gain or lose a translation.
    fn translation_changed(&mut self, translation: &LiveTranslation) {
        let pages = self.storage.pages(translation.pa, translation.last());
        if group(translation.memory) == UNCACHED {
            // So that its use is noticed.
            for pa in pages {
                self.page(pa).fast_path &= !(1 << UNCACHED);
            }
        } else if self.virtual_bits == 0 {
            for pa in pages {
                self.fillable_changed(pa);
            }
        }
    }

    /// What can come by itself to this page may be something else now.
    fn fillable_changed(&mut self, pa: u32) {
        let fill = self.translations.fillable(pa);
        if self.page(pa).fill == fill {
            return;
        }
        // What went before went with the old fills.
        for chunk in chunks::<B>(pa) {
            self.ready(chunk);
        }
        let (epoch, emptied) = (self.log.epoch(), self.emptied);
        let page = self.page(pa);
        if emptied > page.filled_epoch {
            page.filled = page.fill;
        }
        page.filled = page.filled.union(fill);
        page.filled_epoch = epoch;
        page.fill = fill;
        page.fast_path = 0;
        if !page.closed.contains(fill) {
            page.closed = fill;
            self.step_page(pa);
        }
    }

    /// Lets caches do by themselves what they may do since a moment ago.
    pub(crate) fn step_page(&mut self, pa: u32) {
        for chunk in chunks::<B>(pa) {
            if self.ready(chunk) {
                self.step_chunk(chunk, ByteEvent::Nothing);
            }
        }
    }
}
