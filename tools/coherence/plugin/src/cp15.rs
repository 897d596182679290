// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system control coprocessor: what its instructions do to caches and to
//! the translation of addresses (ARM926EJ-S: DDI 0198E, 2.3; ARMv7-A: DDI 0406C,
//! B3.17 and B4.2).

use coherence_model::cores::{Architecture, Geometry};
use coherence_model::events;

use crate::instruction_decoder::{condition_holds, privileged};
use crate::mmu::{Control, Tlb, PAGE};

/// Which lines or translations, by the value of the source register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The lines or translations of a virtual address.
    Address,
    /// One line, wherever it is in the cache.
    SetWay,
    /// All lines or translations.
    Whole,
}

/// Which translations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entries {
    /// Translations of a virtual address, of all address spaces.
    Address,
    /// Translations of a virtual address, of the address space in the lowest
    /// byte.
    AddressAndAsid,
    /// Translations of an address space.
    Asid,
    /// All translations.
    All,
}

impl Entries {
    /// Drops these translations from a TLB; `value` is the source register's.
    pub fn drop_from(self, tlb: &mut Tlb, value: u32) {
        match self {
            Self::Address | Self::AddressAndAsid => tlb.drop_page(value & !(PAGE - 1)),
            Self::Asid => tlb.drop_asid(value as u8),
            Self::All => tlb.drop_all(),
        }
    }
}

/// A register that [`Control`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlRegister {
    /// Control register.
    Sctlr,
    /// Translation table base 0.
    Ttbr0,
    /// Translation table base 1.
    Ttbr1,
    /// Translation table base control.
    Ttbcr,
    /// Primary region remap.
    Prrr,
    /// Normal memory remap.
    Nmrr,
    /// Address space identifier.
    Contextidr,
}

impl ControlRegister {
    /// Writes the register. Whether the TLB had to go.
    pub fn write(self, control: &mut Control, tlb: &mut Tlb, value: u32) -> bool {
        *match self {
            Self::Sctlr => &mut control.sctlr,
            Self::Ttbr0 => &mut control.ttbr0,
            Self::Ttbr1 => &mut control.ttbr1,
            Self::Ttbcr => &mut control.ttbcr,
            Self::Prrr => &mut control.prrr,
            Self::Nmrr => &mut control.nmrr,
            Self::Contextidr => &mut control.contextidr,
        } = value;
        match self {
            Self::Contextidr => tlb.set_asid(value as u8),
            // These do not change what the TLB holds.
            Self::Ttbr0 | Self::Ttbr1 | Self::Ttbcr => {}
            // Translations made with the other values are of no use.
            _ => {
                tlb.drop_all();
                return true;
            }
        }
        false
    }
}

/// What an instruction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cp15Operation {
    /// Writes a register.
    Write(ControlRegister),
    /// Maintains the data cache.
    Data(events::Operation, By),
    /// Cleans a line of the data cache, by its address, as far as instructions see it.
    Unify,
    /// Invalidates the instruction cache.
    Instruction(By),
    /// Invalidates both caches.
    InvalidateBoth,
    /// ARM926: cleans one dirty line, and invalidates all if there was none. A
    /// loop over it cleans the whole cache.
    TestAndClean(events::Operation),
    /// Invalidates translations.
    Tlb(Entries),
    /// Selects a cache, whose size can be read then (CSSELR).
    SelectCache,
    /// Reads the size of the selected cache (CCSIDR).
    CacheSize,
    /// Drains the write buffer.
    Drain,
    /// Keeps accesses before it and after it in order.
    Order,
}

impl Cp15Operation {
    /// Whether user mode may do it; else the instruction is undefined there.
    pub fn unprivileged(self, architecture: Architecture) -> bool {
        matches!(self, Self::Drain | Self::Order) && architecture == Architecture::V7
    }
}

/// The source register of MCR, or the destination of MRC.
pub fn source(word: u32) -> usize {
    ((word >> 12) & 0xf) as usize
}

