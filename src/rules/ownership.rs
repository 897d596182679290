// SPDX-License-Identifier: GPL-2.0

//! Who may touch which bytes of a buffer. Driven under the buffer's lock.

use super::{
    line_set::{
        LineSet,
        Member, //
    },
    range::Range, //
};
use kernel::prelude::*;

uapi_enum! {
    /// Who may touch the contents.
    Owner {
        /// Programs and the kernel.
        Cpu = SHMBUF_OWNER_CPU "cpu",
        /// A device, by DMA; only cached buffers that one reaches.
        Device = SHMBUF_OWNER_DEVICE "device",
    }
}

/// Which end of a CPU access SYNC stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// CPU access begins.
    Start,
    /// CPU access ends.
    End,
}

/// Whether who calls SYNC can move the owner: only a handle that can write. A reader could else take
/// bytes from a running transfer, or give them away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A caller that maintains the caches of what the CPU owns.
    Reads,
    /// A caller that moves the owner.
    Writes,
}

impl Caller {
    /// The caller by a handle that is `writable` or not.
    pub(crate) fn of(writable: bool) -> Self {
        match writable {
            true => Self::Writes,
            false => Self::Reads,
        }
    }
}

/// One importer's view among those of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ViewId(u64);

/// What an importer's device has of its view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Nothing, ever: the memory is not cached and has no owner, or the dma-buf is a read-only one,
    /// whose user may take nothing from a writer.
    Never,
    /// Nothing: the CPU took the view back.
    Returned,
    /// All of the view.
    Lent,
}

/// Where what an importer's device writes is when the CPU gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WritesTo {
    /// In memory. Lines that the CPU's cache has are old.
    Memory,
    /// In the CPU's cache, perhaps nowhere else: the device snoops, or the kernel copies for it.
    Cache,
}

impl WritesTo {
    /// That of a device that writes to the cache, or does not.
    pub(crate) fn of_device(snoops: bool) -> Self {
        match snoops {
            true => Self::Cache,
            false => Self::Memory,
        }
    }
}

/// A range that is mapped for a device of an importer.
struct View {
    id: ViewId,
    range: Range,
    hold: Hold,
    writes_to: WritesTo,
}

/// Which bytes devices were lent, by which of their views; all others are the CPU's.
pub(crate) struct Ownership {
    /// What the device of the buffer's own was lent, if it has one, and where it writes.
    own: Option<LineSet>,
    own_writes_to: WritesTo,
    /// The views of importers' devices.
    views: KVec<View>,
    last: u64,
}

/// Room for one more view, made where no lock is held.
pub(crate) struct Room(KVec<View>);

impl Room {
    /// Room for `count` views. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(count: usize) -> Result<Self> {
        Ok(Self(KVec::with_capacity(count, GFP_KERNEL)?))
    }
}

impl Ownership {
    /// The CPU owns all of a new buffer. `own` is an empty set, if it has a device of its own, which
    /// writes to `own_writes_to`.
    pub(crate) fn new(own: Option<LineSet>, own_writes_to: WritesTo) -> Self {
        Self {
            own,
            own_writes_to,
            views: KVec::new(),
            last: 0,
        }
    }

    /// Who owns the buffer: a device if it was lent anything.
    pub(crate) fn owner(&self) -> Owner {
        let own = self.own.as_ref().is_some_and(|lent| !lent.is_empty());
        match own || self.views.iter().any(|view| view.hold == Hold::Lent) {
            true => Owner::Device,
            false => Owner::Cpu,
        }
    }

    /// Whether a device was lent any byte of `range`.
    pub(crate) fn is_lent(&self, range: Range) -> bool {
        self.first(&mut Some(range), Member::Yes).is_some()
    }

    /// The first bytes of `rest` that are lent, or are not, cut off it. Who calls it until there are
    /// none gets all of them, perhaps in more parts than needed.
    pub(crate) fn first(&self, rest: &mut Option<Range>, lent: Member) -> Option<Range> {
        while let Some(range) = *rest {
            let (prefix, is) = self.prefix(range);
            *rest = range.behind(prefix);
            if is == lent {
                return Some(prefix);
            }
        }
        None
    }

