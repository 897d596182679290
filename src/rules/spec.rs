// SPDX-License-Identifier: GPL-2.0

//! What a buffer shall be, and whether that can be. Pure logic.

use crate::{
    cache::{
        Caches,
        Machine,
        Policy, //
    },
    kind::{
        Failure,
        Kind, //
    },
    uapi, //
};
use kernel::{
    dma::DataDirection,
    fmt,
    page::PAGE_SIZE,
    prelude::*, //
};

/// How user mappings are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mapping {
    /// At once, by page frame number.
    Pfnmap,
    /// By fault, and withdrawn while a device owns the buffer.
    Strict,
    /// At once, with a reference to each page.
    Refcounted,
}

impl Mapping {
    /// All of them, in the order of the uAPI.
    pub(crate) const ALL: [Self; 3] = [Self::Pfnmap, Self::Strict, Self::Refcounted];

    /// `enum shmbuf_mapping`.
    pub(crate) fn to_uapi(self) -> u32 {
        match self {
            Self::Pfnmap => uapi::SHMBUF_MAPPING_PFNMAP,
            Self::Strict => uapi::SHMBUF_MAPPING_STRICT,
            Self::Refcounted => uapi::SHMBUF_MAPPING_REFCOUNTED,
        }
    }

    /// The name in parameters and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pfnmap => "pfnmap",
            Self::Strict => "strict",
            Self::Refcounted => "refcounted",
        }
    }

    /// The one of that name, if any.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mapping| mapping.name().as_bytes() == name)
    }
}

impl TryFrom<u32> for Mapping {
    type Error = Error;

    fn try_from(value: u32) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|mapping| mapping.to_uapi() == value)
            .ok_or(EINVAL)
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What devices do with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// They read and write.
    Bidirectional,
    /// They read.
    ToDevice,
    /// They write.
    FromDevice,
}

impl Direction {
    /// All of them, in the order of the uAPI.
    pub(crate) const ALL: [Self; 3] = [Self::Bidirectional, Self::ToDevice, Self::FromDevice];

    /// `enum shmbuf_direction`.
    pub(crate) fn to_uapi(self) -> u32 {
        match self {
            Self::Bidirectional => uapi::SHMBUF_DIRECTION_BIDIRECTIONAL,
            Self::ToDevice => uapi::SHMBUF_DIRECTION_TO_DEVICE,
            Self::FromDevice => uapi::SHMBUF_DIRECTION_FROM_DEVICE,
        }
    }

    /// What the DMA API calls it.
    pub(crate) fn dma(self) -> DataDirection {
        match self {
            Self::Bidirectional => DataDirection::Bidirectional,
            Self::ToDevice => DataDirection::ToDevice,
            Self::FromDevice => DataDirection::FromDevice,
        }
    }

    /// The name in parameters and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bidirectional => "bidirectional",
            Self::ToDevice => "to-device",
            Self::FromDevice => "from-device",
        }
    }

    /// The one of that name, if any.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|direction| direction.name().as_bytes() == name)
    }
}

impl TryFrom<u32> for Direction {
    type Error = Error;

    fn try_from(value: u32) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|direction| direction.to_uapi() == value)
            .ok_or(EINVAL)
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a buffer shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Bytes.
    pub(crate) size: u64,
    /// Where its memory comes from.
    pub(crate) kind: Kind,
    /// Its cache policy; none means what suits the kind.
    pub(crate) policy: Option<Policy>,
    /// How it is mapped.
    pub(crate) mapping: Mapping,
    /// What devices do with it.
    pub(crate) direction: Direction,
    /// Kind pool: a power of two that its address is a multiple of; zero for any.
    pub(crate) align: usize,
    /// Kind pool: a power of two of which it crosses no multiple; zero for none.
    pub(crate) boundary: usize,
}

/// Which field of a [`Spec`] is not understood, or does not go with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invalid {
    /// The size.
    Size,
    /// The size for a pool.
    PoolSize,
    /// The direction.
    Direction,
    /// The alignment or the boundary.
    Block,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size => f.write_fmt(fmt!(
                "the size must be a multiple of the page size ({PAGE_SIZE}), and not zero"
            )),
            Self::PoolSize => f.write_fmt(fmt!(
                "the size of a buffer of kind pool must be less than a page ({PAGE_SIZE}), and \
                 not zero; kind coherent takes whole pages"
            )),
            Self::Direction => {
                f.write_str("only kinds streaming and scatter have a direction; leave it out")
            }
            Self::Block => f.write_fmt(fmt!(
                "align and boundary are for kind pool: powers of two, align at most a page \
                 ({PAGE_SIZE}), boundary at least the size and the alignment"
            )),
        }
    }
}

