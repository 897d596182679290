// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines in twelve bytes, long ones in sixteen. Nearly all lines are simple: at most one inner copy,
//! and at most two kinds of bytes, as a rule those stored to and those not.

use std::collections::HashMap;

use crate::byte_states::{Fills, Reader, StateId, States, Verdict};
use crate::cache_contents::{ByteEvent, Fill, COPIES};
use crate::cores::Indexing;
use crate::line::{Class, Fillable, Line, Writer, DEVICE};
use crate::line_bytes::LineBytes;
use crate::small_key_hash::SmallKeyHash;

/// Complex lines kept at once. Each one more is taken as right, so that memory
/// is bounded: 32768 is all lines of 1 MiB of memory or more, many times a cache.
const COMPLEX_LINES: usize = 1 << 15;

/// Bits of the virtual page number that tell inner copies apart.
pub fn key_bits(indexing: Indexing) -> u32 {
    match indexing {
        Indexing::Physical => 0,
        Indexing::Virtual => 0xf_ffff,
        // No more colours than copies that are followed.
        Indexing::Coloured { colours } => colours.clamp(1, COPIES as u32) - 1,
    }
}

/// A line as it is kept. All zero: as at power-on, never touched.
#[derive(Debug, Clone, Copy, Default)]
pub struct Packed<B> {
    /// Bytes in the second state of the pair; a complex line's number.
    pub mask: B,
    /// The last writer's party in 25 bits, and flags.
    pub writer: u32,
    /// The pair in 12 bits. In 20 bits the key of the inner copy or, where that
    /// says nothing, the page of the writer's virtual address.
    pub shape: u32,
}

/// Flag in [`Packed::writer`]: there is an inner copy, and `shape` has its key.
const KEYED: u32 = 1 << 28;
/// Flag in [`Packed::writer`]: `shape` has the page of the writer's address.
const VA_KNOWN: u32 = 1 << 29;
/// Flag in [`Packed::writer`]: accessed at least once.
pub const TOUCHED: u32 = 1 << 30;
/// Flag in [`Packed::writer`]: may be in the instruction cache.
pub const FETCHED: u32 = 1 << 31;
const PARTY: u32 = (1 << 25) - 1;
const COMPLEX: usize = 0xfff;

impl<B: LineBytes> Packed<B> {
    /// Number of the pair of states.
    #[inline]
    pub fn pair(&self) -> usize {
        (self.shape & 0xfff) as usize
    }

    /// The key of the inner copy, or the page of the writer's address.
    #[inline]
    pub fn key(&self) -> u32 {
        self.shape >> 12
    }

    /// Whether the line is complex: the rest is elsewhere.
    #[inline]
    pub fn is_complex(&self) -> bool {
        self.pair() == COMPLEX
    }

    /// Whether a simple line has a copy with this key.
    pub fn has_copy(&self, key: u32, key_bits: u32) -> bool {
        key_bits == 0 || self.writer & KEYED != 0 && (self.key() ^ key) & key_bits == 0
    }

    /// The last writer's party.
    #[inline]
    pub fn party(&self) -> u32 {
        self.writer & PARTY
    }

    /// Makes the CPU the last writer, through an address in this page. False if
    /// the line has no room for that.
    #[inline]
    pub fn set_writer(&mut self, party: u32, va_page: u32, key_bits: u32) -> bool {
        if self.writer & KEYED != 0 && (self.key() ^ va_page) & key_bits != 0 {
            return false;
        }
        self.writer = self.writer & !PARTY | VA_KNOWN | party;
        self.shape = self.shape & 0xfff | (va_page << 12);
        true
    }
}

/// Accesses that change nothing but, perhaps, which bytes have which state; a
/// bit each.
#[derive(Debug, Clone, Copy, Default)]
pub struct FastPath(pub u16);