    /// The first bytes of `range` that are lent, as far as they follow each other.
    pub(crate) fn first_lent(&self, range: Range) -> Option<Range> {
        let mut rest = Some(range);
        let first = self.first(&mut rest, Member::Yes)?;
        let mut end = first.end();
        while let Some((part, Member::Yes)) = rest.map(|rest| self.prefix(rest)) {
            end = part.end();
            rest = range.behind(part);
        }
        Some(Range::between(first.start(), end))
    }

    /// The first bytes of `range`, as far as they are the CPU's.
    pub(crate) fn first_of_cpus(&self, range: Range) -> Option<Range> {
        if self.owner() == Owner::Cpu {
            return Some(range);
        }
        let (prefix, lent) = self.prefix(range);
        (lent == Member::No).then_some(prefix)
    }

    /// The first bytes of `range`, as far as they have the same owner.
    fn prefix(&self, range: Range) -> (Range, Member) {
        let (mut end, mut is) = (range.end(), Member::No);
        let mut cut = |lent: Range| {
            if lent.start() > range.start() {
                end = end.min(lent.start());
            } else {
                end = end.min(lent.end());
                is = Member::Yes;
            }
        };
        let own = self.own.as_ref();
        if let Some(lent) = own.and_then(|own| own.first(range, Member::Yes)) {
            cut(lent);
        }
        let views = self.views.iter().filter(|view| view.hold == Hold::Lent);
        for lent in views.filter_map(|view| view.range.intersect(range)) {
            cut(lent);
        }
        (Range::between(range.start(), end), is)
    }

    /// The first bytes of `rest` that the buffer's own device was lent, or was not, cut off it.
    pub(crate) fn first_of_own(&self, rest: &mut Option<Range>, lent: Member) -> Option<Range> {
        let range = (*rest)?;
        let first = self.own.as_ref()?.first(range, lent);
        *rest = first.and_then(|first| range.behind(first));
        first
    }

    /// The buffer's own device is lent `range`.
    pub(crate) fn lend_own(&mut self, range: Range) {
        if let Some(lent) = &mut self.own {
            lent.add(range);
        }
    }

    /// The buffer's own device has returned `range`.
    pub(crate) fn return_own(&mut self, range: Range) {
        if let Some(lent) = &mut self.own {
            lent.remove(range);
        }
    }

    /// Whether a device that writes to the CPU's cache was lent any byte of `range`: to invalidate
    /// lines of it may discard what the device wrote.
    pub(crate) fn is_written_in_cache(&self, range: Range) -> bool {
        let mut views = self.views.iter();
        let by_importers = views.any(|view| {
            view.writes_to == WritesTo::Cache
                && view.hold == Hold::Lent
                && view.range.intersect(range).is_some()
        });
        let by_own = || self.own_writes_to == WritesTo::Cache && self.own_has(range);
        by_importers || by_own()
    }

    /// [`Self::is_written_in_cache`], for a device that `writes_to` and shall have the range too: one that
    /// writes past the cache finds it in memory alone.
    pub(crate) fn is_missing_in_memory(&self, writes_to: WritesTo, range: Range) -> bool {
        writes_to == WritesTo::Memory && self.is_written_in_cache(range)
    }

    /// Where the buffer's own device writes.
    pub(crate) fn own_writes_to(&self) -> WritesTo {
        self.own_writes_to
    }

    /// Whether any device has a view of some of `range`.
    pub(crate) fn has_views(&self, range: Range) -> bool {
        let mut views = self.views.iter();
        views.any(|view| view.range.intersect(range).is_some())
    }

    fn own_has(&self, range: Range) -> bool {
        let own = self.own.as_ref();
        own.is_some_and(|own| own.first(range, Member::Yes).is_some())
    }

    /// An importer gets a view of `range`, of which its device has `hold`. `room` is for as many
    /// views as there are now, and this one.
    pub(crate) fn add_view(
        &mut self,
        range: Range,
        hold: Hold,
        writes_to: WritesTo,
        room: Room,
    ) -> Result<ViewId> {
        let Room(mut room) = room;
        if room.capacity() <= self.views.len() {
            return Err(ENOMEM);
        }
        self.last += 1;
        let id = ViewId(self.last);
        let new = View {
            id,
            range,
            hold,
            writes_to,
        };
        for view in Iterator::chain(self.views.drain_all(), [new]) {
            // There is room.
            let _ = room.push_within_capacity(view);
        }
        self.views = room;
        Ok(id)
    }

