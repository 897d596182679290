// SPDX-License-Identifier: MIT OR Apache-2.0
//! VIVT: one virtual address that maps now one, now another physical page. The
//! model reports each access that may find the line of the other page, and is
//! right about loads until then.

use std::collections::BTreeSet;

use coherence_model::cores::Core;
use coherence_model::events::{Access, Lines, Maintenance, MemoryType, Operation, Site};
use coherence_model::hazards::{Finding, Shown};
use coherence_model::Model;
use proptest::prelude::*;

const VA: u32 = 0x1000_0000;
/// Where nothing is cached.
const UNCACHED: u32 = 0x2000_0000;
/// The two pages.
const PA: [u32; 2] = [0x0010_0000, 0x0020_0000];

/// The line under the address: its page (the cache keeps that for write-back),
/// whether it is dirty, and its one value that matters.
type Line = (usize, bool, u8);

/// What memory has of each page, and the line.
type World = ([u8; 2], Option<Line>);

#[derive(Debug, Clone, Copy)]
enum Event {
    Map(usize),
    Load,
    Store,
    LoadUncached(usize),
    StoreUncached(usize),
    Line(Operation),
    All(Operation),
}

fn event() -> impl Strategy<Value = Event> {
    let operation = prop_oneof![
        Just(Operation::Clean),
        Just(Operation::Invalidate),
        Just(Operation::CleanInvalidate),
    ];
    prop_oneof![
        3 => (0..2usize).prop_map(Event::Map),
        3 => Just(Event::Load),
        3 => Just(Event::Store),
        1 => (0..2usize).prop_map(Event::LoadUncached),
        1 => (0..2usize).prop_map(Event::StoreUncached),
        2 => operation.clone().prop_map(Event::Line),
        1 => operation.prop_map(Event::All),
    ]
}

struct Reference {
    write_allocates: bool,
    worlds: BTreeSet<World>,
}

impl Reference {
    /// Lines may be evicted at any time.
    fn become_all(&mut self, worlds: impl IntoIterator<Item = World>) {
        self.worlds = worlds.into_iter().collect();
        for (mut memory, line) in self.worlds.clone() {
            if let Some((page, dirty, value)) = line {
                if dirty {
                    memory[page] = value;
                    self.worlds.insert((memory, Some((page, false, value))));
                }
                self.worlds.insert((memory, None));
            }
        }
    }

    fn may_hold_other(&self, mapped: usize) -> bool {
        let holds = |(_, line): &World| line.is_some_and(|(page, ..)| page != mapped);
        self.worlds.iter().any(holds)
    }

    fn load(&mut self, mapped: usize, newest: u8) -> bool {
        let got = |(memory, line): &World| line.map_or(memory[mapped], |(.., value)| value);
        let old = self.worlds.iter().any(|world| got(world) != newest);
        let filled = |(memory, line): World| {
            let clean = (mapped, false, memory[mapped]);
            [(memory, line), (memory, Some(line.unwrap_or(clean)))]
        };
        let worlds: Vec<World> = self.worlds.iter().copied().flat_map(filled).collect();
        self.become_all(worlds);
        old
    }

    fn store(&mut self, mapped: usize, value: u8) {
        let mut worlds = Vec::new();
        for &(mut memory, line) in &self.worlds {
            let dirty = Some((mapped, true, value));
            if line.is_some() || self.write_allocates {
                worlds.push((memory, dirty));
            }
            if line.is_none() {
                memory[mapped] = value;
                worlds.push((memory, None));
            }
        }
        self.become_all(worlds);
    }

    fn store_uncached(&mut self, page: usize, value: u8) {
        let mut worlds = self.worlds.clone();
        worlds = worlds
            .into_iter()
            .map(|(mut memory, line)| {
                memory[page] = value;
                (memory, line)
            })
            .collect();
        self.become_all(worlds);
    }

    fn maintain(&mut self, operation: Operation) {
        let worlds = std::mem::take(&mut self.worlds);
        let worlds = worlds.into_iter().map(|(mut memory, line)| match line {
            Some((page, dirty, value)) => {
                if dirty && operation != Operation::Invalidate {
                    memory[page] = value;
                }
                let stays = operation == Operation::Clean;
                (memory, stays.then_some((page, false, value)))
            }
            None => (memory, None),
        });
        self.become_all(worlds.collect::<Vec<_>>());
    }
}

fn check(events: &[Event]) -> Result<(), TestCaseError> {
    let core = Core::ARM926;
    let mut model = Model::new(core);
    // The emulated core, and some core.
    let mut references = [core.write_allocates, true].map(|write_allocates| Reference {
        write_allocates,
        worlds: [([0; 2], None)].into(),
    });
    let mut newest = [0; 2];
    let mut next = 1;
    let mut mapped = 0;
    for (i, &event) in events.iter().enumerate() {
        let mut found: Vec<Finding> = Vec::new();
        let mut sink = |finding| found.push(finding);
        let access = |page: usize, memory| Access {
            va: match memory {
                MemoryType::WriteBack => VA,
                _ => UNCACHED,
            },
            pa: PA[page],
            len: 4,
            memory,
            site: Site(i as u32),
        };
        let cached = access(mapped, MemoryType::WriteBack);
        let mut conflict = [false; 2];
        if matches!(event, Event::Load | Event::Store) {
            conflict = references.each_ref().map(|r| r.may_hold_other(mapped));
        }
        let expected = match event {
            Event::Map(page) => {
                mapped = page;
                [false; 2]
            }
            Event::Load => {
                model.load(&cached, &mut sink);
                references
                    .each_mut()
                    .map(|r| r.load(mapped, newest[mapped]))
            }
            Event::Store => {
                model.store(&cached, &mut sink);
                newest[mapped] = next;
                next += 1;
                references.each_mut().map(|r| {
                    r.store(mapped, newest[mapped]);
                    false
                })
            }
            Event::LoadUncached(page) => {
                model.load(&access(page, MemoryType::StronglyOrdered), &mut sink);
                let old = |r: &Reference| r.worlds.iter().any(|w| w.0[page] != newest[page]);
                references.each_ref().map(old)
            }
            Event::StoreUncached(page) => {
                model.store(&access(page, MemoryType::StronglyOrdered), &mut sink);
                newest[page] = next;
                next += 1;
                references.each_mut().map(|r| {
                    r.store_uncached(page, newest[page]);
                    false
                })
            }
            Event::Line(operation) => {
                let lines = Lines::Address {
                    va: VA,
                    pa: Some(PA[mapped]),
                };
                model.maintain(Maintenance::Data(operation, lines));
                references.each_mut().map(|r| {
                    r.maintain(operation);
                    false
                })
            }
            Event::All(operation) => {
                let all = Maintenance::Data(operation, Lines::All);
                model.maintain(all);
                references.each_mut().map(|r| {
                    r.maintain(operation);
                    false
                })
            }
        };
        let here = found.iter().any(|f| f.shown == Shown::ThisCore);
        let bad = [0, 1].map(|j| conflict[j] || expected[j]);
        prop_assert_eq!(
            [here, !found.is_empty()],
            [bad[0], bad[0] || bad[1]],
            "at event {}: {:?}: {:?}",
            i,
            event,
            found
        );
        // The model takes the other page's line as gone once it has said so.
        if conflict[0] || conflict[1] {
            break;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4096,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_virtual_address_that_maps_now_this_now_that(
        events in prop::collection::vec(event(), 1..20)
    ) {
        check(&events)?;
    }
}
