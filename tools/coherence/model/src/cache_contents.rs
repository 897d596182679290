// SPDX-License-Identifier: MIT OR Apache-2.0
//! One byte, and one choice of the adversary: what each place that can hold
//! the byte holds.
//!
//! The rules here are the whole theory of this crate. Everything else keeps
//! sets of these possibilities for many bytes, in little memory and fast.
//!
//! A line may be written back or dropped at any time (ARM DDI 0406C, B2.2.2).
//! It is dirty as a whole, and written back as a whole, with the old bytes in
//! it. ARM926EJ-S has a dirty bit for each half of a line (ARM DDI 0198E, 4.1),
//! which is more than the architecture promises, and not counted on.

use crate::events::Operation;

/// Copies of one line in the inner cache that are followed at once: virtual
/// addresses (VIVT) or colours (VIPT).
pub const COPIES: usize = 4;

/// What a cache holds of a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// The line is not there.
    Absent,
    /// The line is there. Whether it is dirty, and whether the byte in it is
    /// the newest.
    Present {
        /// The line goes to the next level when it is evicted.
        dirty: bool,
        /// The byte is what the emulator would load.
        newest: bool,
    },
}

use Held::{Absent, Present};

impl Held {
    /// Whether the byte is there, and the newest.
    pub fn newest(self) -> bool {
        matches!(self, Present { newest: true, .. })
    }

    /// Whether the byte is in a dirty line.
    pub fn dirty(self) -> bool {
        matches!(self, Present { dirty: true, .. })
    }

    /// Whether the byte is where it cannot vanish, and the newest.
    pub fn lasts(self) -> bool {
        self.dirty() && self.newest()
    }

    fn clean(newest: bool) -> Self {
        Present {
            dirty: false,
            newest,
        }
    }

    fn stored(newest: bool) -> Self {
        Present {
            dirty: true,
            newest,
        }
    }

    /// The same line, if there is one, with this value of the byte.
    #[must_use]
    fn with_newest(self, newest: bool) -> Self {
        match self {
            Absent => Absent,
            Present { dirty, .. } => Present { dirty, newest },
        }
    }

    #[must_use]
    fn cleaned(self) -> Self {
        match self {
            Absent => Absent,
            Present { newest, .. } => Self::clean(newest),
        }
    }
}

/// What the caches of a core do. Two of these exist for each core: its own,
/// and that of all cores of its architecture together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheRules {
    /// There is an outer cache, and it is on.
    pub outer: bool,
    /// It has buffers for stores, which the core does not empty.
    pub outer_buffers: bool,
    /// A store that misses may bring the line in.
    pub write_allocates: bool,
    /// Write-through is honoured; else it is not cached.
    pub write_through: bool,
}

/// A possibility. Ordered, so that sets of them have one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Possibility(u16);

// A copy as a number below five, so that all of a possibility fits 16 bits:
// 2 (memory) * 5 (outer) * 5^4 (inner) = 6250.
const FORMS: u16 = 5;

impl Possibility {
    /// Memory has the newest value, and caches have nothing.
    pub const POWER_ON: Self = Self(1);

    /// Memory has the newest value, and so has a dirty line of an inner copy.
    pub fn in_dirty_line() -> Self {
        Self::POWER_ON.with_inner(0, Held::stored(true))
    }

    fn place(i: usize) -> u16 {
        2 * FORMS.pow(i as u32)
    }

    fn get(self, place: usize) -> Held {
        match self.0 / Self::place(place) % FORMS {
            0 => Absent,
            n => Present {
                dirty: n > 2,
                newest: n % 2 == 0,
            },
        }
    }

    #[must_use]
    fn set(self, place: usize, copy: Held) -> Self {
        let code = |c| match c {
            Absent => 0,
            Present { dirty, newest } => 1 + 2 * u16::from(dirty) + u16::from(newest),
        };
        let unit = Self::place(place);
        Self(self.0 - code(self.get(place)) * unit + code(copy) * unit)
    }

    /// The copy of the outer cache.
    pub fn outer(self) -> Held {
        self.get(0)
    }

    #[must_use]
    fn with_outer(self, copy: Held) -> Self {
        self.set(0, copy)
    }

    /// One of the inner cache's copies.
    pub fn inner(self, i: usize) -> Held {
        self.get(1 + i)
    }

    #[must_use]
    fn with_inner(self, i: usize, copy: Held) -> Self {
        self.set(1 + i, copy)
    }

    /// Whether memory holds the newest value.
    pub fn memory(self) -> bool {
        self.0 & 1 == 1
    }

    #[must_use]
    fn with_memory(self, newest: bool) -> Self {
        Self(self.0 & !1 | u16::from(newest))
    }

    /// Whether a load that misses the inner cache gets the newest value.
    pub fn behind(self) -> bool {
        match self.outer() {
            Absent => self.memory(),
            Present { newest, .. } => newest,
        }
    }

