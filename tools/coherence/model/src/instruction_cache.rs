// SPDX-License-Identifier: MIT OR Apache-2.0
//! The instruction cache. It sees neither stores nor the inner data cache: the
//! point of unification is behind that (ARM DDI 0406C, B2.2.6).
//!
//! It is taken as physically tagged: a line that was fetched may be there until
//! it is invalidated, by whatever address.

use crate::byte_states::Reader;
use crate::caches::{group, Caches, UNCACHED};
use crate::events::{Access, Lines};
use crate::hazards::{Hazard, Party, Shown, Sink};
use crate::judgement::{Fault, LineFindings};
use crate::line_bytes::{line_of, mask, parts, LineBytes};
use crate::packed_line::FETCHED;
use crate::reasons;

impl<B: LineBytes> Caches<B> {
    /// Instructions that are about to run for the first time since they, or
    /// the translation, changed.
    pub fn fetch(&mut self, access: &Access, sink: &mut dyn Sink) {
        self.recent.clear();
        let victim = Party::Cpu {
            va: access.va,
            site: access.site,
        };
        let reader = match group(access.memory) {
            UNCACHED => Reader::Memory,
            _ => Reader::Behind,
        };
        for (pa, len) in parts::<B>(access.pa, access.len) {
            let bytes = mask::<B>(pa, len);
            let line_pa = line_of::<B>(pa);
            let changed = self.changed.get(&(pa / B::LINE)).copied();
            let mut found = LineFindings::default();
            self.edit(pa, |line, states| {
                for class in &line.classes {
                    found.judge(states, class, bytes, reader, line_pa, victim);
                    let old = class.bytes & bytes & changed.unwrap_or(0);
                    if old != 0 {
                        let pa = line_pa + old.trailing_zeros();
                        found.add(Fault {
                            hazard: Hazard::StaleInstruction,
                            shown: Shown::ThisCore,
                            pa,
                            victim,
                            writer: class.writer.party(pa),
                            reason: reasons::OLD_INSTRUCTION_LINE,
                        });
                    }
                }
            });
            if let Some(packed) = self.packed(pa) {
                packed.writer |= FETCHED;
            }
            self.report_line(found, None, sink);
        }
    }

    /// Invalidates the instruction cache.
    pub(crate) fn invalidate_instructions(&mut self, lines: Lines) {
        match lines {
            Lines::All => {
                self.instruction_epoch += 1;
                self.changed.clear();
            }
            Lines::Address { pa: Some(pa), .. } => {
                self.changed.remove(&(pa / B::LINE));
                if let Some(packed) = self.packed(pa) {
                    packed.writer &= !FETCHED;
                }
            }
            Lines::Address { pa: None, .. } => {}
        }
    }

    /// The instruction cache does not see stores.
    pub(crate) fn stored(&mut self, pa: u32, bytes: u64) {
        if self
            .packed(pa)
            .is_some_and(|line| line.writer & FETCHED != 0)
        {
            *self.changed.entry(pa / B::LINE).or_default() |= bytes;
        }
    }
}
