// SPDX-License-Identifier: MIT OR Apache-2.0
//! System instructions and hints, when they run.

use coherence_model::events::{self, Device, Lines, Maintenance, Mapping, Range, Site};

use super::Checker;
use crate::cp15::{self, By, Operation};
use crate::linux_functions::Cpu as _;
use crate::qemu;
use crate::vcpu::View;

/// Accesses between two looks at what displays read.
const SCAN_OUT_PERIOD: u64 = 1 << 22;

/// Hints, see hint.h.
const HINT_READS: u32 = 0xcac4_e001;
const HINT_WRITES: u32 = 0xcac4_e002;
const HINT_LABEL: u32 = 0xcac4_e003;
const HINT_AS_DEVICE: u32 = 0xcac4_e006;
/// Bytes of the longest label.
const LABEL_BYTES: u32 = 255;

impl Checker {
    fn register(&mut self, number: usize) -> u32 {
        self.registers
            .as_mut()
            .map_or(0, |registers| registers.read(number))
    }

    pub(super) fn do_system_instruction(&mut self, site: Site, word: u32) {
        let cpsr = self.register(qemu::CPSR);
        let Some(operation) = cp15::effect(self.emulation.architecture, word, cpsr) else {
            return;
        };
        let value = match operation {
            Operation::Drain | Operation::TestAndClean(_) => 0,
            _ => self.register(cp15::source(word)),
        };
        match operation {
            Operation::Write(register) => self.write_register(register, value),
            Operation::Data(what, By::Address) => {
                let lines = self.lines(value);
                self.maintain(Maintenance::Data(what, lines), site);
            }
            Operation::Data(what, By::SetWay) => {
                if self.cpu.sweep.step(what, value) {
                    self.maintain(Maintenance::Data(what, Lines::All), site);
                }
            }
            Operation::Data(what, By::Whole) => {
                self.maintain(Maintenance::Data(what, Lines::All), site)
            }
            Operation::Instruction(By::Address) => {
                let lines = self.lines(value);
                self.maintain(Maintenance::Instruction(lines), site);
            }
            Operation::Instruction(_) => {
                self.maintain(Maintenance::Instruction(Lines::All), site);
            }
            Operation::InvalidateBoth => {
                self.maintain(Maintenance::Instruction(Lines::All), site);
                self.maintain(
                    Maintenance::Data(events::Operation::Invalidate, Lines::All),
                    site,
                );
            }
            Operation::TestAndClean(what) => {
                // In QEMU the first one finds nothing dirty and the loop ends.
                // A core needs the loop.
                let (pc, _) = self.reporter.sites.get(site);
                let next = self
                    .entry(pc)
                    .and_then(|entry| self.memory.word(entry.physical(pc) + 4));
                if next == Some(cp15::LOOP_BACK) {
                    self.maintain(Maintenance::Data(what, Lines::All), site);
                }
            }
            Operation::Tlb(entries) => self.drop_translations(entries, value),
            Operation::Drain => {
                self.maintain(Maintenance::Drain, site);
                if self.accesses >= self.next_scan_out {
                    self.next_scan_out = self.accesses + SCAN_OUT_PERIOD;
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

    fn write_register(&mut self, register: cp15::Register, value: u32) {
        let cpu = &mut self.cpu;
        let translated = cpu.control.translates();
        if register.write(&mut cpu.control, &mut cpu.tlb, value) {
            self.live_sections.clear();
            if cpu.control.translates() != translated {
                // The flat translation is in no TLB.
                self.mapping(Mapping::GoneAll);
            }
            self.linear_map_live();
        }
    }

    pub(super) fn take_hint(&mut self, site: Site) {
        let [what, first, second] = [0, 1, 2].map(|number| self.register(number));
        let range = Range {
            pa: first,
            len: second,
        };
        match what {
            HINT_READS => self.device(Device::Reads(range), Some(site)),
            HINT_WRITES => self.device(Device::Writes(range), Some(site)),
            HINT_AS_DEVICE => self.play_device(first, second),
            HINT_LABEL => {
                let most = second.min(LABEL_BYTES);
                let Some(registers) = &mut self.registers else {
                    return;
                };
                let architecture = self.emulation.architecture;
                let control = self.cpu.control;
                let mut cpu = View::new(registers, &mut self.memory, architecture, control);
                self.reporter.set_label(cpu.string(first, most));
            }
            _ => {}
        }
    }
}