/// Why a way of mapping is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MappingRefusal {
    /// Nobody but the CPU ever owns the buffer.
    NoOwner,
    /// References would be taken to pages that are not ordinary, or not cached.
    NotOrdinary,
    /// The kernel would use pinned pages by another mapping than the program.
    Aliases,
    /// The memory cannot be mapped at all.
    Unmappable,
}

impl fmt::Display for MappingRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoOwner => {
                "no device ever owns a buffer of this kind, so nothing would be withdrawn; use \
                 kind streaming or scatter"
            }
            Self::NotOrdinary => {
                "only cached memory can be pinned; use kind pages, streaming or scatter, with \
                 policy writeback"
            }
            Self::Aliases => {
                "on a VIVT cache the kernel would reach pinned pages by other cache lines than \
                 the program; use read and write"
            }
            Self::Unmappable => "a buffer of this kind is not mapped; leave the mapping out",
        })
    }
}

impl Spec {
    /// The size, if all fields are understood and go with each other.
    ///
    /// # Errors
    ///
    /// [`Failure::Invalid`], [`Failure::TooBig`].
    fn check_fields(&self) -> Result<usize, Failure> {
        let page = PAGE_SIZE as u64;
        match self.kind {
            Kind::Pool if self.size == 0 || self.size >= page => {
                return Err(Failure::Invalid(Invalid::PoolSize))
            }
            Kind::Pool => {}
            _ if self.size == 0 || self.size % page != 0 => {
                return Err(Failure::Invalid(Invalid::Size))
            }
            _ => {}
        }
        let power = |n: usize| n == 0 || n.is_power_of_two();
        let block_is_good = match self.kind {
            Kind::Pool => {
                power(self.align)
                    && power(self.boundary)
                    && self.align <= PAGE_SIZE
                    && (self.boundary == 0
                        || self.boundary as u64 >= self.size && self.boundary >= self.align)
            }
            _ => self.align == 0 && self.boundary == 0,
        };
        if !block_is_good {
            return Err(Failure::Invalid(Invalid::Block));
        }
        if !self.kind.has_owner() && self.direction != Direction::Bidirectional {
            return Err(Failure::Invalid(Invalid::Direction));
        }
        isize::try_from(self.size)
            .map(|size| size as usize)
            .map_err(|_| Failure::TooBig(self.size))
    }

    /// Whether the machine can give it.
    ///
    /// # Errors
    ///
    /// - [`Failure::Invalid`], [`Failure::TooBig`];
    /// - [`Failure::Refused`], [`Failure::MappingRefused`].
    pub(crate) fn check(&self, machine: &Machine) -> Result<Checked, Failure> {
        let size = self.check_fields()?;
        let policy = self
            .policy
            .unwrap_or_else(|| machine.default_policy(self.kind));
        machine
            .memory_type(self.kind, policy)
            .map_err(|refusal| Failure::Refused(policy, self.kind, refusal))?;
        let refused = match self.mapping {
            Mapping::Pfnmap => None,
            _ if self.kind == Kind::Pool => Some(MappingRefusal::Unmappable),
            Mapping::Strict => (!self.kind.has_owner()).then_some(MappingRefusal::NoOwner),
            Mapping::Refcounted => {
                let ordinary = self.kind.has_owner() || self.kind == Kind::Pages;
                if machine.caches == Caches::Vivt {
                    Some(MappingRefusal::Aliases)
                } else if !ordinary || policy != Policy::Writeback {
                    Some(MappingRefusal::NotOrdinary)
                } else {
                    None
                }
            }
        };
        if let Some(refusal) = refused {
            return Err(Failure::MappingRefused(self.mapping, self.kind, refusal));
        }
        Ok(Checked {
            size,
            kind: self.kind,
            policy,
            mapping: self.mapping,
            direction: self.direction,
            align: self.align,
            boundary: self.boundary,
        })
    }
}

/// What a buffer shall be, and can be on this machine, if there is memory.
///
/// # Invariants
///
/// [`Spec::check`] found it good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) size: usize,
    pub(crate) kind: Kind,
    pub(crate) policy: Policy,
    pub(crate) mapping: Mapping,
    pub(crate) direction: Direction,
    pub(crate) align: usize,
    pub(crate) boundary: usize,
}

#[kunit_tests(shmbuf_spec)]
mod tests {
    use super::*;
    use crate::cache::tests::{
        ARMV5,
        ARMV7, //
    };

    const PAGES: Spec = Spec {
        size: PAGE_SIZE as u64,
        kind: Kind::Pages,
        policy: None,
        mapping: Mapping::Pfnmap,
        direction: Direction::Bidirectional,
        align: 0,
        boundary: 0,
    };
    const POOL: Spec = Spec {
        size: 100,
        kind: Kind::Pool,
        ..PAGES
    };