    /// The view is no more; what it was lent is the CPU's, if no other was.
    pub(crate) fn remove_view(&mut self, id: ViewId) {
        self.views.retain(|view| view.id != id);
    }

    /// What the device of a view has; of one that is no more, nothing.
    pub(crate) fn hold(&self, id: ViewId) -> Hold {
        let view = self.views.iter().find(|view| view.id == id);
        view.map_or(Hold::Never, |view| view.hold)
    }

    /// The device of a view is lent all of it, or has returned it; where nothing is, ever, it stays so.
    pub(crate) fn set_hold(&mut self, id: ViewId, hold: Hold) {
        let mut views = self.views.iter_mut();
        if let Some(view) = views.find(|view| view.id == id && view.hold != Hold::Never) {
            view.hold = hold;
        }
    }

    /// `range`, and all between it and the views that it meets and that can be lent.
    pub(crate) fn with_views(&self, range: Range) -> Range {
        let views = self.views.iter().filter(|view| view.hold != Hold::Never);
        views
            .map(|view| view.range)
            .filter(|view| view.intersect(range).is_some())
            .fold(range, Range::hull)
    }
}

#[kunit_tests(shmbuf_ownership)]
mod tests {
    use super::*;

    const SIZE: usize = 4096;

    fn range(start: usize, end: usize) -> Range {
        Range::between(start, end)
    }

    fn streaming() -> Ownership {
        Ownership::new(Some(LineSet::new(SIZE, 32).unwrap()), WritesTo::Memory)
    }

    fn add(ownership: &mut Ownership, range: Range, hold: Hold) -> ViewId {
        add_that_writes_to(ownership, range, hold, WritesTo::Memory)
    }

    fn add_that_writes_to(
        ownership: &mut Ownership,
        range: Range,
        hold: Hold,
        writes_to: WritesTo,
    ) -> ViewId {
        let room = Room::new(8).unwrap();
        ownership.add_view(range, hold, writes_to, room).unwrap()
    }

    #[test]
    fn names_and_numbers_are_one_to_one() {
        for owner in Owner::ALL {
            assert_eq!(Owner::try_from(owner.name().as_bytes()), Ok(owner));
            assert_eq!(Owner::try_from(owner.to_uapi()), Ok(owner));
        }
        assert_eq!(Owner::try_from(2u32), Err(EINVAL));
    }

    #[test]
    fn the_cpu_owns_at_first() {
        for ownership in [streaming(), Ownership::new(None, WritesTo::Memory)] {
            assert_eq!(ownership.owner(), Owner::Cpu);
            assert!(!ownership.is_lent(Range::whole(SIZE)));
        }
    }

    #[test]
    fn only_what_is_lent_is_the_devices() {
        let mut ownership = streaming();
        ownership.lend_own(range(64, 128));
        ownership.lend_own(range(1024, 2048));
        assert_eq!(ownership.owner(), Owner::Device);
        assert!(ownership.is_lent(range(0, 65)) && ownership.is_lent(range(127, 200)));
        assert!(!ownership.is_lent(range(0, 64)) && !ownership.is_lent(range(128, 1024)));
        ownership.return_own(range(0, 1536));
        assert!(!ownership.is_lent(range(0, 1536)));
        assert!(ownership.is_lent(range(1536, 1537)));
        ownership.return_own(range(1536, 2048));
        assert_eq!(ownership.owner(), Owner::Cpu);
    }

    #[test]
    fn a_view_is_lent_as_a_whole() {
        let mut ownership = Ownership::new(None, WritesTo::Memory);
        let view = add(&mut ownership, range(0, 1024), Hold::Lent);
        assert!(ownership.is_lent(range(1000, 1001)));
        assert_eq!(ownership.hold(view), Hold::Lent);
        ownership.set_hold(view, Hold::Returned);
        assert_eq!(ownership.owner(), Owner::Cpu);
        ownership.set_hold(view, Hold::Lent);
        ownership.remove_view(view);
        assert_eq!(ownership.owner(), Owner::Cpu);
        assert_eq!(ownership.hold(view), Hold::Never);
    }

    #[test]
    fn what_two_views_have_comes_back_from_both() {
        let mut ownership = streaming();
        let view = add(&mut ownership, range(0, 1024), Hold::Lent);
        ownership.lend_own(range(512, 640));
        ownership.set_hold(view, Hold::Returned);
        assert!(ownership.is_lent(range(512, 640)));
        assert!(!ownership.is_lent(range(0, 512)) && !ownership.is_lent(range(640, 1024)));
    }