/// What an MCR or MRC of coprocessor 15 does, if it matters.
pub fn decode(architecture: Architecture, word: u32) -> Option<Cp15Operation> {
    use events::Operation::{Clean, CleanInvalidate, Invalidate};
    use Architecture::{V5, V7};
    use Cp15Operation::{Data, Instruction, TestAndClean, Tlb, Write};

    let load = word & (1 << 20) != 0;
    let opc1 = (word >> 21) & 7;
    let (crn, crm, opc2) = ((word >> 16) & 0xf, word & 0xf, (word >> 5) & 7);
    if opc1 != 0 {
        return match (architecture, load, opc1, crn, crm, opc2) {
            (V7, false, 2, 0, 0, 0) => Some(Cp15Operation::SelectCache),
            (V7, true, 1, 0, 0, 0) => Some(Cp15Operation::CacheSize),
            _ => None,
        };
    }
    if load {
        // MRC with r15 sets the flags.
        return match (architecture, source(word), crn, crm, opc2) {
            (V5, 15, 7, 10, 3) => Some(TestAndClean(Clean)),
            (V5, 15, 7, 14, 3) => Some(TestAndClean(CleanInvalidate)),
            _ => None,
        };
    }
    Some(match (architecture, crn, crm, opc2) {
        (_, 1, 0, 0) => Write(ControlRegister::Sctlr),
        (_, 2, 0, 0) => Write(ControlRegister::Ttbr0),
        (V7, 2, 0, 1) => Write(ControlRegister::Ttbr1),
        (V7, 2, 0, 2) => Write(ControlRegister::Ttbcr),
        (V7, 10, 2, 0) => Write(ControlRegister::Prrr),
        (V7, 10, 2, 1) => Write(ControlRegister::Nmrr),
        (V7, 13, 0, 1) => Write(ControlRegister::Contextidr),

        (_, 7, 5, 0) => Instruction(By::Whole),
        (V7, 7, 1, 0) => Instruction(By::Whole),
        (_, 7, 5, 1) => Instruction(By::Address),
        (_, 7, 6, 1) => Data(Invalidate, By::Address),
        (_, 7, 6, 2) => Data(Invalidate, By::SetWay),
        (_, 7, 10, 1) => Data(Clean, By::Address),
        (_, 7, 10, 2) => Data(Clean, By::SetWay),
        (_, 7, 10, 4) => Cp15Operation::Drain,
        (V7, 7, 10, 5) => Cp15Operation::Order,
        // DCCMVAU: to the point of unification, which is in front of the outer cache.
        (V7, 7, 11, 1) => Cp15Operation::Unify,
        (_, 7, 14, 1) => Data(CleanInvalidate, By::Address),
        (_, 7, 14, 2) => Data(CleanInvalidate, By::SetWay),
        (V5, 7, 6, 0) => Data(Invalidate, By::Whole),
        (V5, 7, 7, 0) => Cp15Operation::InvalidateBoth,

        // Of the instruction, data or unified TLB; they are one in these cores.
        // c3: of all CPUs.
        (_, 8, 5..=7, 0) | (V7, 8, 3, 0) => Tlb(Entries::All),
        (V5, 8, 5..=7, 1) | (V7, 8, 3 | 7, 3) => Tlb(Entries::Address),
        (V7, 8, 3 | 5..=7, 1) => Tlb(Entries::AddressAndAsid),
        (V7, 8, 3 | 5..=7, 2) => Tlb(Entries::Asid),
        _ => return None,
    })
}

/// What a system instruction does with this CPSR: nothing if its condition does
/// not hold, or the mode may not.
pub fn effect(architecture: Architecture, word: u32, cpsr: u32) -> Option<Cp15Operation> {
    let operation = decode(architecture, word)?;
    let allowed = privileged(cpsr) || operation.unprivileged(architecture);
    (allowed && condition_holds(word >> 28, cpsr)).then_some(operation)
}

