// SPDX-License-Identifier: GPL-2.0

//! Sets of the cache lines of a buffer.

use super::range::Range;
use core::ops::ControlFlow;
use kernel::prelude::*;

/// Some of the cache lines of a buffer. Mostly they are one run, and then its ends are all there is to
/// know. Else there is a bit for each line, so that adding and removing needs no memory.
///
/// # Invariants
///
/// `words` has a bit for each line, or part of one, of `size` bytes, of which `count` are set; a line
/// has `1 << shift` bytes. If there is a `run`, which begins and ends where lines do, it is the set,
/// and no bit is set.
pub(crate) struct LineSet {
    run: Option<Range>,
    words: KVVec<usize>,
    count: usize,
    shift: u32,
    size: usize,
}

const BITS: usize = usize::BITS as usize;

impl LineSet {
    /// No line of a buffer of `size` bytes, in lines of `line` bytes, a power of two. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(size: usize, line: usize) -> Result<Self> {
        debug_assert!(line.is_power_of_two());
        let words = size.div_ceil(line).div_ceil(BITS);
        // INVARIANT: As many bits as there are lines, and none is set.
        Ok(Self {
            run: None,
            words: KVVec::from_elem(0, words, GFP_KERNEL_ACCOUNT)?,
            count: 0,
            shift: line.trailing_zeros(),
            size,
        })
    }

    /// Adds the lines that `range` has bytes of.
    pub(crate) fn add(&mut self, range: Range) {
        let lines = self.lines(range);
        match self.run {
            None if self.count == 0 => self.run = Some(lines),
            Some(run) if run.touches(lines) => self.run = Some(run.hull(lines)),
            _ => self.mark(lines, Member::Yes),
        }
    }

    /// Removes the lines that `range` has bytes of.
    pub(crate) fn remove(&mut self, range: Range) {
        let lines = self.lines(range);
        let Some(run) = self.run else {
            return self.mark(lines, Member::No);
        };
        if let Some(part) = run.intersect(lines) {
            match (run.before(part), run.behind(part)) {
                (Some(_), Some(_)) => self.mark(part, Member::No),
                (before, behind) => self.run = before.or(behind),
            }
        }
    }

    /// Whether no line is in the set.
    pub(crate) fn is_empty(&self) -> bool {
        self.run.is_none() && self.count == 0
    }

    /// The first bytes of `range` that are in the set, or are not, and all that follow them up to
    /// the next that differ.
    pub(crate) fn first(&self, range: Range, member: Member) -> Option<Range> {
        if self.count > 0 {
            let start = self.find(range, member)?;
            let rest = Range::between(start, range.end());
            let end = self.find(rest, member.opposite());
            return Some(Range::between(start, end.unwrap_or(range.end())));
        }
        match (self.run.and_then(|run| run.intersect(range)), member) {
            (part, Member::Yes) => part,
            (Some(part), Member::No) => range.before(part).or(range.behind(part)),
            (None, Member::No) => Some(range),
        }
    }

    /// The first byte of `range` whose line has its bit set, or has not.
    fn find(&self, range: Range, member: Member) -> Option<usize> {
        let found = self.numbers(range).pieces(BITS).try_for_each(|piece| {
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
            ControlFlow::Break(line) => Some(range.start().max(line << self.shift)),
        }
    }

    /// The lines that `range` has bytes of.
    fn lines(&self, range: Range) -> Range {
        range.enclosing(1 << self.shift, self.size)
    }

    /// The numbers of the lines that `range` has bytes of.
    fn numbers(&self, range: Range) -> Range {
        debug_assert!(range.end() <= self.size);
        let last = (range.end() - 1) >> self.shift;
        Range::between(range.start() >> self.shift, last + 1)
    }

    /// Sets the bits of the lines that `range` has bytes of, or clears them. A run becomes bits first.
    fn mark(&mut self, range: Range, member: Member) {
        if let Some(run) = self.run.take() {
            self.mark(run, Member::Yes);
        }
        for piece in self.numbers(range).pieces(BITS) {
            let word = &mut self.words[piece.start() / BITS];
            self.count -= word.count_ones() as usize;
            match member {
                Member::Yes => *word |= mask(piece),
                Member::No => *word &= !mask(piece),
            }
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

    #[test]
    fn a_run_grows_and_shrinks_at_its_ends() {
        let mut set = LineSet::new(SIZE, 32).unwrap();
        let all = Range::whole(SIZE);
        set.add(range(1024, 2048));
        set.add(range(2048, 4096));
        set.add(range(512, 1056));
        assert_eq!(set.first(all, Member::Yes), Some(range(512, 4096)));
        assert_eq!(set.first(all, Member::No), Some(range(0, 512)));
        assert_eq!(
            set.first(range(600, SIZE), Member::No),
            Some(range(4096, SIZE))
        );
        assert_eq!(set.first(range(600, 700), Member::No), None);
        assert_eq!(set.first(range(0, 512), Member::Yes), None);
        set.remove(range(0, 1024));
        set.remove(range(3072, SIZE));
        set.remove(range(4096, SIZE));
        assert_eq!(set.first(all, Member::Yes), Some(range(1024, 3072)));
        // In two, and one again.
        set.remove(range(2048, 2080));
        assert_eq!(set.first(all, Member::Yes), Some(range(1024, 2048)));
        assert_eq!(
            set.first(range(2048, SIZE), Member::Yes),
            Some(range(2080, 3072))
        );
        set.add(range(2048, 2080));
        assert_eq!(set.first(all, Member::Yes), Some(range(1024, 3072)));
        set.remove(all);
        assert!(set.is_empty());
        assert_eq!(set.first(all, Member::No), Some(all));
    }
}
