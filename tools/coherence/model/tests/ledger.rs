// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the DMA API is told, and what devices do, compared with a ledger that knows of each byte
//! whose it is.

use std::collections::HashSet;

use coherence_model::cores::Core;
use coherence_model::events::{Access, Device, Direction, MemoryType, PhysicalRange, Site};
use coherence_model::hazards::{Finding, Hazard};
use coherence_model::Model;
use proptest::prelude::*;

/// Memory of some lines, across the end of a page, in pieces.
const BEGIN: u32 = 0x0080_5f80;
const PIECE: u32 = 8;
const PIECES: usize = 32;
const PAGE: u32 = 1 << 12;

/// Pieces from the first one on.
type Range = (usize, usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Terms {
    Usual,
    OfAList,
    SharingLines,
    Unsynced,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Map(u32, Range, Direction, Terms),
    Owns(Range, Direction),
    Returns(Range, Direction),
    Unmap(Range, Direction),
    /// The same of the mapping that a piece is in, if there is one.
    OwnsAll(usize),
    ReturnsAll(usize),
    UnmapAll(usize),
    Accesses(Range, bool),
    /// The CPU touches a piece.
    Touches(usize),
    /// The mapping that a piece is in is of the stack.
    OnStack(usize),
    Snoops(u32),
    Coherent(Range),
    CoherentFreed(usize),
    Freed(Range),
    DriverGone(u32),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let device = 1..3u32;
    let piece = 0..PIECES;
    let range = (0..PIECES, 1..12usize).prop_map(|(at, len)| (at, len.min(PIECES - at)));
    let direction = prop_oneof![
        Just(Direction::ToDevice),
        Just(Direction::FromDevice),
        Just(Direction::Bidirectional),
    ];
    let terms = prop_oneof![
        4 => Just(Terms::Usual),
        1 => Just(Terms::OfAList),
        1 => Just(Terms::SharingLines),
        2 => Just(Terms::Unsynced),
    ];
    let map = (device.clone(), range.clone(), direction.clone(), terms);
    let event = prop_oneof![
        6 => map.prop_map(|(d, r, way, terms)| Event::Map(d, r, way, terms)),
        1 => (range.clone(), direction.clone()).prop_map(|(r, way)| Event::Owns(r, way)),
        1 => (range.clone(), direction.clone()).prop_map(|(r, way)| Event::Returns(r, way)),
        1 => (range.clone(), direction).prop_map(|(r, way)| Event::Unmap(r, way)),
        3 => piece.clone().prop_map(Event::OwnsAll),
        3 => piece.clone().prop_map(Event::ReturnsAll),
        3 => piece.clone().prop_map(Event::UnmapAll),
        6 => (range.clone(), any::<bool>()).prop_map(|(r, writes)| Event::Accesses(r, writes)),
        4 => piece.clone().prop_map(Event::Touches),
        4 => piece.clone().prop_map(Event::OnStack),
        1 => device.clone().prop_map(Event::Snoops),
        1 => range.clone().prop_map(Event::Coherent),
        1 => piece.prop_map(Event::CoherentFreed),
        1 => range.prop_map(Event::Freed),
        1 => device.prop_map(Event::DriverGone),
    ];
    prop::collection::vec(event, 1..30)
}

/// A mapping.
#[derive(Debug, Clone, Copy)]
struct Mapped {
    device: u32,
    range: Range,
    direction: Direction,
    terms: Terms,
    given: bool,
    left: bool,
}

impl Mapped {
    fn fits(&self, direction: Direction) -> bool {
        self.direction == Direction::Bidirectional || self.direction == direction
    }
}

/// Who has a piece.
#[derive(Debug, Clone, Copy, Default)]
struct Piece {
    /// The mapping that it is in, by number.
    mapping: Option<usize>,
    /// The first piece of the coherent memory that it is in.
    coherent: Option<usize>,
    /// The device has it, and whether it may write it.
    owned: Option<bool>,
    /// A mapping, or coherent memory, of it has ended.
    ended: bool,
}

#[derive(Debug)]
struct Ledger {
    // Pieces in a line.
    line: usize,
    pieces: [Piece; PIECES],
    mappings: Vec<Option<Mapped>>,
    snooping: HashSet<u32>,
}

impl Ledger {
    fn new(core: Core) -> Self {
        Self {
            line: (core.data_cache.line / PIECE) as usize,
            pieces: Default::default(),
            mappings: Vec::new(),
            snooping: HashSet::new(),
        }
    }

    /// The pieces of the line that one is in.
    fn line(&self, piece: usize) -> std::ops::Range<usize> {
        let first = piece / self.line * self.line;
        first..first + self.line
    }

    fn of(&mut self, (at, len): Range) -> &mut [Piece] {
        &mut self.pieces[at..at + len]
    }

    /// The mapping that all of a range is in.
    fn around(&self, (at, len): Range) -> Option<usize> {
        let first = self.pieces[at].mapping?;
        let mut all = self.pieces[at..at + len].iter();
        all.all(|piece| piece.mapping == Some(first))
            .then_some(first)
    }

    fn mapped(&mut self, number: usize) -> &mut Mapped {
        self.mappings[number].as_mut().expect("a live mapping")
    }

    /// Numbers of the mappings of which a range has something.
    fn within(&self, (at, len): Range) -> HashSet<usize> {
        let pieces = self.pieces[at..at + len].iter();
        pieces.filter_map(|piece| piece.mapping).collect()
    }

    fn end(&mut self, number: usize) {
        self.mappings[number] = None;
        for piece in &mut self.pieces {
            if piece.mapping == Some(number) {
                piece.mapping = None;
                piece.owned = None;
            }
        }
    }

    /// Whether other data in the lines of a mapping is a danger to it.
    fn is_in_danger(&self, mapped: &Mapped) -> bool {
        mapped.terms != Terms::SharingLines && !self.snooping.contains(&mapped.device)
    }

    /// Whether a piece is in no mapping, and shares its line with one that a device may write.
    fn is_beside(&self, piece: usize) -> bool {
        self.pieces[piece].mapping.is_none()
            && self.pieces[self.line(piece)].iter().any(|other| {
                let mapped = other.mapping.and_then(|number| self.mappings[number]);
                other.owned == Some(true) && mapped.is_some_and(|it| self.is_in_danger(&it))
            })
    }

    /// Whether a mapping which a device may write has a line with pieces of none.
    fn reaches_beyond(&self, mapped: &Mapped) -> bool {
        let (at, len) = mapped.range;
        let mut pieces = (at..at + len).flat_map(|piece| self.line(piece));
        mapped.direction.device_writes()
            && self.is_in_danger(mapped)
            && pieces.any(|piece| self.pieces[piece].mapping.is_none())
    }

    /// Whether a mapping has something in common with others, and a device may write.
    fn meets(&self, range: Range, direction: Direction, terms: Terms) -> bool {
        let line = self.line;
        let (begin, end) = (
            range.0 / line * line,
            (range.0 + range.1).next_multiple_of(line),
        );
        let same_bytes = self.within(range);
        self.within((begin, end - begin)).into_iter().any(|number| {
            let other = self.mappings[number].expect("a live mapping");
            let writes = direction.device_writes() || other.direction.device_writes();
            let synced = terms != Terms::Unsynced && other.terms != Terms::Unsynced;
            let shares = |it| matches!(it, Terms::OfAList | Terms::SharingLines);
            let apart = shares(terms) || shares(other.terms);
            let may_stay = self.snooping.contains(&other.device);
            writes && synced && !may_stay && (same_bytes.contains(&number) || !apart)
        })
    }

    fn owns(&mut self, range: Range, direction: Direction) -> bool {
        let Some(number) = self.around(range) else {
            return true;
        };
        let writes = direction.device_writes();
        self.of(range)
            .iter_mut()
            .for_each(|piece| piece.owned = Some(writes));
        let mapped = self.mapped(number);
        mapped.given = true;
        !mapped.fits(direction)
    }

    fn returns(&mut self, range: Range, direction: Direction, unmaps: bool) -> bool {
        let Some(number) = self.around(range) else {
            return true;
        };
        let had = self.of(range).iter().any(|piece| piece.owned.is_some());
        self.of(range)
            .iter_mut()
            .for_each(|piece| piece.owned = None);
        let mapped = *self.mapped(number);
        let too_many = !had && !unmaps;
        let never = !had && !mapped.given && mapped.terms == Terms::Unsynced;
        too_many || never || !mapped.fits(direction)
    }

    fn unmap(&mut self, range: Range, direction: Direction) -> bool {
        let wrong = self.returns(range, direction, true);
        let Some(number) = self.around(range) else {
            return true;
        };
        let mapped = *self.mapped(number);
        self.end(number);
        let (at, len) = mapped.range;
        self.of((at, len))
            .iter_mut()
            .for_each(|piece| piece.ended = true);
        wrong || mapped.range != range || mapped.direction != direction
    }

    /// Whether a device that does this is known to have no right to.
    fn is_stray(&self, (at, len): Range, writes: bool) -> bool {
        let may = |i: usize| {
            let piece = self.pieces[i];
            let mapped = piece.mapping.and_then(|number| self.mappings[number]);
            let by_mapping = mapped.is_some_and(|it| match writes {
                true => it.direction.device_writes(),
                false => it.direction.device_reads(),
            });
            by_mapping || piece.coherent.is_some()
        };
        let had = |i: usize| {
            let piece = self.pieces[i];
            piece.mapping.is_some() || piece.coherent.is_some()
        };
        let Some(first) = (at..at + len).find(|&i| !may(i)) else {
            return false;
        };
        let begins_page = (BEGIN + first as u32 * PIECE) % PAGE == 0;
        let goes_on = first > 0 && !begins_page && had(first - 1);
        let some = (at..at + len).any(may);
        had(first) || some || goes_on || self.pieces[first].ended
    }
}

fn physical((at, len): Range) -> PhysicalRange {
    PhysicalRange {
        pa: BEGIN + at as u32 * PIECE,
        len: len as u32 * PIECE,
    }
}

/// What the model finds of these hazards, and what the ledger says; `None` where it cannot go on.
fn apply(model: &mut Model, ledger: &mut Ledger, event: Event) -> Option<([bool; 5], [bool; 5])> {
    let mut found: Vec<Finding> = Vec::new();
    let mut tell = |what| model.device(what, None, &mut |finding| found.push(finding));
    let (mut two, mut sync, mut stray, mut left, mut shared, mut ends) = Default::default();
    // All of the mapping that a piece is in.
    let all = |ledger: &Ledger, piece: usize| {
        let number = ledger.pieces[piece].mapping?;
        let mapped = ledger.mappings[number]?;
        Some((mapped.range, mapped.direction))
    };
    let event = match event {
        Event::OwnsAll(piece) => all(ledger, piece).map(|(r, way)| Event::Owns(r, way)),
        Event::ReturnsAll(piece) => all(ledger, piece).map(|(r, way)| Event::Returns(r, way)),
        Event::UnmapAll(piece) => all(ledger, piece).map(|(r, way)| Event::Unmap(r, way)),
        other => Some(other),
    };
    match event {
        None | Some(Event::OwnsAll(_) | Event::ReturnsAll(_) | Event::UnmapAll(_)) => {}
        Some(Event::Map(device, range, direction, terms)) => {
            if ledger
                .of(range)
                .iter()
                .any(|piece| piece.coherent.is_some())
            {
                return Some(([false; 5], [false; 5]));
            }
            tell(Device::Of(device));
            let physical = physical(range);
            tell(match terms {
                Terms::Usual => Device::Map(physical, direction),
                Terms::OfAList => Device::MapEntry(physical, direction),
                Terms::SharingLines => Device::MapSharingLines(physical, direction),
                Terms::Unsynced => Device::MapUnsynced(physical, direction),
            });
            two = ledger.meets(range, direction, terms);
            // Of what is mapped twice nobody knows whose it is.
            ends = !ledger.within(range).is_empty();
            let number = ledger.mappings.len();
            ledger.mappings.push(Some(Mapped {
                device,
                range,
                direction,
                terms,
                given: false,
                left: false,
            }));
            for piece in ledger.of(range) {
                piece.mapping = Some(number);
                piece.owned = None;
            }
        }
        Some(Event::Owns(range, direction)) => {
            tell(Device::Owns(physical(range), direction));
            sync = ledger.owns(range, direction);
        }
        Some(Event::Returns(range, direction)) => {
            tell(Device::Returns(physical(range), direction));
            sync = ledger.returns(range, direction, false);
        }
        Some(Event::Unmap(range, direction)) => {
            tell(Device::UnmapBegins(physical(range), direction));
            tell(Device::Unmap(physical(range), direction));
            sync = ledger.unmap(range, direction);
        }
        Some(Event::Accesses(range, writes)) => {
            tell(match writes {
                true => Device::Writes(physical(range)),
                false => Device::Reads(physical(range)),
            });
            stray = ledger.is_stray(range, writes);
        }
        Some(Event::Touches(piece)) => {
            let PhysicalRange { pa, len } = physical((piece, 1));
            let access = Access {
                va: pa,
                pa,
                len,
                memory: MemoryType::WriteBack,
                site: Site(1),
            };
            model.load(&access, &mut |finding| found.push(finding));
            shared = ledger.is_beside(piece);
        }
        Some(Event::OnStack(piece)) => {
            let mapped = ledger.pieces[piece].mapping.map(|it| *ledger.mapped(it));
            if let Some(mapped) = mapped {
                tell(Device::Of(mapped.device));
                tell(Device::OnStack(physical(mapped.range)));
                shared = ledger.reaches_beyond(&mapped);
            }
        }
        Some(Event::Snoops(device)) => {
            tell(Device::Snoops(device));
            ledger.snooping.insert(device);
        }
        Some(Event::Coherent(range)) => {
            let free = |piece: &Piece| piece.mapping.is_none() && piece.coherent.is_none();
            if ledger.of(range).iter().all(free) {
                tell(Device::Coherent(physical(range)));
                let of = ledger.of(range);
                of.iter_mut()
                    .for_each(|piece| piece.coherent = Some(range.0));
            }
        }
        Some(Event::CoherentFreed(piece)) => {
            if let Some(first) = ledger.pieces[piece].coherent {
                let its = |piece: &&mut Piece| piece.coherent == Some(first);
                let pieces: Vec<_> = ledger.pieces.iter_mut().filter(its).collect();
                tell(Device::CoherentFreed(physical((first, pieces.len()))));
                for piece in pieces {
                    piece.coherent = None;
                    piece.ended = true;
                }
            }
        }
        Some(Event::Freed(range)) => {
            tell(Device::Freed(physical(range)));
            for number in ledger.within(range) {
                let mapped = ledger.mapped(number);
                let (device, told) = (mapped.device, std::mem::replace(&mut mapped.left, true));
                left |= !told && !ledger.snooping.contains(&device);
            }
        }
        Some(Event::DriverGone(device)) => {
            tell(Device::DriverGone(device));
            let may_stay = ledger.snooping.remove(&device);
            for number in 0..ledger.mappings.len() {
                if ledger.mappings[number].is_some_and(|it| it.device == device) {
                    left |= !may_stay;
                    ledger.end(number);
                }
            }
        }
    }
    let hazards = [
        Hazard::TwoMappings,
        Hazard::WrongSync,
        Hazard::StrayDma,
        Hazard::NeverUnmapped,
        Hazard::SharedLine,
    ];
    let got = hazards.map(|hazard| found.iter().any(|it| it.hazard == hazard));
    let expected = [two, sync, stray, left, shared];
    if ends && got == expected {
        return None;
    }
    Some((got, expected))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 16 * ProptestConfig::default().cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whose_it_is(events in events(), long in any::<bool>()) {
        let core = if long { Core::CORTEX_A8 } else { Core::CORTEX_A9 };
        let (mut model, mut ledger) = (Model::new(core), Ledger::new(core));
        for (i, &event) in events.iter().enumerate() {
            let Some((got, expected)) = apply(&mut model, &mut ledger, event) else {
                break;
            };
            prop_assert_eq!(got, expected, "{} at event {}: {:?}", core.name, i, event);
        }
    }
}
