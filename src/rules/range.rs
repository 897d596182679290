// SPDX-License-Identifier: GPL-2.0

//! Byte ranges inside a buffer.

use core::cmp::min;
use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

/// A range of bytes that is not empty and lies inside a buffer.
///
/// # Invariants
///
/// `start < end`, and `end` is at most the size of the buffer it was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    start: usize,
    end: usize,
}

impl Range {
    /// The whole of a buffer of `size` bytes, which is not zero.
    pub(crate) fn whole(size: usize) -> Self {
        debug_assert!(size > 0);
        // INVARIANT: A buffer is never empty.
        Self {
            start: 0,
            end: size,
        }
    }

    /// `length` bytes at `offset` of a buffer of `size` bytes.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`] if `length` is zero;
    /// - [`ERANGE`] if the range wraps or reaches past the end.
    pub(crate) fn new(offset: u64, length: u64, size: usize) -> Result<Self> {
        if length == 0 {
            return Err(EINVAL);
        }
        let end = offset.checked_add(length).ok_or(ERANGE)?;
        if end > size as u64 {
            return Err(ERANGE);
        }
        // INVARIANT: Checked above; both fit `usize` because `size` does.
        Ok(Self {
            start: offset as usize,
            end: end as usize,
        })
    }

    /// From `start` to `end`, which is inside a buffer, and after it.
    pub(crate) fn between(start: usize, end: usize) -> Self {
        assert!(start < end);
        // INVARIANT: By this function's contract.
        Self { start, end }
    }

    /// The part of `length` bytes at `position` that a buffer of `size` bytes has, if any.
    pub(crate) fn clamped(position: u64, length: usize, size: usize) -> Option<Self> {
        let start = usize::try_from(position).ok().filter(|&at| at < size)?;
        if length == 0 {
            return None;
        }
        // INVARIANT: `start < size` and `length > 0`, so the range is not empty.
        Some(Self {
            start,
            end: start + min(length, size - start),
        })
    }

    /// The part from `first` to `last`, with that byte too, that a buffer of `size` bytes has, if any.
    pub(crate) fn inclusive(first: u64, last: u64, size: usize) -> Option<Self> {
        let length = min(last, u64::MAX - 1).checked_sub(first)? + 1;
        Self::clamped(first, length.try_into().unwrap_or(usize::MAX), size)
    }

