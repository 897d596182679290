// SPDX-License-Identifier: GPL-2.0

//! Two lists of contiguous parts that are as long as each other, cut so that each piece is
//! contiguous in both.

use core::cmp::min;
use kernel::prelude::*;

/// Something contiguous that can be cut.
pub(crate) trait Part: Copy {
    /// How long it is.
    fn len(self) -> usize;
    /// The `len` bytes of it from `start` on, which are inside.
    fn part(self, start: usize, len: usize) -> Self;
}

/// The pieces of two lists, in order. What one of the lists has more is left out.
pub(crate) struct Pairs<F: Iterator, T: Iterator> {
    from: F,
    to: T,
    /// What is left of the current part of each list.
    rest: (Option<F::Item>, Option<T::Item>),
}

impl<P: Part, F: Iterator<Item = P>, T: Iterator<Item = P>> Pairs<F, T> {
    /// The pieces of `from` and `to`.
    pub(crate) fn new(from: F, to: T) -> Self {
        Self {
            from,
            to,
            rest: (None, None),
        }
    }
}

impl<P: Part, F: Iterator<Item = P>, T: Iterator<Item = P>> Iterator for Pairs<F, T> {
    type Item = (P, P);

    fn next(&mut self) -> Option<(P, P)> {
        let from = self.rest.0.take().or_else(|| self.from.next())?;
        let to = self.rest.1.take().or_else(|| self.to.next())?;
        let len = min(from.len(), to.len());
        let rest = |part: P| (len < part.len()).then(|| part.part(len, part.len() - len));
        self.rest = (rest(from), rest(to));
        Some((from.part(0, len), to.part(0, len)))
    }
}

#[kunit_tests(shmbuf_pairs)]
mod tests {
    use super::*;

    impl Part for (u64, usize) {
        fn len(self) -> usize {
            self.1
        }

        fn part(self, start: usize, len: usize) -> Self {
            (self.0 + start as u64, len)
        }
    }

    #[test]
    fn pairs_cover_both_lists() {
        let from = [(0x1000, 3), (0x2000, 5)];
        let to = [(0x8000, 4), (0x9000, 1), (0xa000, 3)];
        let expected = [
            (0x1000, 0x8000, 3),
            (0x2000, 0x8003, 1),
            (0x2001, 0x9000, 1),
            (0x2002, 0xa000, 3),
        ];
        let expected = expected.map(|(from, to, len)| ((from, len), (to, len)));
        assert!(Pairs::new(from.into_iter(), to.into_iter()).eq(expected));
        let nothing = || core::iter::empty::<(u64, usize)>();
        assert!(Pairs::new(nothing(), nothing()).next().is_none());
    }
}