impl FastPath {
    /// Write-back load by the inner copy.
    pub const LOAD: u16 = 1 << 0;
    /// Write-back store by the inner copy to bytes in the second state.
    pub const STORE: u16 = 1 << 1;
    /// Write-back store by the inner copy to any bytes: they get the second state.
    pub const STORE_ANY: u16 = 1 << 2;
    /// Load that is not cached.
    pub const MEMORY_LOAD: u16 = 1 << 3;
    /// Store that is not cached, to bytes in the second state.
    pub const MEMORY_STORE: u16 = 1 << 4;
    /// Store that is not cached, to any bytes: they get the second state.
    pub const MEMORY_STORE_ANY: u16 = 1 << 5;
    /// Buffered store that is not cached, to bytes in the second state.
    pub const BUFFERED_STORE: u16 = 1 << 6;
    /// Buffered store that is not cached, to any bytes: they get the second state.
    pub const BUFFERED_STORE_ANY: u16 = 1 << 7;
}

#[derive(Debug)]
struct StatePair {
    states: (StateId, StateId),
    // Without and with speculative fills.
    fast_path: [FastPath; 2],
}

impl StatePair {
    fn new(states: &mut States, pair: (StateId, StateId)) -> Self {
        let fast_path = [0, 1].map(|fill| {
            let fill = Fills {
                this_core: Fill(fill),
                some_core: Fill(fill),
            };
            fast_path(states, pair, fill)
        });
        Self {
            states: pair,
            fast_path,
        }
    }
}

/// A simple line after an event.
#[derive(Debug, Clone, Copy)]
struct Next {
    pair: u16,
    /// There is one kind of bytes only.
    uniform: bool,
    /// An inner copy may still be there.
    keyed: bool,
}

/// Packs and unpacks lines.
#[derive(Debug)]
pub struct Packing {
    indexing: Indexing,
    /// Bits of a virtual page number that make a key.
    key_bits: u32,
    pairs: Vec<StatePair>,
    numbers: HashMap<(StateId, StateId), u16, SmallKeyHash>,
    steps: HashMap<(u16, ByteEvent, Fillable), Option<Next>, SmallKeyHash>,
    complex: Vec<Line>,
    free: Vec<u32>,
    complex_size: usize,
    forgotten: u64,
}

impl Packing {
    /// The packing of lines of a core.
    pub fn new(indexing: Indexing, states: &mut States) -> Self {
        let mut packing = Self {
            indexing,
            key_bits: key_bits(indexing),
            pairs: Vec::new(),
            numbers: HashMap::default(),
            steps: HashMap::default(),
            complex: Vec::new(),
            free: Vec::new(),
            complex_size: 0,
            forgotten: 0,
        };
        packing.pair(states, (States::POWER_ON, States::POWER_ON));
        packing
    }

    /// Which accesses to this line may take the fast path; with fills on both the
    /// emulated core and some core, or on neither.
    #[inline]
    pub fn fast_path<B: LineBytes>(&self, line: &Packed<B>, fills: bool) -> u16 {
        self.pairs
            .get(line.pair())
            .map_or(0, |pair| pair.fast_path[usize::from(fills)].0)
    }

    /// A line to look at or to change, in `line`.
    pub fn unpack<B: LineBytes>(&self, packed: &Packed<B>, fill: Fillable, line: &mut Line) {
        line.keys.clear();
        line.classes.clear();
        line.fill = fill;
        if packed.pair() == COMPLEX {
            let complex = &self.complex[packed.mask.bits() as usize];
            line.keys.extend_from_slice(&complex.keys);
            line.classes.extend_from_slice(&complex.classes);
            return;
        }
        let pair = &self.pairs[packed.pair()];
        let second = packed.mask.bits();
        let writer = Writer {
            party: packed.party(),
            va_page: (packed.writer & VA_KNOWN != 0).then_some(packed.key()),
        };
        for (bytes, state) in [(B::ALL & !second, pair.states.0), (second, pair.states.1)] {
            if bytes != 0 {
                line.classes.push(Class {
                    bytes,
                    state,
                    writer,
                });
            }
        }
        match self.indexing {
            Indexing::Physical => line.keys.push(0),
            _ if packed.writer & KEYED != 0 => {
                line.keys.push(packed.key() & self.key_bits);
            }
            _ => {}
        }
    }