    fn errno(spec: Spec, machine: &Machine) -> Option<Error> {
        spec.check(machine).err().map(Error::from)
    }

    #[test]
    fn names_and_numbers_are_one_to_one() {
        for mapping in Mapping::ALL {
            assert_eq!(Mapping::from_name(mapping.name().as_bytes()), Some(mapping));
            assert_eq!(Mapping::try_from(mapping.to_uapi()), Ok(mapping));
        }
        for direction in Direction::ALL {
            let name = direction.name().as_bytes();
            assert_eq!(Direction::from_name(name), Some(direction));
            assert_eq!(Direction::try_from(direction.to_uapi()), Ok(direction));
        }
        assert_eq!(Mapping::try_from(3), Err(EINVAL));
        assert_eq!(Direction::try_from(3), Err(EINVAL));
    }

    #[test]
    fn sizes() {
        let page = PAGE_SIZE as u64;
        for (size, errno_of_pages, errno_of_pool) in [
            (0, Some(EINVAL), Some(EINVAL)),
            (1, Some(EINVAL), None),
            (page - 1, Some(EINVAL), None),
            (page, None, Some(EINVAL)),
            (page + 1, Some(EINVAL), Some(EINVAL)),
            (u64::MAX, Some(EINVAL), Some(EINVAL)),
            (u64::MAX - page + 1, Some(EFBIG), Some(EINVAL)),
        ] {
            assert_eq!(errno(Spec { size, ..PAGES }, &ARMV7), errno_of_pages);
            assert_eq!(errno(Spec { size, ..POOL }, &ARMV7), errno_of_pool);
        }
        // What does not fit is not cut.
        let size = (1 << 32) + page;
        let expected = (usize::BITS == 32).then_some(EFBIG);
        assert_eq!(errno(Spec { size, ..PAGES }, &ARMV7), expected);
    }

    #[test]
    fn blocks() {
        for (align, boundary, good) in [
            (0, 0, true),
            (64, 0, true),
            (PAGE_SIZE, 0, true),
            (2 * PAGE_SIZE, 0, false),
            (63, 0, false),
            (0, 128, true),
            (0, 64, false),
            (0, 129, false),
            (256, 128, false),
            (256, 256, true),
        ] {
            let spec = Spec {
                align,
                boundary,
                ..POOL
            };
            assert_eq!(spec.check(&ARMV7).is_ok(), good);
            let spec = Spec {
                align,
                boundary,
                ..PAGES
            };
            assert_eq!(spec.check(&ARMV7).is_ok(), align == 0 && boundary == 0);
        }
    }

    #[test]
    fn directions() {
        for kind in Kind::ALL {
            let spec = Spec {
                kind,
                size: if kind == Kind::Pool { 1 } else { PAGES.size },
                direction: Direction::ToDevice,
                ..PAGES
            };
            assert_eq!(spec.check(&ARMV7).is_ok(), kind.has_owner());
        }
    }

    #[test]
    fn mappings() {
        for (kind, mapping, on_armv7, on_armv5) in [
            (
                Kind::Pages,
                Mapping::Strict,
                Some(EOPNOTSUPP),
                Some(EOPNOTSUPP),
            ),
            (Kind::Pages, Mapping::Refcounted, None, Some(EOPNOTSUPP)),
            (
                Kind::Coherent,
                Mapping::Strict,
                Some(EOPNOTSUPP),
                Some(EOPNOTSUPP),
            ),
            (
                Kind::Coherent,
                Mapping::Refcounted,
                Some(EOPNOTSUPP),
                Some(EOPNOTSUPP),
            ),
            (Kind::Streaming, Mapping::Strict, None, None),
            (Kind::Streaming, Mapping::Refcounted, None, Some(EOPNOTSUPP)),
            (Kind::Scatter, Mapping::Strict, None, None),
            (Kind::Scatter, Mapping::Refcounted, None, Some(EOPNOTSUPP)),
        ] {
            let spec = Spec {
                kind,
                mapping,
                ..PAGES
            };
            assert_eq!(errno(spec, &ARMV7), on_armv7);
            assert_eq!(errno(spec, &ARMV5), on_armv5);
        }
        let uncached = Spec {
            policy: Some(Policy::Writecombine),
            mapping: Mapping::Refcounted,
            ..PAGES
        };
        assert_eq!(errno(uncached, &ARMV7), Some(EOPNOTSUPP));
        let pool = Spec {
            mapping: Mapping::Strict,
            ..POOL
        };
        assert_eq!(errno(pool, &ARMV7), Some(EOPNOTSUPP));
    }
}
