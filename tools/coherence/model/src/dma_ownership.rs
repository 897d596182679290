// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who owns which memory: the kernel's DMA mappings, and coherent memory.
//!
//! The rules are those of Documentation/core-api/dma-api.rst ("Synchronise a
//! single contiguous or scatter/gather mapping for the CPU and device") and of
//! `check_sync()` in kernel/dma/debug.c.

use std::collections::{BTreeMap, VecDeque};

use crate::cores::LINE;
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

    /// The span of the line at this address.
    pub fn line(pa: u32) -> Self {
        Self::of(PhysicalRange { pa, len: LINE })
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
    pub fn bytes(self) -> u32 {
        let first = self.start % u64::from(LINE);
        (((1u64 << (self.end - self.start)) - 1) << first) as u32
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
}

/// A DMA mapping.
#[derive(Debug)]
struct Mapped {
    device: u32,
    span: Span,
    direction: Direction,
    call: Call,
    /// Parts that the device owns now, apart from each other, each with what
    /// it may do with it, and the call that gave it.
    owned: Vec<(Span, Direction, Call)>,
}

/// Mappings that ended are remembered, so many at most.
const REMEMBERED: usize = 1024;

/// All DMA mappings there are, and all coherent memory.
#[derive(Debug, Default)]
pub struct Dma {
    // Whose mappings are made, synced and unmapped now.
    device: u32,
    // By first byte. Several mappings may begin at the same byte.
    mappings: BTreeMap<(u64, u32), Mapped>,
    next: u32,
    // Length of the longest mapping since there were none.
    longest: u64,
    // Mappings that ended, the newest last: which memory, mapped and unmapped by whom.
    ended: VecDeque<(Span, Call, Call)>,
    coherent: BTreeMap<u64, Span>,
    longest_coherent: u64,
}

/// The range or direction does not fit any mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfit(pub &'static str);

const NO_MAPPING: Misfit = Misfit(reasons::NO_MAPPING);
const DIRECTION: Misfit = Misfit(reasons::OTHER_DIRECTION);

impl Dma {
    /// What follows is of this device.
    pub fn set_device(&mut self, device: u32) {
        self.device = device;
    }

    /// A mapping begins. The CPU owns it at first.
    pub fn map(&mut self, range: PhysicalRange, direction: Direction, call: Call) {
        let span = Span::of(range);
        if span.is_empty() {
            return;
        }
        self.longest = self.longest.max(span.end - span.start);
        self.next = self.next.wrapping_add(1);
        let mapped = Mapped {
            device: self.device,
            span,
            direction,
            call,
            owned: Vec::new(),
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
        mapped.owned.push((span, direction, call));
        mapped.fits(direction)
    }

    /// Whether the mapping in which the device owns this, by this direction,
    /// lets it read.
    pub fn lets_read(&self, range: PhysicalRange, direction: Direction) -> bool {
        self.find(Span::of(range), direction, true)
            .and_then(|key| self.mappings.get(&key))
            .is_some_and(|mapped| mapped.direction.device_reads())
    }

    /// The CPU gets a part of a mapping back. Parts that the device may have
    /// written go to `written`.
    ///
    /// # Errors
    ///
    /// Where no mapping fits. If only the direction doesn't, the CPU owns the
    /// part all the same.
    pub fn returns(
        &mut self,
        range: PhysicalRange,
        direction: Direction,
        mut written: impl FnMut(Span),
    ) -> Result<(), Misfit> {
        let span = Span::of(range);
        if span.is_empty() {
            return Ok(());
        }
        let key = self.find(span, direction, true).ok_or(NO_MAPPING)?;
        let Some(mapped) = self.mappings.get_mut(&key) else {
            return Err(NO_MAPPING);
        };
        for (part, owner) in mapped.take(span) {
            let said = mapped.direction.device_writes() && direction.device_writes();
            if owner.device_writes() || said {
                written(part);
            }
        }
        mapped.fits(direction)
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
        if self.ended.len() == REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back((mapped.span, mapped.call, call));
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

    /// Parts of `span` that a device owns and may write, or with `all` those
    /// that it owns.
    pub fn owned(&self, span: Span, all: bool) -> impl Iterator<Item = Span> + '_ {
        self.overlapping(span)
            .flat_map(|(_, mapped)| &mapped.owned)
            .filter(move |(_, direction, _)| all || direction.device_writes())
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

    /// Coherent memory begins or ends.
    pub fn set_coherent(&mut self, range: PhysicalRange, is: bool) {
        let span = Span::of(range);
        if span.is_empty() {
            return;
        }
        if is {
            self.longest_coherent = self.longest_coherent.max(span.end - span.start);
            self.coherent.insert(span.start, span);
        } else {
            self.coherent.remove(&span.start);
            if self.coherent.is_empty() {
                self.longest_coherent = 0;
            }
        }
    }

    /// The coherent parts of `span`.
    pub fn coherent(&self, span: Span) -> impl Iterator<Item = Span> + '_ {
        let from = span.start.saturating_sub(self.longest_coherent);
        self.coherent
            .range(from..span.end)
            .map(move |(_, part)| part.common(span))
            .filter(|part| !part.is_empty())
    }

    /// All that is mapped or coherent.
    pub fn all(&self) -> impl Iterator<Item = Span> + '_ {
        let mapped = self.mappings.values().map(|mapped| mapped.span);
        mapped.chain(self.coherent.values().copied())
    }

    /// Bytes that the records of ownership take.
    pub fn size(&self) -> usize {
        let parts: usize = self.mappings.values().map(|m| m.owned.capacity()).sum();
        self.mappings.len() * (size_of::<Mapped>() + 16)
            + parts * size_of::<(Span, Direction, Call)>()
            + self.ended.capacity() * size_of::<(Span, Call, Call)>()
            + self.coherent.len() * size_of::<(u64, Span)>()
    }

    fn overlapping(&self, span: Span) -> impl Iterator<Item = (&(u64, u32), &Mapped)> {
        let from = span.start.saturating_sub(self.longest);
        self.mappings
            .range((from, 0)..(span.end, 0))
            .filter(move |(_, mapped)| !mapped.span.common(span).is_empty())
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
            let before = Span {
                end: common.start,
                ..part
            };
            let after = Span {
                start: common.end,
                ..part
            };
            kept.extend(
                [before, after]
                    .into_iter()
                    .filter(|s| !s.is_empty())
                    .map(|s| (s, direction, call)),
            );
        }
        self.owned = kept;
        taken
    }
}
