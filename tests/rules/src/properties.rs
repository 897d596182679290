// SPDX-License-Identifier: GPL-2.0
//! Ranges and owners against models that know each byte.

use crate::rules::{
    ownership::{Access, Caller, Change, Handed, Outcome, Owner, Phase, Reach},
    range::Range,
};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Bytes of a small buffer.
const SIZE: usize = 64;

fn bytes(range: Option<Range>) -> BTreeSet<usize> {
    range.map_or_else(BTreeSet::new, |range| {
        (range.start()..range.end()).collect()
    })
}

prop_compose! {
    fn some_range()(start in 0..SIZE)(end in start + 1..=SIZE, start in Just(start)) -> Range {
        Range::between(start, end)
    }
}

proptest! {
    #[test]
    fn new_takes_exactly_what_lies_inside(offset: u64, length: u64, small in any::<bool>()) {
        let (offset, length) = if small { (offset % 80, length % 80) } else { (offset, length) };
        let inside = length > 0
            && offset.checked_add(length).is_some_and(|end| end <= SIZE as u64);
        prop_assert_eq!(Range::new(offset, length, SIZE).is_ok(), inside);
    }

    #[test]
    fn two_ranges(a in some_range(), b in some_range()) {
        let both: BTreeSet<_> = bytes(Some(a)).intersection(&bytes(Some(b))).copied().collect();
        prop_assert_eq!(bytes(a.intersect(b)), both);
        let hull: BTreeSet<_> = (a.start().min(b.start())..a.end().max(b.end())).collect();
        prop_assert_eq!(bytes(Some(a.hull(b))), hull.clone());
        let either: BTreeSet<_> = bytes(Some(a)).union(&bytes(Some(b))).copied().collect();
        prop_assert_eq!(bytes(a.gap(b)), hull.difference(&either).copied().collect());
    }

    #[test]
    fn parts(range in some_range(), step in 1..80_usize, count in 0..80_usize) {
        let all = bytes(Some(range));
        let pieces: Vec<_> = range.pieces(step).collect();
        let joined: Vec<_> = pieces.iter().flat_map(|&piece| bytes(Some(piece))).collect();
        prop_assert_eq!(joined, all.iter().copied().collect::<Vec<_>>());
        for piece in pieces {
            prop_assert_eq!(piece.start() / step, (piece.end() - 1) / step);
        }
        let first: BTreeSet<_> = all.iter().copied().take(count).collect();
        prop_assert_eq!(bytes(range.first(count)), first);
        prop_assert_eq!(bytes(range.after(count)), all.iter().copied().skip(count).collect());
        if let Some(enclosed) = range.enclosed(step) {
            prop_assert!(bytes(Some(enclosed)).is_subset(&all));
            prop_assert_eq!((enclosed.start() % step, enclosed.end() % step), (0, 0));
        }
        prop_assert!(all.is_subset(&bytes(Some(range.enclosing(step, SIZE)))));
    }
}

/// What happens to a buffer.
#[derive(Clone, Debug)]
enum Event {
    Transfer,
    TransferEnds,
    Sync(Phase, Range, Caller),
    SyncEnds(Outcome),
    ImporterMaps(Range),
}

fn event() -> impl Strategy<Value = Event> {
    let phase = prop_oneof![Just(Phase::Start), Just(Phase::End)];
    let caller = prop_oneof![Just(Caller::Reads), Just(Caller::Writes)];
    let outcome = prop_oneof![Just(Outcome::Done), Just(Outcome::Failed)];
    prop_oneof![
        Just(Event::Transfer),
        Just(Event::TransferEnds),
        (phase, some_range(), caller).prop_map(|(p, r, c)| Event::Sync(p, r, c)),
        outcome.prop_map(Event::SyncEnds),
        some_range().prop_map(Event::ImporterMaps),
    ]
}

/// Which bytes devices were given, and what is running.
#[derive(Default)]
struct Model {
    given: BTreeSet<usize>,
    transfers: usize,
    sync: Option<(Change, BTreeSet<usize>)>,
}

impl Model {
    fn step(&mut self, access: &mut Access, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Transfer => {
                let allowed = self.sync.is_none() && self.given.is_empty();
                prop_assert_eq!(access.begin_transfer().is_ok(), allowed);
                self.transfers += usize::from(allowed);
            }
            Event::TransferEnds if self.transfers > 0 => {
                access.end_transfer();
                self.transfers -= 1;
            }
            Event::Sync(phase, range, caller) => {
                let reach = Reach {
                    importers: None,
                    own: true,
                    handed: access.handed(),
                };
                let change = Change::of_sync(phase, range, caller, reach);
                let mine = self.given.is_empty() || change != Change::Keep;
                let allowed = self.transfers == 0 && self.sync.is_none() && mine;
                let begun = access.begin_sync(change);
                prop_assert_eq!(begun.is_ok(), allowed);
                if allowed {
                    self.sync = Some((change, BTreeSet::new()));
                }
            }
            Event::SyncEnds(outcome) => {
                if let Some((change, arrived)) = self.sync.take() {
                    access.end_sync(outcome);
                    match (outcome, change) {
                        (Outcome::Done, Change::TakeBack) => {
                            self.given.clear();
                            return Ok(());
                        }
                        (Outcome::Done, Change::HandOver(range)) => {
                            self.given.extend(bytes(Some(range)));
                        }
                        (Outcome::Done, Change::Keep) | (Outcome::Failed, _) => {}
                    }
                    self.given.extend(arrived);
                }
            }
            Event::ImporterMaps(range) => {
                access.hand_over(range);
                match &mut self.sync {
                    Some((_, arrived)) => arrived.extend(bytes(Some(range))),
                    None => self.given.extend(bytes(Some(range))),
                }
            }
            Event::TransferEnds => {}
        }
        Ok(())
    }

    /// What the rules say is what the model knows.
    fn check(&self, access: &Access) -> Result<(), TestCaseError> {
        let handed = access.handed();
        prop_assert!(self.given.is_subset(&bytes(handed.range())));
        // Nothing is between the ends that is not between given bytes.
        prop_assert_eq!(
            handed.range().map(|range| range.start()),
            self.given.first().copied()
        );
        prop_assert_eq!(
            handed.range().map(|range| range.end() - 1),
            self.given.last().copied()
        );
        let owner = if self.given.is_empty() {
            Owner::Cpu
        } else {
            Owner::Device
        };
        prop_assert_eq!(handed.owner(), owner);
        prop_assert_eq!(handed == Handed::NOTHING, self.given.is_empty());
        let (gives, arrived) = match &self.sync {
            Some((change, arrived)) => (matches!(change, Change::HandOver(_)), arrived.len()),
            None => (false, 0),
        };
        let free = self.given.is_empty() && arrived == 0;
        prop_assert_eq!(access.is_given(), !free);
        prop_assert_eq!(access.may_touch(), free && !gives);
        let idle = self.given.is_empty() && self.sync.is_none() && self.transfers == 0;
        prop_assert_eq!(access.check_idle().is_ok(), idle);
        Ok(())
    }
}

proptest! {
    #[test]
    fn owner_of_each_byte(events in prop::collection::vec(event(), 1..200)) {
        let mut access = Access::new();
        let mut model = Model::default();
        for event in events {
            model.step(&mut access, event)?;
            model.check(&access)?;
        }
    }
}
