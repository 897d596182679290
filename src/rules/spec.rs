// SPDX-License-Identifier: GPL-2.0

//! What a buffer shall be, and whether that can be.

use super::{
    direction::Direction,
    failure::{
        Failure,
        Invalid,
        MappingRefusal, //
    },
    kind::Kind,
    machine::{
        Caches,
        Machine, //
    },
    mapping::Mapping,
    policy::Policy, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

/// What a buffer shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    /// The size in bytes.
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
                return Err(Failure::Invalid(Invalid::PoolSize(self.size)))
            }
            Kind::Pool => {}
            _ if self.size == 0 || self.size % page != 0 => {
                return Err(Failure::Invalid(Invalid::Size(self.size)))
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
            return Err(Failure::Invalid(Invalid::Block {
                kind: self.kind,
                align: self.align,
                boundary: self.boundary,
            }));
        }
        if !self.kind.is_streamed() && self.direction != Direction::Bidirectional {
            let direction = Invalid::Direction(self.direction, self.kind);
            return Err(Failure::Invalid(direction));
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
            Mapping::Strict => (!self.kind.has_owner(policy)).then_some(MappingRefusal::NoOwner),
            Mapping::Refcounted => {
                let ordinary = self.kind.is_streamed() || self.kind == Kind::Pages;
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
    /// The size in bytes.
    pub(crate) size: usize,
    /// Where its memory comes from.
    pub(crate) kind: Kind,
    /// Its cache policy.
    pub(crate) policy: Policy,
    /// How it is mapped.
    pub(crate) mapping: Mapping,
    /// What devices do with it.
    pub(crate) direction: Direction,
    /// Kind pool: a power of two that its address is a multiple of; zero for any.
    pub(crate) align: usize,
    /// Kind pool: a power of two of which it crosses no multiple; zero for none.
    pub(crate) boundary: usize,
}

#[kunit_tests(shmbuf_spec)]
mod tests {
    use super::*;
    use crate::{
        rules::machine::{
            tests::{
                ARMV5,
                ARMV7, //
            },
            Contents, //
        },
        sys::errno::EOPNOTSUPP, //
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
            assert_eq!(spec.check(&ARMV7).is_ok(), kind.is_streamed());
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
        for (policy, mapping, expected) in [
            (Policy::Writeback, Mapping::Pfnmap, None),
            (Policy::Writeback, Mapping::Strict, None),
            (Policy::Writeback, Mapping::Refcounted, Some(EOPNOTSUPP)),
            (Policy::Noncached, Mapping::Strict, Some(EOPNOTSUPP)),
        ] {
            let region = Spec {
                kind: Kind::Region,
                policy: Some(policy),
                mapping,
                ..PAGES
            };
            for machine in [ARMV5, ARMV7] {
                let machine = Machine {
                    contents: Contents::Memory,
                    ..machine
                };
                assert_eq!(errno(region, &machine), expected);
            }
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
