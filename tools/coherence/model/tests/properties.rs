// SPDX-License-Identifier: MIT OR Apache-2.0
//! The model says just what the reference says, for any sequence of events on
//! two lines of a page.

mod reference;

use coherence_model::cores::{Core, Indexing, Outer};
use coherence_model::events::{
    Access, Device, Direction, Lines, Maintenance, Mapping, MemoryType, Operation, PhysicalRange,
    Site,
};
use coherence_model::hazards::{Finding, Hazard, Shown};
use coherence_model::Model;
use proptest::prelude::*;
use reference::{Reference, Rules, WORDS};

/// Lines of a page, not neighbours.
fn lines(core: &Core) -> [u32; 2] {
    [0x0080_5040, 0x0080_5c60].map(|pa| pa & !(core.data_cache.line - 1))
}

/// A page that maps it uncached.
const UNCACHED: u32 = 0x7000_0000;
/// Offsets of two words in a line, the first and the last.
fn words(core: &Core) -> [u32; WORDS] {
    [0, core.data_cache.line - 4]
}

/// Virtual addresses of the page, one for each inner copy that there can be.
fn addresses(core: &Core) -> &'static [u32] {
    match core.indexing {
        Indexing::Physical => &[0x1000_0000],
        Indexing::Virtual => &[0x1000_0000, 0x2000_0000, 0x3000_0000],
        Indexing::Coloured { .. } => &[0x1000_0000, 0x1000_1000],
    }
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Load(usize, usize, MemoryType),
    Store(usize, usize, MemoryType),
    Inner(usize, Operation),
    /// A line is cleaned for instructions.
    Unify(usize),
    InnerAll(Operation),
    Outer(Operation),
    OuterAll(Operation),
    Fetch(usize),
    Live(usize),
    Gone(usize),
    DeviceReads(usize),
    DeviceWrites(usize),
    /// A device owns a word until the end of some more events.
    Owns(usize),
    /// So does one of which each access is seen.
    OwnsSeen(usize),
    Returns,
    NewOwner,
}

fn event() -> impl Strategy<Value = Event> {
    let copy = 0..3usize;
    let word = 0..WORDS;
    let memory = prop_oneof![
        6 => Just(MemoryType::WriteBack),
        1 => Just(MemoryType::WriteThrough),
        1 => Just(MemoryType::WriteCombine),
        1 => Just(MemoryType::StronglyOrdered),
    ];
    let operation = prop_oneof![
        Just(Operation::Clean),
        Just(Operation::Invalidate),
        Just(Operation::CleanInvalidate),
    ];
    prop_oneof![
        6 => (copy.clone(), word.clone(), memory.clone()).prop_map(|(c, w, m)| Event::Load(c, w, m)),
        6 => (copy.clone(), word.clone(), memory).prop_map(|(c, w, m)| Event::Store(c, w, m)),
        4 => (copy.clone(), operation.clone()).prop_map(|(c, o)| Event::Inner(c, o)),
        1 => copy.clone().prop_map(Event::Unify),
        1 => operation.clone().prop_map(Event::InnerAll),
        2 => operation.clone().prop_map(Event::Outer),
        1 => operation.prop_map(Event::OuterAll),
        1 => word.clone().prop_map(Event::Fetch),
        1 => copy.clone().prop_map(Event::Live),
        1 => copy.prop_map(Event::Gone),
        1 => word.clone().prop_map(Event::DeviceReads),
        1 => word.clone().prop_map(Event::DeviceWrites),
        1 => word.clone().prop_map(Event::Owns),
        1 => word.prop_map(Event::OwnsSeen),
        1 => Just(Event::Returns),
        1 => Just(Event::NewOwner),
    ]
}

/// An event, and which line it is about.
type Step = (usize, Event);

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0..2usize, event()), 1..most)
}

struct Pair {
    core: Core,
    model: Model,
    // Of each line, on the emulated core and on some core.
    references: [[Reference; 2]; 2],
    // The line and the word that a device owns.
    owned: Option<(usize, usize)>,
    // Whether that is the device which is seen, and it has not written the word yet.
    seen: bool,
    unwritten: bool,
    // Whether a device that looks into the caches has all.
    snooped: bool,
}

/// The number of the device that is seen.
const SEEN: u32 = 7;

/// The number of a device that looks into the caches.
const SNOOPING: u32 = 8;

