// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ABI's numbers and structures as Rust types.

use std::{ffi::c_char, fmt, str::FromStr};

use crate::{abi, Error, Result};

/// A name that is none of those which a type has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such {what}: it is one of {names}")]
pub struct ParseNameError {
    what: &'static str,
    names: String,
}

/// An enum of the ABI: numbers, and the names that module parameters have.
macro_rules! abi_enum {
    ($(#[$doc:meta])* $type:ident, $what:literal {
        $($(#[$vdoc:meta])* $variant:ident = $raw:ident $name:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type {
            $($(#[$vdoc])* $variant,)*
        }

        impl $type {
            /// All of them, in the order of the header.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name, as in module parameters.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The number in the header.
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
                    .find(|v| v.raw() == raw)
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
                Self::ALL.iter().copied().find(|v| v.name() == name).ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|v| v.name()).collect();
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
        /// Single write-back pages mapped for DMA by a scatter-gather table.
        Scatter = SHMBUF_KIND_SCATTER "scatter",
        /// Coherent DMA memory of less than a page; it cannot be mapped.
        Pool = SHMBUF_KIND_POOL "pool",
        /// Device memory that a device-tree node names.
        Region = SHMBUF_KIND_REGION "region",
    }
}

impl Kind {
    /// Whether the CPU and the device own it by turns.
    pub fn has_owner(self) -> bool {
        matches!(self, Self::Streaming | Self::Scatter)
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
        /// At once, by page frame number.
        Pfnmap = SHMBUF_MAPPING_PFNMAP "pfnmap",
        /// By fault, and withdrawn while the device owns the buffer: a touch
        /// is SIGBUS then.
        Strict = SHMBUF_MAPPING_STRICT "strict",
        /// At once, with a reference to each page, as O_DIRECT, io_uring and
        /// vmsplice(2) need it.
        Refcounted = SHMBUF_MAPPING_REFCOUNTED "refcounted",
    }
}

abi_enum! {
    /// What devices do with a buffer.
    Direction, "direction" {
        /// They read and write it.
        Bidirectional = SHMBUF_DIRECTION_BIDIRECTIONAL "bidirectional",
        /// They read what the CPU wrote.
        ToDevice = SHMBUF_DIRECTION_TO_DEVICE "to-device",
        /// They write what the CPU reads.
        FromDevice = SHMBUF_DIRECTION_FROM_DEVICE "from-device",
    }
}

abi_enum! {
    /// Who may touch the contents now.
    Owner, "owner" {
        /// Programs and the kernel.
        Cpu = SHMBUF_OWNER_CPU "cpu",
        /// A device.
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

    /// Whether the policy is one of them.
    pub fn contains(self, policy: Policy) -> bool {
        self.0 & (1 << policy.raw()) != 0
    }

    /// Those of them that this crate knows.
    pub fn iter(self) -> impl Iterator<Item = Policy> {
        Policy::ALL
            .iter()
            .copied()
            .filter(move |p| self.contains(*p))
    }
}

impl FromIterator<Policy> for Policies {
    fn from_iter<I: IntoIterator<Item = Policy>>(policies: I) -> Self {
        Self(
            policies
                .into_iter()
                .fold(0, |bits, p| bits | (1 << p.raw())),
        )
    }
}

impl fmt::Display for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Policy::name).collect();
        f.pad(&names.join(" "))
    }
}

/// An address for one device, and for no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DmaAddress {
    /// The device's name.
    pub device: String,
    /// The address of the buffer's first byte for that device; of scattered
    /// memory, that of the first page only.
    pub address: u64,
}

/// What a buffer is, and what is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Where the memory comes from.
    pub kind: Kind,
    /// The policy as asked for and in force.
    pub policy: Policy,
    /// The policies that [`Buffer::set_cache`](crate::Buffer::set_cache) takes
    /// on this buffer and machine.
    pub policies: Policies,
    /// Bytes.
    pub size: u64,
    /// The CPU's bus address of the first byte (of scattered memory: of the
    /// first page only); privileged callers get it.
    pub phys_addr: Option<u64>,
    /// A device's address of the first byte; privileged callers get it, if
    /// the kind has one.
    pub dma_addr: Option<DmaAddress>,
    /// Whether a cacheable kernel alias of non-cached memory exists.
    pub aliased: bool,
    /// Who may touch the contents now.
    pub owner: Owner,
    /// Bytes; SYNC takes multiples of it.
    pub cache_line: u32,
    /// Mappings that exist now, in all processes.
    pub mappings: u32,
    /// The memory type in force, in the architecture's words.
    pub memory_type: String,
    /// How mappings are made.
    pub mapping: MappingKind,
    /// What devices do with the buffer.
    pub direction: Direction,
    /// Dma-bufs of the buffer that exist now.
    pub exports: u32,
    /// Bytes of each access to the device, for the kind region; else 1.
    pub access_width: u32,
    /// NAME of its node /dev/shmbuf-NAME; /dev/shmbuf and private buffers have
    /// none.
    pub name: Option<String>,
    /// The DMA engine that [`Buffer::copy_from`](crate::Buffer::copy_from)
    /// uses, if there is one.
    pub engine: Option<String>,
}