/// "bne" back to the instruction before it: the end of the loop over
/// [`Cp15Operation::TestAndClean`].
pub const LOOP_BACK: u32 = 0x1aff_fffd;

/// Levels of caches that a loop over sets and ways goes through, one after the other, as such
/// an operation's value has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The inner data cache.
    Inner,
    /// The outer cache, if it is the core's own.
    Outer,
}

/// Which line of a level a set/way operation is for; `None`: it is of another level.
fn line_of(geometry: Geometry, level: Level, value: u32) -> Option<usize> {
    let way_bits = geometry.ways.trailing_zeros();
    let way = value >> (32 - way_bits);
    let set = (value << way_bits >> way_bits) / geometry.line;
    let is_line = (value >> 1) & 7 == level as u32 && set < geometry.sets;
    is_line.then_some((way * geometry.sets + set) as usize)
}

/// A loop over all sets and ways of a cache with one operation.
pub struct Sweep {
    geometry: Geometry,
    level: Level,
    operation: events::Operation,
    seen: Vec<bool>,
    left: usize,
}

impl Sweep {
    /// No operation of the loop was seen.
    pub fn new(geometry: Geometry, level: Level) -> Self {
        let lines = geometry.lines() as usize;
        Self {
            geometry,
            level,
            operation: events::Operation::Clean,
            seen: vec![false; lines],
            left: lines,
        }
    }

    fn begin(&mut self, operation: events::Operation) {
        self.operation = operation;
        self.seen.fill(false);
        self.left = self.seen.len();
    }