    /// No place has the newest value.
    #[must_use]
    fn outdated(self) -> Self {
        self.all(false)
    }

    /// All places that have the line have the newest value of the byte, or none
    /// has.
    #[must_use]
    fn all(self, newest: bool) -> Self {
        (0..=COPIES).fold(self.with_memory(newest), |p, i| {
            p.set(i, p.get(i).with_newest(newest))
        })
    }

    /// Whether this differs from `other` in that some places lack the newest
    /// value, and in nothing else. All that can follow from `other` can follow
    /// from this, and readers fare no better.
    pub fn worse_than(self, other: Self) -> bool {
        self != other
            && self.memory() <= other.memory()
            && (0..=COPIES).all(|i| match (self.get(i), other.get(i)) {
                (Absent, Absent) => true,
                (
                    Present { dirty, newest },
                    Present {
                        dirty: d,
                        newest: n,
                    },
                ) => dirty == d && newest <= n,
                _ => false,
            })
    }

    /// Whether all places that have the byte have its newest value.
    pub fn settled(self) -> bool {
        self.memory() && (0..=COPIES).all(|i| self.get(i) == Absent || self.get(i).newest())
    }

    /// Whether the newest value is in a dirty line of the inner cache, and not
    /// in memory.
    pub fn only_in_dirty_line(self) -> bool {
        !self.memory() && (0..COPIES).any(|i| self.inner(i).lasts())
    }

    /// Whether the newest value is where it cannot vanish: in memory or in a
    /// dirty line.
    pub fn lasts(self) -> bool {
        self.memory() || (0..=COPIES).any(|i| self.get(i).lasts())
    }
}

/// What happens to a byte, as seen by the byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteEvent {
    /// A write-back load of the line by an inner copy.
    LoadBack(u8),
    /// A write-through load of the line by an inner copy.
    LoadThrough(u8),
    /// A write-back store by an inner copy: to this byte, or to another one of
    /// its line.
    StoreBack(u8, bool),
    /// A write-through store to this byte by an inner copy.
    StoreThrough(u8),
    /// A store to this byte that no cache sees. It may wait in a buffer.
    StoreMemory {
        /// The store may wait in the core's write buffer.
        buffered: bool,
    },
    /// The core's write buffer is drained.
    Drain,
    /// The outer cache's buffers are drained.
    OuterSync,
    /// A barrier and a store came after what is buffered.
    Followed,
    /// Maintenance of an inner copy.
    Inner(u8, Operation),
    /// Maintenance of all inner copies, with no line coming in the midst of it.
    InnerAll(Operation),
    /// Maintenance of the outer copy.
    Outer(Operation),
    /// Maintenance of an inner copy and then of the outer one, with no line coming in
    /// between.
    Through(u8, Operation),
    /// A device writes this byte.
    DeviceWrites,
    /// A device writes this byte, or wrote the same value before.
    DeviceMayWrite,
    /// A device was to write this byte, and did not.
    Unwritten,
    /// Whatever is where, it is right from here on.
    Forget,
    /// Two inner copies change their numbers.
    Swap(u8, u8),
    /// Time passes.
    Nothing,
}

/// Which inner copies may come by themselves (a bit each).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fill(pub u8);

impl CacheRules {
    /// Whether what leaves the core's write buffer may wait in others.
    pub fn has_outer_buffers(&self) -> bool {
        self.outer && self.outer_buffers
    }

    /// What may be after `event`, before anything happens by itself.
    pub fn after(&self, p: Possibility, event: ByteEvent, mut then: impl FnMut(Possibility)) {
        match event {
            ByteEvent::LoadThrough(_) if !self.write_through => then(p),
            ByteEvent::LoadBack(i) | ByteEvent::LoadThrough(i) => {
                then(p);
                self.filled(p, usize::from(i), then);
            }
            ByteEvent::StoreBack(i, here) => self.stored_back(p, usize::from(i), here, then),
            ByteEvent::StoreThrough(i) if self.write_through => {
                let i = usize::from(i);
                // On its way to memory it changes the lines that it meets.
                let (inner, outer) = (p.inner(i), p.outer());
                then(
                    p.outdated()
                        .with_inner(i, inner.with_newest(true))
                        .with_outer(outer.with_newest(true))
                        .with_memory(true),
                );
            }
            ByteEvent::StoreThrough(_)
            | ByteEvent::StoreMemory { .. }
            | ByteEvent::DeviceWrites => {
                then(p.outdated().with_memory(true));
            }
            ByteEvent::DeviceMayWrite => {
                then(p);
                then(p.outdated().with_memory(true));
            }
            ByteEvent::Inner(i, operation) => self.maintained(p, i.into(), operation, then),
            ByteEvent::InnerAll(operation) => {
                // Of several dirty copies, which one is written last does not
                // matter here: the others may have been evicted before.
                let mut all = vec![p];
                for i in 0..COPIES {
                    let mut next = Vec::new();
                    for p in all {
                        self.maintained(p, i, operation, |p| next.push(p));
                    }
                    all = next;
                }
                all.into_iter().for_each(then);
            }
            ByteEvent::Outer(operation) => then(Self::outer_maintained(p, operation)),
            ByteEvent::Through(i, operation) => {
                self.maintained(p, i.into(), operation, |p| {
                    then(Self::outer_maintained(p, operation));
                });
            }
            ByteEvent::Forget => then(p.all(true)),
            ByteEvent::Swap(i, j) => {
                let (i, j) = (usize::from(i), usize::from(j));
                then(p.with_inner(i, p.inner(j)).with_inner(j, p.inner(i)));
            }
            ByteEvent::Drain
            | ByteEvent::OuterSync
            | ByteEvent::Followed
            | ByteEvent::Unwritten
            | ByteEvent::Nothing => then(p),
        }
    }

