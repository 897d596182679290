// SPDX-License-Identifier: GPL-2.0

//! Who may use which bytes of a buffer at the same time, in order of arrival. Driven under a lock of
//! the buffer.

use super::range::Range;
use kernel::prelude::*;

/// Whether others may use the same bytes at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Others that share may.
    Shared,
    /// Nobody else may.
    Exclusive,
}

/// What is locked of a buffer besides the bytes that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Nothing.
    Exact,
    /// All of the importers' views that those bytes meet, also of those that come to be while this
    /// waits: SYNC moves such a view as a whole.
    Views,
}

/// Bytes that somebody wants to use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Which bytes.
    pub(crate) range: Range,
    /// Beside whom.
    pub(crate) mode: Mode,
    /// And what else.
    pub(crate) extent: Extent,
}

impl Request {
    /// The bytes of `range` alone.
    pub(crate) fn exact(range: Range, mode: Mode) -> Self {
        Self {
            range,
            mode,
            extent: Extent::Exact,
        }
    }

    /// The bytes of `range`, and the importers' views that they meet, for nobody else.
    pub(crate) fn with_views(range: Range) -> Self {
        Self {
            range,
            mode: Mode::Exclusive,
            extent: Extent::Views,
        }
    }
}

/// Who has entered a [`RangeLock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

impl Ticket {
    /// A number that no other ticket of the lock has.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// A request in the queue, waiting or granted.
struct Entry {
    ticket: Ticket,
    request: Request,
    /// What is locked: the bytes that are asked for, and views.
    locked: Range,
    /// How many that arrived before it it conflicts with.
    blockers: usize,
    /// Whether all that the ticket stands for is granted.
    is_granted: bool,
}

impl Entry {
    fn conflicts(&self, other: &Self) -> bool {
        let together = self.request.mode == Mode::Shared && other.request.mode == Mode::Shared;
        let overlap = self.locked.intersect(other.locked).is_some();
        self.ticket != other.ticket && overlap && !together
    }

    fn count_blockers(&mut self, before: &[Self]) {
        let blockers = before.iter().filter(|other| other.conflicts(self));
        self.blockers = blockers.count();
    }
}

/// A fair lock of ranges: a request is granted when none that arrived before it conflicts with it.
/// Who waits for long is thus never passed by, and who asks for several ranges at once has a place
/// in the order with all of them.
///
/// # Invariants
///
/// `queue` is in order of arrival; entries of one ticket are side by side.
pub(crate) struct RangeLock {
    queue: KVVec<Entry>,
    last: u64,
}

/// There is no room in the queue: [`RangeLock::grow`] it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full {
    /// How many entries there have to be room for.
    needed: usize,
}

/// Room for a longer queue, made where no lock is held.
pub(crate) struct Room(KVVec<Entry>);

impl Full {
    /// The room that is needed, and as much again. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn make_room(&self) -> Result<Room> {
        Ok(Room(KVVec::with_capacity(2 * self.needed, GFP_KERNEL)?))
    }
}

impl RangeLock {
    /// A lock that nobody has.
    pub(crate) fn new() -> Self {
        Self {
            queue: KVVec::new(),
            last: 0,
        }
    }

    /// Takes places in the queue for all of `requests`, which do not conflict with each other.
    /// `extend` says what is locked of a buffer for a range with [`Extent::Views`].
    ///
    /// # Errors
    ///
    /// [`Full`]; nothing has changed.
    // See [`access::enter`](super::access::enter).
    #[inline(always)]
    pub(crate) fn enter(
        &mut self,
        requests: &[Request],
        extend: impl Fn(Range) -> Range,
    ) -> Result<Ticket, Full> {
        let before = self.queue.len();
        let needed = before + requests.len();
        if needed > self.queue.capacity() {
            return Err(Full { needed });
        }
        self.last += 1;
        let ticket = Ticket(self.last);
        let mut is_free = true;
        for &request in requests {
            let locked = match request.extent {
                Extent::Exact => request.range,
                Extent::Views => extend(request.range),
            };
            let mut entry = Entry {
                ticket,
                request,
                locked,
                blockers: 0,
                is_granted: false,
            };
            entry.count_blockers(&self.queue);
            is_free &= entry.blockers == 0;
            // There is room. INVARIANT: Arrived last.
            let _ = self.queue.push_within_capacity(entry);
        }
        // Who arrives changes nothing for the others.
        let entries = self.queue.iter_mut().skip(before);
        entries.for_each(|entry| entry.is_granted = is_free);
        Ok(ticket)
    }

