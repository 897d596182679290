// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cache maintenance and barriers.

use crate::cache_contents::ByteEvent;
use crate::caches::Caches;
use crate::cores::Outer;
use crate::events::{Lines, Maintenance, Operation, PhysicalRange};
use crate::line_bytes::{line_of, parts, LineBytes};
use crate::line_storage::chunks;
use crate::whole_cache_log::Whole;

impl<B: LineBytes> Caches<B> {
    /// Maintenance or a barrier.
    pub fn maintain(&mut self, what: Maintenance) {
        if what == Maintenance::Order {
            self.buffers.barrier();
            return;
        }
        self.recent.clear();
        match what {
            Maintenance::Data(operation, Lines::All) => {
                self.whole(Whole::Inner(operation));
                self.unknown = false;
                if operation != Operation::Clean {
                    self.emptied = self.log.epoch();
                }
            }
            Maintenance::Data(operation, Lines::Address { va, pa }) => {
                let event = match self.core.outer {
                    Outer::Integrated(_) => ByteEvent::Through(0, operation),
                    Outer::None | Outer::Pl310 => ByteEvent::Inner(0, operation),
                };
                self.maintain_address(event, va, pa);
            }
            Maintenance::Unify { va, pa } => {
                self.maintain_address(ByteEvent::Inner(0, Operation::Clean), va, pa);
            }
            Maintenance::Instruction(lines) => self.invalidate_instructions(lines),
            Maintenance::Outer(operation, pa) => {
                if self.core.outer != Outer::None && self.matters(pa) {
                    self.step_line(pa, None, ByteEvent::Outer(operation));
                }
            }
            Maintenance::OuterAll(operation) => {
                if self.core.outer != Outer::None {
                    self.whole(Whole::Outer(operation));
                }
            }
            Maintenance::OuterSwitch(on) => {
                if self.core.outer == Outer::Pl310 {
                    self.switch_outer(on);
                }
            }
            Maintenance::Drain => self.drain(),
            Maintenance::OuterSync => self.outer_sync(),
            Maintenance::Order => {}
        }
    }

    /// On VIVT this finds the lines under the virtual address, of whatever
    /// physical page (ARM DDI 0198E, 4.1).
    fn maintain_address(&mut self, event: ByteEvent, va: u32, pa: Option<u32>) {
        let key = (va >> 12) & self.key_bits;
        let mut pages = Vec::new();
        if self.virtual_bits != 0 {
            pages.extend_from_slice(self.virtual_lines.under(va >> 12, self.emptied));
        } else {
            pages.extend(pa.map(|pa| pa >> 12));
        }
        for page in pages {
            let pa = (page << 12) | line_of::<B>(va & 0xfff);
            if self.matters(pa) {
                self.step_line(pa, Some(key), event);
            }
        }
    }

    fn whole(&mut self, what: Whole) {
        self.log.add(what);
        if self.log.is_long() {
            self.catch_up();
        }
    }

    fn switch_outer(&mut self, on: bool) {
        if !on {
            self.whole(Whole::Outer(Operation::Invalidate));
        }
        self.catch_up();
        self.states.switch_outer(on);
        self.packing.rules_changed(&mut self.states);
        for pa in self.storage.pages(0, u32::MAX) {
            self.step_page(pa);
        }
    }

    /// Brings the lines of a range up to date.
    pub(crate) fn catch_up_range(&mut self, range: PhysicalRange) {
        for (pa, _) in parts::<B>(range.pa, range.len) {
            self.ready(pa);
        }
    }

    /// Brings all lines up to date.
    fn catch_up(&mut self) {
        for pa in self.storage.pages(0, u32::MAX) {
            for chunk in chunks::<B>(pa) {
                self.ready(chunk);
            }
        }
        self.log.clear();
    }
}
