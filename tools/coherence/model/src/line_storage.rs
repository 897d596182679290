// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the state of each line is kept: twelve bytes a line for nearly all of
//! them, sixteen if lines are long, in chunks of 32 lines, found by physical address.

use crate::line::Fillable;
use crate::line_bytes::LineBytes;
use crate::packed_line::Packed;

/// Lines in a chunk.
pub const CHUNK: usize = 32;

/// Chunks of which a page has room for the records: with short lines it needs them all.
const CHUNKS: usize = 4;

/// Bytes of memory in a chunk.
pub const fn chunk_bytes<B: LineBytes>() -> u32 {
    CHUNK as u32 * B::LINE
}

/// The place of an address's chunk in its page.
#[inline(always)]
pub fn chunk_in_page<B: LineBytes>(pa: u32) -> usize {
    (pa % PAGE / chunk_bytes::<B>()) as usize
}

/// Where each chunk of a page begins.
pub fn chunks<B: LineBytes>(page_pa: u32) -> impl Iterator<Item = u32> {
    (0..PAGE / chunk_bytes::<B>()).map(move |chunk| page_pa + chunk * chunk_bytes::<B>())
}

const PAGE: u32 = 1 << 12;

/// Lines that follow each other: 1 KiB of memory, or 2 KiB with long lines.
#[derive(Debug, Clone)]
pub struct Chunk<B> {
    /// Whole-cache operations that its lines have seen.
    pub epoch: u32,
    /// Invalidations of the whole instruction cache that its lines have seen.
    pub instruction_epoch: u32,
    /// The lines of the chunk.
    pub lines: [Packed<B>; CHUNK],
}

/// A page: what its lines have in common.
#[derive(Debug, Default)]
pub struct Page<B> {
    /// The memory of the page, as far as it was touched.
    pub chunks: [Option<Box<Chunk<B>>>; CHUNKS],
    /// Groups of memory types that may take the fast path now, a bit each.
    pub fast_path: u8,
    /// The group used last.
    pub group: u8,
    /// Copies that live mappings may bring.
    pub fill: Fillable,
    /// Copies that live mappings may have brought to lines that nobody touched.
    pub filled: Fillable,
    /// Whole-cache operations when `fill` changed last.
    pub filled_epoch: u32,
    /// All touched lines are what they can be with these copies.
    pub closed: Fillable,
    /// A DMA mapping that a device owned overlapped the page.
    pub owned: bool,
    /// Coherent memory overlaps the page.
    pub coherent: bool,
    /// A mapping of a device that looks into the caches overlapped the page.
    pub snooped: bool,
    /// Buffered stores to the page have arrived in memory, or are followed by others.
    pub stored: bool,
    /// VIVT: the virtual page of those that may take the fast path.
    pub fast_path_va: u32,
}

type Section<B> = Box<[Page<B>; 256]>;

/// All of physical memory.
#[derive(Debug)]
pub struct LineStorage<B> {
    sections: Box<[Option<Section<B>>; 4096]>,
    section_count: usize,
    chunk_count: usize,
}

impl<B: LineBytes> LineStorage<B> {
    /// Nothing was touched.
    pub fn new() -> Self {
        Self {
            sections: Box::new(std::array::from_fn(|_| None)),
            section_count: 0,
            chunk_count: 0,
        }
    }

    /// The page of an address, if there is a record of its section.
    #[inline]
    pub fn page_mut(&mut self, pa: u32) -> Option<&mut Page<B>> {
        let section = self.sections[(pa >> 20) as usize].as_mut()?;
        Some(&mut section[((pa >> 12) & 0xff) as usize])
    }

    /// The page of an address. A new record begins with what `fill` says of it.
    pub fn page_or_new(&mut self, pa: u32, fill: impl Fn(u32) -> Fillable) -> &mut Page<B> {
        let section = self.sections[(pa >> 20) as usize].get_or_insert_with(|| {
            self.section_count += 1;
            let first = pa & !0xf_ffff;
            Box::new(std::array::from_fn(|i| {
                let fill = fill(first + ((i as u32) << 12));
                Page {
                    fill,
                    filled: fill,
                    closed: fill,
                    ..Page::default()
                }
            }))
        });
        &mut section[((pa >> 12) & 0xff) as usize]
    }

    /// The chunk of an address, if there is one.
    #[inline]
    pub fn chunk_mut(&mut self, pa: u32) -> Option<&mut Chunk<B>> {
        self.page_mut(pa)?.chunks[chunk_in_page::<B>(pa)].as_deref_mut()
    }

    /// Puts a new chunk in its place.
    pub fn add_chunk(&mut self, pa: u32, chunk: Chunk<B>) {
        if let Some(page) = self.page_mut(pa) {
            page.chunks[chunk_in_page::<B>(pa)] = Some(Box::new(chunk));
            self.chunk_count += 1;
        }
    }

    /// Addresses of all pages in this part of memory that have a record.
    /// `last` is the last byte.
    pub fn pages(&self, first: u32, last: u32) -> Vec<u32> {
        let sections = (first >> 20)..=(last >> 20);
        let sections = sections.filter(|&i| self.sections[i as usize].is_some());
        let pages = sections.flat_map(|i| (0..256).map(move |j| (i << 20) | (j << 12)));
        pages
            .filter(|&pa| pa >= first & !0xfff && pa <= last)
            .collect()
    }

    /// Bytes that the records of all lines take.
    pub fn size(&self) -> usize {
        self.section_count * size_of::<[Page<B>; 256]>() + self.chunk_count * size_of::<Chunk<B>>()
    }
}
