// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who owns which memory: the kernel's DMA mappings, and coherent memory.
//!
//! The rules are those of Documentation/core-api/dma-api.rst ("Synchronise a
//! single contiguous or scatter/gather mapping for the CPU and device") and of
//! `check_sync()` in kernel/dma/debug.c.
//!
//! Of a device that nobody sees it is taken that it writes all that is its to
//! write. Of one that was seen at its work ([`Dma::accessed`]) each access is known
//! from then on, so what is mapped for it alone to write, and it was not seen to write,
//! it did not.

use std::collections::{BTreeMap, HashSet, VecDeque};

use crate::events::{Direction, PhysicalRange};
use crate::hazards::{Call, Holder, Lent};
use crate::reasons;

/// A range in 64 bits, for memory may end at 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

impl Span {
    /// The span of a range.
    pub fn of(range: PhysicalRange) -> Self {
        let start = u64::from(range.pa);
        Self {
            start,
            end: (start + u64::from(range.len)).min(1 << 32),
        }
    }

    /// The span of the line of so many bytes at this address.
    pub fn line(pa: u32, len: u32) -> Self {
        Self::of(PhysicalRange { pa, len })
    }

    /// The span as a range. One of 4 GiB, which no device has, loses its last byte.
    pub fn range(self) -> PhysicalRange {
        let len = u32::try_from(self.end - self.start).unwrap_or(u32::MAX);
        PhysicalRange {
            pa: self.start as u32,
            len,
        }
    }

    /// The span as bytes of a line, a bit each, where it is inside one.
    pub fn bytes(self, line: u32) -> u64 {
        let len = self.end - self.start;
        let all = u64::MAX.checked_shr(64 - len as u32).unwrap_or(0);
        all << (self.start % u64::from(line))
    }

    fn is_empty(self) -> bool {
        self.start >= self.end
    }

    fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    fn common(self, other: Self) -> Self {
        Self {
            start: self.start.max(other.start),
            end: self.end.min(other.end),
        }
    }

    /// The lines of which it has something.
    fn lines(self, line: u64) -> Self {
        Self {
            start: self.start / line * line,
            end: self.end.next_multiple_of(line),
        }
    }

    /// What is before and after a part of it.
    fn without(self, part: Self) -> impl Iterator<Item = Self> {
        let before = Self {
            end: self.end.min(part.start),
            ..self
        };
        let after = Self {
            start: self.start.max(part.end),
            ..self
        };
        [before, after].into_iter().filter(|s| !s.is_empty())
    }
}

/// Who sees to the caches, and to other mappings of the same lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terms {
    /// Map and unmap sync, and no other mapping has anything of the lines.
    Usual,
    /// So it is, but for other entries of a list.
    OfAList,
    /// Others may have other bytes of the lines, as its driver has said.
    SharingLines,
    /// The driver syncs by itself, and others may have anything of it.
    Unsynced,
}

/// A DMA mapping.
#[derive(Debug)]
struct Mapped {
    device: u32,
    span: Span,
    direction: Direction,
    terms: Terms,
    call: Call,
    /// Whether it was reported as one that nobody unmaps.
    left: bool,
    /// Whether the device ever had any of it.
    given: bool,
    /// Whether the device has, or had, another mapping of some of the same bytes. A sync names
    /// memory, not a mapping, so nobody knows which of them it was for.
    doubled: bool,
    /// Parts that the device owns now, apart from each other, each with what
    /// it may do with it, and the call that gave it.
    owned: Vec<(Span, Direction, Call)>,
    /// What the device was seen to write of these parts, apart from each other.
    written: Vec<Span>,
}

/// What became of a part of a mapping that a device could write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    /// The device may have written it, now or before.
    MayBeWritten(Span),
    /// It did not.
    Unwritten(Span),
}

/// Which of the parts that devices own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owned {
    /// All.
    All,
    /// Those that the device may write.
    ToWrite,
    /// Those that the device may write unseen.
    ToWriteUnseen,
}

const PAGE: u64 = 1 << 12;

