// SPDX-License-Identifier: GPL-2.0
//! Ranges and owners against models that know each byte.

use crate::rules::{
    line_set::{LineSet, Member},
    ownership::{Hold, Owner, Ownership, Room, ViewId, WritesTo},
    range::Range,
    range_lock::{Mode, RangeLock, Request, Ticket},
};
use proptest::{prelude::*, sample::Index};
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
        prop_assert_eq!(bytes(Some(a.hull(b))), hull);
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

/// What happens to the owner of bytes.
#[derive(Clone, Debug)]
enum Move {
    LendOwn(Range),
    ReturnOwn(Range),
    AddView(Range, bool, bool),
    Lend(Index),
    Return(Index),
    RemoveView(Index),
}

fn move_of_owner() -> impl Strategy<Value = Move> {
    prop_oneof![
        some_lines().prop_map(Move::LendOwn),
        some_lines().prop_map(Move::ReturnOwn),
        (some_range(), any::<bool>(), any::<bool>())
            .prop_map(|(range, reads, snoops)| Move::AddView(range, reads, snoops)),
        any::<Index>().prop_map(Move::Lend),
        any::<Index>().prop_map(Move::Return),
        any::<Index>().prop_map(Move::RemoveView),
    ]
}

/// Bytes of a line.
const LINE: usize = 4;

fn some_lines() -> impl Strategy<Value = Range> {
    some_range().prop_map(|range| range.enclosing(LINE, SIZE))
}

/// An importer's view.
struct View {
    id: ViewId,
    range: Range,
    /// Its device only reads, and is lent nothing.
    reads: bool,
    snoops: bool,
    lent: bool,
}

/// Which bytes each device was lent.
#[derive(Default)]
struct Lent {
    own: BTreeSet<usize>,
    own_snoops: bool,
    views: Vec<View>,
}

impl Lent {
    fn step(&mut self, ownership: &mut Ownership, event: Move) {
        let some =
            |views: &[View], index: Index| (!views.is_empty()).then(|| index.index(views.len()));
        match event {
            Move::LendOwn(range) => {
                ownership.lend_own(range);
                self.own.extend(bytes(Some(range)));
            }
            Move::ReturnOwn(range) => {
                ownership.return_own(range);
                self.own.retain(|byte| !bytes(Some(range)).contains(byte));
            }
            Move::AddView(range, reads, snoops) => {
                let hold = if reads { Hold::Never } else { Hold::Lent };
                let to = if snoops {
                    WritesTo::Cache
                } else {
                    WritesTo::Memory
                };
                let room = Room::new(self.views.len() + 1).unwrap();
                self.views.push(View {
                    id: ownership.add_view(range, hold, to, room).unwrap(),
                    range,
                    reads,
                    snoops,
                    lent: !reads,
                });
            }
            Move::Lend(index) => {
                if let Some(at) = some(&self.views, index) {
                    let view = &mut self.views[at];
                    ownership.set_hold(view.id, Hold::Lent);
                    view.lent = !view.reads;
                }
            }
            Move::Return(index) => {
                if let Some(at) = some(&self.views, index) {
                    ownership.set_hold(self.views[at].id, Hold::Returned);
                    self.views[at].lent = false;
                }
            }
            Move::RemoveView(index) => {
                if let Some(at) = some(&self.views, index) {
                    ownership.remove_view(self.views.remove(at).id);
                }
            }
        }
    }

    /// What the rules say is what the model knows.
    fn check(&self, ownership: &Ownership, range: Range) -> Result<(), TestCaseError> {
        let mut lent = self.own.clone();
        let mut in_cache = BTreeSet::new();
        if self.own_snoops {
            in_cache.extend(&self.own);
        }
        for view in self.views.iter().filter(|view| view.lent) {
            lent.extend(bytes(Some(view.range)));
            in_cache.extend(bytes(view.snoops.then_some(view.range)));
        }
        let owner = if lent.is_empty() {
            Owner::Cpu
        } else {
            Owner::Device
        };
        prop_assert_eq!(ownership.owner(), owner);
        let asked = bytes(Some(range));
        prop_assert_eq!(ownership.is_lent(range), !asked.is_disjoint(&lent));
        prop_assert_eq!(
            ownership.is_written_in_cache(range),
            !asked.is_disjoint(&in_cache)
        );
        let own_writes_to = ownership.own_writes_to();
        prop_assert_eq!(own_writes_to == WritesTo::Cache, self.own_snoops);
        for to in [WritesTo::Cache, WritesTo::Memory] {
            let is_missing = to == WritesTo::Memory && ownership.is_written_in_cache(range);
            prop_assert_eq!(ownership.is_missing_in_memory(to, range), is_missing);
        }
        let mut views = self.views.iter();
        let has_views = views.any(|view| view.range.intersect(range).is_some());
        prop_assert_eq!(ownership.has_views(range), has_views);
        let all = |member| {
            let mut rest = Some(range);
            std::iter::from_fn(move || ownership.first(&mut rest, member))
                .flat_map(|part| bytes(Some(part)))
                .collect::<Vec<_>>()
        };
        prop_assert_eq!(
            all(Member::Yes),
            asked.intersection(&lent).copied().collect::<Vec<_>>()
        );
        prop_assert_eq!(
            all(Member::No),
            asked.difference(&lent).copied().collect::<Vec<_>>()
        );
        let mut rest = Some(range);
        let own: Vec<_> = std::iter::from_fn(|| ownership.first_of_own(&mut rest, Member::Yes))
            .flat_map(|part| bytes(Some(part)))
            .collect();
        prop_assert_eq!(
            own,
            asked.intersection(&self.own).copied().collect::<Vec<_>>()
        );
        let reached = self
            .views
            .iter()
            .filter(|it| !it.reads && it.range.intersect(range).is_some());
        let hull = reached.fold(range, |hull, it| hull.hull(it.range));
        prop_assert_eq!(ownership.with_views(range), hull);
        Ok(())
    }
}