    /// One more operation. Whether it was the last: all lines had theirs, each
    /// once. Any other operation, or a line for the second time, begins anew.
    pub fn step(&mut self, operation: events::Operation, value: u32) -> bool {
        let Some(line) = line_of(self.geometry, self.level, value) else {
            return false;
        };
        if operation != self.operation || self.seen[line] {
            self.begin(operation);
        }
        self.seen[line] = true;
        self.left -= 1;
        if self.left == 0 {
            self.begin(operation);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::Operation::*;
    use Architecture::{V5, V7};

    /// MCR or MRC with r1.
    fn word(load: bool, crn: u32, crm: u32, opc2: u32) -> u32 {
        0xee00_1f10 | (u32::from(load) << 20) | (crn << 16) | (opc2 << 5) | crm
    }

    fn mcr(architecture: Architecture, crn: u32, crm: u32, opc2: u32) -> Option<Cp15Operation> {
        decode(architecture, word(false, crn, crm, opc2))
    }

    #[test]
    fn data_cache() {
        for architecture in [V5, V7] {
            assert_eq!(
                mcr(architecture, 7, 6, 1),
                Some(Cp15Operation::Data(Invalidate, By::Address))
            );
            assert_eq!(
                mcr(architecture, 7, 10, 1),
                Some(Cp15Operation::Data(Clean, By::Address))
            );
            assert_eq!(
                mcr(architecture, 7, 14, 1),
                Some(Cp15Operation::Data(CleanInvalidate, By::Address))
            );
            assert_eq!(
                mcr(architecture, 7, 10, 2),
                Some(Cp15Operation::Data(Clean, By::SetWay))
            );
            assert_eq!(mcr(architecture, 7, 10, 4), Some(Cp15Operation::Drain));
        }
        assert_eq!(
            mcr(V5, 7, 6, 0),
            Some(Cp15Operation::Data(Invalidate, By::Whole))
        );
        assert_eq!(mcr(V7, 7, 6, 0), None);
        assert_eq!(mcr(V7, 7, 11, 1), Some(Cp15Operation::Unify));
        assert_eq!(mcr(V5, 7, 11, 1), None);
        assert_eq!(mcr(V5, 7, 7, 0), Some(Cp15Operation::InvalidateBoth));
        assert_eq!(mcr(V7, 7, 10, 5), Some(Cp15Operation::Order));
        assert_eq!(mcr(V5, 7, 10, 5), None);
        // The barrier of instructions, and the branch predictor.
        assert_eq!(mcr(V7, 7, 5, 4), None);
        assert_eq!(mcr(V7, 7, 5, 6), None);
    }

    #[test]
    fn sizes_of_caches() {
        // As in arch/arm/mm/cache-v7.S: mcr p15, 2, r10, c0, c0, 0; mrc p15, 1, r1, c0, c0, 0
        assert_eq!(decode(V7, 0xee40_af10), Some(Cp15Operation::SelectCache));
        assert_eq!(decode(V7, 0xee30_1f10), Some(Cp15Operation::CacheSize));
        assert_eq!(decode(V5, 0xee30_1f10), None);
    }

    #[test]
    fn test_and_clean() {
        // mrc p15, 0, r15, c7, c14, 3, as in arch/arm/mm/proc-arm926.S
        assert_eq!(
            decode(V5, 0xee17_ff7e),
            Some(Cp15Operation::TestAndClean(CleanInvalidate))
        );
        assert_eq!(
            decode(V5, 0xee17_ff7a),
            Some(Cp15Operation::TestAndClean(Clean))
        );
        assert_eq!(decode(V7, 0xee17_ff7e), None);
        assert_eq!(decode(V5, word(true, 7, 14, 3)), None, "not with r1");
    }

    #[test]
    fn instruction_cache() {
        assert_eq!(
            mcr(V5, 7, 5, 0),
            Some(Cp15Operation::Instruction(By::Whole))
        );
        assert_eq!(
            mcr(V7, 7, 1, 0),
            Some(Cp15Operation::Instruction(By::Whole))
        );
        assert_eq!(
            mcr(V7, 7, 5, 1),
            Some(Cp15Operation::Instruction(By::Address))
        );
    }

    #[test]
    fn tlb() {
        assert_eq!(mcr(V5, 8, 7, 0), Some(Cp15Operation::Tlb(Entries::All)));
        assert_eq!(mcr(V5, 8, 6, 1), Some(Cp15Operation::Tlb(Entries::Address)));
        assert_eq!(
            mcr(V7, 8, 3, 1),
            Some(Cp15Operation::Tlb(Entries::AddressAndAsid))
        );
        assert_eq!(mcr(V7, 8, 3, 3), Some(Cp15Operation::Tlb(Entries::Address)));
        assert_eq!(mcr(V7, 8, 7, 2), Some(Cp15Operation::Tlb(Entries::Asid)));
        assert_eq!(mcr(V5, 8, 3, 0), None);
    }

    #[test]
    fn registers() {
        let mut control = Control::default();
        for (i, (crn, crm, opc2)) in [
            (1, 0, 0),
            (2, 0, 0),
            (2, 0, 1),
            (2, 0, 2),
            (10, 2, 0),
            (10, 2, 1),
            (13, 0, 1),
        ]
        .into_iter()
        .enumerate()
        {
            let Some(Cp15Operation::Write(register)) = mcr(V7, crn, crm, opc2) else {
                panic!("c{crn}, c{crm}, {opc2} writes a register");
            };
            let dropped = register.write(&mut control, &mut Tlb::new(), i as u32 + 1);
            let stays = [
                ControlRegister::Ttbr0,
                ControlRegister::Ttbr1,
                ControlRegister::Ttbcr,
            ];
            let kept = stays.contains(&register) || register == ControlRegister::Contextidr;
            assert_eq!(dropped, !kept, "{register:?}");
        }
        let Control {
            sctlr,
            ttbr0,
            ttbr1,
            ttbcr,
            prrr,
            nmrr,
            contextidr,
        } = control;
        assert_eq!(
            [sctlr, ttbr0, ttbr1, ttbcr, prrr, nmrr, contextidr],
            [1, 2, 3, 4, 5, 6, 7]
        );
        // Reads, the auxiliary control register, another opc1.
        assert_eq!(decode(V7, word(true, 1, 0, 0)), None);
        assert_eq!(mcr(V7, 1, 0, 1), None);
        assert_eq!(decode(V7, word(false, 1, 0, 0) | (1 << 21)), None);
        assert_eq!(source(word(false, 1, 0, 0)), 1);
    }

    #[test]
    fn effects() {
        const SUPERVISOR: u32 = 0x13;
        const USER: u32 = 0x10;
        const ZERO: u32 = 1 << 30;
        let clean = word(false, 7, 10, 1);
        let done = Some(Cp15Operation::Data(Clean, By::Address));
        assert_eq!(effect(V7, clean, SUPERVISOR), done);
        assert_eq!(effect(V7, clean, USER), None);
        // The same with "ne".
        let unless_zero = clean & 0x0fff_ffff | 0x1000_0000;
        assert_eq!(effect(V7, unless_zero, SUPERVISOR), done);
        assert_eq!(effect(V7, unless_zero, SUPERVISOR | ZERO), None);
    }

    #[test]
    fn user_mode_may_drain_on_v7() {
        assert!(Cp15Operation::Drain.unprivileged(V7));
        assert!(Cp15Operation::Order.unprivileged(V7));
        assert!(!Cp15Operation::Drain.unprivileged(V5));
        assert!(!Cp15Operation::Instruction(By::Whole).unprivileged(V7));
    }

    /// All set/way values of a 16 KiB cache of four ways: 128 sets.
    fn loop_values() -> Vec<u32> {
        (0..4)
            .rev()
            .flat_map(|way| (0..128).rev().map(move |set| (way << 30) | (set << 5)))
            .collect()
    }

    #[test]
    fn a_whole_loop_counts_at_its_end() {
        let mut sweep = Sweep::new(Geometry::new(16 << 10, 4, 32), Level::Inner);
        for _ in 0..2 {
            let ends: Vec<_> = loop_values()
                .iter()
                .map(|v| sweep.step(Clean, *v))
                .collect();
            assert_eq!(ends.iter().position(|end| *end), Some(511));
        }
    }

    /// As Linux goes through the levels of a Cortex-A15, of which the second has sets that are
    /// no power of two.
    #[test]
    fn each_level_has_a_loop_of_its_own() {
        let levels = [
            (Level::Inner, Geometry::new(32 << 10, 2, 64)),
            (
                Level::Outer,
                Geometry {
                    line: 64,
                    sets: 2304,
                    ways: 16,
                },
            ),
        ];
        for (level, geometry) in levels {
            let mut sweep = Sweep::new(geometry, level);
            let Geometry { sets, ways, .. } = geometry;
            let shift = 32 - ways.trailing_zeros();
            for other in [Level::Inner, Level::Outer] {
                let values = (0..sets).rev().flat_map(|set| {
                    (0..ways)
                        .rev()
                        .map(move |way| (way << shift) | (set << 6) | ((other as u32) << 1))
                });
                let ends: Vec<_> = values.map(|value| sweep.step(Clean, value)).collect();
                let last = (other == level).then(|| geometry.lines() as usize - 1);
                assert_eq!(
                    ends.iter().position(|end| *end),
                    last,
                    "{level:?} {other:?}"
                );
            }
        }
    }

    #[test]
    fn a_part_of_a_loop_does_not_count() {
        let mut sweep = Sweep::new(Geometry::new(16 << 10, 4, 32), Level::Inner);
        let values = loop_values();
        assert!(!values[..300].iter().any(|v| sweep.step(Clean, *v)));
        // Another operation on the rest is not the same loop.
        assert!(!values[300..].iter().any(|v| sweep.step(Invalidate, *v)));
        // Another level's lines are not these.
        assert!(!values.iter().any(|v| sweep.step(Clean, v | 2)));
        let ends: Vec<_> = values.iter().map(|v| sweep.step(Clean, *v)).collect();
        assert_eq!(ends.iter().position(|end| *end), Some(511));
    }
}
