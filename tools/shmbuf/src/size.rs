// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers of bytes, as people write them.

/// Bytes from a number with an optional suffix, for powers of 1024.
pub fn parse(text: &str) -> Result<u64, String> {
    parse_size::Config::new()
        .with_binary()
        .parse_size(text)
        .map_err(|_| "give a number of bytes, such as 4096, 64K or 1M".into())
}

/// Bytes from a number with an optional suffix, at most what 32 bits hold.
pub fn parse_u32(text: &str) -> Result<u32, String> {
    parse(text)?
        .try_into()
        .map_err(|_| "give less than 4G".into())
}

/// The shortest text that [`parse`] turns into just that number.
pub fn show(bytes: u64) -> String {
    [(30, "G"), (20, "M"), (10, "K")]
        .into_iter()
        .find(|(shift, _)| bytes != 0 && bytes.trailing_zeros() >= *shift)
        .map_or_else(
            || bytes.to_string(),
            |(shift, suffix)| format!("{}{suffix}", bytes >> shift),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("100", 100),
            ("4K", 4096),
            ("4k", 4096),
            ("4KiB", 4096),
            ("1.5M", 3 << 19),
            ("64M", 64 << 20),
            ("4G", 1 << 32),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_examples() {
        for text in [
            "",
            "K",
            "-1",
            "4X",
            "0x1000",
            "18446744073709551616",
            "17179869184G",
        ] {
            assert!(parse(text).unwrap_err().contains("such as 4096"), "{text}");
        }
    }

    #[test]
    fn what_32_bits_cannot_hold_is_refused() {
        assert_eq!(parse_u32("4K"), Ok(4096));
        assert_eq!(parse_u32("4294967295"), Ok(u32::MAX));
        assert_eq!(parse_u32("4G"), Err("give less than 4G".into()));
    }

    #[test]
    fn what_is_shown_is_exact() {
        for (bytes, text) in [
            (0, "0"),
            (100, "100"),
            (4096, "4K"),
            (4097, "4097"),
            (3 << 19, "1536K"),
            (1 << 20, "1M"),
            (5 << 30, "5G"),
            (u64::MAX, "18446744073709551615"),
        ] {
            assert_eq!(show(bytes), text);
            assert_eq!(parse(text), Ok(bytes));
        }
    }
}