/// A model that has seen that device once, in memory far away.
fn model(core: Core) -> Model {
    let mut model = Model::new(core);
    let far = PhysicalRange {
        pa: 0x0100_0000,
        len: 4,
    };
    for what in [
        Device::Of(SEEN),
        Device::Map(far, Direction::FromDevice),
        Device::Writes(far),
        Device::Unmap(far, Direction::FromDevice),
    ] {
        model.device(what, None, &mut |_| {});
    }
    model
}

impl Pair {
    fn new(core: Core, dirty_twice: bool) -> Self {
        let this = Rules {
            outer: core.outer != Outer::None,
            write_allocates: core.write_allocates,
            write_through: core.write_through,
            speculates: core.speculates,
            dirty_twice,
        };
        let some = Rules {
            write_allocates: true,
            write_through: true,
            speculates: core.indexing != Indexing::Virtual,
            ..this
        };
        let copies = addresses(&core).len();
        Self {
            core,
            model: model(core),
            references: [0, 1].map(|_| [this, some].map(|rules| Reference::new(rules, copies))),
            owned: None,
            seen: false,
            unwritten: false,
            snooped: false,
        }
    }

    /// The same, of memory that is mapped for a device which looks into the caches.
    fn snooped(core: Core) -> Self {
        let mut pair = Self::new(core, true);
        let page = PhysicalRange {
            pa: lines(&core)[0] & !0xfff,
            len: 1 << 12,
        };
        for what in [
            Device::Of(SNOOPING),
            Device::MapUnsynced(page, Direction::Bidirectional),
            Device::Snoops(SNOOPING),
        ] {
            pair.model.device(what, None, &mut |_| {});
        }
        pair.snooped = true;
        pair
    }

