// SPDX-License-Identifier: MIT OR Apache-2.0
//! What INFO tells of a buffer.

use std::ffi::c_char;

use crate::{abi, Direction, Error, Kind, MappingKind, Owner, Policies, Policy, Result};

/// An address for one device, and for no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DmaAddress {
    /// The device's name.
    pub device: String,
    /// The address of the buffer's first byte for that device; of scattered
    /// memory, that of the first page only.
    pub address: u64,
}

/// What a buffer is, and what is in force for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Where the memory comes from.
    pub kind: Kind,
    /// The policy as asked for and in force. Of [`Kind::Imported`] it says nothing: see
    /// [`Info::known_policy`].
    pub policy: Policy,
    /// The policies that [`Buffer::set_cache`](crate::Buffer::set_cache) takes
    /// on this buffer and machine.
    pub policies: Policies,
    /// The buffer's size in bytes.
    pub size: u64,
    /// The CPU's bus address of the first byte (of scattered memory: of the
    /// first page only); privileged callers get it.
    pub phys_addr: Option<u64>,
    /// A device's address of the first byte; privileged callers get it, if
    /// the kind has one.
    pub dma_addr: Option<DmaAddress>,
    /// Whether a cacheable kernel alias of non-cached memory exists.
    pub aliased: bool,
    /// Whether the device that `dma_addr` is for snoops the CPU's caches.
    pub snoops: bool,
    /// Who may touch the contents now.
    pub owner: Owner,
    /// Bytes of a cache line; SYNC takes multiples of it.
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
    /// uses, once that has asked for one, if there is one.
    pub engine: Option<String>,
}

impl Info {
    /// The policy in force; none for [`Kind::Imported`], whose exporter alone knows how its memory is
    /// cached.
    pub fn known_policy(&self) -> Option<Policy> {
        (self.kind != Kind::Imported).then_some(self.policy)
    }

    /// Whether the CPU and a device own the buffer by turns, whoever else imports it: by its kind, or
    /// because it is device memory that is cached.
    pub fn has_owner(&self) -> bool {
        self.kind.has_owner() || self.kind == Kind::Region && self.policy == Policy::WriteBack
    }
}

impl TryFrom<&abi::shmbuf_info> for Info {
    type Error = Error;

    fn try_from(raw: &abi::shmbuf_info) -> Result<Self> {
        let flag = |bit| raw.flags & bit != 0;
        Ok(Self {
            kind: raw.kind.try_into()?,
            policy: raw.policy.try_into()?,
            policies: Policies::from_bits(raw.policies),
            size: raw.size,
            phys_addr: flag(abi::SHMBUF_INFO_PHYS_ADDR).then_some(raw.phys_addr),
            dma_addr: flag(abi::SHMBUF_INFO_DMA_ADDR).then(|| DmaAddress {
                device: text(&raw.dma_device),
                address: raw.dma_addr,
            }),
            aliased: flag(abi::SHMBUF_INFO_ALIASED),
            snoops: flag(abi::SHMBUF_INFO_SNOOPS),
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
        .flat_map(|char| char.to_ne_bytes()) // signed or not, by architecture
        .take_while(|byte| *byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_regions_and_what_is_imported_have_an_owner() {
        for (kind, policy, expected) in [
            (abi::SHMBUF_KIND_PAGES, abi::SHMBUF_POLICY_WRITEBACK, false),
            (
                abi::SHMBUF_KIND_STREAMING,
                abi::SHMBUF_POLICY_WRITEBACK,
                true,
            ),
            (abi::SHMBUF_KIND_REGION, abi::SHMBUF_POLICY_NONCACHED, false),
            (abi::SHMBUF_KIND_REGION, abi::SHMBUF_POLICY_WRITEBACK, true),
            (abi::SHMBUF_KIND_IMPORTED, 0, true),
        ] {
            let raw = abi::shmbuf_info {
                kind,
                policy,
                ..Default::default()
            };
            assert_eq!(Info::try_from(&raw).unwrap().has_owner(), expected);
        }
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

        assert_eq!(info.known_policy(), Some(Policy::WriteBack));
        raw.kind = abi::SHMBUF_KIND_IMPORTED;
        assert_eq!(Info::try_from(&raw).unwrap().known_policy(), None);

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