/// A mapping, or coherent memory, that ended: which memory, mapped and unmapped by whom.
pub type Ended = (Span, Call, Call);

/// So many of those that ended are remembered unless [`Dma::remember_at_most`] says
/// otherwise.
const REMEMBERED: usize = 1024;

/// All DMA mappings there are, and all coherent memory.
#[derive(Debug)]
pub struct Dma {
    // Bytes in a line.
    line: u64,
    // Whose mappings are made, synced and unmapped now.
    device: u32,
    // By first byte. Several mappings may begin at the same byte.
    mappings: BTreeMap<(u64, u32), Mapped>,
    next: u32,
    // Devices that were seen to access what is mapped for them.
    seen: HashSet<u32>,
    // Devices that look into the caches.
    snooping: HashSet<u32>,
    // Length of the longest mapping since there were none.
    longest: u64,
    // The newest last.
    ended: VecDeque<Ended>,
    // So many of them.
    most_ended: usize,
    // With the call that allocated it, and whether it is cached.
    coherent: BTreeMap<u64, (Span, Call, bool)>,
    longest_coherent: u64,
}

/// Something that is wrong with what devices have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WithDevice {
    /// The first byte.
    pub pa: u32,
    /// What is wrong.
    pub reason: &'static str,
}

/// A call does not fit any mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfit(pub &'static str);

const NO_MAPPING: Misfit = Misfit(reasons::NO_MAPPING);
const DIRECTION: Misfit = Misfit(reasons::OTHER_DIRECTION);
const WITH_CPU: Misfit = Misfit(reasons::WITH_CPU);
const NEVER_GIVEN: Misfit = Misfit(reasons::NEVER_GIVEN);

impl Dma {
    /// Nothing is mapped. A line has so many bytes.
    pub fn new(line: u32) -> Self {
        Self {
            line: line.into(),
            device: 0,
            mappings: BTreeMap::new(),
            next: 0,
            seen: HashSet::new(),
            snooping: HashSet::new(),
            longest: 0,
            ended: VecDeque::new(),
            most_ended: REMEMBERED,
            coherent: BTreeMap::new(),
            longest_coherent: 0,
        }
    }

    /// Of what ended this many are remembered, the newest ones; at least one.
    pub fn remember_at_most(&mut self, most: usize) {
        self.most_ended = most;
    }

    /// What follows is of this device.
    pub fn set_device(&mut self, device: u32) {
        self.device = device;
    }

    /// A mapping begins. The CPU owns it at first.
    pub fn map(&mut self, range: PhysicalRange, direction: Direction, terms: Terms, call: Call) {
        let span = Span::of(range);
        if span.is_empty() {
            return;
        }
        self.longest = self.longest.max(span.end - span.start);
        self.next = self.next.wrapping_add(1);
        let device = self.device;
        let mut doubled = false;
        for other in self.overlapping_mut(span).filter(|it| it.device == device) {
            other.doubled = true;
            doubled = true;
        }
        let mapped = Mapped {
            device,
            span,
            direction,
            terms,
            call,
            left: false,
            given: false,
            doubled,
            owned: Vec::new(),
            written: Vec::new(),
        };
        self.mappings.insert((span.start, self.next), mapped);
    }

    /// A device gets a part of a mapping.
    ///
    /// # Errors
    ///
    /// Where none fits. If only the direction doesn't, the device owns the part
    /// all the same.
    pub fn owns(
        &mut self,
        range: PhysicalRange,
        direction: Direction,
        call: Call,
    ) -> Result<(), Misfit> {
        let span = Span::of(range);
        if span.is_empty() {
            return Ok(());
        }
        let key = self.find(span, direction, false).ok_or(NO_MAPPING)?;
        let Some(mapped) = self.mappings.get_mut(&key) else {
            return Err(NO_MAPPING);
        };
        mapped.take(span);
        mapped.given = true;
        mapped.owned.push((span, direction, call));
        remove(&mut mapped.written, span);
        mapped.fits(direction)
    }

