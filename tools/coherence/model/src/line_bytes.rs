// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bytes of a line, a bit each: as they are kept, and as they are worked with.
//!
//! How long a line is, is a matter of the type, so that nothing of it has to be computed
//! at each access.

use std::fmt::Debug;

/// Bytes of a line as they are kept. All else that has bytes of a line has them in 64
/// bits.
pub trait LineBytes: Debug + Clone + Copy + Default + 'static {
    /// Bytes in a line, inner and outer.
    const LINE: u32;
    /// All bytes of a line.
    const ALL: u64 = u64::MAX >> (64 - Self::LINE);
    /// The bytes.
    fn bits(self) -> u64;
    /// Keeps bytes.
    fn of(bits: u64) -> Self;
}

/// Of a line of 32 bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bytes32(u32);

impl LineBytes for Bytes32 {
    const LINE: u32 = 32;
    #[inline(always)]
    fn bits(self) -> u64 {
        self.0.into()
    }
    #[inline(always)]
    fn of(bits: u64) -> Self {
        Self(bits as u32)
    }
}

/// Of a line of 64 bytes. In words, so that a line has no gap.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bytes64([u32; 2]);

impl LineBytes for Bytes64 {
    const LINE: u32 = 64;
    #[inline(always)]
    fn bits(self) -> u64 {
        u64::from(self.0[0]) | (u64::from(self.0[1]) << 32)
    }
    #[inline(always)]
    fn of(bits: u64) -> Self {
        Self([bits as u32, (bits >> 32) as u32])
    }
}

/// The line of an address.
#[inline(always)]
pub fn line_of<B: LineBytes>(pa: u32) -> u32 {
    pa & !(B::LINE - 1)
}

/// Bytes of a line, a bit each.
#[inline(always)]
pub fn mask<B: LineBytes>(pa: u32, len: u32) -> u64 {
    let all = u64::MAX.checked_shr(64 - len).unwrap_or(0);
    (all << (pa % B::LINE)) & B::ALL
}

/// The parts of a range, line by line: first byte and length.
pub fn parts<B: LineBytes>(pa: u32, len: u32) -> impl Iterator<Item = (u32, u32)> {
    let end = (u64::from(pa) + u64::from(len)).min(1 << 32);
    let mut at = u64::from(pa);
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let next = ((at | u64::from(B::LINE - 1)) + 1).min(end);
        let part = (at as u32, (next - at) as u32);
        at = next;
        Some(part)
    })
}
