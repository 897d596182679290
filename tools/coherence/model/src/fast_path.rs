// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fast path: loads and stores that change nothing but who wrote last.
//! Nearly all are, and each must cost a few nanoseconds.

use crate::cores::LINE;
use crate::events::{Access, MemoryType};
use crate::line::{party, DEVICE};
use crate::line_records::{index, mask};
use crate::line_storage::CHUNK_BYTES;
use crate::model::{group, Model};
use crate::packed_line::{FastPath, Packed};

#[inline(always)]
fn crosses(access: &Access) -> bool {
    access.len > LINE - access.pa % LINE
}

/// Lines whose loads took the fast path, since something happened that did not. Of
/// the loads in a loop nearly all are to these.
#[derive(Debug)]
pub struct Recent {
    lines: Box<[(u64, u64); Self::LINES]>,
    now: u64,
}

impl Recent {
    const LINES: usize = 256;

    /// No line yet.
    pub fn new() -> Self {
        Self {
            lines: Box::new([(0, 0); Self::LINES]),
            now: 1,
        }
    }

    /// Something happened that may make a difference to loads.
    #[inline]
    pub fn clear(&mut self) {
        self.now += 1;
    }

    /// Bytes that the list of lines takes.
    pub fn size(&self) -> usize {
        size_of_val(&*self.lines)
    }

    /// All that matters of an access, and the time.
    #[inline(always)]
    fn entry(&self, access: &Access) -> (u64, u64) {
        let (va, pa) = (u64::from(access.va / LINE), u64::from(access.pa / LINE));
        ((va << 32) | (pa << 3) | access.memory as u64, self.now)
    }

    #[inline(always)]
    fn place(access: &Access) -> usize {
        (access.va / LINE) as usize % Self::LINES
    }

    #[inline(always)]
    fn has(&self, access: &Access) -> bool {
        self.lines[Self::place(access)] == self.entry(access)
    }

    #[inline(always)]
    fn add(&mut self, access: &Access) {
        self.lines[Self::place(access)] = self.entry(access);
    }
}

impl Model {
    /// The line of an access that may take the fast path, with which accesses to
    /// it may. Such accesses change nothing but who wrote last.
    #[inline]
    fn fast_path_line(&mut self, access: &Access) -> Option<(&mut Packed, u16)> {
        let page = self.storage.page_mut(access.pa)?;
        let other_page = (page.fast_path_va ^ (access.va >> 12)) & self.virtual_bits;
        if (page.fast_path >> group(access.memory)) & 1 == 0 || other_page != 0 {
            return None;
        }
        let fills = page.fill.this_core != 0;
        let chunk = page.chunks[(access.pa / CHUNK_BYTES % 4) as usize].as_mut()?;
        if chunk.epoch != self.log.epoch() {
            return None;
        }
        let line = &mut chunk.lines[index(access.pa)];
        let other_copy = (line.key() ^ (access.va >> 12)) & self.key_bits;
        if access.memory == MemoryType::WriteBack && other_copy != 0 {
            return None;
        }
        let allowed = self.packing.fast_path(line, fills);
        Some((line, allowed))
    }

    #[inline]
    pub(crate) fn load_on_fast_path(&mut self, access: &Access) -> bool {
        if crosses(access) {
            return false;
        }
        if self.recent.has(access) {
            return true;
        }
        let enough = match access.memory {
            MemoryType::WriteBack => FastPath::LOAD,
            MemoryType::WriteThrough => return false,
            _ => FastPath::MEMORY_LOAD,
        };
        let taken = self
            .fast_path_line(access)
            .is_some_and(|(_, allowed)| allowed & enough != 0);
        if taken {
            self.recent.add(access);
        }
        taken
    }

    #[inline]
    pub(crate) fn store_on_fast_path(&mut self, access: &Access) -> bool {
        let (second, any) = match access.memory {
            MemoryType::WriteBack => (FastPath::STORE, FastPath::STORE_ANY),
            MemoryType::StronglyOrdered => (FastPath::MEMORY_STORE, FastPath::MEMORY_STORE_ANY),
            MemoryType::WriteThrough => return false,
            _ => (FastPath::BUFFERED_STORE, FastPath::BUFFERED_STORE_ANY),
        };
        if crosses(access) {
            return false;
        }
        if second == FastPath::BUFFERED_STORE && self.buffers.is_barrier_last() {
            return false;
        }
        let key_bits = self.key_bits;
        let Some((line, allowed)) = self.fast_path_line(access) else {
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
