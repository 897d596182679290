// SPDX-License-Identifier: GPL-2.0

//! The module parameters, understood. Pure logic but for where they come from.

use crate::{
    cache::Policy,
    kind::Kind,
    spec::{
        Direction,
        Mapping,
        Spec, //
    },
    sys, //
};
use kernel::{
    fmt,
    prelude::*, //
};

/// Which parameter is not understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Invalid {
    Size,
    Kind,
    Cache,
    Mapping,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Size => "size= takes a number of bytes, with an optional suffix K, M or G",
            Self::Kind => "kind= takes pages, coherent, streaming or scatter",
            Self::Cache => {
                "cache= takes writeback, writethrough, writecombine, noncached or default"
            }
            Self::Mapping => "mapping= takes pfnmap, strict or refcounted",
        })
    }
}

/// What the default buffer shall be, by the parameters that the module was loaded with.
pub(crate) fn given() -> Result<Spec, Invalid> {
    parse(
        sys::params::size(),
        sys::params::kind(),
        sys::params::cache(),
        sys::params::mapping(),
    )
}

fn parse(size: &[u8], kind: &[u8], cache: &[u8], mapping: &[u8]) -> Result<Spec, Invalid> {
    Ok(Spec {
        size: parse_size(size).ok_or(Invalid::Size)?,
        kind: Kind::from_name(kind)
            .filter(|kind| !matches!(kind, Kind::Pool | Kind::Region))
            .ok_or(Invalid::Kind)?,
        policy: parse_policy(cache).ok_or(Invalid::Cache)?,
        mapping: Mapping::from_name(mapping).ok_or(Invalid::Mapping)?,
        direction: Direction::Bidirectional,
        align: 0,
        boundary: 0,
    })
}

/// A policy by name; `default` is what suits the kind.
pub(crate) fn parse_policy(text: &[u8]) -> Option<Option<Policy>> {
    match text {
        b"default" => Some(None),
        name => Policy::from_name(name).map(Some),
    }
}

/// A decimal number with an optional suffix K, M or G.
pub(crate) fn parse_size(text: &[u8]) -> Option<u64> {
    let (digits, shift) = match text {
        [digits @ .., b'K' | b'k'] => (digits, 10),
        [digits @ .., b'M' | b'm'] => (digits, 20),
        [digits @ .., b'G' | b'g'] => (digits, 30),
        digits => (digits, 0),
    };
    core::str::from_utf8(digits)
        .ok()?
        .parse::<u64>()
        .ok()?
        .checked_mul(1 << shift)
}

#[kunit_tests(shmbuf_params)]
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

    #[test]
    fn good_parameters() {
        let spec = parse(b"4M", b"coherent", b"writecombine", b"pfnmap");
        assert_eq!(
            spec,
            Ok(Spec {
                size: 4 << 20,
                kind: Kind::Coherent,
                policy: Some(Policy::Writecombine),
                mapping: Mapping::Pfnmap,
                direction: Direction::Bidirectional,
                align: 0,
                boundary: 0,
            })
        );
        let spec = parse(b"1M", b"pages", b"default", b"pfnmap");
        assert_eq!(spec.map(|spec| spec.policy), Ok(None));
    }

    #[test]
    fn bad_parameters() {
        for (size, kind, cache, mapping, invalid) in [
            (
                &b"big"[..],
                &b"pages"[..],
                &b"default"[..],
                &b"pfnmap"[..],
                Invalid::Size,
            ),
            (b"1M", b"page", b"default", b"pfnmap", Invalid::Kind),
            (b"1M", b"", b"default", b"pfnmap", Invalid::Kind),
            (b"1M", b"pool", b"default", b"pfnmap", Invalid::Kind),
            (b"1M", b"pages", b"uncached", b"pfnmap", Invalid::Cache),
            (b"1M", b"pages", b"", b"pfnmap", Invalid::Cache),
            (b"1M", b"pages", b"default", b"pfn", Invalid::Mapping),
        ] {
            assert_eq!(parse(size, kind, cache, mapping), Err(invalid));
        }
    }
}