    /// Checks that cache maintenance of this range touches nothing outside it.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] unless both ends are multiples of `line`, a power of two, or the end of the buffer.
    pub(crate) fn check_lines(self, line: usize, size: usize) -> Result {
        let aligned = |at: usize| at & (line - 1) == 0;
        if aligned(self.start) && (aligned(self.end) || self.end == size) {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }

    /// Checks that the range is one of whole pages.
    ///
    /// # Errors
    ///
    /// [`EINVAL`].
    pub(crate) fn check_pages(self) -> Result {
        if self.start % PAGE_SIZE == 0 && self.end % PAGE_SIZE == 0 {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }

    /// Offset of the first byte.
    pub(crate) fn start(self) -> usize {
        self.start
    }

    /// Offset after the last byte.
    pub(crate) fn end(self) -> usize {
        self.end
    }

    /// Number of bytes, never zero.
    pub(crate) fn len(self) -> usize {
        self.end - self.start
    }

    /// The range of the multiples of `step` around this one, in a buffer of `size` bytes.
    pub(crate) fn enclosing(self, step: usize, size: usize) -> Self {
        debug_assert!(self.end <= size);
        // INVARIANT: Contains this range, and ends inside.
        Self {
            start: self.start / step * step,
            end: min(self.end.next_multiple_of(step), size),
        }
    }

    /// The multiples of `step` that lie inside, if any.
    pub(crate) fn enclosed(self, step: usize) -> Option<Self> {
        let start = self.start.next_multiple_of(step);
        let end = self.end / step * step;
        // INVARIANT: Not empty, and inside this range.
        (start < end).then_some(Self { start, end })
    }

    /// What comes before `part`, which is inside, if anything.
    pub(crate) fn before(self, part: Self) -> Option<Self> {
        self.first(part.start - self.start)
    }

    /// What comes behind `part`, which is inside, if anything.
    pub(crate) fn behind(self, part: Self) -> Option<Self> {
        self.after(part.end - self.start)
    }

    /// The same bytes, counted from the start of `outer`, which contains them.
    pub(crate) fn relative_to(self, outer: Self) -> Self {
        assert!(outer.start <= self.start && self.end <= outer.end);
        // INVARIANT: Checked above.
        Self {
            start: self.start - outer.start,
            end: self.end - outer.start,
        }
    }

    /// The bytes that both ranges have, if any.
    pub(crate) fn intersect(self, other: Self) -> Option<Self> {
        let start = self.start.max(other.start);
        let end = min(self.end, other.end);
        // INVARIANT: Checked here; `end` is inside as it is in both.
        (start < end).then_some(Self { start, end })
    }

    /// Whether the ranges have bytes in common, or one begins where the other ends.
    pub(crate) fn touches(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// The smallest range that contains both.
    pub(crate) fn hull(self, other: Self) -> Self {
        // INVARIANT: Both are not empty, and end inside.
        Self {
            start: min(self.start, other.start),
            end: self.end.max(other.end),
        }
    }

    /// The first `count` bytes of the range, or all if it has no more; nothing if `count` is zero.
    pub(crate) fn first(self, count: usize) -> Option<Self> {
        // INVARIANT: Not empty, and ends where this range does or before.
        (count > 0).then_some(Self {
            start: self.start,
            end: self.start + min(count, self.len()),
        })
    }

    /// What remains of the range after its first `count` bytes, if anything.
    pub(crate) fn after(self, count: usize) -> Option<Self> {
        let start = self.start + min(count, self.len());
        // INVARIANT: Checked here.
        (start < self.end).then_some(Self {
            start,
            end: self.end,
        })
    }

    /// The part of this range, which is mapped from the address `start` on, that the block of `size`
    /// bytes, a power of two, around `address` maps. The address is one of the mapping.
    pub(crate) fn in_block(self, start: usize, address: usize, size: usize) -> Self {
        debug_assert!(start <= address && address - start < self.len());
        let first = address & !(size - 1);
        let before = start.saturating_sub(first);
        let from = self.start + first.saturating_sub(start);
        // INVARIANT: It has the byte at `address`, and ends where this range does or before.
        Self {
            start: from,
            end: min(from.saturating_add(size - before), self.end),
        }
    }

    /// Cuts the range at the multiples of `step`.
    pub(crate) fn pieces(self, step: usize) -> impl Iterator<Item = Self> {
        let mut at = self.start;
        core::iter::from_fn(move || {
            (at < self.end).then(|| {
                let start = at;
                at = min(
                    (start / step).saturating_add(1).saturating_mul(step),
                    self.end,
                );
                // INVARIANT: `start < at <= self.end`.
                Self { start, end: at }
            })
        })
    }
}

#[kunit_tests(shmbuf_range)]
mod tests {
    use super::*;

    fn range(start: usize, end: usize) -> Range {
        Range { start, end }
    }

    #[test]
    fn new_takes_what_lies_inside() {
        for (offset, length) in [(0, 1), (0, 4096), (4095, 1), (64, 64)] {
            let r = Range::new(offset, length, 4096).unwrap();
            assert_eq!(r.start() as u64, offset);
            assert_eq!(r.len() as u64, length);
        }
    }

    #[test]
    fn new_refuses_the_rest() {
        for (offset, length, error) in [
            (0, 0, EINVAL),
            (4096, 0, EINVAL),
            (0, 4097, ERANGE),
            (4096, 1, ERANGE),
            (1, 4096, ERANGE),
            (u64::MAX, 1, ERANGE),
            (1, u64::MAX, ERANGE),
            (1 << 32, 64, ERANGE),
            (0, 1 << 32, ERANGE),
        ] {
            assert_eq!(Range::new(offset, length, 4096).unwrap_err(), error);
        }
    }

    #[test]
    fn clamped_is_short_at_the_end() {
        for (position, length, expected) in [
            (0, 10, Some(range(0, 10))),
            (90, 10, Some(range(90, 100))),
            (95, 10, Some(range(95, 100))),
            (99, usize::MAX, Some(range(99, 100))),
            (100, 1, None),
            (u64::MAX, 1, None),
            (5, 0, None),
        ] {
            assert_eq!(Range::clamped(position, length, 100), expected);
        }
    }

    #[test]
    fn inclusive_has_its_last_byte() {
        for (first, last, expected) in [
            (0, 0, Some(range(0, 1))),
            (90, 99, Some(range(90, 100))),
            (90, 100, Some(range(90, 100))),
            (0, u64::MAX, Some(range(0, 100))),
            (99, i64::MAX as u64, Some(range(99, 100))),
            (100, 100, None),
            (100, u64::MAX, None),
            (u64::MAX, u64::MAX, None),
            (1, 0, None),
        ] {
            assert_eq!(Range::inclusive(first, last, 100), expected);
        }
    }

    #[test]
    fn lines_are_whole_or_reach_the_end() {
        for (start, end, good) in [
            (0, 64, true),
            (64, 128, true),
            (64, 4000, true),
            (0, 4000, true),
            (1, 64, false),
            (0, 63, false),
            (32, 64, false),
            (3999, 4000, false),
        ] {
            assert_eq!(range(start, end).check_lines(64, 4000).is_ok(), good);
        }
    }

    #[test]
    fn intersection() {
        assert_eq!(range(0, 8).intersect(range(8, 16)), None);
        assert_eq!(range(0, 9).intersect(range(8, 16)), Some(range(8, 9)));
        assert_eq!(range(4, 6).intersect(range(0, 16)), Some(range(4, 6)));
    }

    #[test]
    fn hulls() {
        let (a, b) = (range(0, 32), range(96, 128));
        assert!(!a.touches(b) && !b.touches(a));
        assert!(a.touches(range(32, 64)) && b.touches(range(32, 96)) && a.touches(a));
        assert_eq!(a.hull(b), range(0, 128));
        assert_eq!(b.hull(a), range(0, 128));
        assert_eq!(range(0, 128).hull(range(32, 64)), range(0, 128));
    }

    #[test]
    fn windows() {
        assert_eq!(range(5, 6).enclosing(4, 100), range(4, 8));
        assert_eq!(range(4, 8).enclosing(4, 100), range(4, 8));
        assert_eq!(range(9, 10).enclosing(4, 10), range(8, 10));
        assert_eq!(range(5, 7).relative_to(range(4, 8)), range(1, 3));
    }

    #[test]
    fn beginnings() {
        assert_eq!(range(5, 9).first(0), None);
        assert_eq!(range(5, 9).first(1), Some(range(5, 6)));
        assert_eq!(range(5, 9).first(usize::MAX), Some(range(5, 9)));
    }

    #[test]
    fn remainders() {
        assert_eq!(range(5, 9).after(0), Some(range(5, 9)));
        assert_eq!(range(5, 9).after(3), Some(range(8, 9)));
        assert_eq!(range(5, 9).after(4), None);
        assert_eq!(range(5, 9).after(usize::MAX), None);
    }

    #[test]
    fn pieces_cover_the_range_once() {
        for (start, end, step, count) in [
            (0, 4096, 4096, 1),
            (1, 4097, 4096, 2),
            (100, 200, 4096, 1),
            (4000, 12300, 4096, 4),
        ] {
            let mut at = start;
            let mut seen = 0;
            for piece in range(start, end).pieces(step) {
                assert_eq!(piece.start(), at);
                assert_eq!(piece.start() / step, (piece.end() - 1) / step);
                at = piece.end();
                seen += 1;
            }
            assert_eq!(at, end);
            assert_eq!(seen, count);
        }
    }

    #[test]
    fn in_block_is_what_an_entry_maps() {
        // 0x5000 bytes of a buffer, mapped at 0x7000: blocks of 0x2000 begin at 0x6000.
        let mapped = range(0x1000, 0x6000);
        for (address, part) in [
            (0x7000, range(0x1000, 0x2000)),
            (0x7fff, range(0x1000, 0x2000)),
            (0x8000, range(0x2000, 0x4000)),
            (0x9fff, range(0x2000, 0x4000)),
            (0xa000, range(0x4000, 0x6000)),
            (0xbfff, range(0x4000, 0x6000)),
        ] {
            assert_eq!(mapped.in_block(0x7000, address, 0x2000), part);
        }
        // One that ends inside of a block, and one that is smaller.
        assert_eq!(
            range(0, 0x3000).in_block(0x8000, 0xa800, 0x2000),
            range(0x2000, 0x3000)
        );
        assert_eq!(
            range(0, 0x1000).in_block(0x9000, 0x9000, 0x4000),
            range(0, 0x1000)
        );
    }
}
