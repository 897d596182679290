// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds the instructions that matter beside loads and stores, in ARM and Thumb
//! code (DDI 0406C, A5 and A6).

use crate::hints;

/// CPSR's mode field, and user mode.
const MODE: u32 = 0x1f;
const USER: u32 = 0x10;

/// Whether a CPSR is that of the kernel.
pub fn privileged(cpsr: u32) -> bool {
    cpsr & MODE != USER
}

/// Condition "always".
const ALWAYS: u32 = 0b1110;

/// What an instruction is to the checker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstructionKind {
    /// MCR or MRC of coprocessor 15, or a barrier, as [`DSB`] or [`DMB`]: the ARM
    /// encoding with the condition under which it executes.
    System(u32),
    /// A hint to the checker, if r0 says so.
    Hint,
    /// An instruction that does not matter.
    Other,
}

/// DSB as its older form, MCR p15, 0, r0, c7, c10, 4, without a condition.
const DSB: u32 = 0x0e07_0f9a;
/// DMB as its older form, MCR p15, 0, r0, c7, c10, 5.
const DMB: u32 = 0x0e07_0fba;

/// The older form of a barrier, by its kind, if it is DSB or DMB.
fn barrier(kind: u32) -> Option<u32> {
    match kind {
        4 => Some(DSB),
        5 => Some(DMB),
        _ => None,
    }
}

/// Decodes the instructions of a block one after the other.
pub struct Decoder {
    thumb: bool,
    /// ITSTATE: the conditions of the next Thumb instructions.
    it: u8,
}

impl Decoder {
    /// A decoder at the beginning of a block, by the CPSR there.
    pub fn new(cpsr: u32) -> Self {
        Self {
            thumb: cpsr & (1 << 5) != 0,
            it: ((cpsr >> 8) & 0xfc | (cpsr >> 25) & 3) as u8,
        }
    }

    /// The next instruction, of two or four bytes.
    pub fn decode(&mut self, bytes: [u8; 4], len: usize) -> InstructionKind {
        if !self.thumb {
            return decode_arm(u32::from_le_bytes(bytes));
        }
        let condition = if self.it & 0xf != 0 {
            u32::from(self.it >> 4)
        } else {
            ALWAYS
        };
        self.it = if self.it & 7 == 0 {
            0
        } else {
            self.it & 0xe0 | (self.it << 1) & 0x1f
        };

        let first = u16::from_le_bytes([bytes[0], bytes[1]]);
        if len == 2 {
            if first & 0xff00 == 0xbf00 && first & 0xf != 0 {
                self.it = first as u8;
            }
            return if first == hints::THUMB {
                InstructionKind::Hint
            } else {
                InstructionKind::Other
            };
        }
        let second = u16::from_le_bytes([bytes[2], bytes[3]]);
        decode_thumb((u32::from(first) << 16) | u32::from(second), condition)
    }
}

fn decode_arm(word: u32) -> InstructionKind {
    if word == hints::ARM {
        return InstructionKind::Hint;
    }
    if word & 0xffff_ff00 == 0xf57f_f000 {
        return barrier((word >> 4) & 0xf).map_or(InstructionKind::Other, |barrier| {
            InstructionKind::System((ALWAYS << 28) | barrier)
        });
    }
    if word & 0x0f00_0f10 == 0x0e00_0f10 && word >> 28 != 0xf {
        return InstructionKind::System(word);
    }
    InstructionKind::Other
}

fn decode_thumb(word: u32, condition: u32) -> InstructionKind {
    if word & 0xffff_ff00 == 0xf3bf_8f00 {
        return barrier((word >> 4) & 0xf).map_or(InstructionKind::Other, |barrier| {
            InstructionKind::System((condition << 28) | barrier)
        });
    }
    if word & 0xff00_0f10 == 0xee00_0f10 {
        return InstructionKind::System((condition << 28) | word & 0x0fff_ffff);
    }
    InstructionKind::Other
}

