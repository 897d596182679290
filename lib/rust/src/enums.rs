// SPDX-License-Identifier: MIT OR Apache-2.0
//! The numbers of the ABI as Rust enums, which one macro makes.

use std::{fmt, str::FromStr};

use crate::{abi, Error, Result};

/// A text that names no value of an enum of the ABI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such {what}: it is one of {names}")]
pub struct ParseNameError {
    what: &'static str,
    names: String,
}

/// Makes an enum of the ABI: the numbers of the header, and the names that module parameters have.
/// Later headers may have more.
macro_rules! abi_enum {
    ($(#[$doc:meta])* $type:ident, $what:literal {
        $($(#[$vdoc:meta])* $variant:ident = $raw:ident $name:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $type {
            $($(#[$vdoc])* $variant,)*
        }

        impl $type {
            /// All values, in the order of the header.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The value's name, as in module parameters.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The value's number in the header.
            pub fn raw(self) -> u32 {
                match self { $(Self::$variant => abi::$raw,)* }
            }
        }

        impl TryFrom<u32> for $type {
            type Error = Error;

            fn try_from(raw: u32) -> Result<Self> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|value| value.raw() == raw)
                    .ok_or(Error::Newer { what: $what, value: raw })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $type {
            type Err = ParseNameError;

            fn from_str(name: &str) -> std::result::Result<Self, ParseNameError> {
                Self::ALL.iter().copied().find(|value| value.name() == name).ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|value| value.name()).collect();
                    ParseNameError { what: $what, names: names.join(", ") }
                })
            }
        }
    };
}

abi_enum! {
    /// Where the memory of a buffer comes from.
    Kind, "kind" {
        /// Physically contiguous pages; no device's view.
        Pages = SHMBUF_KIND_PAGES "pages",
        /// DMA memory that needs no cache maintenance.
        Coherent = SHMBUF_KIND_COHERENT "coherent",
        /// Write-back pages mapped for DMA; SYNC hands them to and fro.
        Streaming = SHMBUF_KIND_STREAMING "streaming",
        /// Write-back pages wherever they lie, mapped for DMA by a scatter-gather table.
        Scatter = SHMBUF_KIND_SCATTER "scatter",
        /// Coherent DMA memory of less than a page; it cannot be mapped.
        Pool = SHMBUF_KIND_POOL "pool",
        /// Device memory that a device-tree node names.
        Region = SHMBUF_KIND_REGION "region",
        /// A dma-buf of another driver, which [`Buffer::import`](crate::Buffer::import) took.
        Imported = SHMBUF_KIND_IMPORTED "imported",
    }
}

impl Kind {
    /// Whether [`Buffer::alloc`](crate::Buffer::alloc) can make a buffer of this kind.
    pub fn is_allocated(self) -> bool {
        !matches!(self, Self::Region | Self::Imported)
    }

    /// Whether the CPU and the device own each buffer of this kind by turns. Some of kind region are
    /// owned by turns too: see [`Info::has_owner`](crate::Info::has_owner).
    pub fn has_owner(self) -> bool {
        matches!(self, Self::Streaming | Self::Scatter | Self::Imported)
    }
}

abi_enum! {
    /// The memory type of all CPU views of a buffer.
    Policy, "policy" {
        /// Cached; the kernel's own type for RAM.
        WriteBack = SHMBUF_POLICY_WRITEBACK "writeback",
        /// Cached for reads; writes go to memory at once.
        WriteThrough = SHMBUF_POLICY_WRITETHROUGH "writethrough",
        /// Not cached; writes may be buffered and merged.
        WriteCombine = SHMBUF_POLICY_WRITECOMBINE "writecombine",
        /// Not cached, not buffered. On ARMv6 and later strongly-ordered:
        /// only aligned accesses, which is how [`Mapping`](crate::Mapping)
        /// accesses all memory.
        NonCached = SHMBUF_POLICY_NONCACHED "noncached",
    }
}

abi_enum! {
    /// How mappings of a buffer are made.
    MappingKind, "mapping" {
        /// Made at once, by page frame number.
        Pfnmap = SHMBUF_MAPPING_PFNMAP "pfnmap",
        /// Made by fault, and withdrawn while the device owns the buffer: a
        /// touch is SIGBUS then.
        Strict = SHMBUF_MAPPING_STRICT "strict",
        /// Made at once, with a reference to each page, as O_DIRECT, io_uring
        /// and vmsplice(2) need it.
        Refcounted = SHMBUF_MAPPING_REFCOUNTED "refcounted",
    }
}

abi_enum! {
    /// What devices do with a buffer.
    Direction, "direction" {
        /// Devices read and write the buffer.
        Bidirectional = SHMBUF_DIRECTION_BIDIRECTIONAL "bidirectional",
        /// Devices read what the CPU wrote.
        ToDevice = SHMBUF_DIRECTION_TO_DEVICE "to-device",
        /// Devices write what the CPU reads.
        FromDevice = SHMBUF_DIRECTION_FROM_DEVICE "from-device",
    }
}

abi_enum! {
    /// Who may touch the contents now.
    Owner, "owner" {
        /// Programs and the kernel may.
        Cpu = SHMBUF_OWNER_CPU "cpu",
        /// A device may.
        Device = SHMBUF_OWNER_DEVICE "device",
    }
}

/// A set of policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policies(u32);

impl Policies {
    /// The set of the bits `1 << policy` of the header.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits `1 << policy` of the header.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whether a policy is in the set.
    pub fn contains(self, policy: Policy) -> bool {
        self.0 & (1 << policy.raw()) != 0
    }

    /// The policies in the set that this crate knows.
    pub fn iter(self) -> impl Iterator<Item = Policy> {
        Policy::ALL
            .iter()
            .copied()
            .filter(move |policy| self.contains(*policy))
    }
}

impl FromIterator<Policy> for Policies {
    fn from_iter<I: IntoIterator<Item = Policy>>(policies: I) -> Self {
        Self(
            policies
                .into_iter()
                .fold(0, |bits, policy| bits | (1 << policy.raw())),
        )
    }
}

impl fmt::Display for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Policy::name).collect();
        f.pad(&names.join(" "))
    }
}

