// SPDX-License-Identifier: MIT OR Apache-2.0
//! The short way: loads and stores that change nothing but who wrote last.
//! Nearly all are, and each must cost a few nanoseconds.

use crate::api::{Access, MemoryType, LINE};
use crate::line::{party, DEVICE};
use crate::lines::{index, mask};
use crate::memory::CHUNK_BYTES;
use crate::model::{group, Model};
use crate::packing::{Packed, Quick};

impl Model {
    /// The line of an access that may go the short way, with what is quick on
    /// it. Such accesses change nothing but who wrote last.
    #[inline]
    fn quick_line(&mut self, access: &Access) -> Option<(&mut Packed, u16)> {
        if access.len > LINE - access.pa % LINE {
            return None;
        }
        let page = self.memory.page_mut(access.pa)?;
        let other_page = (page.fast_va ^ (access.va >> 12)) & self.virtual_bits;
        if (page.fast >> group(access.memory)) & 1 == 0 || other_page != 0 {
            return None;
        }
        let fills = page.fill.this != 0;
        let chunk = page.chunks[(access.pa / CHUNK_BYTES % 4) as usize].as_mut()?;
        if chunk.epoch != self.log.epoch() {
            return None;
        }
        let line = &mut chunk.lines[index(access.pa)];
        let other_copy = (line.key() ^ (access.va >> 12)) & self.key_bits;
        if access.memory == MemoryType::WriteBack && other_copy != 0 {
            return None;
        }
        let allowed = self.packing.quick(line, fills);
        Some((line, allowed))
    }

    #[inline]
    pub(crate) fn load_quickly(&mut self, access: &Access) -> bool {
        let enough = match access.memory {
            MemoryType::WriteBack => Quick::LOAD,
            MemoryType::WriteThrough => return false,
            _ => Quick::MEMORY_LOAD,
        };
        self.quick_line(access)
            .is_some_and(|(_, allowed)| allowed & enough != 0)
    }

    #[inline]
    pub(crate) fn store_quickly(&mut self, access: &Access) -> bool {
        let (second, any) = match access.memory {
            MemoryType::WriteBack => (Quick::STORE, Quick::STORE_ANY),
            MemoryType::StronglyOrdered => (Quick::MEMORY_STORE, Quick::MEMORY_STORE_ANY),
            MemoryType::WriteThrough => return false,
            _ => (Quick::BUFFERED_STORE, Quick::BUFFERED_STORE_ANY),
        };
        let key_bits = self.key_bits;
        let Some((line, allowed)) = self.quick_line(access) else {
            return false;
        };
        let bytes = mask(access.pa, access.len);
        let enough = if bytes & !line.mask == 0 { second } else { any };
        if allowed & enough == 0
            || line.writer & Packed::FETCHED != 0
            || line.party() == DEVICE
            || !line.set_writer(party(access.site), access.va >> 12, key_bits)
        {
            return false;
        }
        line.mask |= bytes;
        true
    }
}
