// SPDX-License-Identifier: MIT OR Apache-2.0
//! The PL330 DMA controller (DDI 0424D): it runs programs of its own from
//! memory. A program is started through the debug registers, and is followed
//! here from its beginning to its end at that moment.
//!
//! That is right for programs that do not wait for peripherals or events. With
//! those, what comes after the wait is taken to happen now.

use std::ops::ControlFlow;

use coherence_model::events::{Device, PhysicalRange};

use super::DeviceEvent;

/// More instructions than this is a program that ends nowhere.
const MOST_STEPS: usize = 1 << 20;

/// Bytes of the longest instruction.
const LONGEST: u32 = 6;

/// A PL330's debug registers (3.3.20 and following).
#[derive(Default)]
pub struct Pl330 {
    instruction0: u32,
    instruction1: u32,
}

impl Pl330 {
    /// A store to a register.
    pub fn store(
        &mut self,
        offset: u32,
        value: u32,
        read: impl FnMut(u32) -> Option<u32>,
        emit: &mut impl FnMut(DeviceEvent),
    ) {
        match offset {
            0xd08 => self.instruction0 = value,
            0xd0c => self.instruction1 = value,
            // DBGCMD: execute. What matters is DMAGO by the manager: bit 0 of
            // the first register is clear, then come the instruction's bytes.
            0xd04 if self.instruction0 & 1 == 0 && (self.instruction0 >> 16) & 0xfd == 0xa0 => {
                run(self.instruction1, read, emit);
            }
            _ => {}
        }
    }
}

/// A channel's thread.
struct Thread<'a, E> {
    pc: u32,
    source: u32,
    destination: u32,
    control: u32,
    counters: [u32; 2],
    reads: Run,
    writes: Run,
    emit: &'a mut E,
}

/// Bytes that were transferred one after the other and not told yet.
#[derive(Default)]
struct Run {
    pa: u32,
    len: u32,
}

impl Run {
    /// Adds bytes. Returns what was there if they do not continue it.
    fn add(&mut self, pa: u32, len: u32) -> Option<PhysicalRange> {
        if self.pa.wrapping_add(self.len) == pa {
            self.len += len;
            return None;
        }
        let old = self.take();
        *self = Self { pa, len };
        old
    }

    fn take(&mut self) -> Option<PhysicalRange> {
        let Self { pa, len } = std::mem::take(self);
        (len != 0).then_some(PhysicalRange { pa, len })
    }
}

/// Half of the channel control register: that of the source, or, shifted by
/// 14, that of the destination. Bytes of a burst, and whether the address grows.
fn burst(control: u32) -> (u32, bool) {
    let beats = ((control >> 4) & 0xf) + 1;
    (beats << ((control >> 1) & 7), control & 1 != 0)
}

impl<E: FnMut(DeviceEvent)> Thread<'_, E> {
    /// DMALD
    fn load(&mut self) {
        let (bytes, grows) = burst(self.control);
        if let Some(range) = self.reads.add(self.source, bytes) {
            (self.emit)(DeviceEvent::Device(Device::Reads(range)));
        }
        if grows {
            self.source = self.source.wrapping_add(bytes);
        }
    }

    /// DMAST
    fn store(&mut self) {
        let (bytes, grows) = burst(self.control >> 14);
        if let Some(range) = self.writes.add(self.destination, bytes) {
            // What is written was read before.
            self.tell_reads();
            (self.emit)(DeviceEvent::Device(Device::Writes(range)));
        }
        if grows {
            self.destination = self.destination.wrapping_add(bytes);
        }
    }

    fn tell_reads(&mut self) {
        if let Some(range) = self.reads.take() {
            (self.emit)(DeviceEvent::Device(Device::Reads(range)));
        }
    }

    fn tell_all(&mut self) {
        self.tell_reads();
        if let Some(range) = self.writes.take() {
            (self.emit)(DeviceEvent::Device(Device::Writes(range)));
        }
    }

    /// One instruction (4.3). Break: the program ends.
    fn step(&mut self, bytes: [u8; LONGEST as usize]) -> ControlFlow<()> {
        let [opcode, second, ..] = bytes;
        let half = u32::from(u16::from_le_bytes([bytes[1], bytes[2]]));
        let word = u32::from_le_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]);
        let counter = usize::from((opcode >> 1) & 1);
        let len = match opcode {
            // DMALD; DMAST and DMASTZ
            0x04 | 0x05 | 0x07 => {
                self.load();
                1
            }
            0x08 | 0x09 | 0x0b | 0x0c => {
                self.store();
                1
            }
            // DMALDP, DMASTP
            0x25 | 0x27 => {
                self.load();
                2
            }
            0x29 | 0x2b => {
                self.store();
                2
            }
            // DMAMOV to the source, control and destination registers
            0xbc => {
                match second {
                    0 => self.source = word,
                    1 => self.control = word,
                    2 => self.destination = word,
                    _ => return ControlFlow::Break(()),
                }
                6
            }
            // DMAADDH, DMAADNH
            0x54 | 0x56 | 0x5c | 0x5e => {
                let negative = if opcode & 8 != 0 { 0xffff_0000 } else { 0 };
                let register = match opcode & 2 {
                    0 => &mut self.source,
                    _ => &mut self.destination,
                };
                *register = register.wrapping_add(half | negative);
                3
            }
            // DMALP
            0x20 | 0x22 => {
                self.counters[counter] = second.into();
                2
            }
            // DMALPEND by a counter, which bit 2 chooses
            0x38..=0x3f => {
                let counter = &mut self.counters[usize::from((opcode >> 2) & 1)];
                if *counter != 0 {
                    *counter -= 1;
                    self.pc = self.pc.wrapping_sub(second.into());
                    return ControlFlow::Continue(());
                }
                2
            }
            // DMALPEND by a peripheral: taken to have ended the loop
            0x28 | 0x2c => 2,
            // DMANOP, DMARMB, DMAWMB
            0x18 | 0x12 | 0x13 => 1,
            // DMASEV, DMAWFE, DMAWFP, DMAFLUSHP
            0x34 | 0x36 | 0x30..=0x32 | 0x35 => 2,
            // DMAEND, DMAKILL, and what is none
            _ => return ControlFlow::Break(()),
        };
        self.pc = self.pc.wrapping_add(len);
        ControlFlow::Continue(())
    }
}