/// What the CPU does between the begin and the end of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The CPU reads.
    Read,
    /// The CPU writes.
    Write,
    /// The CPU reads and writes.
    ReadWrite,
}

impl Access {
    pub(crate) fn raw(self) -> u32 {
        match self {
            Self::Read => abi::SHMBUF_SYNC_READ,
            Self::Write => abi::SHMBUF_SYNC_WRITE,
            Self::ReadWrite => abi::SHMBUF_SYNC_RW,
        }
    }
}

/// Which end of an access a SYNC is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Makes what a device wrote visible to the CPU; takes a streaming buffer
    /// back from the device.
    Begin,
    /// Makes what the CPU wrote visible to the device; hands a streaming
    /// buffer over.
    End,
}

impl Phase {
    pub(crate) fn raw(self) -> u32 {
        match self {
            Self::Begin => abi::SHMBUF_SYNC_START,
            Self::End => abi::SHMBUF_SYNC_END,
        }
    }
}

/// What a mapping or a dma-buf allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Reading alone.
    Read,
    /// Reading and writing.
    ReadWrite,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for policy in Policy::ALL {
            assert_eq!(policy.name().parse(), Ok(*policy));
            assert_eq!(Policy::try_from(policy.raw()), Ok(*policy));
        }
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(*kind));
        }
        for mapping in MappingKind::ALL {
            assert_eq!(mapping.name().parse(), Ok(*mapping));
        }
        for direction in Direction::ALL {
            assert_eq!(direction.name().parse(), Ok(*direction));
        }
        let error = "cached".parse::<Policy>().unwrap_err().to_string();
        assert_eq!(
            error,
            "no such policy: it is one of writeback, writethrough, writecombine, noncached"
        );
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        let set: Policies = [Policy::WriteBack, Policy::NonCached].into_iter().collect();
        assert_eq!(set.bits(), 0b1001);
        assert!(set.contains(Policy::NonCached) && !set.contains(Policy::WriteThrough));
        assert_eq!(set.to_string(), "writeback noncached");
    }
}
