// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a private buffer is to be.

use crate::{abi, Direction, Kind, MappingKind, Policy};

/// A private buffer to be made by [`Buffer::alloc`](crate::Buffer::alloc).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alloc {
    /// Bytes: a multiple of the page size, for the kind pool less than a page.
    pub size: u64,
    /// Where the memory comes from; any kind but region.
    pub kind: Kind,
    /// The cache policy, or the one that suits the kind.
    pub policy: Option<Policy>,
    /// How mappings are made; strict for the kinds streaming and scatter alone.
    pub mapping: MappingKind,
    /// What devices do with the buffer; for the kinds streaming and scatter alone.
    pub direction: Direction,
    /// A buffer of kind pool begins at a multiple of this power of two in bytes,
    /// at most a page; zero for any, and for other kinds.
    pub align: u32,
    /// A buffer of kind pool crosses no multiple of this power of two in bytes,
    /// at least the size; zero for none, and for other kinds.
    pub boundary: u32,
}

impl Alloc {
    /// A buffer of a size in bytes, with the policy that suits the kind.
    pub fn new(size: u64, kind: Kind) -> Self {
        Self {
            size,
            kind,
            policy: None,
            mapping: MappingKind::Pfnmap,
            direction: Direction::Bidirectional,
            align: 0,
            boundary: 0,
        }
    }

    pub(crate) fn raw(&self) -> abi::shmbuf_alloc {
        abi::shmbuf_alloc {
            size: self.size,
            kind: self.kind.raw(),
            policy: self.policy.map_or(abi::SHMBUF_POLICY_DEFAULT, Policy::raw),
            mapping: self.mapping.raw(),
            direction: self.direction.raw(),
            align: self.align,
            boundary: self.boundary,
            flags: 0,
            reserved: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_policy_is_the_default_and_not_the_first() {
        let alloc = Alloc::new(4096, Kind::Scatter);
        assert_eq!(alloc.raw().policy, u32::MAX);
        let alloc = Alloc {
            policy: Some(Policy::WriteBack),
            ..alloc
        };
        assert_eq!(alloc.raw().policy, 0);
    }
}
