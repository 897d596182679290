// SPDX-License-Identifier: GPL-2.0

//! Sizes, as people write them.

use super::decimal::Decimal;
use kernel::{
    fmt,
    prelude::*, //
};

/// A number of bytes that is shown as people write it: with the largest suffix that is exact.
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |(shift, _): &(u32, &str)| self.0 != 0 && self.0.trailing_zeros() >= *shift;
        match [(30, "G"), (20, "M"), (10, "K")]
            .iter()
            .find(|unit| exact(unit))
        {
            Some((shift, suffix)) => f.write_fmt(fmt!("{}{suffix}", Decimal(self.0 >> shift))),
            None => f.write_fmt(fmt!("{}", Decimal(self.0))),
        }
    }
}

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
    use kernel::str::CString;

    #[test]
    fn what_is_shown_is_exact() {
        for (bytes, text) in [
            (0, c"0"),
            (3, c"3"),
            (4096, c"4K"),
            (4097, c"4097"),
            (3 << 19, c"1536K"),
            (64 << 20, c"64M"),
            (1 << 30, c"1G"),
            (u64::MAX, c"18446744073709551615"),
        ] {
            let shown = CString::try_from_fmt(fmt!("{}", Bytes(bytes))).unwrap();
            assert_eq!(&*shown, text);
            assert_eq!(parse_size(text.to_bytes()), Some(bytes));
        }
    }

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
