// SPDX-License-Identifier: GPL-2.0

//! Sets of the cache lines of a buffer.

use super::range::Range;
use core::ops::ControlFlow;
use kernel::prelude::*;

/// Some of the cache lines of a buffer: a bit for each, so that adding and removing needs no memory.
///
/// # Invariants
///
/// `words` has a bit for each line, or part of one, of `size` bytes, of which `count` are set; `line`
/// is not zero.
pub(crate) struct LineSet {
    words: KVVec<usize>,
    count: usize,
    line: usize,
    size: usize,
}

const BITS: usize = usize::BITS as usize;

impl LineSet {
    /// No line of a buffer of `size` bytes, in lines of `line` bytes. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(size: usize, line: usize) -> Result<Self> {
        let words = size.div_ceil(line).div_ceil(BITS);
        // INVARIANT: As many bits as there are lines, and none is set.
        Ok(Self {
            words: KVVec::from_elem(0, words, GFP_KERNEL)?,
            count: 0,
            line,
            size,
        })
    }

    /// Adds the lines that `range` has bytes of.
    pub(crate) fn add(&mut self, range: Range) {
        self.each_word(range, |word, mask| *word |= mask);
    }

    /// Removes the lines that `range` has bytes of.
    pub(crate) fn remove(&mut self, range: Range) {
        self.each_word(range, |word, mask| *word &= !mask);
    }

    /// Whether no line is in the set.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first bytes of `range` that are in the set, or are not, and all that follow them up to
    /// the next that differ.
    pub(crate) fn first(&self, range: Range, member: Member) -> Option<Range> {
        let start = self.find(range, member)?;
        let rest = Range::between(start, range.end());
        let end = self.find(rest, member.opposite());
        Some(Range::between(start, end.unwrap_or(range.end())))
    }

    /// The first byte of `range` whose line is in the set, or is not.
    fn find(&self, range: Range, member: Member) -> Option<usize> {
        if member == Member::Yes && self.is_empty() {
            return None;
        }
        let found = self.lines(range).pieces(BITS).try_for_each(|piece| {
            let word = match member {
                Member::Yes => self.words[piece.start() / BITS],
                Member::No => !self.words[piece.start() / BITS],
            };
            match word & mask(piece) {
                0 => ControlFlow::Continue(()),
                hits => {
                    let line = piece.start() / BITS * BITS + hits.trailing_zeros() as usize;
                    ControlFlow::Break(line)
                }
            }
        });
        match found {
            ControlFlow::Continue(()) => None,
            ControlFlow::Break(line) => Some(range.start().max(line * self.line)),
        }
    }

    /// The numbers of the lines that `range` has bytes of.
    fn lines(&self, range: Range) -> Range {
        debug_assert!(range.end() <= self.size);
        Range::between(range.start() / self.line, range.end().div_ceil(self.line))
    }

    fn each_word(&mut self, range: Range, f: impl Fn(&mut usize, usize)) {
        for piece in self.lines(range).pieces(BITS) {
            let word = &mut self.words[piece.start() / BITS];
            self.count -= word.count_ones() as usize;
            f(word, mask(piece));
            self.count += word.count_ones() as usize;
        }
    }
}

/// The bits of a word for `lines`, which are all of one word.
fn mask(lines: Range) -> usize {
    (usize::MAX >> (BITS - lines.len())) << (lines.start() % BITS)
}

/// Whether something is in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    /// It is.
    Yes,
    /// It is not.
    No,
}

impl Member {
    fn opposite(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
        }
    }
}

#[kunit_tests(shmbuf_line_set)]
mod tests {
    use super::*;

    const SIZE: usize = 8192 + 20;

    fn range(start: usize, end: usize) -> Range {
        Range::between(start, end)
    }

    #[test]
    fn finds_what_is_there_and_what_is_not() {
        let mut set = LineSet::new(SIZE, 32).unwrap();
        let all = Range::whole(SIZE);
        assert!(set.is_empty());
        assert_eq!(set.first(all, Member::Yes), None);
        assert_eq!(set.first(all, Member::No), Some(all));
        // Across words, and the part of a line at the end.
        set.add(range(992, 4096));
        set.add(range(8192, SIZE));
        assert!(!set.is_empty());
        assert_eq!(set.first(all, Member::Yes), Some(range(992, 4096)));
        assert_eq!(
            set.first(range(1000, 2000), Member::Yes),
            Some(range(1000, 2000))
        );
        assert_eq!(set.first(range(1000, 2000), Member::No), None);
        assert_eq!(
            set.first(range(4000, SIZE), Member::No),
            Some(range(4096, 8192))
        );
        assert_eq!(
            set.first(range(4096, SIZE), Member::Yes),
            Some(range(8192, SIZE))
        );
        set.remove(range(1024, 1056));
        assert_eq!(set.first(all, Member::Yes), Some(range(992, 1024)));
        assert_eq!(
            set.first(range(1000, SIZE), Member::No),
            Some(range(1024, 1056))
        );
        set.remove(all);
        assert!(set.is_empty());
    }
}
