// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which stores may not be in memory yet, and in which order they arrive there.
//!
//! A barrier (DMB) empties nothing: what was stored before it arrives before what is
//! stored after it. So there are two kinds of stores in the buffers. The latest arrive in any
//! order. All others arrive before those, and a device that has seen one of the latest has them.
//!
//! Without a barrier a device that goes by a word which it finds in memory, as the ownership
//! bit of a descriptor, may find the others as they were. So if it reads only one of the latest
//! words, that is taken for the word by which it goes.

use std::collections::HashSet;

use crate::byte_states::Order;
use crate::cache_contents::ByteEvent;
use crate::caches::Caches;
use crate::cores::{Outer, WORD};
use crate::events::PhysicalRange;
use crate::line_bytes::{mask, parts, LineBytes};
use crate::small_key_hash::SmallKeyHash;

/// Numbers of lines.
type Lines = HashSet<u32, SmallKeyHash>;

/// Lines with buffered stores.
#[derive(Debug, Default)]
pub struct StoreBuffers {
    // In the core's write buffer.
    core: Lines,
    // In the outer cache's buffers.
    outer: Lines,
    // With some of the latest.
    latest: Lines,
    // A barrier came after the latest.
    barrier: bool,
    // Since the buffers were empty a barrier came between two stores.
    followed: bool,
}

impl StoreBuffers {
    /// Whether there is something that a barrier would make a difference to.
    #[inline]
    pub fn is_barrier_due(&self) -> bool {
        !self.barrier && !self.latest.is_empty()
    }

    /// Whether a barrier came after the latest stores.
    #[inline]
    pub fn is_barrier_last(&self) -> bool {
        self.barrier
    }

    /// A barrier.
    pub fn barrier(&mut self) {
        self.barrier = !self.latest.is_empty();
    }

    fn emptied(&mut self) {
        self.latest.clear();
        self.barrier = false;
        self.followed = false;
    }

    /// Bytes that all lists take.
    pub fn size(&self) -> usize {
        (self.core.capacity() + self.outer.capacity() + self.latest.capacity())
            * (size_of::<u32>() + 1)
    }
}

impl<B: LineBytes> Caches<B> {
    /// A store to this line goes to the core's write buffer.
    pub(crate) fn buffer_store(&mut self, pa: u32) {
        if std::mem::take(&mut self.buffers.barrier) {
            self.buffers.followed = true;
            for line in std::mem::take(&mut self.buffers.latest) {
                self.step_line(line * B::LINE, None, ByteEvent::Followed);
                self.page(line * B::LINE).stored = true;
            }
        }
        self.buffers.core.insert(pa / B::LINE);
        self.buffers.latest.insert(pa / B::LINE);
    }

    /// The core's write buffer is drained.
    pub(crate) fn drain(&mut self) {
        let others = self.core.outer == Outer::Pl310;
        for line in std::mem::take(&mut self.buffers.core) {
            self.step_line(line * B::LINE, None, ByteEvent::Drain);
            if others {
                self.buffers.outer.insert(line);
            } else {
                self.page(line * B::LINE).stored = true;
            }
        }
        if others {
            self.buffers.barrier();
        } else {
            self.buffers.emptied();
        }
    }

    /// The outer cache's buffers are drained.
    pub(crate) fn outer_sync(&mut self) {
        for line in std::mem::take(&mut self.buffers.outer) {
            self.step_line(line * B::LINE, None, ByteEvent::OuterSync);
            self.page(line * B::LINE).stored = true;
        }
        if self.buffers.core.is_empty() {
            self.buffers.emptied();
        }
    }

    /// Whether a device that reads this finds one word at most that was stored since
    /// the last barrier, and others that were there before.
    pub(crate) fn one_word_is_last(&mut self, range: PhysicalRange) -> bool {
        let alone = range.len <= WORD;
        let mut pages = self.pages(range).into_iter();
        let before = !alone && pages.any(|pa| self.page(pa).stored);
        if !before && !self.buffers.followed {
            return false;
        }
        // Of a word by itself nobody knows what else the device goes by.
        let parts: Vec<_> = if alone {
            let all = self.buffers.latest.iter();
            all.map(|line| (line * B::LINE, B::LINE)).collect()
        } else {
            parts::<B>(range.pa, range.len)
                .filter(|(pa, _)| self.buffers.latest.contains(&(pa / B::LINE)))
                .collect()
        };
        let mut words = 0;
        for (pa, len) in parts {
            let bytes = mask::<B>(pa, len) & self.latest_bytes(pa);
            words += (0..B::LINE / WORD)
                .filter(|word| bytes & mask::<B>(word * WORD, WORD) != 0)
                .count();
            if words > 1 {
                return false;
            }
        }
        true
    }

    /// Bytes of a line that were stored since the last barrier.
    fn latest_bytes(&mut self, pa: u32) -> u64 {
        self.edit(pa, |line, states| {
            let classes = line.classes.iter();
            classes
                .filter(|class| states.get(class.state).buffered.order() == Some(Order::Latest))
                .fold(0, |bytes, class| bytes | class.bytes)
        })
    }
}
