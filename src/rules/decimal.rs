// SPDX-License-Identifier: GPL-2.0

//! 64-bit numbers in decimal.

use kernel::{
    fmt,
    prelude::*, //
};

/// A number that is shown in decimal.
///
/// The formatting of `u64` in `core` divides by 64-bit instructions or library calls, and on 32-bit
/// machines the kernel has neither: it would be an undefined instruction there.
pub(crate) struct Decimal(pub(crate) u64);

/// As many digits as are divided off at a time.
const DIGITS: u32 = 10_000;

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match divide(self.0) {
            (0, last) => f.write_fmt(fmt!("{last}")),
            (rest, last) => f.write_fmt(fmt!("{}{last:04}", Decimal(rest))),
        }
    }
}

/// `number` divided by [`DIGITS`], and the rest: 16 bits at a time, as on paper.
fn divide(number: u64) -> (u64, u32) {
    let mut quotient = 0;
    let mut rest = 0;
    for shift in [48, 32, 16, 0] {
        let part = (rest << 16) | ((number >> shift) as u32 & 0xffff);
        quotient |= u64::from(part / DIGITS) << shift;
        rest = part % DIGITS;
    }
    (quotient, rest)
}

#[kunit_tests(shmbuf_decimal)]
mod tests {
    use super::*;
    use kernel::str::CString;

    #[test]
    fn numbers() {
        for (number, text) in [
            (0, c"0"),
            (9_999, c"9999"),
            (10_000, c"10000"),
            (999_999_999, c"999999999"),
            (1_000_000_000, c"1000000000"),
            (4_294_967_296, c"4294967296"),
            (7_000_000_005, c"7000000005"),
            (1_000_000_000_000_000_000, c"1000000000000000000"),
            (u64::MAX, c"18446744073709551615"),
        ] {
            let shown = CString::try_from_fmt(fmt!("{}", Decimal(number))).unwrap();
            assert_eq!(&*shown, text);
        }
    }
}
