// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fast path: loads and stores that change nothing but who wrote last.
//! Nearly all are, and each must cost a few nanoseconds.

use crate::caches::{group, Caches};
use crate::events::{Access, MemoryType};
use crate::line::{party, DEVICE};
use crate::line_bytes::{mask, LineBytes};
use crate::line_records::index;
use crate::line_storage::chunk_in_page;
use crate::packed_line::{FastPath, Packed, FETCHED};

#[inline(always)]
fn crosses<B: LineBytes>(access: &Access) -> bool {
    access.len > B::LINE - access.pa % B::LINE
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
    fn entry<B: LineBytes>(&self, access: &Access) -> (u64, u64) {
        let (va, pa) = (
            u64::from(access.va / B::LINE),
            u64::from(access.pa / B::LINE),
        );
        ((va << 32) | (pa << 3) | access.memory as u64, self.now)
    }

    #[inline(always)]
    fn place<B: LineBytes>(access: &Access) -> usize {
        (access.va / B::LINE) as usize % Self::LINES
    }

    #[inline(always)]
    fn has<B: LineBytes>(&self, access: &Access) -> bool {
        self.lines[Self::place::<B>(access)] == self.entry::<B>(access)
    }

    #[inline(always)]
    fn add<B: LineBytes>(&mut self, access: &Access) {
        self.lines[Self::place::<B>(access)] = self.entry::<B>(access);
    }
}

impl<B: LineBytes> Caches<B> {
    /// The line of an access that may take the fast path, with which accesses to
    /// it may. Such accesses change nothing but who wrote last.
    #[inline]
    fn fast_path_line(&mut self, access: &Access) -> Option<(&mut Packed<B>, u16)> {
        let page = self.storage.page_mut(access.pa)?;
        let other_page = (page.fast_path_va ^ (access.va >> 12)) & self.virtual_bits;
        if (page.fast_path >> group(access.memory)) & 1 == 0 || other_page != 0 {
            return None;
        }
        let fills = page.fill.this_core != 0;
        let chunk = page.chunks[chunk_in_page::<B>(access.pa)].as_mut()?;
        if chunk.epoch != self.log.epoch() {
            return None;
        }
        let line = &mut chunk.lines[index::<B>(access.pa)];
        let other_copy = (line.key() ^ (access.va >> 12)) & self.key_bits;
        if access.memory == MemoryType::WriteBack && other_copy != 0 {
            return None;
        }
        let allowed = self.packing.fast_path(line, fills);
        Some((line, allowed))
    }

    #[inline]
    pub(crate) fn load_on_fast_path(&mut self, access: &Access) -> bool {
        if crosses::<B>(access) {
            return false;
        }
        if self.recent.has::<B>(access) {
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
            self.recent.add::<B>(access);
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
        if crosses::<B>(access) {
            return false;
        }
        if second == FastPath::BUFFERED_STORE && self.buffers.is_barrier_last() {
            return false;
        }
        let key_bits = self.key_bits;
        let Some((line, allowed)) = self.fast_path_line(access) else {
            return false;
        };
        let bytes = mask::<B>(access.pa, access.len);
        let enough = if bytes & !line.mask.bits() == 0 {
            second
        } else {
            any
        };
        if allowed & enough == 0
            || line.writer & FETCHED != 0
            || line.party() == DEVICE
            || !line.set_writer(party(access.site), access.va >> 12, key_bits)
        {
            return false;
        }
        line.mask = B::of(line.mask.bits() | bytes);
        true
    }
}
