// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arguments that several commands have.

use std::{ops::Range, time::Duration};

use anyhow::{ensure, Result};
use clap::{
    builder::{PossibleValuesParser, TypedValueParser},
    Args,
};

use crate::size;

/// A part of a buffer.
#[derive(Args)]
pub struct RangeArguments {
    /// Where to begin
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = size::parse)]
    pub offset: u64,
    /// How much [default: up to the end]
    #[arg(long, value_name = "BYTES", value_parser = size::parse)]
    pub length: Option<u64>,
}

impl RangeArguments {
    /// The range in bytes, which has to be inside a buffer of a size.
    pub fn within(&self, size: u64) -> Result<Range<u64>> {
        within(self.offset, self.length, size)
    }
}

/// The range from an offset on, up to the end without a length; it has to be inside a buffer of a
/// size.
pub fn within(offset: u64, length: Option<u64>, size: u64) -> Result<Range<u64>> {
    ensure!(
        offset <= size,
        "the buffer has {size} bytes: give an offset up to that, not {offset}"
    );
    let rest = size - offset;
    let length = length.unwrap_or(rest);
    ensure!(
        length <= rest,
        "there are {rest} bytes from that offset on: give a length up to that, not {length}"
    );
    Ok(offset..offset + length)
}

/// How often a command looks again.
#[derive(Args)]
pub struct LookArguments {
    /// Seconds between two looks
    #[arg(short = 'n', long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub interval: Duration,
    /// End after so many intervals
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
}

impl LookArguments {
    /// An item for each interval.
    pub fn intervals(&self) -> impl Iterator<Item = u64> {
        0..self.count.unwrap_or(u64::MAX)
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|interval| !interval.is_zero())
        .ok_or("give a number of seconds, such as 1 or 0.2".into())
}

/// A parser that takes the name of one of the values; help and completions list the names.
pub fn named<T>(
    values: impl Into<Vec<T>>,
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let values = values.into();
    let names: Vec<_> = values.iter().copied().map(name).collect();
    PossibleValuesParser::new(names).map(move |text| {
        let value = values.iter().find(|value| name(**value) == text);
        *value.expect("the parser takes none but these names")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(offset: u64, length: Option<u64>) -> Result<Range<u64>, String> {
        super::within(offset, length, 8192).map_err(|error| error.to_string())
    }

    #[test]
    fn a_range_is_inside_or_refused() {
        assert_eq!(within(0, None), Ok(0..8192));
        assert_eq!(within(4096, None), Ok(4096..8192));
        assert_eq!(within(10, Some(20)), Ok(10..30));
        assert_eq!(within(8192, None), Ok(8192..8192));
        assert!(within(8193, None).unwrap_err().contains("offset up to"));
        assert!(within(4096, Some(4097)).unwrap_err().contains("4096 bytes"));
        assert!(within(1, Some(u64::MAX)).is_err());
        assert!(within(u64::MAX, Some(2)).is_err());
    }

    #[test]
    fn intervals_are_more_than_nothing() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "x", "inf", "NaN", "1e300"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