impl TryFrom<&abi::shmbuf_info> for Info {
    type Error = Error;

    fn try_from(raw: &abi::shmbuf_info) -> Result<Self> {
        let flag = |bit| raw.flags & bit != 0;
        Ok(Self {
            kind: raw.kind.try_into()?,
            policy: raw.policy.try_into()?,
            policies: Policies(raw.policies),
            size: raw.size,
            phys_addr: flag(abi::SHMBUF_INFO_PHYS_ADDR).then_some(raw.phys_addr),
            dma_addr: flag(abi::SHMBUF_INFO_DMA_ADDR).then(|| DmaAddress {
                device: text(&raw.dma_device),
                address: raw.dma_addr,
            }),
            aliased: flag(abi::SHMBUF_INFO_ALIASED),
            owner: raw.owner.try_into()?,
            cache_line: raw.cache_line,
            mappings: raw.mappings,
            memory_type: text(&raw.memory_type),
            mapping: raw.mapping.try_into()?,
            direction: raw.direction.try_into()?,
            exports: raw.exports,
            access_width: raw.access_width,
            name: Some(text(&raw.name)).filter(|name| !name.is_empty()),
            engine: Some(text(&raw.engine)).filter(|name| !name.is_empty()),
        })
    }
}

fn text(chars: &[c_char]) -> String {
    let bytes: Vec<u8> = chars
        .iter()
        .flat_map(|c| c.to_ne_bytes()) // signed or not, by architecture
        .take_while(|b| *b != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What the CPU does between the begin and the end of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It reads.
    Read,
    /// It writes.
    Write,
    /// It reads and writes.
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
    /// Reads.
    Read,
    /// Reads and writes.
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

    #[test]
    fn info_shows_addresses_and_names_only_when_given() {
        let mut raw = abi::shmbuf_info {
            kind: abi::SHMBUF_KIND_STREAMING,
            phys_addr: 0x6000_0000,
            ..Default::default()
        };
        raw.memory_type[..6].copy_from_slice(&b"Normal".map(|b| c_char::from_ne_bytes([b])));
        let info = Info::try_from(&raw).unwrap();
        assert_eq!(info.kind, Kind::Streaming);
        assert_eq!(info.memory_type, "Normal");
        assert_eq!((info.phys_addr, &info.dma_addr), (None, &None));
        assert_eq!(info.name, None);

        raw.flags = abi::SHMBUF_INFO_PHYS_ADDR;
        assert_eq!(Info::try_from(&raw).unwrap().phys_addr, Some(0x6000_0000));

        raw.name[..5].copy_from_slice(&b"frame".map(|b| c_char::from_ne_bytes([b])));
        let info = Info::try_from(&raw).unwrap();
        assert_eq!(info.name.as_deref(), Some("frame"));

        raw.kind = 99;
        assert!(matches!(
            Info::try_from(&raw),
            Err(Error::Newer {
                what: "kind",
                value: 99
            })
        ));
    }
}