    /// What the model finds, and what the references do; each on the emulated
    /// core, and anywhere.
    fn apply(&mut self, (n, event): Step) -> ([bool; 2], [bool; 2]) {
        let addresses = addresses(&self.core);
        let (pa, word) = (lines(&self.core), words(&self.core));
        let copy = |c: usize| c % addresses.len();
        let mut found: Vec<Finding> = Vec::new();
        let mut sink = |finding| found.push(finding);
        let access = |c: usize, w: usize, memory| Access {
            va: (pa[n] & 0xfff)
                + word[w]
                + match memory {
                    MemoryType::WriteBack | MemoryType::WriteThrough => addresses[copy(c)],
                    _ => UNCACHED,
                },
            pa: pa[n] + word[w],
            len: 4,
            memory,
            site: Site(1),
        };
        let range = |w: usize| PhysicalRange {
            pa: pa[n] + word[w],
            len: 4,
        };
        let line = |c: usize| Lines::Address {
            va: addresses[copy(c)] + (pa[n] & 0xfff),
            pa: Some(pa[n]),
        };
        // The kernel frees nothing that is mapped.
        if self.snooped && matches!(event, Event::NewOwner) {
            return ([false; 2], [false; 2]);
        }
        let snooped_by = self.snooped.then(|| copy((pa[n] >> 12) as usize));
        // What another device owns that one does not touch.
        let others = self.owned;
        let snooped_by = |w: usize| snooped_by.filter(|_| others != Some((n, w)));
        let all = &mut self.references;
        // What is done to both lines is done to the other one first.
        if matches!(
            event,
            Event::InnerAll(_)
                | Event::OuterAll(_)
                | Event::Live(_)
                | Event::Gone(_)
                | Event::NewOwner
        ) {
            for reference in &mut all[1 - n] {
                match event {
                    Event::InnerAll(operation) => reference.inner(None, operation),
                    Event::OuterAll(operation) => reference.outer(operation),
                    Event::Live(c) => reference.set_fillable(copy(c), true),
                    Event::Gone(c) => reference.set_fillable(copy(c), false),
                    // The kernel frees nothing that it has lent.
                    Event::NewOwner if self.owned.is_some() => {}
                    Event::NewOwner => reference.new_owner(),
                    _ => unreachable!(),
                }
            }
        }
        let references = &mut all[n];
        let expected = match event {
            Event::Load(_, w, _)
            | Event::Store(_, w, _)
            | Event::Fetch(w)
            | Event::DeviceReads(w)
                if self.owned == Some((n, w)) =>
            {
                return ([false; 2], [false; 2]);
            }
            // What is the device's to write unseen it may have written already.
            Event::DeviceWrites(w) if self.owned == Some((n, w)) && !self.seen => {
                return ([false; 2], [false; 2]);
            }
            Event::Load(c, w, memory) => {
                self.model.load(&access(c, w, memory), &mut sink);
                references.each_mut().map(|r| r.load(copy(c), w, memory))
            }
            Event::Store(c, w, memory) => {
                self.model.store(&access(c, w, memory), &mut sink);
                // What it says is about a device that owns the other word.
                found.clear();
                references.each_mut().map(|r| {
                    r.store(copy(c), w, memory);
                    false
                })
            }
            Event::Inner(c, operation) => {
                let what = Maintenance::Data(operation, line(c));
                self.model.maintain(what);
                let through = matches!(self.core.outer, Outer::Integrated(_));
                references.each_mut().map(|r| {
                    if through {
                        r.through(copy(c), operation);
                    } else {
                        r.inner(Some(copy(c)), operation);
                    }
                    false
                })
            }
            Event::Unify(c) => {
                let va = addresses[copy(c)] + (pa[n] & 0xfff);
                let pa = Some(pa[n]);
                self.model.maintain(Maintenance::Unify { va, pa });
                references.each_mut().map(|r| {
                    r.inner(Some(copy(c)), Operation::Clean);
                    false
                })
            }
            Event::InnerAll(operation) => {
                let what = Maintenance::Data(operation, Lines::All);
                self.model.maintain(what);
                references.each_mut().map(|r| {
                    r.inner(None, operation);
                    false
                })
            }
            Event::Outer(operation) => {
                let what = Maintenance::Outer(operation, pa[n]);
                self.model.maintain(what);
                references.each_mut().map(|r| {
                    r.outer(operation);
                    false
                })
            }
            Event::OuterAll(operation) => {
                let what = Maintenance::OuterAll(operation);
                self.model.maintain(what);
                references.each_mut().map(|r| {
                    r.outer(operation);
                    false
                })
            }
            Event::Fetch(w) => {
                let what = Maintenance::Instruction(Lines::All);
                self.model.maintain(what);
                let access = access(0, w, MemoryType::WriteBack);
                self.model.fetch(&access, &mut sink);
                references.each_mut().map(|r| r.fetch_is_old(w))
            }
            Event::Live(c) => {
                self.model.mapping(
                    Mapping::Live {
                        va: addresses[copy(c)],
                        pa: pa[n] & !0xfff,
                        len: 1 << 12,
                        memory: MemoryType::WriteBack,
                        asid: None,
                    },
                    &mut sink,
                );
                references.each_mut().map(|r| {
                    r.set_fillable(copy(c), true);
                    false
                })
            }
            Event::Gone(c) => {
                let va = addresses[copy(c)];
                self.model
                    .mapping(Mapping::Gone { va, asid: None }, &mut sink);
                references.each_mut().map(|r| {
                    r.set_fillable(copy(c), false);
                    false
                })
            }
            Event::DeviceReads(w) => {
                self.model.device(Device::Reads(range(w)), None, &mut sink);
                references.each_mut().map(|r| match snooped_by(w) {
                    Some(i) => r.snooping_device_reads_old(i, w),
                    None => r.device_reads_old(w),
                })
            }
            Event::DeviceWrites(w) => {
                if self.owned == Some((n, w)) {
                    self.unwritten = false;
                }
                self.model.device(Device::Writes(range(w)), None, &mut sink);
                references.each_mut().map(|r| match snooped_by(w) {
                    Some(i) => {
                        r.store(i, w, MemoryType::WriteBack);
                        false
                    }
                    None => {
                        let dirty = r.is_dirty();
                        r.device_writes(w);
                        dirty
                    }
                })
            }
            Event::NewOwner if self.owned.is_some() => return ([false; 2], [false; 2]),
            Event::NewOwner => {
                let page = PhysicalRange {
                    pa: pa[n] & !0xfff,
                    len: 1 << 12,
                };
                self.model.new_owner(page);
                references.each_mut().map(|r| {
                    r.new_owner();
                    false
                })
            }
            Event::Owns(w) | Event::OwnsSeen(w) => {
                if self.owned.is_some() {
                    return ([false; 2], [false; 2]);
                }
                self.owned = Some((n, w));
                self.seen = matches!(event, Event::OwnsSeen(_));
                self.unwritten = self.seen;
                let device = if self.seen { SEEN } else { 0 };
                let seen = self.seen;
                let direction = Direction::FromDevice;
                self.model.device(Device::Of(device), None, &mut sink);
                self.model
                    .device(Device::Map(range(w), direction), None, &mut sink);
                self.model
                    .device(Device::Owns(range(w), direction), None, &mut sink);
                references.each_mut().map(|r| {
                    let dirty = r.is_dirty();
                    if !seen {
                        r.device_owns(w);
                    }
                    dirty
                })
            }
            Event::Returns => {
                let Some((line, w)) = self.owned.take() else {
                    return ([false; 2], [false; 2]);
                };
                let direction = Direction::FromDevice;
                let range = PhysicalRange {
                    pa: pa[line] + word[w],
                    len: 4,
                };
                self.model
                    .device(Device::Returns(range, direction), None, &mut sink);
                self.model
                    .device(Device::Unmap(range, direction), None, &mut sink);
                let (seen, unwritten) = (self.seen, self.unwritten);
                all[line].each_mut().map(|r| {
                    if !seen {
                        r.device_returns();
                    } else if unwritten {
                        r.device_did_not_write(w);
                    }
                    false
                })
            }
        };
        found.retain(|finding| {
            !matches!(
                finding.hazard,
                Hazard::TwoTypes | Hazard::NotDrained | Hazard::StrayDma | Hazard::SharedLine
            )
        });
        let here = found.iter().any(|f| f.shown == Shown::ThisCore);
        let [this, some] = expected;
        ([here, !found.is_empty()], [this, this || some])
    }
}

