// SPDX-License-Identifier: GPL-2.0

//! The module parameters, understood. Pure logic but for where they come from.

use crate::{
    cache::Policy,
    kind::Kind,
    sys, //
};
use kernel::{
    fmt,
    page::PAGE_SIZE,
    prelude::*, //
};

/// What the default buffer shall be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Params {
    /// Bytes, a multiple of the page size and not zero.
    pub(crate) size: usize,
    /// Its kind.
    pub(crate) kind: Kind,
    /// Its policy; none means what suits the kind.
    pub(crate) policy: Option<Policy>,
}

/// Which parameter is not understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Invalid {
    Size,
    Kind,
    Cache,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size => f.write_fmt(fmt!(
                "size= takes a multiple of the page size ({PAGE_SIZE}) that this machine can \
                 address, with an optional suffix K, M or G"
            )),
            Self::Kind => f.write_str("kind= takes pages, coherent or streaming"),
            Self::Cache => f.write_str(
                "cache= takes writeback, writethrough, writecombine, noncached or default",
            ),
        }
    }
}

impl Params {
    /// Those that the module was loaded with.
    pub(crate) fn given() -> Result<Self, Invalid> {
        Self::parse(
            sys::params::size(),
            sys::params::kind(),
            sys::params::cache(),
        )
    }

    fn parse(size: &[u8], kind: &[u8], cache: &[u8]) -> Result<Self, Invalid> {
        let size = parse_size(size).ok_or(Invalid::Size)?;
        if size == 0 || size % PAGE_SIZE != 0 || isize::try_from(size).is_err() {
            return Err(Invalid::Size);
        }
        Ok(Self {
            size,
            kind: Kind::from_name(kind).ok_or(Invalid::Kind)?,
            policy: match cache {
                b"default" => None,
                name => Some(Policy::from_name(name).ok_or(Invalid::Cache)?),
            },
        })
    }
}

/// A decimal number with an optional suffix K, M or G.
fn parse_size(text: &[u8]) -> Option<usize> {
    let (digits, shift) = match text {
        [digits @ .., b'K' | b'k'] => (digits, 10),
        [digits @ .., b'M' | b'm'] => (digits, 20),
        [digits @ .., b'G' | b'g'] => (digits, 30),
        digits => (digits, 0),
    };
    core::str::from_utf8(digits)
        .ok()?
        .parse::<usize>()
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
        ] {
            assert_eq!(parse_size(text), size);
        }
    }

    #[test]
    fn good_parameters() {
        assert_eq!(
            Params::parse(b"4M", b"coherent", b"writecombine"),
            Ok(Params {
                size: 4 << 20,
                kind: Kind::Coherent,
                policy: Some(Policy::Writecombine),
            })
        );
        assert_eq!(
            Params::parse(b"1M", b"pages", b"default").map(|params| params.policy),
            Ok(None)
        );
    }

    #[test]
    fn bad_parameters() {
        for (size, kind, cache, invalid) in [
            (&b"0"[..], &b"pages"[..], &b"default"[..], Invalid::Size),
            (b"4097", b"pages", b"default", Invalid::Size),
            (b"1", b"pages", b"default", Invalid::Size),
            (b"big", b"pages", b"default", Invalid::Size),
            (b"1M", b"page", b"default", Invalid::Kind),
            (b"1M", b"", b"default", Invalid::Kind),
            (b"1M", b"pages", b"uncached", Invalid::Cache),
            (b"1M", b"pages", b"", Invalid::Cache),
        ] {
            assert_eq!(Params::parse(size, kind, cache), Err(invalid));
        }
    }
}