    /// Applies `event`, that of all bytes, to a simple line as it is. False
    /// if that takes more, and nothing was done.
    pub fn step_simple<B: LineBytes>(
        &mut self,
        states: &mut States,
        packed: &mut Packed<B>,
        event: ByteEvent,
        fill: Fillable,
    ) -> bool {
        let keyed = packed.writer & KEYED != 0;
        let number = packed.pair() as u16;
        let next = match self.steps.get(&(number, event, fill)) {
            Some(&next) => next,
            None => {
                let next = self.step_pair(states, number, keyed, event, fill);
                self.steps.insert((number, event, fill), next);
                next
            }
        };
        let Some(next) = next else {
            return false;
        };
        packed.shape = packed.shape & !0xfff | u32::from(next.pair);
        if next.uniform {
            packed.mask = B::default();
        }
        if !next.keyed {
            packed.writer &= !KEYED;
        }
        true
    }

    fn step_pair(
        &mut self,
        states: &mut States,
        number: u16,
        keyed: bool,
        event: ByteEvent,
        fill: Fillable,
    ) -> Option<Next> {
        let (a, b) = self.pairs.get(usize::from(number))?.states;
        let coloured = matches!(self.indexing, Indexing::Coloured { .. });
        if coloured && fill != Fillable::default() {
            return None;
        }
        let fills = Fills {
            this_core: Fill(fill.this_core),
            some_core: Fill(fill.some_core),
        };
        let (a, b) = (states.step(a, event, fills), states.step(b, event, fills));
        if !states.summary(a).settled && states.summary(b).settled {
            return None;
        }
        let copies = states.summary(a).copies | states.summary(b).copies;
        Some(Next {
            pair: self.pair(states, (a, b))?,
            uniform: a == b,
            keyed: keyed && copies & 1 == 1,
        })
    }

    /// Puts a line back in its simplest form.
    pub fn pack<B: LineBytes>(
        &mut self,
        states: &mut States,
        line: &mut Line,
        packed: &mut Packed<B>,
    ) {
        line.simplify(states);
        if self.pack_simple(states, line, packed) {
            return;
        }
        if packed.pair() != COMPLEX {
            let Some(number) = self.free.pop().or_else(|| self.new_number()) else {
                self.forgotten += 1;
                *packed = Packed {
                    writer: packed.writer & (TOUCHED | FETCHED),
                    ..Packed::default()
                };
                return;
            };
            packed.mask = B::of(number.into());
            packed.shape = COMPLEX as u32;
            packed.writer &= TOUCHED | FETCHED;
        }
        let slot = &mut self.complex[packed.mask.bits() as usize];
        self.complex_size -= slot.size();
        slot.keys.clone_from(&line.keys);
        slot.classes.clone_from(&line.classes);
        self.complex_size += slot.size();
    }

    fn new_number(&mut self) -> Option<u32> {
        if self.complex.len() == COMPLEX_LINES {
            return None;
        }
        self.complex.push(Line::default());
        self.complex_size += size_of::<Line>() + size_of::<u32>();
        Some(self.complex.len() as u32 - 1)
    }

    fn pack_simple<B: LineBytes>(
        &mut self,
        states: &mut States,
        line: &Line,
        packed: &mut Packed<B>,
    ) -> bool {
        if line.keys.len() > 1 {
            return false;
        }
        let (first, second, writer) = match line.classes[..] {
            [one] => (one, None, one.writer),
            [a, b] => match (
                states.summary(a.state).settled,
                states.summary(b.state).settled,
            ) {
                (false, true) => (b, Some(a), a.writer),
                (false, false) if (a.writer.party == DEVICE) != (b.writer.party == DEVICE) => {
                    return false;
                }
                // The last in the list were stored to last.
                _ => (a, Some(b), b.writer),
            },
            _ => return false,
        };
        let key = match self.indexing {
            Indexing::Physical => None,
            _ => line.keys.first().copied(),
        };
        let settled = states.summary(second.unwrap_or(first).state).settled;
        let unfit = writer.va_page.is_some_and(|page| !self.fits(key, page));
        if unfit && !settled && self.indexing == Indexing::Virtual {
            return false;
        }
        let second_state = second.map_or(first.state, |class| class.state);
        let Some(pair) = self.pair(states, (first.state, second_state)) else {
            return false;
        };
        if packed.pair() == COMPLEX {
            let slot = &mut self.complex[packed.mask.bits() as usize];
            self.complex_size -= slot.size();
            *slot = Line::default();
            self.complex_size += slot.size();
            self.free.push(packed.mask.bits() as u32);
            if self.free.len() == self.complex.len() {
                self.complex = Vec::new();
                self.free = Vec::new();
                self.complex_size = 0;
            }
        }
        packed.mask = second.map_or(B::default(), |class| B::of(class.bytes));
        packed.writer = packed.writer & (TOUCHED | FETCHED) | writer.party;
        packed.shape = u32::from(pair);
        if let Some(key) = key {
            packed.writer |= KEYED;
            packed.shape |= key << 12;
        }
        if let Some(va_page) = writer.va_page.filter(|&page| self.fits(key, page)) {
            packed.writer |= VA_KNOWN;
            packed.shape = packed.shape & 0xfff | (va_page << 12);
        }
        true
    }