/// The model finds what the reference finds, no more and no less.
///
/// Of who would show it there is one coarseness: where a store that misses does
/// not allocate, a byte stored before its line came counts as dirty once
/// another byte of the line is. Then the model may say "this core" of what
/// only some core would show.
fn exact(core: Core, events: &[Step]) -> Result<(), TestCaseError> {
    exactly(core, Pair::new(core, true), events)
}

fn exactly(core: Core, mut pair: Pair, events: &[Step]) -> Result<(), TestCaseError> {
    for (i, &event) in events.iter().enumerate() {
        let ([here, anywhere], [really_here, really_anywhere]) = pair.apply(event);
        prop_assert_eq!(
            anywhere,
            really_anywhere,
            "{} at event {}: {:?}",
            core.name,
            i,
            event
        );
        let here_is_right = here == really_here || here && !core.write_allocates;
        prop_assert!(
            here_is_right,
            "{} here at event {}: {:?}",
            core.name,
            i,
            event
        );
    }
    Ok(())
}

/// The model misses nothing that caches without its other coarseness can show.
fn sound(core: Core, events: &[Step]) -> Result<(), TestCaseError> {
    let mut pair = Pair::new(core, false);
    for (i, &event) in events.iter().enumerate() {
        let (model, reference) = pair.apply(event);
        let missed = (0..2).any(|j| reference[j] && !model[j]);
        prop_assert!(!missed, "{} at event {}: {:?}", core.name, i, event);
    }
    Ok(())
}

/// A core whose caches have no second level.
const PHYSICAL: Core = Core {
    name: "Cortex-A9 without PL310",
    outer: Outer::None,
    ..Core::CORTEX_A9
};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4 * ProptestConfig::default().cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn arm926(events in steps(18)) {
        exact(Core::ARM926, &events)?;
    }

    #[test]
    fn cortex_a9(events in steps(18)) {
        exact(Core::CORTEX_A9, &events)?;
    }

    #[test]
    fn cortex_a9_misses_nothing(events in steps(18)) {
        sound(Core::CORTEX_A9, &events)?;
    }

    #[test]
    fn cortex_a9_alone(events in steps(18)) {
        exact(PHYSICAL, &events)?;
    }

    #[test]
    fn cortex_a9_and_a_device_that_snoops(events in steps(18)) {
        exactly(Core::CORTEX_A9, Pair::snooped(Core::CORTEX_A9), &events)?;
    }

    #[test]
    fn arm1136_and_a_device_that_snoops(events in steps(18)) {
        exactly(Core::ARM1136, Pair::snooped(Core::ARM1136), &events)?;
    }

    #[test]
    fn cortex_a15(events in steps(18)) {
        exact(Core::CORTEX_A15, &events)?;
    }

    #[test]
    fn cortex_a15_misses_nothing(events in steps(18)) {
        sound(Core::CORTEX_A15, &events)?;
    }

    #[test]
    fn cortex_a8(events in steps(18)) {
        exact(Core::CORTEX_A8, &events)?;
    }

    #[test]
    fn arm1136(events in steps(18)) {
        exact(Core::ARM1136, &events)?;
    }
}