    /// Where a mapping that is to be made and another one have something in common, and
    /// a device may write. The other one is of no device that looks into the caches: its driver
    /// need not unmap (`dma_need_unmap()`).
    pub fn common(
        &self,
        range: PhysicalRange,
        direction: Direction,
        terms: Terms,
    ) -> Option<WithDevice> {
        let span = Span::of(range);
        if span.is_empty() || terms == Terms::Unsynced {
            return None;
        }
        let others = self
            .overlapping(span.lines(self.line))
            .filter(|(_, other)| {
                let writes = direction.device_writes() || other.direction.device_writes();
                writes && other.terms != Terms::Unsynced && !self.snooping.contains(&other.device)
            });
        let shared = others.filter_map(|(_, other)| {
            let bytes = other.span.common(span);
            if !bytes.is_empty() {
                return Some((bytes.start, reasons::SAME_BYTES));
            }
            let line = other.span.lines(self.line).common(span.lines(self.line));
            let apart = [terms, other.terms]
                .iter()
                .any(|it| matches!(it, Terms::OfAList | Terms::SharingLines));
            (!apart).then_some((line.start, reasons::SAME_LINE))
        });
        let (pa, reason) = shared.min()?;
        Some(WithDevice {
            pa: pa as u32,
            reason,
        })
    }

    /// The first byte that a device owns of a line of which the CPU accesses bytes that are
    /// in no mapping, if the device may write it and looks into no cache.
    pub fn beside(&self, accessed: Span) -> Option<u32> {
        let line = accessed.lines(self.line);
        let mapped: Vec<_> = self.overlapping(line).map(|(_, mapped)| mapped).collect();
        if mapped.iter().any(|it| !it.span.common(accessed).is_empty()) {
            return None;
        }
        let harmed = mapped
            .into_iter()
            .filter(|it| self.is_harmed_by_neighbours(it));
        let parts = harmed.flat_map(|it| &it.owned);
        let first = parts
            .filter(|(_, direction, _)| direction.device_writes())
            .map(|(part, ..)| part.common(line))
            .filter(|part| !part.is_empty())
            .map(|part| part.start)
            .min()?;
        Some(first as u32)
    }

    /// Where a mapping that was just made, of memory that is surrounded by other data, has
    /// a line that it does not fill, and its device may write.
    pub fn reaches_beyond(&self, range: PhysicalRange) -> Option<WithDevice> {
        let span = Span::of(range);
        let here = self
            .mappings
            .range((span.start, 0)..=(span.start, u32::MAX));
        let (_, mapped) = here.rev().find(|(_, mapped)| {
            mapped.span == span && mapped.device == self.device && mapped.direction.device_writes()
        })?;
        if !self.is_harmed_by_neighbours(mapped) {
            return None;
        }
        let mut rest: Vec<_> = span.lines(self.line).without(span).collect();
        for (_, other) in self.overlapping(span.lines(self.line)) {
            remove(&mut rest, other.span);
        }
        let first = rest.iter().map(|part| part.start).min()?;
        Some(WithDevice {
            pa: first.clamp(span.start, span.end - 1) as u32,
            reason: reasons::ON_STACK,
        })
    }

    /// Whether other data in the lines of a mapping may harm what its device writes.
    fn is_harmed_by_neighbours(&self, mapped: &Mapped) -> bool {
        mapped.terms != Terms::SharingLines && !self.snooping.contains(&mapped.device)
    }

    /// Mappings of memory that is freed, each the first time, but for those of devices that look
    /// into the caches.
    pub fn left_in(&mut self, range: PhysicalRange) -> Vec<WithDevice> {
        let span = Span::of(range);
        let keys: Vec<_> = self.overlapping(span).map(|(&key, _)| key).collect();
        let mut all = Vec::new();
        for key in keys {
            if let Some(mapped) = self.mappings.get_mut(&key) {
                let snoops = self.snooping.contains(&mapped.device);
                if !std::mem::replace(&mut mapped.left, true) && !snoops {
                    all.push(WithDevice {
                        pa: mapped.span.common(span).start as u32,
                        reason: reasons::FREED,
                    });
                }
            }
        }
        all
    }

