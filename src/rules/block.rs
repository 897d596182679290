// SPDX-License-Identifier: GPL-2.0

//! How a DMA pool divides its pages into blocks, as mm/dmapool.c does it.

use core::cmp::{
    max,
    min, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

/// What the blocks of a pool have in common. Blocks for which the pool would be the same have the
/// same shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes from a block to the next.
    pub(crate) size: usize,
    /// A power of two that the address of each is a multiple of.
    pub(crate) align: usize,
    /// A power of two of which none crosses a multiple, at most a page.
    pub(crate) boundary: usize,
}

impl Shape {
    /// The shape of blocks of `size` bytes, less than a page, with an alignment and a boundary that
    /// are zero where it does not matter, and go with the size. The pool has no use for blocks of
    /// less than `least` bytes, a power of two.
    pub(crate) fn new(size: usize, align: usize, boundary: usize, least: usize) -> Self {
        let align = max(align, 1);
        Self {
            size: max(size, least).next_multiple_of(align),
            align,
            // Blocks of at least that many bytes begin at its multiples, so none crosses what is
            // less.
            boundary: match boundary {
                0 => PAGE_SIZE,
                _ => min(max(boundary, least), PAGE_SIZE),
            },
        }
    }

    /// How many blocks are in a page: each part of it between two boundaries is filled from its
    /// begin.
    pub(crate) fn blocks_in_page(&self) -> usize {
        PAGE_SIZE / self.boundary * (self.boundary / self.size)
    }
}

#[kunit_tests(shmbuf_block)]
mod tests {
    use super::*;

    /// pool_initialise_page(), step by step.
    fn counted(shape: Shape) -> usize {
        let (mut offset, mut next, mut blocks) = (0, shape.boundary, 0);
        while offset + shape.size <= PAGE_SIZE {
            if offset + shape.size > next {
                offset = next;
                next += shape.boundary;
                continue;
            }
            offset += shape.size;
            blocks += 1;
        }
        blocks
    }

    #[test]
    fn blocks_are_counted_as_the_pool_does() {
        for least in [8, 16] {
            for size in [1, 7, 8, 9, 16, 24, 100, 128, 600, 1500, 2048, 3000, 4095] {
                for align in [0, 1, 2, 8, 64, 1024, PAGE_SIZE] {
                    for boundary in [0, 1, 4, 32, 128, 1024, PAGE_SIZE, 2 * PAGE_SIZE] {
                        if boundary != 0 && (boundary < size || boundary < align) {
                            continue;
                        }
                        let shape = Shape::new(size, align, boundary, least);
                        assert!(shape.size >= size && shape.boundary >= shape.size);
                        assert_eq!(shape.blocks_in_page(), counted(shape));
                        assert!(shape.blocks_in_page() > 0);
                    }
                }
            }
        }
    }

    #[test]
    fn small_blocks_share_a_pool() {
        let one = Shape::new(1, 0, 1, 16);
        assert_eq!(one, Shape::new(16, 1, 16, 16));
        assert_ne!(one, Shape::new(17, 1, 32, 16));
        assert_eq!(
            Shape::new(100, 64, 0, 16),
            Shape::new(128, 64, PAGE_SIZE, 16)
        );
    }
}
