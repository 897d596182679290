// SPDX-License-Identifier: MIT OR Apache-2.0
//! All that may be with one byte: sets of possibilities, each with a number.
//!
//! The caches of a core are a nondeterministic automaton with
//! [`Possibility`] as its states. This is its subset construction, made as
//! far as events ask for it, for the emulated core and for all cores of its
//! architecture at once.

use std::collections::HashMap;

use crate::cache_contents::{ByteEvent, CacheRules, Fill, Held, Possibility, COPIES};
use crate::cores::{Core, Outer};
use crate::events::Operation;
use crate::small_key_hash::SmallKeyHash;

/// The number of a [`State`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateId(pub u16);

/// Where a buffered store to the byte may still be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Buffered {
    /// In no buffer.
    #[default]
    No,
    /// In the core's write buffer.
    Core(Order),
    /// In the outer cache's buffers.
    Outer(Order),
}

impl Buffered {
    /// The store's place in the order of all.
    pub fn order(self) -> Option<Order> {
        match self {
            Self::No => None,
            Self::Core(order) | Self::Outer(order) => Some(order),
        }
    }

    #[must_use]
    fn followed(self) -> Self {
        match self {
            Self::No => Self::No,
            Self::Core(_) => Self::Core(Order::Followed),
            Self::Outer(_) => Self::Outer(Order::Followed),
        }
    }
}

/// The place of a buffered store in the order in which stores arrive in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// One of the latest: no barrier and store came after it. These arrive in any order.
    Latest,
    /// It arrives before the latest.
    Followed,
}

/// Inner copies that may come by themselves: on the emulated core, and on some
/// core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Fills {
    /// Copies that may come on the emulated core.
    pub this_core: Fill,
    /// Copies that may come on some core of the architecture.
    pub some_core: Fill,
}

/// What can be with one byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// What can be on the emulated core. Sorted.
    this_core: Box<[Possibility]>,
    /// What can be on some core of the architecture. Sorted.
    some_core: Box<[Possibility]>,
    /// Where the newest store may still wait.
    pub buffered: Buffered,
    /// An invalidation may have thrown the newest value away.
    pub invalidated: bool,
    /// A device was to write the byte, and did not; nobody has since.
    pub unwritten: bool,
}

/// Why a reader may not get the newest value. The most telling comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The reader finds an old line in the inner cache.
    OldInner,
    /// The reader finds an old line in the outer cache.
    OldOuter,
    /// The newest value is in an inner copy that it does not look at.
    InInner,
    /// The newest value is in the outer cache that it does not look at.
    InOuter,
    /// The newest value is nowhere.
    Lost,
}

const CAUSES: [Cause; 5] = [
    Cause::OldInner,
    Cause::OldOuter,
    Cause::InInner,
    Cause::InOuter,
    Cause::Lost,
];

/// A set of causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Causes(u8);

impl Causes {
    fn add(&mut self, cause: Cause) {
        self.0 |= 1 << cause as u8;
    }

    /// The most telling cause of the set.
    pub fn first(self) -> Option<Cause> {
        CAUSES.into_iter().find(|&c| (self.0 >> c as u8) & 1 == 1)
    }
}

/// Who reads, and where it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reader {
    /// A cached load by an inner copy.
    Inner(u8),
    /// A cached load by an inner copy through a write-through mapping.
    Through(u8),
    /// Instruction fetch: from behind the inner data cache.
    Behind,
    /// A device, or a load that no cache sees.
    Memory,
}

/// What a reader may run into, on the emulated core and on some core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// What it may run into on the emulated core.
    pub this_core: Causes,
    /// What it may run into on some core of the architecture.
    pub some_core: Causes,
}

/// What is asked of a state often.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    /// Whoever reads gets the newest value, and nothing is buffered or was to be
    /// written.
    pub settled: bool,
    /// The line may be dirty somewhere, on the emulated core.
    pub dirty_on_this_core: bool,
    /// The line may be dirty somewhere, on some core.
    pub dirty_on_some_core: bool,
    /// Inner copies that may be there on some core, or on this one; a bit each.
    pub copies: u8,
    /// Inner copies that may be there on the emulated core.
    pub copies_on_this_core: u8,
}

/// All states that ever were.
#[derive(Debug)]
pub struct States {
    this_core: CacheRules,
    some_core: CacheRules,
    states: Vec<State>,
    summaries: Vec<Summary>,
    ids: HashMap<State, StateId, SmallKeyHash>,
    steps: HashMap<(StateId, ByteEvent, Fills), StateId, SmallKeyHash>,
    verdicts: HashMap<(StateId, Reader), Verdict, SmallKeyHash>,
    // Of all sets, in bytes.
    sets: usize,
    forgotten: u64,
}

/// States at most. One address brings some tens, two some thousands, and what
/// guests do far fewer. Beyond this many, a byte in a new one is taken as right.
const MOST: usize = 1 << 13;