    /// Grants what nothing blocks any more, and calls `granted` with each such ticket.
    fn grant(&mut self, mut granted: impl FnMut(Ticket)) {
        for entries in self.queue.chunk_by_mut(|a, b| a.ticket == b.ticket) {
            let is_free = entries.iter().all(|entry| entry.blockers == 0);
            if is_free && !entries[0].is_granted {
                entries.iter_mut().for_each(|entry| entry.is_granted = true);
                granted(entries[0].ticket);
            }
        }
    }

    /// Moves the queue to `room`, if that is larger.
    pub(crate) fn grow(&mut self, room: Room) {
        let Room(mut room) = room;
        if room.capacity() > self.queue.capacity() {
            for entry in self.queue.drain_all() {
                // There is room. INVARIANT: In the order of before.
                let _ = room.push_within_capacity(entry);
            }
            self.queue = room;
        }
    }

    /// Whether all that `ticket` stands for is granted. It stays so until it leaves.
    pub(crate) fn is_granted(&self, ticket: Ticket) -> bool {
        let mut entries = self.queue.iter();
        entries.any(|entry| entry.ticket == ticket && entry.is_granted)
    }

    /// Who has entered with one request, and alone, uses `range` from now on, in the same mode, and no
    /// longer what it was for: nobody waits for the one, or is in the way to the other. Whether it does.
    pub(crate) fn go_on(&mut self, range: Range) -> bool {
        let [entry] = &mut self.queue[..] else {
            return false;
        };
        entry.request = Request::exact(range, entry.request.mode);
        entry.locked = range;
        true
    }

    /// What `ticket` stands for is no longer used, or waited for. Calls `granted` with each that is
    /// granted what it waits for by this, and with no other.
    pub(crate) fn leave(&mut self, ticket: Ticket, granted: impl FnMut(Ticket)) {
        if self.queue.iter().all(|entry| entry.ticket == ticket) {
            // Nobody waits for who is alone.
            return self.queue.clear();
        }
        for at in 0..self.queue.len() {
            let (before, behind) = self.queue.split_at_mut(at + 1);
            let gone = &before[at];
            if gone.ticket == ticket {
                let blocked = behind.iter_mut().filter(|entry| gone.conflicts(entry));
                blocked.for_each(|entry| entry.blockers -= 1);
            }
        }
        self.queue.retain(|entry| entry.ticket != ticket);
        self.grant(granted);
    }

    /// An importer has got a view of `range`, by who has locked it: those that wait for a byte of
    /// it, with the views, wait for all of it from now on. What is granted conflicts with none of
    /// this, and stays so.
    pub(crate) fn view_added(&mut self, range: Range) {
        for at in 0..self.queue.len() {
            let (before, behind) = self.queue.split_at_mut(at);
            let entry = &mut behind[0];
            let meets = entry.request.range.intersect(range).is_some();
            if meets && entry.request.extent == Extent::Views {
                entry.locked = entry.locked.hull(range);
            }
            entry.count_blockers(before);
        }
    }
}

#[kunit_tests(shmbuf_range_lock)]
mod tests {
    use super::*;

    fn range(start: usize, end: usize) -> Range {
        Range::between(start, end)
    }

    fn enter(lock: &mut RangeLock, requests: &[Request]) -> Ticket {
        loop {
            match lock.enter(requests, |range| range) {
                Ok(ticket) => return ticket,
                Err(full) => lock.grow(full.make_room().unwrap()),
            }
        }
    }

    fn one(lock: &mut RangeLock, range: Range, mode: Mode) -> Ticket {
        enter(lock, &[Request::exact(range, mode)])
    }

    /// Who is granted something when somebody leaves: at most two here.
    fn leave(lock: &mut RangeLock, ticket: Ticket) -> [Option<Ticket>; 2] {
        let (mut granted, mut count) = ([None; 2], 0);
        lock.leave(ticket, |ticket| {
            granted[count] = Some(ticket);
            count += 1;
        });
        granted
    }

