// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which translations are in use, which pages they make fillable, and which
//! page was used uncached.

use std::collections::HashMap;

use crate::cache_contents::COPIES;
use crate::cores::{Core, Indexing};
use crate::events::MemoryType;
use crate::line::Fillable;
use crate::packed_line::key_bits;
use crate::small_key_hash::SmallKeyHash;

/// Translations of one virtual address that are in use at once. More than there
/// are address spaces means that the oldest was replaced without maintenance.
const AT_ONCE: usize = 300;
/// Uncached translations of one page that were used.
const USES: usize = 8;

/// A translation in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveTranslation {
    /// First virtual address.
    pub va: u32,
    /// First physical address.
    pub pa: u32,
    /// Binary logarithm of the length, at least 12.
    pub shift: u32,
    /// Memory type of the translation.
    pub memory: MemoryType,
    /// Address space, or global.
    pub asid: Option<u8>,
}

impl LiveTranslation {
    /// Last physical address.
    pub fn last(&self) -> u32 {
        self.pa | ((1 << self.shift) - 1)
    }
}

/// Cacheable translations of a page or a section: for each colour, of
/// write-back and of write-through.
#[derive(Debug, Clone, Copy, Default)]
struct Cacheable([[u32; 2]; COLOURS]);

/// Colours that are told apart: as many as copies of a line.
const COLOURS: usize = COPIES;

/// By virtual address in units of their length: translations, and the number
/// that each got when it came.
type OfOneSize = HashMap<u32, Vec<(LiveTranslation, u64)>, SmallKeyHash>;

/// All translations in use.
#[derive(Debug)]
pub struct LiveTranslations {
    core: Core,
    // By the logarithm of their length.
    sizes: Vec<(u32, OfOneSize)>,
    next: u64,
    pages: HashMap<u32, Cacheable, SmallKeyHash>,
    sections: HashMap<u32, Cacheable, SmallKeyHash>,
    // By page: translations through which it was used uncached.
    uncached: HashMap<u32, Vec<Use>, SmallKeyHash>,
}

/// A translation through which a page was used uncached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The page's virtual address.
    pub va: u32,
    shift: u32,
    number: u64,
    /// Memory type of the translation that was used.
    pub memory: MemoryType,
    /// Address space, or global.
    pub asid: Option<u8>,
}

impl LiveTranslations {
    /// No translation is in use.
    pub fn new(core: Core) -> Self {
        Self {
            core,
            sizes: Vec::new(),
            next: 0,
            pages: HashMap::default(),
            sections: HashMap::default(),
            uncached: HashMap::default(),
        }
    }

    /// Makes sense of any length: the next power of two, from a page to a
    /// supersection (ARM DDI 0406C, B3.3).
    pub fn translation(
        va: u32,
        pa: u32,
        len: u32,
        memory: MemoryType,
        asid: Option<u8>,
    ) -> LiveTranslation {
        let shift = len.clamp(1 << 12, 1 << 24).next_power_of_two().ilog2();
        LiveTranslation {
            va: va >> shift << shift,
            pa: pa >> shift << shift,
            shift,
            memory,
            asid,
        }
    }

    /// A translation comes into use. False if it already was.
    pub fn add(&mut self, new: LiveTranslation) -> bool {
        let at = self.sizes.iter().position(|&(shift, _)| shift == new.shift);
        let at = at.unwrap_or_else(|| {
            self.sizes.push((new.shift, HashMap::default()));
            self.sizes.len() - 1
        });
        let list = self.sizes[at].1.entry(new.va >> new.shift).or_default();
        if list.iter().any(|(old, _)| *old == new) {
            return false;
        }
        let replaced = (list.len() == AT_ONCE).then(|| list.remove(0).0);
        list.push((new, self.next));
        self.next += 1;
        self.count(new, true);
        if let Some(old) = replaced {
            self.count(old, false);
        }
        true
    }

    /// Takes translations out of use: those of `va`, or all; of `asid` and
    /// global ones, or all. Returns them.
    pub fn remove(
        &mut self,
        va: Option<u32>,
        mut which: impl FnMut(&LiveTranslation) -> bool,
    ) -> Vec<LiveTranslation> {
        let mut gone = Vec::new();
        let mut filter = |list: &mut Vec<(LiveTranslation, u64)>| {
            list.retain(|(translation, _)| {
                let goes = which(translation);
                if goes {
                    gone.push(*translation);
                }
                !goes
            });
            !list.is_empty()
        };
        for (shift, map) in &mut self.sizes {
            match va {
                Some(va) => {
                    let key = va >> *shift;
                    if map.get_mut(&key).is_some_and(|list| !filter(list)) {
                        map.remove(&key);
                    }
                }
                None => map.retain(|_, list| filter(list)),
            }
        }
        for &translation in &gone {
            self.count(translation, false);
        }
        gone
    }

