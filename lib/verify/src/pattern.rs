// SPDX-License-Identifier: MIT OR Apache-2.0
//! A pattern in which every word tells where it belongs, and the search for
//! bytes that are not it.

use std::fmt;

/// The word of a seed's pattern at an offset. It differs for all offsets, so data
/// that ended up elsewhere shows.
pub fn mix(seed: u32, offset: u32) -> u32 {
    let mut word = seed ^ offset.wrapping_mul(0x9e37_79b1);
    word = (word ^ (word >> 16)).wrapping_mul(0x21f0_aaad);
    word = (word ^ (word >> 15)).wrapping_mul(0x735a_2d97);
    word ^ (word >> 15)
}

/// The pattern of one seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern {
    /// The number that the pattern is made from.
    pub seed: u32,
}

impl Pattern {
    /// The pattern of a seed.
    pub fn new(seed: u32) -> Self {
        Self { seed }
    }

    /// The pattern's byte at an offset.
    pub fn byte(self, offset: usize) -> u8 {
        mix(self.seed, offset as u32 & !3).to_ne_bytes()[offset & 3]
    }

    /// Fills memory with the pattern's bytes from an offset on.
    pub fn fill(self, offset: usize, to: &mut [u8]) {
        let head = (offset.wrapping_neg() & 3).min(to.len());
        let (first, rest) = to.split_at_mut(head);
        for (at, byte) in (offset..).zip(first) {
            *byte = self.byte(at);
        }
        // By words, as a board that is emulated takes its time.
        let mut at = offset + head;
        for word in rest.chunks_mut(4) {
            let value = mix(self.seed, at as u32).to_ne_bytes();
            word.copy_from_slice(&value[..word.len()]);
            at += 4;
        }
    }

    /// The pattern's bytes from an offset on.
    pub fn bytes(self, offset: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(offset, &mut bytes);
        bytes
    }

    /// Whether bytes, which start at offset zero, already hold the pattern.
    /// A few words may agree by chance.
    pub fn is_in(self, bytes: &[u8]) -> bool {
        let words = bytes.chunks_exact(4).enumerate();
        let same = words.filter(|(i, word)| **word == mix(self.seed, *i as u32 * 4).to_ne_bytes());
        same.count() > 8
    }
}

/// Splits a range into contiguous pieces of odd lengths, so that most begin
/// and end at odd offsets: pairs of offset and length.
pub fn pieces(seed: u32, size: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let length = ((mix(seed, offset as u32) as usize % 8192) | 1).min(size - offset);
        let piece = (offset, length);
        offset += length;
        (length > 0).then_some(piece)
    })
}

/// What a comparison with a pattern has found so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check<'a> {
    pattern: Pattern,
    before: &'a [u8],
    checked: usize,
    first: Option<(usize, u8)>,
    wrong: usize,
    zero: usize,
    stale: usize,
}

impl<'a> Check<'a> {
    /// Starts a comparison. `before` is what the same side saw at the same
    /// offsets before the pattern was written: it tells stale data.
    pub fn new(pattern: Pattern, before: &'a [u8]) -> Self {
        Self {
            pattern,
            before,
            checked: 0,
            first: None,
            wrong: 0,
            zero: 0,
            stale: 0,
        }
    }

    /// Compares bytes that were got at an offset.
    pub fn compare(&mut self, offset: usize, got: &[u8]) {
        self.checked += got.len();
        let expected = self.pattern.bytes(offset, got.len());
        if got == expected {
            return;
        }
        for ((at, got), expected) in (offset..).zip(got).zip(expected) {
            if *got == expected {
                continue;
            }
            self.first.get_or_insert((at, *got));
            self.wrong += 1;
            self.zero += usize::from(*got == 0);
            self.stale += usize::from(self.before.get(at) == Some(got));
        }
    }

    /// Whether all that was compared is the pattern.
    pub fn is_ok(&self) -> bool {
        self.first.is_none()
    }
}

impl fmt::Display for Check<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((at, got)) = self.first else {
            return f.write_str("ok");
        };
        let expected = self.pattern.byte(at);
        write!(
            f,
            "WRONG at byte {at:#x}: expected {expected:#04x}, got {got:#04x}; {} of {} bytes wrong: \
             {} as before the write (stale), {} zero",
            self.wrong, self.checked, self.stale, self.zero
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_differ_by_offset_and_seed() {
        let mut words: Vec<_> = (0..4096).map(|i| mix(1, i * 4)).collect();
        words.extend((0..4096).map(|i| mix(2, i * 4)));
        words.sort_unstable();
        words.dedup();
        assert!(words.len() > 8192 - 8);
    }

    #[test]
    fn bytes_agree_at_any_offset() {
        let whole = Pattern::new(7).bytes(0, 64);
        for offset in 0..32 {
            for length in 0..16 {
                let bytes = Pattern::new(7).bytes(offset, length);
                assert_eq!(bytes, whole[offset..offset + length]);
                let single = (offset..offset + length).map(|at| Pattern::new(7).byte(at));
                assert!(single.eq(bytes));
            }
        }
    }

    #[test]
    fn pieces_are_odd_and_cover_everything_once() {
        let size = 1 << 20;
        let mut next = 0;
        let mut odd_offsets = 0;
        for (offset, length) in pieces(3, size) {
            assert_eq!(offset, next);
            assert!(length % 2 == 1 || offset + length == size);
            odd_offsets += offset % 2;
            next += length;
        }
        assert_eq!(next, size);
        assert!(odd_offsets > 32);
    }

    #[test]
    fn a_pattern_is_recognised_and_no_other() {
        let bytes = Pattern::new(5).bytes(0, 4096);
        assert!(Pattern::new(5).is_in(&bytes));
        assert!(!Pattern::new(6).is_in(&bytes));
    }

    #[test]
    fn one_wrong_bit_is_found_wherever_it_is() {
        let pattern = Pattern::new(11);
        for at in 0..256 {
            let mut got = pattern.bytes(0, 256);
            got[at] ^= 0x80;
            let mut check = Check::new(pattern, &[]);
            check.compare(0, &got);
            let text = check.to_string();
            assert!(
                text.starts_with(&format!("WRONG at byte {at:#x}:")),
                "{text}"
            );
            assert!(text.contains("1 of 256 bytes wrong"), "{text}");
        }
    }

    #[test]
    fn a_check_tells_first_count_and_likely_cause() {
        let pattern = Pattern::new(9);
        let before = Pattern::new(8).bytes(0, 256);
        let mut got = pattern.bytes(0, 256);
        let mut check = Check::new(pattern, &before);
        check.compare(0, &got);
        assert!(check.is_ok());
        assert_eq!(check.to_string(), "ok");

        got[100..164].copy_from_slice(&before[100..164]);
        got[200..204].fill(0);
        let same = (0..256).filter(|i| got[*i] == pattern.byte(*i)).count();
        let mut check = Check::new(pattern, &before);
        check.compare(0, &got[..77]);
        check.compare(77, &got[77..]);
        assert!(!check.is_ok());
        assert_eq!(check.wrong, 256 - same);
        assert!(check.stale > 60 && check.zero >= 4);
        let text = check.to_string();
        let expected = pattern.byte(100);
        assert!(text.starts_with(&format!("WRONG at byte 0x64: expected {expected:#04x}")));
    }
}
