// SPDX-License-Identifier: GPL-2.0

//! The module parameters, understood. Pure logic but for where they come from.

use crate::{
    rules::{
        direction::Direction,
        kind::Kind,
        mapping::Mapping,
        policy::Policy,
        size::parse_size,
        spec::Spec, //
    },
    sys, //
};
use kernel::{
    fmt,
    prelude::*, //
};

/// Which parameter is not understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadParameter {
    /// `size=`
    Size,
    /// `kind=`
    Kind,
    /// `cache=`
    Cache,
    /// `mapping=`
    Mapping,
}

impl fmt::Display for BadParameter {
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
pub(crate) fn given() -> Result<Spec, BadParameter> {
    parse(
        sys::params::size(),
        sys::params::kind(),
        sys::params::cache(),
        sys::params::mapping(),
    )
}

fn parse(size: &[u8], kind: &[u8], cache: &[u8], mapping: &[u8]) -> Result<Spec, BadParameter> {
    Ok(Spec {
        size: parse_size(size).ok_or(BadParameter::Size)?,
        kind: Kind::try_from(kind)
            .ok()
            .filter(|kind| !matches!(kind, Kind::Pool | Kind::Region))
            .ok_or(BadParameter::Kind)?,
        policy: Policy::or_default(cache).ok_or(BadParameter::Cache)?,
        mapping: Mapping::try_from(mapping).map_err(|_| BadParameter::Mapping)?,
        direction: Direction::Bidirectional,
        align: 0,
        boundary: 0,
    })
}

#[kunit_tests(shmbuf_params)]
mod tests {
    use super::*;

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
                BadParameter::Size,
            ),
            (b"1M", b"page", b"default", b"pfnmap", BadParameter::Kind),
            (b"1M", b"", b"default", b"pfnmap", BadParameter::Kind),
            (b"1M", b"pool", b"default", b"pfnmap", BadParameter::Kind),
            (b"1M", b"pages", b"uncached", b"pfnmap", BadParameter::Cache),
            (b"1M", b"pages", b"", b"pfnmap", BadParameter::Cache),
            (b"1M", b"pages", b"default", b"pfn", BadParameter::Mapping),
        ] {
            assert_eq!(parse(size, kind, cache, mapping), Err(invalid));
        }
    }
}
