// SPDX-License-Identifier: GPL-2.0

//! 64-bit numbers in decimal.

use super::ffi;
use kernel::{
    fmt,
    prelude::*, //
};

/// A number that is shown in decimal.
///
/// The formatting of `u64` in `core` divides by 64-bit instructions or library calls, and on 32-bit
/// machines the kernel has neither: it would be an undefined instruction there.
pub(crate) struct Decimal(pub(crate) u64);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rest, low) = billions(self.0);
        if rest == 0 {
            return f.write_fmt(fmt!("{low}"));
        }
        let (high, middle) = billions(rest);
        if high == 0 {
            return f.write_fmt(fmt!("{middle}{low:09}"));
        }
        // Less than 2^64 / 10^18.
        let high = high as u32;
        f.write_fmt(fmt!("{high}{middle:09}{low:09}"))
    }
}

/// The billions of `number`, and the rest.
fn billions(number: u64) -> (u64, u32) {
    let mut rest = 0;
    // SAFETY: The divisor is not zero, and `rest` outlives the call.
    let billions = unsafe { ffi::shmbuf_div_u64_rem(number, 1_000_000_000, &mut rest) };
    (billions, rest)
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
