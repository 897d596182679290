// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a device may find of stores that wait in buffers, compared with all orders in which they
//! can arrive in memory.

use coherence_model::cores::{Core, Outer};
use coherence_model::events::{Access, Device, Maintenance, MemoryType, PhysicalRange, Site};
use coherence_model::hazards::{Finding, Hazard};
use coherence_model::Model;
use proptest::prelude::*;

const PAGE: u32 = 1 << 12;
const WORD: u32 = 4;
/// Words of three lines and two pages.
const WORDS: [u32; 5] = [
    0x0080_5040,
    0x0080_5044,
    0x0080_505c,
    0x0080_5c60,
    0x0080_6000,
];
/// What a device reads at once: a line, two words of it, a word, pages.
const RANGES: [(u32, u32); 6] = [
    (0x0080_5040, 32),
    (0x0080_5040, 8),
    (0x0080_5044, 4),
    (0x0080_5c60, 4),
    (0x0080_5000, PAGE),
    (0x0080_5000, 2 * PAGE),
];

#[derive(Debug, Clone, Copy)]
enum Event {
    Store(usize),
    Order,
    Drain,
    OuterSync,
    /// A device that was started by a store to one of its registers.
    Reads(usize),
    /// One that may have been started by what it finds.
    Finds(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0..WORDS.len()).prop_map(Event::Store),
        3 => Just(Event::Order),
        1 => Just(Event::Drain),
        1 => Just(Event::OuterSync),
        1 => (0..RANGES.len()).prop_map(Event::Reads),
        4 => (0..RANGES.len()).prop_map(Event::Finds),
    ];
    prop::collection::vec(event, 1..24)
}

/// A store in a buffer.
#[derive(Debug, Clone, Copy)]
struct Pending {
    word: usize,
    /// Barriers before it.
    group: u32,
    outer: bool,
}

/// All stores in the buffers, in the order in which they were done.
#[derive(Debug, Default)]
struct Reference {
    outer: bool,
    pending: Vec<Pending>,
    group: u32,
    /// Since the buffers were empty a barrier came between two stores.
    separated: bool,
    /// Of each page, whether it has a store that has arrived, or another group follows.
    stored: Vec<u32>,
}

impl Reference {
    fn store(&mut self, word: usize) {
        if let Some(last) = self.pending.last() {
            if last.group < self.group {
                self.separated = true;
                let followed = self.pending.iter().map(|it| WORDS[it.word] / PAGE);
                self.stored.extend(followed);
            }
        }
        self.pending.push(Pending {
            word,
            group: self.group,
            outer: false,
        });
    }

    fn drain(&mut self) {
        self.group += 1;
        for it in &mut self.pending {
            it.outer = true;
        }
        if !self.outer {
            self.outer_sync();
        }
    }

    fn outer_sync(&mut self) {
        let arrived = self.pending.iter().filter(|it| it.outer);
        self.stored.extend(arrived.map(|it| WORDS[it.word] / PAGE));
        self.pending.retain(|it| !it.outer);
        self.separated &= !self.pending.is_empty();
    }

    /// Whether there is a word of these whose newest store may be missing when this one has
    /// arrived.
    fn may_miss(&self, words: &[usize], arrived: usize) -> bool {
        (0..1u32 << self.pending.len())
            .filter(|all| (all >> arrived) & 1 == 1 && self.is_possible(*all))
            .any(|all| {
                let mut newest = words.iter().filter_map(|&word| self.newest(&[word]));
                newest.any(|i| (all >> i) & 1 == 0)
            })
    }

    /// Whether these, and no others, can be what has arrived: of one word all that was stored
    /// before has, and all that a barrier separates.
    fn is_possible(&self, all: u32) -> bool {
        let arrived = |i: usize| (all >> i) & 1 == 1;
        let pending = self.pending.iter().enumerate();
        pending.clone().filter(|&(i, _)| arrived(i)).all(|(i, it)| {
            let mut before = self.pending[..i].iter().enumerate();
            before.all(|(j, other)| arrived(j) || other.group == it.group && other.word != it.word)
        })
    }

