// SPDX-License-Identifier: MIT OR Apache-2.0
//! A hash for small keys that nobody attacks.

use std::hash::{BuildHasherDefault, Hasher};

/// For `HashMap`'s last parameter.
pub type SmallKeyHash = BuildHasherDefault<Multiply>;

/// Multiplies each word in (Knuth's multiplicative hashing).
#[derive(Debug, Default)]
pub struct Multiply(u64);

impl Multiply {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Multiply {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, n: u8) {
        self.mix(n.into());
    }
    fn write_u16(&mut self, n: u16) {
        self.mix(n.into());
    }
    fn write_u32(&mut self, n: u32) {
        self.mix(n.into());
    }
    fn write_u64(&mut self, n: u64) {
        self.mix(n);
    }
    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }
    fn finish(&self) -> u64 {
        // The table takes its index from low bits, the product mixes high ones.
        self.0.rotate_left(26)
    }
}