/// Whether an instruction's condition holds with the flags of a CPSR (A8.3).
pub fn condition_holds(condition: u32, cpsr: u32) -> bool {
    let flag = |bit: u32| (cpsr >> bit) & 1 != 0;
    let (n, z, c, v) = (flag(31), flag(30), flag(29), flag(28));
    let holds = match condition >> 1 {
        0b000 => z,
        0b001 => c,
        0b010 => n,
        0b011 => v,
        0b100 => c && !z,
        0b101 => n == v,
        0b110 => n == v && !z,
        _ => return true,
    };
    holds == (condition & 1 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: u32 = 1 << 31;
    const Z: u32 = 1 << 30;
    const C: u32 = 1 << 29;
    const V: u32 = 1 << 28;
    const THUMB: u32 = 1 << 5;

    fn thumb(decoder: &mut Decoder, halves: &[u16]) -> InstructionKind {
        let mut bytes = [0; 4];
        for (to, half) in bytes.chunks_exact_mut(2).zip(halves) {
            to.copy_from_slice(&half.to_le_bytes());
        }
        decoder.decode(bytes, 2 * halves.len())
    }

    #[test]
    fn arm() {
        let decode = |word: u32| Decoder::new(0).decode(word.to_le_bytes(), 4);
        // mcr p15, 0, r1, c7, c10, 1, and with "ne"
        assert_eq!(decode(0xee07_1f3a), InstructionKind::System(0xee07_1f3a));
        assert_eq!(decode(0x1e07_1f3a), InstructionKind::System(0x1e07_1f3a));
        // mrc p15, 0, r15, c7, c14, 3
        assert_eq!(decode(0xee17_ff7e), InstructionKind::System(0xee17_ff7e));
        // p14; mcr2; cdp
        assert_eq!(decode(0xee07_1e3a), InstructionKind::Other);
        assert_eq!(decode(0xfe07_1f3a), InstructionKind::Other);
        assert_eq!(decode(0xee07_1f2a), InstructionKind::Other);
        // dsb sy; dsb st; dmb; isb
        assert_eq!(decode(0xf57f_f04f), InstructionKind::System(0xee07_0f9a));
        assert_eq!(decode(0xf57f_f04e), InstructionKind::System(0xee07_0f9a));
        assert_eq!(decode(0xf57f_f05f), InstructionKind::System(0xee07_0fba));
        assert_eq!(decode(0xf57f_f052), InstructionKind::System(0xee07_0fba));
        assert_eq!(decode(0xf57f_f06f), InstructionKind::Other);
        // mov r9, r9; mov r8, r8
        assert_eq!(decode(0xe1a0_9009), InstructionKind::Hint);
        assert_eq!(decode(0xe1a0_8008), InstructionKind::Other);
    }

    #[test]
    fn thumb_code() {
        let mut decoder = Decoder::new(THUMB);
        assert_eq!(thumb(&mut decoder, &[0x46c9]), InstructionKind::Hint);
        assert_eq!(thumb(&mut decoder, &[0x46c0]), InstructionKind::Other);
        assert_eq!(
            thumb(&mut decoder, &[0xee07, 0x1f3a]),
            InstructionKind::System(0xee07_1f3a)
        );
        assert_eq!(
            thumb(&mut decoder, &[0xf3bf, 0x8f4f]),
            InstructionKind::System(0xee07_0f9a)
        );
        assert_eq!(
            thumb(&mut decoder, &[0xf3bf, 0x8f5f]),
            InstructionKind::System(0xee07_0fba)
        );
        assert_eq!(
            thumb(&mut decoder, &[0xf3bf, 0x8f6f]),
            InstructionKind::Other
        );
    }

    #[test]
    fn thumb_conditions() {
        // ite eq
        let mut decoder = Decoder::new(THUMB);
        assert_eq!(thumb(&mut decoder, &[0xbf0c]), InstructionKind::Other);
        assert_eq!(
            thumb(&mut decoder, &[0xf3bf, 0x8f4f]),
            InstructionKind::System(0x0e07_0f9a)
        );
        assert_eq!(
            thumb(&mut decoder, &[0xf3bf, 0x8f4f]),
            InstructionKind::System(0x1e07_0f9a)
        );
        assert_eq!(
            thumb(&mut decoder, &[0xf3bf, 0x8f4f]),
            InstructionKind::System(0xee07_0f9a)
        );
        // A block that begins before the last instruction of "itt ne".
        let mut decoder = Decoder::new(THUMB | (1 << 12) | (1 << 11));
        assert_eq!(
            thumb(&mut decoder, &[0xf3bf, 0x8f4f]),
            InstructionKind::System(0x1e07_0f9a)
        );
        assert_eq!(
            thumb(&mut decoder, &[0xf3bf, 0x8f4f]),
            InstructionKind::System(0xee07_0f9a)
        );
    }

    #[test]
    fn conditions() {
        // For each condition: flags with which it holds, and with which not.
        let cases = [
            (Z, 0),
            (0, Z),
            (C, 0),
            (0, C),
            (N, 0),
            (0, N),
            (V, 0),
            (0, V),
            (C, C | Z),
            (C | Z, C),
            (N | V, N),
            (N, N | V),
            (N | V, N | V | Z),
            (Z, 0),
        ];
        for (condition, (holds, not)) in cases.into_iter().enumerate() {
            assert!(
                condition_holds(condition as u32, holds),
                "condition {condition}"
            );
            assert!(
                !condition_holds(condition as u32, not),
                "condition {condition}"
            );
        }
        assert!(condition_holds(ALWAYS, 0));
    }
}