    /// Mappings of a device whose driver has gone, if it looks into no cache.
    pub fn left_by(&self, device: u32) -> Vec<WithDevice> {
        if self.snooping.contains(&device) {
            return Vec::new();
        }
        let left = self.mappings.values().filter(|it| it.device == device);
        left.map(|mapped| WithDevice {
            pa: mapped.span.start as u32,
            reason: reasons::DRIVER_GONE,
        })
        .collect()
    }

    /// Another device may have this number from now on.
    pub fn forget_device(&mut self, device: u32) {
        self.mappings.retain(|_, mapped| mapped.device != device);
        self.seen.remove(&device);
        self.snooping.remove(&device);
        if self.mappings.is_empty() {
            self.longest = 0;
        }
    }

    /// A device looks into the caches. Returns what is mapped for it.
    pub fn snoops(&mut self, device: u32) -> Vec<Span> {
        self.snooping.insert(device);
        let of_it = self.mappings.values().filter(|it| it.device == device);
        of_it.map(|mapped| mapped.span).collect()
    }

    /// Whether the device whose mappings are made now looks into the caches.
    pub fn is_snooping(&self) -> bool {
        self.snooping.contains(&self.device)
    }

    /// Parts of `span` that are mapped for devices which look into the caches.
    pub fn snooped(&self, span: Span) -> impl Iterator<Item = Span> + '_ {
        self.overlapping(span)
            .filter(|(_, mapped)| self.snooping.contains(&mapped.device))
            .map(move |(_, mapped)| mapped.span.common(span))
            .chain(
                self.coherent(span)
                    .filter_map(|(part, cached)| cached.then_some(part)),
            )
    }

    /// Parts of `span` in which a device that is seen is one that looks into the caches:
    /// those that no other device owns now.
    pub fn snooped_by_seen(&self, span: Span) -> Vec<Span> {
        let mut parts: Vec<_> = self.snooped(span).collect();
        for (_, mapped) in self.overlapping(span) {
            if !self.snooping.contains(&mapped.device) {
                for &(owned, ..) in &mapped.owned {
                    remove(&mut parts, owned);
                }
            }
        }
        parts
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.mappings.is_empty()
    }

    /// The first byte of a range that no mapping lets a device read or write now.
    pub fn stray(&self, range: PhysicalRange, writes: bool) -> Option<WithDevice> {
        let span = Span::of(range);
        if span.is_empty() {
            return None;
        }
        let mut rest = vec![span];
        for (_, mapped) in self.overlapping(span) {
            if mapped.may(writes) {
                remove(&mut rest, mapped.span);
            }
        }
        for (part, _) in self.coherent(span) {
            remove(&mut rest, part);
        }
        let first = rest.iter().map(|part| part.start).min()?;
        let byte = |start| Span {
            start,
            end: start + 1,
        };
        // Word by word, the first one is what tells. The next page may be anybody's.
        let beyond = first % PAGE != 0 && self.has(byte(first - 1));
        let reason = if self.has(byte(first)) {
            reasons::AGAINST
        } else if rest != [span] || beyond {
            reasons::BEYOND
        } else if self
            .ended
            .iter()
            .any(|(span, ..)| span.contains(byte(first)))
        {
            reasons::ENDED
        } else {
            reasons::NEVER_MAPPED
        };
        Some(WithDevice {
            pa: first as u32,
            reason,
        })
    }

    /// Whether any of this is mapped, or coherent memory.
    fn has(&self, span: Span) -> bool {
        self.overlapping(span).next().is_some() || self.coherent(span).next().is_some()
    }

    /// A device is seen to read or write this.
    pub fn accessed(&mut self, range: PhysicalRange, writes: bool) {
        let span = Span::of(range);
        let devices: HashSet<u32> = self
            .overlapping(span)
            .filter(|(_, mapped)| mapped.may(writes))
            .map(|(_, mapped)| mapped.device)
            .collect();
        // Where several devices have mapped the same nobody knows which one it is.
        if devices.len() == 1 {
            self.seen.extend(devices);
        }
        if !writes {
            return;
        }
        let keys: Vec<_> = self.overlapping(span).map(|(&key, _)| key).collect();
        for key in keys {
            if let Some(mapped) = self.mappings.get_mut(&key) {
                if mapped.direction == Direction::FromDevice {
                    add(&mut mapped.written, mapped.span.common(span));
                }
            }
        }
    }

    /// Whether all that the device does in the mapping to which this belongs is seen,
    /// and nothing in it is the device's to read.
    pub fn is_seen(&self, range: PhysicalRange, direction: Direction) -> bool {
        self.find(Span::of(range), direction, true)
            .and_then(|key| self.mappings.get(&key))
            .is_some_and(|mapped| self.all_is_seen(mapped))
    }

    fn all_is_seen(&self, mapped: &Mapped) -> bool {
        mapped.direction == Direction::FromDevice && self.seen.contains(&mapped.device)
    }

    /// Whether the mapping in which the device owns this, by this direction,
    /// lets it read.
    pub fn lets_read(&self, range: PhysicalRange, direction: Direction) -> bool {
        self.find(Span::of(range), direction, true)
            .and_then(|key| self.mappings.get(&key))
            .is_some_and(|mapped| mapped.direction.device_reads())
    }

    /// The CPU gets a part of a mapping back. Parts that the device could write go
    /// to `could_write`.
    ///
    /// # Errors
    ///
    /// Where no mapping fits, or, unless an unmap begins, where the CPU has all of the
    /// part already, and where no sync has ever given the device any of a mapping that
    /// its driver syncs; neither is told of memory that the device has mapped twice. If
    /// only the direction doesn't fit, the CPU owns the part all the same.
    pub fn returns(
        &mut self,
        range: PhysicalRange,
        direction: Direction,
        unmaps: bool,
        mut could_write: impl FnMut(Returned),
    ) -> Result<(), Misfit> {
        let span = Span::of(range);
        if span.is_empty() {
            return Ok(());
        }
        let key = self.find(span, direction, true).ok_or(NO_MAPPING)?;
        let seen = self.mappings.get(&key).is_some_and(|m| self.all_is_seen(m));
        let Some(mapped) = self.mappings.get_mut(&key) else {
            return Err(NO_MAPPING);
        };
        let taken = mapped.take(span);
        let misfit = match (taken.is_empty(), mapped.given) {
            (false, _) => None,
            _ if mapped.doubled => None,
            // Map gives the device the memory, as a rule.
            (true, false) if mapped.terms == Terms::Unsynced || !unmaps => Some(NEVER_GIVEN),
            (true, true) if !unmaps => Some(WITH_CPU),
            (true, _) => None,
        };
        for (part, owner) in taken {
            if seen {
                let mut unwritten = vec![part];
                for &written in &mapped.written {
                    remove(&mut unwritten, written);
                }
                unwritten
                    .into_iter()
                    .for_each(|part| could_write(Returned::Unwritten(part)));
                continue;
            }
            let said = mapped.direction.device_writes() && direction.device_writes();
            if owner.device_writes() || said {
                could_write(Returned::MayBeWritten(part));
            }
        }
        mapped.fits(direction)?;
        misfit.map_or(Ok(()), Err)
    }

    /// A mapping ends.
    ///
    /// # Errors
    ///
    /// Where there is none of just this range and direction.
    pub fn unmap(
        &mut self,
        range: PhysicalRange,
        direction: Direction,
        call: Call,
    ) -> Result<(), Misfit> {
        let span = Span::of(range);
        if span.is_empty() {
            return Ok(());
        }
        let exact = self
            .mappings
            .range((span.start, 0)..=(span.start, u32::MAX))
            .filter(|(_, mapped)| mapped.span == span)
            .min_by_key(|(_, mapped)| {
                let others = mapped.device != self.device;
                (others, mapped.direction != direction)
            })
            .map(|(&key, _)| key);
        let key = exact.or_else(|| self.find(span, direction, false));
        let Some(mapped) = key.and_then(|key| self.mappings.remove(&key)) else {
            return Err(NO_MAPPING);
        };
        self.remember(mapped.span, mapped.call, call);
        if self.mappings.is_empty() {
            self.longest = 0;
        }
        if exact.is_none() {
            return Err(Misfit(reasons::PART_OF_MAPPING));
        }
        // Here a bidirectional one is no exception (`check_unmap()`).
        if mapped.direction != direction {
            return Err(DIRECTION);
        }
        Ok(())
    }

    /// Parts of `span` that a device owns.
    pub fn owned(&self, span: Span, which: Owned) -> impl Iterator<Item = Span> + '_ {
        self.overlapping(span)
            .filter(move |(_, mapped)| which != Owned::ToWriteUnseen || !self.all_is_seen(mapped))
            .flat_map(|(_, mapped)| &mapped.owned)
            .filter(move |(_, direction, _)| which == Owned::All || direction.device_writes())
            .map(move |(part, ..)| part.common(span))
            .filter(|part| !part.is_empty())
    }

    /// How a device has the byte at `pa`, by the mapping that gave it last.
    pub fn lent(&self, pa: u32) -> Option<Lent> {
        let byte = Span::of(PhysicalRange { pa, len: 1 });
        let lent = self.overlapping(byte).map(|(_, mapped)| mapped.lent(byte));
        lent.max_by_key(|lent| match lent.holder {
            Holder::Device(given) => given.order,
            _ => 0,
        })
    }

    /// How a device had the byte at `pa`, by the mapping that ended last.
    pub fn was_lent(&self, pa: u32) -> Option<Lent> {
        let byte = Span::of(PhysicalRange { pa, len: 1 });
        let mut ended = self.ended.iter().rev();
        let &(_, mapped, unmapped) = ended.find(|(span, ..)| span.contains(byte))?;
        Some(Lent {
            mapped,
            holder: Holder::Unmapped(unmapped),
        })
    }

    /// Whose memory this was is of no interest any more.
    pub fn forget_ended(&mut self, range: PhysicalRange) {
        let gone = Span::of(range);
        self.ended.retain(|(span, ..)| span.common(gone).is_empty());
    }

    /// Coherent memory begins.
    pub fn coherent_allocated(&mut self, range: PhysicalRange, cached: bool, call: Call) {
        let span = Span::of(range);
        if !span.is_empty() {
            self.longest_coherent = self.longest_coherent.max(span.end - span.start);
            self.coherent.insert(span.start, (span, call, cached));
        }
    }

    /// Coherent memory ends.
    pub fn coherent_freed(&mut self, range: PhysicalRange, call: Call) {
        if let Some((span, allocated, _)) = self.coherent.remove(&u64::from(range.pa)) {
            self.remember(span, allocated, call);
        }
        if self.coherent.is_empty() {
            self.longest_coherent = 0;
        }
    }

    /// What a device had until now.
    fn remember(&mut self, span: Span, begun: Call, ended: Call) {
        if self.ended.len() >= self.most_ended {
            self.ended.pop_front();
        }
        self.ended.push_back((span, begun, ended));
    }

    /// The coherent parts of `span`, each with whether it is cached.
    pub fn coherent(&self, span: Span) -> impl Iterator<Item = (Span, bool)> + '_ {
        let from = span.start.saturating_sub(self.longest_coherent);
        self.coherent
            .range(from..span.end)
            .map(move |(_, (part, _, cached))| (part.common(span), *cached))
            .filter(|(part, _)| !part.is_empty())
    }

    /// All that is mapped or coherent.
    pub fn all(&self) -> impl Iterator<Item = Span> + '_ {
        let mapped = self.mappings.values().map(|mapped| mapped.span);
        mapped.chain(self.coherent.values().map(|(span, ..)| *span))
    }

    /// Bytes that the records of ownership take.
    pub fn size(&self) -> usize {
        let parts: usize = self.mappings.values().map(|m| m.owned.capacity()).sum();
        let written: usize = self.mappings.values().map(|m| m.written.capacity()).sum();
        self.mappings.len() * (size_of::<Mapped>() + 16)
            + parts * size_of::<(Span, Direction, Call)>()
            + written * size_of::<Span>()
            + (self.seen.capacity() + self.snooping.capacity()) * (size_of::<u32>() + 1)
            + self.ended.capacity() * size_of::<Ended>()
            + self.coherent.len() * size_of::<(u64, Span, Call, bool)>()
    }

    fn overlapping(&self, span: Span) -> impl Iterator<Item = (&(u64, u32), &Mapped)> {
        let from = span.start.saturating_sub(self.longest);
        self.mappings
            .range((from, 0)..(span.end, 0))
            .filter(move |(_, mapped)| !mapped.span.common(span).is_empty())
    }

    fn overlapping_mut(&mut self, span: Span) -> impl Iterator<Item = &mut Mapped> {
        let from = span.start.saturating_sub(self.longest);
        self.mappings
            .range_mut((from, 0)..(span.end, 0))
            .map(|(_, mapped)| mapped)
            .filter(move |mapped| !mapped.span.common(span).is_empty())
    }

    /// The mapping around `span` that fits best: in its device, in its direction, in having just
    /// this span, in who owns it, then in having no other direction besides.
    fn find(&self, span: Span, direction: Direction, owned: bool) -> Option<(u64, u32)> {
        self.overlapping(span)
            .filter(|(_, mapped)| mapped.span.contains(span))
            .min_by_key(|(_, mapped)| {
                let mut owned_parts = mapped.owned.iter();
                let has_it = owned_parts.any(|(part, ..)| !part.common(span).is_empty());
                (
                    mapped.device != self.device,
                    mapped.fits(direction).is_err(),
                    mapped.span != span,
                    has_it != owned,
                    mapped.direction != direction,
                )
            })
            .map(|(&key, _)| key)
    }
}

