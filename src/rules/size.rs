// SPDX-License-Identifier: GPL-2.0

//! Sizes, as people write them.

use kernel::prelude::*;

/// A decimal number of bytes with an optional suffix K, M or G.
pub(crate) fn parse_size(text: &[u8]) -> Option<u64> {
    let (digits, shift) = match text {
        [digits @ .., b'K' | b'k'] => (digits, 10),
        [digits @ .., b'M' | b'm'] => (digits, 20),
        [digits @ .., b'G' | b'g'] => (digits, 30),
        digits => (digits, 0),
    };
    // The parser of `core` takes a sign too.
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(digits)
        .ok()?
        .parse::<u64>()
        .ok()?
        .checked_mul(1 << shift)
}

#[kunit_tests(shmbuf_size)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, size) in [
            (&b"4096"[..], Some(4096)),
            (b"4K", Some(4096)),
            (b"4k", Some(4096)),
            (b"1M", Some(1 << 20)),
            (b"64m", Some(64 << 20)),
            (b"1G", Some(1 << 30)),
            (b"0", Some(0)),
            (b"", None),
            (b"M", None),
            (b"-1", None),
            (b"+1", None),
            (b"+4K", None),
            (b"010", Some(10)),
            (b"1MM", None),
            (b"1 M", None),
            (b"0x1000", None),
            (b"99999999999999999999", None),
            (b"18446744073709551615G", None),
            (b"4G", Some(4 << 30)),
        ] {
            assert_eq!(parse_size(text), size);
        }
    }
}
