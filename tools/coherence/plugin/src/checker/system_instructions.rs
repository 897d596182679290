// SPDX-License-Identifier: MIT OR Apache-2.0
//! System instructions, when they run.

use coherence_model::events::{self, Lines, Maintenance, Mapping, Site};

use super::Checker;
use crate::cache_type;
use crate::cp15::{self, By, Cp15Operation};

/// Accesses between two looks at what displays read.
const SCAN_OUT_PERIOD: u64 = 1 << 22;

impl Checker {
    /// Does what a system instruction does with the value of its register.
    pub(super) fn operate(&mut self, operation: Cp15Operation, value: u32, site: Site) {
        match operation {
            Cp15Operation::Write(register) => self.write_register(register, value),
            Cp15Operation::SelectCache => self.cache_selection = value,
            Cp15Operation::CacheSize => {
                let selection = self.cache_selection;
                self.other_size |= !cache_type::has_size(&self.core, selection, value);
            }
            // There is no line, and no translation, that the model knows of.
            _ if !self.tracking => {}
            Cp15Operation::Data(what, By::Address) => {
                let lines = self.lines(value);
                self.maintain(Maintenance::Data(what, lines));
            }
            Cp15Operation::Data(what, By::SetWay) => {
                if self.cpu.inner_sweep.step(what, value) {
                    self.maintain(Maintenance::Data(what, Lines::All));
                }
                let outer = self.cpu.outer_sweep.as_mut();
                if outer.is_some_and(|sweep| sweep.step(what, value)) {
                    self.maintain(Maintenance::OuterAll(what));
                }
            }
            Cp15Operation::Unify => {
                let pa = self.entry(value).map(|entry| entry.physical(value));
                self.maintain(Maintenance::Unify { va: value, pa });
            }
            Cp15Operation::Data(what, By::Whole) => {
                self.maintain(Maintenance::Data(what, Lines::All))
            }
            Cp15Operation::Instruction(By::Address) => {
                let lines = self.lines(value);
                self.maintain(Maintenance::Instruction(lines));
            }
            Cp15Operation::Instruction(_) => {
                self.maintain(Maintenance::Instruction(Lines::All));
            }
            Cp15Operation::InvalidateBoth => {
                self.maintain(Maintenance::Instruction(Lines::All));
                self.maintain(Maintenance::Data(events::Operation::Invalidate, Lines::All));
            }
            Cp15Operation::TestAndClean(what) => {
                // In QEMU the first one finds nothing dirty and the loop ends.
                // A core needs the loop.
                let (pc, _) = self.reporter.sites.get(site);
                let next = self
                    .entry(pc)
                    .and_then(|entry| self.memory.word(entry.physical(pc) + 4));
                if next == Some(cp15::LOOP_BACK) {
                    self.maintain(Maintenance::Data(what, Lines::All));
                }
            }
            Cp15Operation::Tlb(entries) => self.drop_translations(entries, value),
            Cp15Operation::Order => self.maintain(Maintenance::Order),
            Cp15Operation::Drain => {
                self.maintain(Maintenance::Drain);
                if self.reporter.accesses >= self.next_scan_out {
                    self.next_scan_out = self.reporter.accesses + SCAN_OUT_PERIOD;
                    for what in self.devices.scan_out() {
                        self.device(what, None);
                    }
                }
            }
        }
    }

    fn lines(&mut self, va: u32) -> Lines {
        let pa = self.entry(va).map(|entry| entry.physical(va));
        Lines::Address { va, pa }
    }

    fn write_register(&mut self, register: cp15::ControlRegister, value: u32) {
        let cpu = &mut self.cpu;
        let translated = cpu.control.translates();
        if register.write(&mut cpu.control, &mut cpu.tlb, value) && self.tracking {
            self.live_sections.clear();
            if cpu.control.translates() != translated {
                // The flat translation is in no TLB.
                self.mapping(Mapping::GoneAll);
            }
            self.linear_map_live();
        }
    }
}
