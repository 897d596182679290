// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hints: what a guest says by an instruction that does nothing, with a number
//! that marks it in r0. All is defined in hint.h.

use coherence_model::events::PhysicalRange;

use crate::linux_functions::Cpu;

/// From hint.h, by build.rs.
mod numbers {
    include!(concat!(env!("OUT_DIR"), "/hint_numbers.rs"));
}

/// The instruction, `mov r9, r9`, in ARM code.
pub const ARM: u32 = 0xe1a0_9009;
/// The instruction, `mov r9, r9`, in Thumb code.
pub const THUMB: u16 = 0x46c9;

/// Bytes of the longest text.
const LONGEST_TEXT: u32 = 255;

/// A text in the guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    va: u32,
    bytes: u32,
}

impl Text {
    /// What it says, or the first part of it.
    pub fn read(self, cpu: &mut impl Cpu) -> String {
        cpu.string(self.va, self.bytes.min(LONGEST_TEXT))
    }
}

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// A device reads this now.
    DeviceReads(PhysicalRange),
    /// A device writes this now.
    DeviceWrites(PhysicalRange),
    /// The CPU plays a device, by these addresses and no others.
    AsDevice {
        /// First virtual address.
        va: u32,
        /// Bytes; none where it plays no device any more.
        bytes: u32,
    },
    /// Reports carry this label from now on.
    Label(Text),
    /// What is counted from now on has this name.
    CountBegin(Text),
    /// What was named last is counted until now.
    CountEnd,
    /// Where a process has its count of what keeps it from being preempted: its virtual address.
    CountPreemption(u32),
    /// The virtual address of the function by which a driver lets others run.
    CountYields(u32),
}

impl Hint {
    /// By r0 to r2. `None`: the instruction was not meant as a hint.
    pub fn decode([number, first, second]: [u32; 3]) -> Option<Self> {
        let range = PhysicalRange {
            pa: first,
            len: second,
        };
        let text = Text {
            va: first,
            bytes: second,
        };
        Some(match number {
            numbers::DEVICE_READS => Self::DeviceReads(range),
            numbers::DEVICE_WRITES => Self::DeviceWrites(range),
            numbers::AS_DEVICE => Self::AsDevice {
                va: first,
                bytes: second,
            },
            numbers::LABEL => Self::Label(text),
            numbers::COUNT_BEGIN => Self::CountBegin(text),
            numbers::COUNT_END => Self::CountEnd,
            numbers::COUNT_PREEMPTION => Self::CountPreemption(first),
            numbers::COUNT_YIELDS => Self::CountYields(first),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = include_str!("../../hint.h");

    #[test]
    fn each_number_is_a_hint_of_its_own() {
        let words = HEADER.split(|c: char| !c.is_ascii_alphanumeric());
        let numbers = words.filter_map(|word| word.strip_prefix("0x"));
        let mut kinds = Vec::new();
        for number in numbers {
            let number = u32::from_str_radix(number, 16).unwrap();
            let kind = Hint::decode([number, 0, 0]).map(|hint| std::mem::discriminant(&hint));
            assert!(kind.is_some() && !kinds.contains(&kind), "{number:#x}");
            kinds.push(kind);
        }
        assert!(!kinds.is_empty());
        assert_eq!(Hint::decode([0, 0, 0]), None);
    }

    /// As the instruction is in the manual (DDI 0406C, A8.8.104), encodings T1 and A1.
    #[test]
    fn the_instruction_is_that_of_the_header() {
        assert!(HEADER.contains("\"mov r9, r9\""));
        let register = 9;
        assert_eq!(ARM, 0xe1a0_0000 | (register << 12) | register);
        let (low, high) = (register as u16 & 7, register as u16 & 8);
        assert_eq!(THUMB, 0x4600 | (high << 4) | ((high | low) << 3) | low);
    }
}
