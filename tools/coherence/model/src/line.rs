// SPDX-License-Identifier: MIT OR Apache-2.0
//! One cache line of memory: its bytes by what can be with them.

use crate::byte_states::{Fills, StateId, States};
use crate::cache_contents::{ByteEvent, Fill, COPIES};
use crate::events::{Operation, Site};
use crate::hazards::Party;

/// Who stored last, in 32 bits: a party, and the page of its virtual address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writer {
    /// 0 nobody, 1 a device, else a site plus 2. 25 bits.
    pub party: u32,
    /// Page of the virtual address, if that is known.
    pub va_page: Option<u32>,
}

/// `Writer::party` of nobody.
pub const NOBODY: u32 = 0;
/// `Writer::party` of a device.
pub const DEVICE: u32 = 1;

impl Writer {
    /// Nobody stored yet.
    pub const NOBODY: Self = Self {
        party: NOBODY,
        va_page: None,
    };
    /// A device stored.
    pub const DEVICE: Self = Self {
        party: DEVICE,
        va_page: None,
    };

    /// An instruction that stores to `va`.
    pub fn cpu(va: u32, site: Site) -> Self {
        Self {
            party: party(site),
            va_page: Some(va >> 12),
        }
    }

    /// Who stored, for a report about the byte at `pa`.
    pub fn party(self, pa: u32) -> Party {
        match self.party {
            NOBODY => Party::Nobody,
            DEVICE => Party::Device,
            site => Party::Cpu {
                va: self.va_page.map_or(0, |page| (page << 12) | pa & 0xfff),
                site: Site(site - 2),
            },
        }
    }
}

/// `Writer::party` of an instruction.
pub fn party(site: Site) -> u32 {
    (site.0 & 0xff_ffff) + 2
}

/// Bytes of a line with one state and one kind of writer.
#[derive(Debug, Clone, Copy)]
pub struct Class {
    /// Which bytes, a bit each.
    pub bytes: u64,
    /// What can be with each of these bytes.
    pub state: StateId,
    /// Who stored the one of these bytes that was stored last.
    pub writer: Writer,
}

/// Inner copies that may come by themselves through live cacheable mappings of
/// a page, a bit for each key (bit 0, or a bit for each colour).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Fillable {
    /// Copies that may come on the emulated core.
    pub this_core: u8,
    /// Copies that may come on some core of the architecture.
    pub some_core: u8,
}

impl Fillable {
    /// What is in either of two sets.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            this_core: self.this_core | other.this_core,
            some_core: self.some_core | other.some_core,
        }
    }

    /// Whether all of `other` is in this set.
    pub fn contains(self, other: Self) -> bool {
        other.this_core & !self.this_core == 0 && other.some_core & !self.some_core == 0
    }
}

/// A line, unpacked. Its classes have no byte in common, and all bytes
/// together.
#[derive(Debug, Clone, Default)]
pub struct Line {
    /// What tells the inner copies apart, in the order of their numbers:
    /// the page of the virtual address (VIVT) or the colour (VIPT).
    pub keys: Vec<u32>,
    /// The bytes of the line, by what can be with them.
    pub classes: Vec<Class>,
    /// Copies that may come by themselves, as of the line's page.
    pub fill: Fillable,
}

impl Line {
    /// Applies `inside` to the bytes and `outside` to the rest of the line. With a
    /// writer the bytes are its from now on.
    pub fn split(
        &mut self,
        states: &mut States,
        bytes: u64,
        inside: ByteEvent,
        outside: ByteEvent,
        writer: Option<Writer>,
    ) {
        let fills = self.fills();
        for i in 0..self.classes.len() {
            let class = self.classes[i];
            let common = class.bytes & bytes;
            self.classes[i].bytes &= !bytes;
            if self.classes[i].bytes != 0 {
                self.classes[i].state = states.step(class.state, outside, fills);
            }
            if common != 0 {
                self.classes.push(Class {
                    bytes: common,
                    state: states.step(class.state, inside, fills),
                    writer: writer.unwrap_or(class.writer),
                });
            }
        }
        self.classes.retain(|class| class.bytes != 0);
    }

    /// Applies `event` to all bytes.
    pub fn step(&mut self, states: &mut States, event: ByteEvent) {
        self.step_with(states, event, self.fills());
    }

    fn step_with(&mut self, states: &mut States, event: ByteEvent, fills: Fills) {
        for class in &mut self.classes {
            class.state = states.step(class.state, event, fills);
        }
    }

    /// What may come by itself, by numbers of copies.
    fn fills(&self) -> Fills {
        let numbers = |keys: u8| {
            let fillable = |&(_, &key): &(usize, &u32)| key < 8 && (keys >> key) & 1 == 1;
            let numbers = self.keys.iter().enumerate().filter(fillable);
            Fill(numbers.fold(0, |bits, (i, _)| bits | (1 << i)))
        };
        if self.fill == Fillable::default() {
            return Fills::default();
        }
        Fills {
            this_core: numbers(self.fill.this_core),
            some_core: numbers(self.fill.some_core),
        }
    }

    /// Gives each copy that may come by itself a number.
    pub fn number_fillable(&mut self, states: &mut States) {
        for key in 0..8 {
            if (self.fill.some_core >> key) & 1 == 1 {
                self.copy_or_new(states, key);
            }
        }
    }

    /// The number of the copy with this key.
    pub fn copy(&self, key: u32) -> Option<u8> {
        let i = self.keys.iter().position(|&k| k == key)?;
        Some(i as u8)
    }

    /// The number of the copy with this key, a new one if need be. When all
    /// numbers are taken the oldest copy is written back and leaves: the model
    /// follows no more than [`COPIES`].
    pub fn copy_or_new(&mut self, states: &mut States, key: u32) -> u8 {
        if let Some(i) = self.copy(key) {
            return i;
        }
        if self.keys.len() == COPIES {
            let evict = ByteEvent::Inner(0, Operation::CleanInvalidate);
            self.step_with(states, evict, Fills::default());
            self.forget_copy(states, 0);
        }
        self.keys.push(key);
        (self.keys.len() - 1) as u8
    }

    /// Frees the number of a copy that is not there.
    fn forget_copy(&mut self, states: &mut States, i: usize) {
        let last = self.keys.len() - 1;
        if i != last {
            self.step_with(
                states,
                ByteEvent::Swap(i as u8, last as u8),
                Fills::default(),
            );
        }
        self.keys.swap_remove(i);
    }

    /// Brings the line to its simplest form: no copies that cannot be there, no
    /// two classes that are alike.
    pub fn simplify(&mut self, states: &mut States) {
        let present = self
            .classes
            .iter()
            .fold(0, |bits, class| bits | states.summary(class.state).copies);
        for i in (0..self.keys.len()).rev() {
            if (present >> i) & 1 == 0 {
                self.forget_copy(states, i);
            }
        }
        let mut i = 0;
        while i < self.classes.len() {
            let a = self.classes[i];
            let settled = states.summary(a.state).settled;
            let alike = |b: &Class| {
                a.state == b.state
                    && (settled || (a.writer.party == DEVICE) == (b.writer.party == DEVICE))
            };
            // The later one has the later writer.
            if let Some(j) = self.classes[i + 1..].iter().position(alike) {
                self.classes[i + 1 + j].bytes |= a.bytes;
                self.classes.remove(i);
            } else {
                i += 1;
            }
        }
    }

    /// Bytes that the line has on the heap.
    pub fn size(&self) -> usize {
        self.keys.capacity() * size_of::<u32>() + self.classes.capacity() * size_of::<Class>()
    }
}