fn run(pc: u32, mut read: impl FnMut(u32) -> Option<u32>, emit: &mut impl FnMut(DeviceEvent)) {
    let (reads, writes) = Default::default();
    let mut thread = Thread {
        pc,
        source: 0,
        destination: 0,
        control: 0,
        counters: [0; 2],
        reads,
        writes,
        emit,
    };
    let mut fetched = None;
    for _ in 0..MOST_STEPS {
        // The controller fetches its program by lines.
        let line = thread.pc & !31;
        if fetched != Some(line) {
            fetched = Some(line);
            (thread.emit)(DeviceEvent::Device(Device::Reads(PhysicalRange {
                pa: line,
                len: 32,
            })));
        }
        let mut bytes = [0; LONGEST as usize];
        for (at, byte) in (thread.pc..).zip(&mut bytes) {
            *byte = read(at & !3).map_or(0, |word| word.to_le_bytes()[(at & 3) as usize]);
        }
        if thread.step(bytes).is_break() {
            break;
        }
    }
    thread.tell_all();
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: u32 = 0x8000;

    /// Starts a program, and returns what it reads and writes, without its own
    /// lines.
    fn start(program: &[u8]) -> Vec<Device> {
        let word = |pa: u32| {
            let at = pa.checked_sub(PROGRAM)? as usize;
            let byte = |i| program.get(i).copied().unwrap_or(0);
            Some(u32::from_le_bytes([0, 1, 2, 3].map(|i| byte(at + i))))
        };
        let (mut pl330, mut found) = (Pl330::default(), Vec::new());
        // DMAGO of channel 1, not secure.
        for (offset, value) in [(0xd08, 0x01a2_0000), (0xd0c, PROGRAM), (0xd04, 0)] {
            pl330.store(offset, value, word, &mut |event| match event {
                DeviceEvent::Device(what) => found.push(what),
                DeviceEvent::Maintenance(_) => panic!("it is no cache"),
            });
        }
        found.retain(|what| !matches!(what, Device::Reads(range) if range.pa & !63 == PROGRAM));
        found
    }

    fn mov(register: u8, value: u32) -> Vec<u8> {
        [&[0xbc, register], &value.to_le_bytes()[..]].concat()
    }

    /// Bursts of four words; both addresses grow.
    const CONTROL: u32 = 0x35 | (0x35 << 14);

    fn copy(control: u32, rest: &[u8]) -> Vec<u8> {
        [
            mov(0, 0x1000),
            mov(1, control),
            mov(2, 0x2000),
            rest.to_vec(),
        ]
        .concat()
    }

    fn reads(pa: u32, len: u32) -> Device {
        Device::Reads(PhysicalRange { pa, len })
    }

    fn writes(pa: u32, len: u32) -> Device {
        Device::Writes(PhysicalRange { pa, len })
    }

    #[test]
    fn memory_to_memory() {
        // DMALP 7, DMALD, DMAST, DMALPEND, DMASEV, DMAEND
        let program = copy(CONTROL, &[0x20, 7, 0x04, 0x08, 0x38, 2, 0x34, 0, 0x00]);
        assert_eq!(start(&program), [reads(0x1000, 128), writes(0x2000, 128)]);
    }

    #[test]
    fn loops_in_loops() {
        // DMALP 1 with the second counter around DMALP 1 with the first.
        let program = copy(
            CONTROL,
            &[0x22, 1, 0x20, 1, 0x04, 0x08, 0x38, 2, 0x3c, 6, 0x00],
        );
        assert_eq!(start(&program), [reads(0x1000, 64), writes(0x2000, 64)]);
    }

    #[test]
    fn to_one_address_and_over_a_gap() {
        // The destination does not grow; then DMAADDH 0x100 to the source.
        let program = copy(
            0x35 | (0x34 << 14),
            &[0x04, 0x08, 0x54, 0, 1, 0x04, 0x08, 0x00],
        );
        assert_eq!(
            start(&program),
            [
                reads(0x1000, 16),
                reads(0x1110, 16),
                writes(0x2000, 16),
                writes(0x2000, 16),
            ]
        );
    }

    #[test]
    fn programs_that_end_nowhere_end() {
        // DMALP 255, DMALPEND back to the DMALP.
        assert_eq!(start(&[0x20, 255, 0x38, 2]), []);
    }

    #[test]
    fn only_go_starts_a_program() {
        let mut pl330 = Pl330::default();
        // DMAKILL; DMAGO by a channel's thread, which is none.
        for first in [0x0001_0000, 0x01a2_0001] {
            for (offset, value) in [(0xd08, first), (0xd0c, PROGRAM), (0xd04, 0)] {
                pl330.store(offset, value, |_| Some(0), &mut |_| panic!("nothing runs"));
            }
        }
    }
}
