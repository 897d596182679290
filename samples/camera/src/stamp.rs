// SPDX-License-Identifier: MIT OR Apache-2.0
//! The number of a frame, as squares that a program can read from a picture.

use std::ops::Range;

/// Squares, one for each bit of the number; the rest of it is left out.
const BITS: u32 = 16;
/// Pixels on each side of a square.
const SIDE: u32 = 16;
/// Where the first square is, from the left and from the top.
const AT: u32 = 16;

/// Width and height of the pictures that it fits in.
pub const LEAST: (u32, u32) = (AT + BITS * SIDE, AT + SIDE);

/// The lines that it is in.
pub const LINES: Range<u32> = AT..AT + SIDE;

/// Where it begins in a line, in bytes.
pub const START: u32 = AT * 4;

/// Each of its lines: the highest bit first, in the first color for zeros, in the second for ones.
pub fn line(number: u32, colors: [u32; 2]) -> Vec<u8> {
    let bits = (0..BITS).rev().map(|bit| (number >> bit) & 1);
    let pixels = bits.flat_map(|bit| [colors[bit as usize]; SIDE as usize]);
    pixels.flat_map(u32::to_ne_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_has_its_square() {
        let line = line(0b101 | (1 << BITS), [0, !0]);
        assert_eq!(line.len(), (LEAST.0 - AT) as usize * 4);
        let square = SIDE as usize * 4;
        for (index, bytes) in line.chunks(square).enumerate() {
            let one = index == 13 || index == 15;
            assert_eq!(bytes, vec![if one { 0xff } else { 0 }; square], "{index}");
        }
    }
}