    #[test]
    fn who_shares_is_together_and_who_writes_alone() {
        let mut lock = RangeLock::new();
        let first = one(&mut lock, range(0, 64), Mode::Shared);
        let second = one(&mut lock, range(32, 96), Mode::Shared);
        let writer = one(&mut lock, range(64, 128), Mode::Exclusive);
        let beside = one(&mut lock, range(128, 160), Mode::Exclusive);
        assert!(lock.is_granted(first) && lock.is_granted(second) && lock.is_granted(beside));
        assert!(!lock.is_granted(writer));
        assert_eq!(leave(&mut lock, first), [None, None]);
        assert!(!lock.is_granted(writer));
        assert_eq!(leave(&mut lock, second), [Some(writer), None]);
        assert!(lock.is_granted(writer));
        assert_eq!(leave(&mut lock, writer), [None, None]);
        assert_eq!(leave(&mut lock, beside), [None, None]);
    }

    #[test]
    fn nobody_passes_a_writer_that_waits() {
        let mut lock = RangeLock::new();
        let reader = one(&mut lock, range(0, 64), Mode::Shared);
        let writer = one(&mut lock, range(0, 64), Mode::Exclusive);
        let late = one(&mut lock, range(0, 32), Mode::Shared);
        assert!(!lock.is_granted(writer) && !lock.is_granted(late));
        let later = one(&mut lock, range(32, 64), Mode::Shared);
        assert_eq!(leave(&mut lock, reader), [Some(writer), None]);
        assert!(lock.is_granted(writer) && !lock.is_granted(late));
        assert_eq!(leave(&mut lock, writer), [Some(late), Some(later)]);
        assert!(lock.is_granted(late) && lock.is_granted(later));
    }

    #[test]
    fn who_is_alone_goes_on() {
        let mut lock = RangeLock::new();
        let (first, next) = (range(0, 64), range(64, 128));
        assert!(!lock.go_on(next));
        let writer = one(&mut lock, first, Mode::Exclusive);
        assert!(lock.go_on(next));
        let there = one(&mut lock, first, Mode::Exclusive);
        assert!(lock.is_granted(writer) && lock.is_granted(there));
        assert!(!lock.go_on(range(128, 192)));
        let late = one(&mut lock, next, Mode::Shared);
        assert!(!lock.is_granted(late));
        assert_eq!(leave(&mut lock, there), [None, None]);
        assert!(!lock.go_on(first));
        assert_eq!(leave(&mut lock, writer), [Some(late), None]);
        assert!(lock.go_on(first));
        let beside = one(&mut lock, first, Mode::Shared);
        assert!(lock.is_granted(late) && lock.is_granted(beside));
    }

    #[test]
    fn who_gives_up_lets_others_pass() {
        let mut lock = RangeLock::new();
        let reader = one(&mut lock, range(0, 64), Mode::Shared);
        let writer = one(&mut lock, range(0, 64), Mode::Exclusive);
        let late = one(&mut lock, range(0, 64), Mode::Shared);
        assert_eq!(leave(&mut lock, writer), [Some(late), None]);
        assert!(lock.is_granted(reader) && lock.is_granted(late));
    }

    #[test]
    fn two_ranges_have_one_place() {
        let mut lock = RangeLock::new();
        let copy = |from: Range, to: Range| {
            [
                Request::exact(from, Mode::Shared),
                Request::exact(to, Mode::Exclusive),
            ]
        };
        let (a, b) = (range(0, 64), range(64, 128));
        let there = enter(&mut lock, &copy(a, b));
        let back = enter(&mut lock, &copy(b, a));
        assert!(lock.is_granted(there) && !lock.is_granted(back));
        assert_eq!(leave(&mut lock, there), [Some(back), None]);
        assert!(lock.is_granted(back));
    }

    #[test]
    fn a_view_that_comes_to_be_is_waited_for() {
        let mut lock = RangeLock::new();
        let view = one(&mut lock, range(0, 128), Mode::Exclusive);
        let sync = enter(&mut lock, &[Request::with_views(range(0, 32))]);
        let read = one(&mut lock, range(64, 96), Mode::Shared);
        assert!(!lock.is_granted(sync) && !lock.is_granted(read));
        lock.view_added(range(0, 128));
        assert_eq!(leave(&mut lock, view), [Some(sync), None]);
        assert!(lock.is_granted(sync) && !lock.is_granted(read));
        assert_eq!(leave(&mut lock, sync), [Some(read), None]);
        assert!(lock.is_granted(read));
    }
}