    /// What caches may do with `p` by themselves.
    pub fn alone(&self, p: Possibility, fill: Fill, mut then: impl FnMut(Possibility)) {
        for i in 0..COPIES {
            match p.inner(i) {
                Present { dirty: false, .. } => then(p.with_inner(i, Absent)),
                Present { newest, .. } => {
                    self.written_on(p.with_inner(i, p.inner(i).cleaned()), newest, &mut then);
                }
                Absent if (fill.0 >> i) & 1 == 1 => self.filled(p, i, &mut then),
                Absent => {}
            }
        }
        // A line that is dirty in the inner cache counts as one that may be dirty
        // in the outer one too, from before the last stores to it. Where both
        // are maintained that makes no difference, and bytes stored to before
        // and after an eviction have one state.
        if self.outer && (0..COPIES).any(|i| p.inner(i).dirty()) {
            for newest in [p.behind(), p.memory()] {
                then(p.with_outer(Held::stored(newest)));
            }
        }
        match p.outer() {
            Present { dirty: false, .. } => then(p.with_outer(Absent)),
            Present { newest, .. } => {
                then(p.with_memory(newest).with_outer(p.outer().cleaned()));
            }
            Absent if self.outer && fill.0 != 0 => {
                then(p.with_outer(Held::clean(p.memory())));
            }
            Absent => {}
        }
    }

    /// Maintenance of one inner copy.
    fn maintained(
        &self,
        p: Possibility,
        i: usize,
        operation: Operation,
        mut then: impl FnMut(Possibility),
    ) {
        let copy = p.inner(i);
        let gone = operation != Operation::Clean;
        let rest = p.with_inner(i, if gone { Absent } else { copy.cleaned() });
        if operation != Operation::Invalidate && copy.dirty() {
            self.written_on(rest, copy.newest(), then);
        } else {
            then(rest);
        }
    }

    /// Maintenance of the outer copy.
    fn outer_maintained(p: Possibility, operation: Operation) -> Possibility {
        let copy = p.outer();
        let gone = operation != Operation::Clean;
        let rest = p.with_outer(if gone { Absent } else { copy.cleaned() });
        if operation != Operation::Invalidate && copy.dirty() {
            rest.with_memory(copy.newest())
        } else {
            rest
        }
    }

    /// Line fill of an inner copy that is not there. On its way the line may
    /// stay in the outer cache.
    fn filled(&self, p: Possibility, i: usize, mut then: impl FnMut(Possibility)) {
        if p.inner(i) != Absent {
            return;
        }
        let clean = Held::clean(p.behind());
        then(p.with_inner(i, clean));
        if self.outer && p.outer() == Absent {
            then(p.with_inner(i, clean).with_outer(clean));
        }
    }

    /// The line, with this value of the byte, goes to the next level. The
    /// outer cache takes it if it has the line, else it takes it or passes it on.
    fn written_on(&self, p: Possibility, newest: bool, mut then: impl FnMut(Possibility)) {
        if self.outer {
            then(p.with_outer(Held::stored(newest)));
        }
        if p.outer() == Absent {
            then(p.with_memory(newest));
        }
    }

    /// A write-back store, to this byte or to another one of the line.
    fn stored_back(&self, p: Possibility, i: usize, here: bool, mut then: impl FnMut(Possibility)) {
        let rest = if here { p.outdated() } else { p };
        if p.inner(i) != Absent {
            then(rest.with_inner(i, Held::stored(here || p.inner(i).newest())));
            return;
        }
        if self.write_allocates {
            self.filled(rest, i, |p| {
                then(p.with_inner(i, Held::stored(here || p.inner(i).newest())));
            });
        }
        // Not allocated, it goes to the next level, which may.
        if self.outer {
            then(rest.with_outer(Held::stored(here || p.behind())));
        }
        if p.outer() == Absent {
            then(rest.with_memory(here || p.memory()));
        }
    }
}