proptest! {
    #[test]
    fn owner_of_each_byte(
        has_own: bool,
        own_snoops: bool,
        events in prop::collection::vec((move_of_owner(), some_range()), 1..100),
    ) {
        let own = has_own.then(|| LineSet::new(SIZE, LINE).unwrap());
        let own_writes_to = if own_snoops { WritesTo::Cache } else { WritesTo::Memory };
        let mut ownership = Ownership::new(own, own_writes_to);
        let mut lent = Lent { own_snoops, ..Lent::default() };
        for (event, range) in events {
            if !has_own && matches!(event, Move::LendOwn(_) | Move::ReturnOwn(_)) {
                continue;
            }
            lent.step(&mut ownership, event);
            lent.check(&ownership, range)?;
        }
    }
}

/// What happens to a lock of ranges.
#[derive(Clone, Debug)]
enum Event {
    Enter(Vec<(Range, bool)>),
    Leave(Index),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        prop::collection::vec((some_range(), any::<bool>()), 1..3).prop_map(Event::Enter),
        any::<Index>().prop_map(Event::Leave),
    ]
}

/// Whether two lots of ranges can be used at the same time.
fn conflict(one: &[(Range, bool)], other: &[(Range, bool)]) -> bool {
    one.iter().any(|(a, reads_a)| {
        let mut all = other.iter();
        all.any(|(b, reads_b)| a.intersect(*b).is_some() && !(*reads_a && *reads_b))
    })
}

/// Who in a queue has nobody before him who is in the way.
fn granted(queue: &[(Ticket, Vec<(Range, bool)>)]) -> Vec<Ticket> {
    let mut granted = Vec::new();
    for (at, (ticket, wanted)) in queue.iter().enumerate() {
        let mut before = queue[..at].iter();
        if before.all(|(_, others)| !conflict(others, wanted)) {
            granted.push(*ticket);
        }
    }
    granted
}

proptest! {
    /// Whoever is granted something conflicts with nobody who was, and whoever is not has somebody
    /// before him who is in the way, so the first of all is always granted. Who leaves tells those whom
    /// he was the last to be in the way of, and nobody else.
    #[test]
    fn ranges_in_order_of_arrival(events in prop::collection::vec(event(), 1..100)) {
        let mut lock = RangeLock::new();
        let mut queue: Vec<(Ticket, Vec<(Range, bool)>)> = Vec::new();
        for event in events {
            match event {
                Event::Enter(wanted) => {
                    if wanted.len() > 1 && conflict(&wanted[..1], &wanted[1..]) {
                        continue;
                    }
                    let requests: Vec<_> = wanted.iter().map(|&(range, reads)| {
                        Request::exact(range, if reads { Mode::Shared } else { Mode::Exclusive })
                    }).collect();
                    let ticket = loop {
                        match lock.enter(&requests, |range| range) {
                            Ok(ticket) => break ticket,
                            Err(full) => lock.grow(full.make_room().unwrap()),
                        }
                    };
                    queue.push((ticket, wanted));
                }
                Event::Leave(index) if !queue.is_empty() => {
                    let before = granted(&queue);
                    let (ticket, _) = queue.remove(index.index(queue.len()));
                    let mut told = Vec::new();
                    lock.leave(ticket, |granted| told.push(granted));
                    let mut expected = granted(&queue);
                    expected.retain(|ticket| !before.contains(ticket));
                    prop_assert_eq!(told, expected);
                }
                Event::Leave(_) => {}
            }
            let free = granted(&queue);
            for (ticket, _) in &queue {
                prop_assert_eq!(lock.is_granted(*ticket), free.contains(ticket));
            }
        }
    }
}