    /// The store to one of these words that was done last.
    fn newest(&self, words: &[usize]) -> Option<usize> {
        self.pending.iter().rposition(|it| words.contains(&it.word))
    }

    /// Whether a device that was started may read something old.
    fn reads_old(&self, words: &[usize]) -> bool {
        self.newest(words).is_some()
    }

    /// Whether a device may that goes by the last word which it finds new.
    fn finds_old(&self, (pa, len): (u32, u32), words: &[usize]) -> bool {
        let Some(own) = self.newest(words) else {
            return false;
        };
        let last = self.pending.len() - 1;
        if last != own && !self.may_miss(words, last) {
            // By this it may go as well.
            return false;
        }
        let group = self.pending[last].group;
        let latest: Vec<usize> = self
            .pending
            .iter()
            .filter(|it| it.group == group)
            .map(|it| it.word)
            .collect();
        // Where there is nothing else to go by, it was started.
        let may_go_by_it = if len <= WORD {
            self.separated && latest.iter().all(|word| *word == latest[0])
        } else {
            self.separated
                || (pa / PAGE..(pa + len).div_ceil(PAGE)).any(|page| self.stored.contains(&page))
        };
        !may_go_by_it || self.may_miss(words, own)
    }
}

fn same(core: Core, events: &[Event]) -> Result<(), TestCaseError> {
    let mut model = Model::new(core);
    let mut reference = Reference {
        outer: core.outer == Outer::Pl310,
        ..Reference::default()
    };
    for (i, &event) in events.iter().enumerate() {
        let mut found: Vec<Finding> = Vec::new();
        let mut sink = |finding| found.push(finding);
        let words_of = |(pa, len): (u32, u32)| -> Vec<usize> {
            (0..WORDS.len())
                .filter(|&word| (pa..pa + len).contains(&WORDS[word]))
                .collect()
        };
        let range = |(pa, len)| PhysicalRange { pa, len };
        let expected = match event {
            Event::Store(word) => {
                let access = Access {
                    va: WORDS[word],
                    pa: WORDS[word],
                    len: WORD,
                    memory: MemoryType::WriteCombine,
                    site: Site(1),
                };
                model.store(&access, &mut sink);
                reference.store(word);
                false
            }
            Event::Order => {
                model.maintain(Maintenance::Order);
                reference.group += 1;
                false
            }
            Event::Drain => {
                model.maintain(Maintenance::Drain);
                reference.drain();
                false
            }
            Event::OuterSync => {
                model.maintain(Maintenance::OuterSync);
                reference.outer_sync();
                false
            }
            Event::Reads(n) => {
                model.device(Device::Reads(range(RANGES[n])), None, &mut sink);
                reference.reads_old(&words_of(RANGES[n]))
            }
            Event::Finds(n) => {
                model.device(Device::Finds(range(RANGES[n])), None, &mut sink);
                reference.finds_old(RANGES[n], &words_of(RANGES[n]))
            }
        };
        let drained = found.iter().all(|it| it.hazard == Hazard::NotDrained);
        prop_assert!(drained, "{found:#?}");
        let name = core.name;
        prop_assert_eq!(
            !found.is_empty(),
            expected,
            "{} at event {}: {:?}",
            name,
            i,
            event
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4 * ProptestConfig::default().cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn cortex_a9(events in events()) {
        same(Core::CORTEX_A9, &events)?;
    }

    #[test]
    fn cortex_a9_alone(events in events()) {
        same(Core { outer: Outer::None, ..Core::CORTEX_A9 }, &events)?;
    }

    #[test]
    fn cortex_a15(events in events()) {
        same(Core::CORTEX_A15, &events)?;
    }
}