    #[test]
    fn a_reader_is_lent_nothing() {
        let mut ownership = Ownership::new(None, WritesTo::Memory);
        let view = add(&mut ownership, range(0, 1024), Hold::Never);
        ownership.set_hold(view, Hold::Lent);
        assert_eq!(ownership.hold(view), Hold::Never);
        assert_eq!(ownership.owner(), Owner::Cpu);
        assert_eq!(ownership.with_views(range(0, 32)), range(0, 32));
    }

    #[test]
    fn what_is_lent_to_who_snoops_may_be_in_the_cache() {
        let mut ownership = streaming();
        ownership.lend_own(range(0, SIZE));
        add(&mut ownership, range(0, SIZE), Hold::Lent);
        assert!(!ownership.is_written_in_cache(Range::whole(SIZE)));
        let (part, cache) = (range(1024, 2048), WritesTo::Cache);
        add_that_writes_to(&mut ownership, Range::whole(SIZE), Hold::Never, cache);
        assert!(!ownership.is_written_in_cache(Range::whole(SIZE)));
        let view = add_that_writes_to(&mut ownership, part, Hold::Lent, cache);
        assert!(ownership.is_written_in_cache(range(0, 1025)));
        assert!(ownership.is_written_in_cache(range(2047, SIZE)));
        assert!(!ownership.is_written_in_cache(range(0, 1024)));
        assert!(!ownership.is_written_in_cache(range(2048, SIZE)));
        ownership.set_hold(view, Hold::Returned);
        assert!(!ownership.is_written_in_cache(part));
        ownership.set_hold(view, Hold::Lent);
        assert!(ownership.is_written_in_cache(part));
        ownership.remove_view(view);
        assert!(!ownership.is_written_in_cache(part));
    }

    #[test]
    fn what_is_lent_to_an_own_device_that_snoops_may_be_in_the_cache() {
        let lines = LineSet::new(SIZE, 32).unwrap();
        let mut ownership = Ownership::new(Some(lines), WritesTo::Cache);
        assert!(!ownership.is_written_in_cache(Range::whole(SIZE)));
        ownership.lend_own(range(64, 128));
        assert!(ownership.is_written_in_cache(range(0, 65)));
        assert!(!ownership.is_written_in_cache(range(128, SIZE)));
        ownership.return_own(range(64, 128));
        assert!(!ownership.is_written_in_cache(Range::whole(SIZE)));
    }

    #[test]
    fn all_parts_are_found() {
        let mut ownership = streaming();
        add(&mut ownership, range(1024, 2048), Hold::Lent);
        ownership.lend_own(range(1536, 3072));
        for (lent, parts) in [
            (Member::No, &[(0, 1024), (3072, SIZE)][..]),
            (Member::Yes, &[(1024, 1536), (1536, 2048), (2048, 3072)]),
        ] {
            let mut rest = Some(Range::whole(SIZE));
            for &(start, end) in parts {
                assert_eq!(ownership.first(&mut rest, lent), Some(range(start, end)));
            }
            assert_eq!(ownership.first(&mut rest, lent), None);
        }
        let lent = |start| ownership.first_lent(range(start, SIZE));
        assert_eq!(lent(0), Some(range(1024, 3072)));
        assert_eq!(lent(2000), Some(range(2000, 3072)));
        assert_eq!(lent(3072), None);
        let mut rest = Some(Range::whole(SIZE));
        let own = ownership.first_of_own(&mut rest, Member::Yes);
        assert_eq!(own, Some(range(1536, 3072)));
        assert_eq!(ownership.first_of_own(&mut rest, Member::Yes), None);
    }

    #[test]
    fn a_sync_reaches_the_views_it_meets() {
        let mut ownership = Ownership::new(None, WritesTo::Memory);
        add(&mut ownership, range(0, 1024), Hold::Lent);
        add(&mut ownership, range(2048, SIZE), Hold::Returned);
        assert_eq!(ownership.with_views(range(1024, 2048)), range(1024, 2048));
        assert_eq!(ownership.with_views(range(1000, 1100)), range(0, 1100));
        assert_eq!(ownership.with_views(Range::whole(SIZE)), Range::whole(SIZE));
    }
}