    /// Whether a simple line has room for both.
    fn fits(&self, key: Option<u32>, va_page: u32) -> bool {
        key.is_none_or(|key| key == va_page & self.key_bits)
    }

    /// The number of a pair of states, unless there are too many.
    fn pair(&mut self, states: &mut States, pair: (StateId, StateId)) -> Option<u16> {
        if let Some(&number) = self.numbers.get(&pair) {
            return Some(number);
        }
        if self.pairs.len() == COMPLEX {
            return None;
        }
        let number = self.pairs.len() as u16;
        self.pairs.push(StatePair::new(states, pair));
        self.numbers.insert(pair, number);
        Some(number)
    }

    /// Lines that were taken as right, as there was no room.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The rules of the caches have changed.
    pub fn rules_changed(&mut self, states: &mut States) {
        self.steps.clear();
        for pair in &mut self.pairs {
            *pair = StatePair::new(states, pair.states);
        }
    }

    /// Bytes that pairs, their steps and complex lines take.
    pub fn size(&self) -> usize {
        self.pairs.capacity() * size_of::<StatePair>()
            + self.numbers.capacity() * (size_of::<((StateId, StateId), u16)>() + 1)
            + self.steps.capacity() * (size_of::<((u16, ByteEvent, Fillable), Next)>() + 1)
            + self.complex_size
    }
}

/// Finds out by trying which accesses change nothing.
fn fast_path(states: &mut States, (a, b): (StateId, StateId), fills: Fills) -> FastPath {
    let mut fast_path = 0;
    let mut same = |state, event| states.step(state, event, fills) == state;
    let both =
        |same: &mut dyn FnMut(StateId, ByteEvent) -> bool, event| same(a, event) && same(b, event);
    let load = both(&mut same, ByteEvent::LoadBack(0));
    let neighbour = both(&mut same, ByteEvent::StoreBack(0, false));
    let stores = [
        (
            ByteEvent::StoreBack(0, true),
            neighbour,
            FastPath::STORE,
            FastPath::STORE_ANY,
        ),
        (
            ByteEvent::StoreMemory { buffered: false },
            true,
            FastPath::MEMORY_STORE,
            FastPath::MEMORY_STORE_ANY,
        ),
        (
            ByteEvent::StoreMemory { buffered: true },
            true,
            FastPath::BUFFERED_STORE,
            FastPath::BUFFERED_STORE_ANY,
        ),
    ];
    for (event, neighbour, second, any) in stores {
        if neighbour && states.step(b, event, fills) == b {
            fast_path |= second;
            if states.step(a, event, fills) == b {
                fast_path |= any;
            }
        }
    }
    let mut fine = |reader| {
        [a, b].into_iter().all(|state| {
            states.verdict(state, reader) == Verdict::default() && !states.get(state).unwritten
        })
    };
    if load && fine(Reader::Inner(0)) {
        fast_path |= FastPath::LOAD;
    }
    if fine(Reader::Memory) {
        fast_path |= FastPath::MEMORY_LOAD;
    }
    FastPath(fast_path)
}
