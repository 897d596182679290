// SPDX-License-Identifier: MIT OR Apache-2.0
//! VIVT: which physical pages may have lines under a virtual page. A line is
//! found by its virtual address even when that maps something else by now
//! (ARM926EJ-S TRM, ARM DDI 0198E, 4.1: virtual index, virtual tag).

use std::collections::HashMap;

use crate::small_key_hash::SmallKeyHash;

/// Physical pages under one virtual page at once. With more, the oldest is
/// taken as gone from the cache.
const AT_ONCE: usize = 4;

/// Physical pages by virtual page number.
#[derive(Debug, Default)]
pub struct VirtualLines {
    pages: HashMap<u32, Under, SmallKeyHash>,
}

#[derive(Debug, Default)]
struct Under {
    // When the cache was emptied last before these.
    epoch: u32,
    pages: Vec<u32>,
}

impl VirtualLines {
    /// Physical page `page` is reached through `va_page`. Returns the others
    /// that were since `epoch`.
    pub fn reach(&mut self, va_page: u32, page: u32, epoch: u32) -> Vec<u32> {
        let under = self.pages.entry(va_page).or_default();
        if under.epoch != epoch {
            under.pages.clear();
            under.epoch = epoch;
        }
        let others = under.pages.iter().copied().filter(|&p| p != page).collect();
        if !under.pages.contains(&page) {
            if under.pages.len() == AT_ONCE {
                under.pages.remove(0);
            }
            under.pages.push(page);
        }
        others
    }

    /// Physical pages reached through `va_page` since `epoch`.
    pub fn under(&self, va_page: u32, epoch: u32) -> &[u32] {
        match self.pages.get(&va_page) {
            Some(under) if under.epoch == epoch => &under.pages,
            _ => &[],
        }
    }

    /// Bytes that the records of virtual pages take.
    pub fn size(&self) -> usize {
        self.pages.capacity() * (size_of::<(u32, Under)>() + 1)
            + self
                .pages
                .values()
                .map(|u| u.pages.capacity() * 4)
                .sum::<usize>()
    }
}