impl States {
    /// The state at power-on.
    pub const POWER_ON: StateId = StateId(0);

    /// The states of a core, its outer cache on if it has one.
    pub fn new(core: &Core) -> Self {
        let this_core = CacheRules {
            outer: core.outer != Outer::None,
            outer_buffers: core.outer == Outer::Pl310,
            write_allocates: core.write_allocates,
            write_through: core.write_through,
        };
        let mut states = Self {
            this_core,
            some_core: CacheRules {
                write_allocates: true,
                write_through: true,
                ..this_core
            },
            states: Vec::new(),
            summaries: Vec::new(),
            ids: HashMap::default(),
            steps: HashMap::default(),
            verdicts: HashMap::default(),
            sets: 0,
            forgotten: 0,
        };
        states.intern(State {
            this_core: [Possibility::POWER_ON].into(),
            some_core: [Possibility::POWER_ON].into(),
            buffered: Buffered::No,
            invalidated: false,
            unwritten: false,
        });
        states
    }

    fn intern(&mut self, state: State) -> StateId {
        if let Some(&id) = self.ids.get(&state) {
            return id;
        }
        if self.states.len() == MOST {
            self.forgotten += 1;
            return Self::POWER_ON;
        }
        let id = StateId(self.states.len() as u16);
        // Kept twice, in the list and as a key.
        self.sets += 2 * (state.this_core.len() + state.some_core.len()) * size_of::<Possibility>();
        self.summaries.push(summary(&state));
        self.states.push(state.clone());
        self.ids.insert(state, id);
        id
    }

    /// The state of a byte that whoever reads gets the newest value of, while its
    /// line may be dirty in any cache, or in none.
    pub fn perhaps_dirty(&mut self) -> StateId {
        let dirty = self.intern(State {
            this_core: [Possibility::in_dirty_line()].into(),
            some_core: [Possibility::in_dirty_line()].into(),
            buffered: Buffered::No,
            invalidated: false,
            unwritten: false,
        });
        self.step(dirty, ByteEvent::Nothing, Fills::default())
    }

    /// States that were taken as right, as there was no room.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Switches the outer cache. It must be empty.
    pub fn switch_outer(&mut self, on: bool) {
        self.this_core.outer = on;
        self.some_core.outer = on;
        self.steps.clear();
    }

    /// Bytes that all states take.
    pub fn size(&self) -> usize {
        self.sets
            + self.states.capacity() * (size_of::<State>() + size_of::<Summary>())
            + self.ids.capacity() * (size_of::<(State, StateId)>() + 1)
            + self.steps.capacity() * (size_of::<((StateId, ByteEvent, Fills), StateId)>() + 1)
            + self.verdicts.capacity() * (size_of::<((StateId, Reader), Verdict)>() + 1)
    }

    /// The state with this number.
    pub fn get(&self, id: StateId) -> &State {
        &self.states[usize::from(id.0)]
    }

    /// What is asked often of the state with this number.
    pub fn summary(&self, id: StateId) -> Summary {
        self.summaries[usize::from(id.0)]
    }

    /// The state after an event and whatever caches do then by themselves.
    pub fn step(&mut self, id: StateId, event: ByteEvent, fills: Fills) -> StateId {
        if let Some(&next) = self.steps.get(&(id, event, fills)) {
            return next;
        }
        let from = self.get(id);
        let some_core = reach(
            &self.some_core,
            &from.some_core,
            event,
            fills.some_core,
            &[],
        );
        let this_core = reach(
            &self.this_core,
            &from.this_core,
            event,
            fills.this_core,
            &some_core,
        );
        let lost = |set: &[Possibility]| set.iter().any(|p| !p.lasts());
        let (buffered, invalidated) = match event {
            ByteEvent::StoreBack(_, true) | ByteEvent::DeviceWrites | ByteEvent::Forget => {
                (Buffered::No, false)
            }
            ByteEvent::StoreThrough(_) | ByteEvent::StoreMemory { buffered: true } => {
                (Buffered::Core(Order::Latest), false)
            }
            ByteEvent::StoreMemory { buffered: false } => (Buffered::No, false),
            ByteEvent::Drain => {
                let buffered = match from.buffered {
                    Buffered::Core(order) if self.this_core.has_outer_buffers() => {
                        Buffered::Outer(order)
                    }
                    Buffered::Core(_) => Buffered::No,
                    other => other,
                };
                (buffered, from.invalidated)
            }
            ByteEvent::OuterSync if matches!(from.buffered, Buffered::Outer(_)) => {
                (Buffered::No, from.invalidated)
            }
            ByteEvent::Followed => (from.buffered.followed(), from.invalidated),
            ByteEvent::Inner(_, Operation::Invalidate)
            | ByteEvent::InnerAll(Operation::Invalidate)
            | ByteEvent::Through(_, Operation::Invalidate)
            | ByteEvent::Outer(Operation::Invalidate) => {
                let new = lost(&some_core) && !lost(&from.some_core);
                (from.buffered, from.invalidated || new)
            }
            _ => (from.buffered, from.invalidated),
        };
        let unwritten = match event {
            ByteEvent::Unwritten => true,
            ByteEvent::StoreBack(_, true)
            | ByteEvent::StoreThrough(_)
            | ByteEvent::StoreMemory { .. }
            | ByteEvent::DeviceWrites
            | ByteEvent::DeviceMayWrite
            | ByteEvent::Forget => false,
            _ => from.unwritten,
        };
        let next = self.intern(State {
            this_core,
            some_core,
            buffered,
            invalidated,
            unwritten,
        });
        self.steps.insert((id, event, fills), next);
        next
    }