    /// Forgets that this page was used uncached.
    pub fn forget_uses(&mut self, pa: u32) {
        self.uncached.remove(&(pa >> 12));
    }

    /// A page is used uncached, or through what this core does not cache.
    pub fn used_uncached(&mut self, va: u32, pa: u32, memory: MemoryType) {
        let found = self.sizes.iter().find_map(|(shift, map)| {
            let list = map.get(&(va >> shift))?;
            let found = list.iter().rev().find(|(t, _)| {
                t.memory == memory && pa.wrapping_sub(t.pa) == va.wrapping_sub(t.va)
            });
            found.map(|&(t, number)| Use {
                va: va & !0xfff,
                shift: t.shift,
                number,
                memory,
                asid: t.asid,
            })
        });
        let Some(new) = found else {
            return;
        };
        let mut uses = self.uncached.remove(&(pa >> 12)).unwrap_or_default();
        uses.retain(|old| *old != new && self.live(old));
        if uses.len() == USES {
            uses.remove(0);
        }
        uses.push(new);
        self.uncached.insert(pa >> 12, uses);
    }

    /// Translations still in use through which the page was used uncached.
    pub fn uncached_uses(&self, pa: u32) -> impl Iterator<Item = Use> + '_ {
        let uses = self.uncached.get(&(pa >> 12));
        uses.into_iter()
            .flatten()
            .filter(|old| self.live(old))
            .copied()
    }

    fn live(&self, used: &Use) -> bool {
        let (_, map) = match self.sizes.iter().find(|(shift, _)| *shift == used.shift) {
            Some(found) => found,
            None => return false,
        };
        map.get(&(used.va >> used.shift))
            .is_some_and(|list| list.iter().any(|&(_, number)| number == used.number))
    }

    /// Inner copies of lines of this page that translations in use may bring.
    pub fn fillable(&self, pa: u32) -> Fillable {
        let mut fill = Fillable::default();
        let mut add = |[back, through]: [u32; 2], colour: usize| {
            if back != 0 || through != 0 {
                fill.some_core |= 1 << colour;
            }
            if self.core.speculates && (back != 0 || self.core.write_through && through != 0) {
                fill.this_core |= 1 << colour;
            }
        };
        if let Some(counts) = self.pages.get(&(pa >> 12)) {
            for colour in 0..COLOURS {
                add(counts.0[colour], colour);
            }
        }
        if let Some(counts) = self.sections.get(&(pa >> 20)) {
            // Virtual and physical address agree in all that a colour is made of.
            add(counts.0[0], self.colour(pa));
        }
        fill
    }

    fn colour(&self, va: u32) -> usize {
        ((va >> 12) & key_bits(self.core.indexing)) as usize % COLOURS
    }

    fn count(&mut self, translation: LiveTranslation, up: bool) {
        let kind = match translation.memory {
            MemoryType::WriteBack => 0,
            MemoryType::WriteThrough => 1,
            _ => return,
        };
        if self.core.indexing == Indexing::Virtual {
            return;
        }
        let small = translation.shift < 20;
        let unit = if small { 12 } else { 20 };
        for i in 0..1u32 << (translation.shift - unit) {
            let offset = i << unit;
            let colour = self.colour(translation.va + offset);
            let map = if small {
                &mut self.pages
            } else {
                &mut self.sections
            };
            let number = (translation.pa + offset) >> unit;
            let counts = map.entry(number).or_default();
            let counter = &mut counts.0[if small { colour } else { 0 }][kind];
            *counter = if up { *counter + 1 } else { *counter - 1 };
            if counts.0.iter().flatten().all(|&n| n == 0) {
                map.remove(&number);
            }
        }
    }

    /// Bytes that the records of translations take.
    pub fn size(&self) -> usize {
        let table = |capacity: usize, entry: usize| capacity * (entry + 1);
        let translations = self.sizes.iter().map(|(_, map)| {
            let lists = map.values().map(Vec::capacity).sum::<usize>();
            table(map.capacity(), size_of::<(u32, Vec<()>)>())
                + lists * size_of::<(LiveTranslation, u64)>()
        });
        let uses = self.uncached.values().map(Vec::capacity).sum::<usize>();
        let counts = self.pages.capacity() + self.sections.capacity();
        translations.sum::<usize>()
            + table(counts, size_of::<(u32, Cacheable)>())
            + table(self.uncached.capacity(), size_of::<(u32, Vec<()>)>())
            + uses * size_of::<Use>()
    }
}