impl Mapped {
    /// A bidirectional mapping takes each direction (kernel/dma/debug.c).
    fn fits(&self, direction: Direction) -> Result<(), Misfit> {
        if self.direction == Direction::Bidirectional || self.direction == direction {
            Ok(())
        } else {
            Err(DIRECTION)
        }
    }

    /// Whether the direction is one in which the device reads, or writes.
    fn may(&self, writes: bool) -> bool {
        if writes {
            self.direction.device_writes()
        } else {
            self.direction.device_reads()
        }
    }

    /// How the device has a byte.
    fn lent(&self, byte: Span) -> Lent {
        let mut owned = self.owned.iter();
        let given = owned.find(|(part, ..)| part.contains(byte));
        Lent {
            mapped: self.call,
            holder: given.map_or(Holder::Cpu, |&(.., call)| Holder::Device(call)),
        }
    }

    /// Takes `span` from the device. Returns the parts that it owned.
    fn take(&mut self, span: Span) -> Vec<(Span, Direction)> {
        let mut taken = Vec::new();
        let mut kept = Vec::new();
        for &(part, direction, call) in &self.owned {
            let common = part.common(span);
            if common.is_empty() {
                kept.push((part, direction, call));
                continue;
            }
            taken.push((common, direction));
            kept.extend(part.without(common).map(|s| (s, direction, call)));
        }
        self.owned = kept;
        taken
    }
}

/// Adds a span to spans that are apart from each other.
fn add(spans: &mut Vec<Span>, new: Span) {
    let mut all = new;
    spans.retain(|span| {
        let apart = span.end < all.start || all.end < span.start;
        if !apart {
            all.start = all.start.min(span.start);
            all.end = all.end.max(span.end);
        }
        apart
    });
    spans.push(all);
}

/// Takes a span out of spans.
pub fn remove(spans: &mut Vec<Span>, gone: Span) {
    let rest = spans.iter().flat_map(|span| span.without(gone));
    *spans = rest.collect();
}