    /// What a reader may run into.
    pub fn verdict(&mut self, id: StateId, reader: Reader) -> Verdict {
        if let Some(&verdict) = self.verdicts.get(&(id, reader)) {
            return verdict;
        }
        let state = self.get(id);
        let verdict = Verdict {
            this_core: causes(&self.this_core, &state.this_core, reader),
            some_core: causes(&self.some_core, &state.some_core, reader),
        };
        self.verdicts.insert((id, reader), verdict);
        verdict
    }
}

/// What can keep the newest value from a reader.
fn causes(rules: &CacheRules, set: &[Possibility], reader: Reader) -> Causes {
    let mut causes = Causes::default();
    for p in set {
        let inner = match reader {
            Reader::Inner(i) => Some(p.inner(i.into())),
            Reader::Through(i) if rules.write_through => Some(p.inner(i.into())),
            Reader::Behind => Some(Held::Absent),
            Reader::Through(_) | Reader::Memory => None,
        };
        let (gets_newest, old) = match inner {
            None => (p.memory(), Cause::InOuter),
            Some(Held::Absent) => (p.behind(), Cause::OldOuter),
            Some(copy) => (copy.newest(), Cause::OldInner),
        };
        if gets_newest {
            continue;
        }
        let in_dirty_inner = (0..COPIES).any(|i| p.inner(i).lasts());
        let in_old_dirty_line = inner.is_some_and(Held::dirty);
        // A clean line may vanish: what only it has is as good as lost.
        causes.add(if !p.lasts() && !in_old_dirty_line {
            Cause::Lost
        } else if old == Cause::OldInner || !in_dirty_inner {
            old
        } else {
            Cause::InInner
        });
    }
    causes
}

/// The set after `event`, with all that caches may do by themselves then.
///
/// Where a line is dirty, a byte that only some core has in no other place is
/// taken as if this one had, as `some_core` tells. That is coarse: without
/// write-allocate a byte stored before the line came is in memory, and one
/// stored after that is not. But they would be two classes in many lines.
fn reach(
    rules: &CacheRules,
    from: &[Possibility],
    event: ByteEvent,
    fill: Fill,
    some_core: &[Possibility],
) -> Box<[Possibility]> {
    let mut all: Vec<Possibility> = Vec::new();
    let add = |p, all: &mut Vec<Possibility>| {
        if !all.contains(&p) {
            all.push(p);
        }
    };
    for &p in from {
        rules.after(p, event, |p| add(p, &mut all));
    }
    let mut done = 0;
    while let Some(&p) = all.get(done) {
        rules.alone(p, fill, |p| add(p, &mut all));
        for &other in some_core {
            if other.only_in_dirty_line() && other.worse_than(p) {
                add(other, &mut all);
            }
        }
        done += 1;
    }
    let worst = |p: &Possibility| !all.iter().any(|q| q.worse_than(*p));
    let mut worst: Vec<_> = all.iter().copied().filter(worst).collect();
    worst.sort_unstable();
    worst.into()
}

/// Computed once for each state.
fn summary(state: &State) -> Summary {
    let dirty = |set: &[Possibility]| {
        let dirty = |p: &Possibility| p.outer().dirty() || (0..COPIES).any(|i| p.inner(i).dirty());
        set.iter().any(dirty)
    };
    let copies = |set: &[Possibility]| {
        (0..COPIES)
            .filter(|&i| set.iter().any(|p| p.inner(i) != Held::Absent))
            .fold(0, |bits, i| bits | (1 << i))
    };
    let mut all = state.this_core.iter().chain(&state.some_core);
    Summary {
        settled: state.buffered == Buffered::No && !state.unwritten && all.all(|p| p.settled()),
        dirty_on_this_core: dirty(&state.this_core),
        dirty_on_some_core: dirty(&state.some_core),
        copies: copies(&state.this_core) | copies(&state.some_core),
        copies_on_this_core: copies(&state.this_core),
    }
}
