// SPDX-License-Identifier: GPL-2.0

//! Pages, one after the other in physical memory or wherever they are.

use super::{
    cpu,
    ffi,
    span::Span,
    task, //
};
use crate::rules::range::Range;
use core::{
    cmp::min,
    iter,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};

/// Where pages may lie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zone {
    /// In the kernel's linear map, which is cacheable.
    Linear,
    /// In highmem, outside of the linear map, and nowhere else; contiguous ones have no other mapping
    /// of the kernel's either.
    Highmem,
    /// Anywhere in RAM.
    Any,
    /// In the linear map, at addresses of at most 32 bits.
    Dma32,
    /// In the linear map, where the machine's most limited devices reach.
    Dma,
}

impl Zone {
    /// The flags that tell the allocator of the zone, and whether to charge the running process.
    fn flags(self, charge: Charge) -> bindings::gfp_t {
        let zone = match self {
            Self::Linear => ffi::SHMBUF_ZONE_LINEAR,
            // The allocator knows no such limit; who asks looks.
            Self::Highmem | Self::Any => ffi::SHMBUF_ZONE_ANY,
            Self::Dma32 => ffi::SHMBUF_ZONE_DMA32,
            Self::Dma => ffi::SHMBUF_ZONE_DMA,
        };
        // SAFETY: The zone is one of the enum.
        unsafe { ffi::shmbuf_gfp(zone, charge == Charge::Caller) }
    }
}

/// Whose use of memory it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charge {
    /// The administrator's: nobody's control group.
    Kernel,
    /// The running process's: its control group is charged, where the allocator can.
    Caller,
}

/// Who may hold references to pages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum References {
    /// This driver alone. The pages are marked reserved, which is what this field's drivers have
    /// always done before remap_pfn_range(), and shows in /proc/kpageflags; 7.x no longer needs it.
    Ours,
    /// Also user mappings, and what pins their pages. Never together with PG_reserved.
    Shared,
}

/// Which pages to allocate.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    /// How many bytes: so many whole pages as they have.
    pub(crate) size: usize,
    /// Where the pages may lie.
    pub(crate) zone: Zone,
    /// Whose use of memory they are.
    pub(crate) charge: Charge,
    /// Who may hold references to them.
    pub(crate) references: References,
}

/// How pages lie in physical memory.
enum Layout {
    /// One after the other.
    Run(Run),
    /// Blocks wherever they are, by all their pages, and how many there are of each order: the largest
    /// are the first.
    List(KVVec<NonNull<bindings::page>>, Blocks),
}

/// How many blocks there are of each order.
type Blocks = [usize; LARGEST as usize + 1];

/// The order of the largest blocks of pages that need not follow each other: up to there the
/// allocator has some without great pains (PAGE_ALLOC_COSTLY_ORDER).
const LARGEST: u32 = bindings::PAGE_ALLOC_COSTLY_ORDER;

/// Pages one after the other, from the first one on.
///
/// # Invariants
///
/// `first` is a page, at `phys`; `linear` is its linear address, if it has one. All pages together are
/// a block of the buddy allocator of `order`, or each is one of order 0.
struct Run {
    first: NonNull<bindings::page>,
    phys: bindings::phys_addr_t,
    linear: Option<NonNull<u8>>,
    order: u32,
}

impl Run {
    /// # Safety
    ///
    /// `first` must be a page of a block of `order`.
    unsafe fn new(first: NonNull<bindings::page>, order: u32) -> Self {
        let page = first.as_ptr();
        // SAFETY: By this function's contract; a page outside of highmem has a linear address.
        let (pfn, linear) = unsafe {
            let linear = match ffi::shmbuf_page_is_highmem(page) {
                true => None,
                false => NonNull::new(ffi::shmbuf_page_address(page).cast()),
            };
            (ffi::shmbuf_page_to_pfn(page), linear)
        };
        // INVARIANT: What the kernel says of the page.
        Self {
            first,
            phys: (pfn as bindings::phys_addr_t) << PAGE_SHIFT,
            linear,
            order,
        }
    }
}

/// Pages that are ours, physically contiguous or not.
///
/// # Invariants
///
/// The `count` pages of `layout`, at least one but while they are allocated, are in blocks of the buddy
/// allocator to each of which one reference is ours. They have PG_reserved set if `references` is
/// [`References::Ours`], and no reference but ours then; else each page is a block.
pub(crate) struct Pages {
    layout: Layout,
    count: usize,
    references: References,
}

// SAFETY: Pages belong to no thread.
unsafe impl Send for Pages {}
// SAFETY: No method changes anything through a shared reference.
unsafe impl Sync for Pages {}

impl Pages {
    /// Allocates pages that are physically contiguous. The contents are whatever was there. The
    /// control group is charged for what the buddy allocator gives, up to 4 MiB on most machines;
    /// alloc_contig_pages() cannot. That one serves what is larger, and where the zone has free pages
    /// but none in a row, as it moves others out of the way. May sleep.
    ///
    /// # Errors
    ///
    /// - [`ENOMEM`] if the zone has no free run of that many bytes;
    /// - [`EINVAL`] for no page;
    /// - [`EINTR`] if the process was killed.
    pub(crate) fn contiguous(request: Request) -> Result<Self> {
        if request.zone != Zone::Highmem {
            return Self::next_contiguous(request);
        }
        // What is here is not given again, until this returns. kmap() has places for a few hundred
        // pages at most.
        let mut aside = KVVec::new();
        loop {
            let mut pages = Self::next_contiguous(request)?;
            match pages.share_kmapped()? {
                Some(kmapped) => aside.push(kmapped, GFP_KERNEL_ACCOUNT)?,
                None => return Ok(pages),
            }
            task::go_on()?;
        }
    }

    /// What the allocators give for [`Self::contiguous`] next, kmap()ed or not.
    fn next_contiguous(request: Request) -> Result<Self> {
        let Request {
            size,
            zone,
            charge,
            references,
        } = request;
        let count = size >> PAGE_SHIFT;
        if count == 0 {
            return Err(EINVAL);
        }

        let order = count.next_power_of_two().ilog2();
        let is_chargeable = order <= bindings::MAX_PAGE_ORDER;
        let run = |(first, order)| {
            // SAFETY: It is called with the first page of what was allocated.
            let run = unsafe { Run::new(first, order) };
            Self::own(Layout::Run(run), count, references)
        };
        // Both allocators fall back to lower zones silently.
        let fits = |pages: &Self| zone != Zone::Highmem || pages.is_highmem();
        // Who was killed has not been told of how much there is.
        let none = || task::go_on().and(Err(ENOMEM));

        if is_chargeable {
            let block = Self::from_buddy(count, order, zone.flags(charge), references);
            match block.map(run) {
                Some(pages) if fits(&pages) => return Ok(pages),
                // The control group may have refused, and would be passed by.
                None if charge == Charge::Caller => return none(),
                _ => {}
            }
        }
        Self::from_contig(count, zone.flags(Charge::Kernel))
            .map(|first| run((first, 0)))
            .filter(fits)
            .map_or_else(none, Ok)
    }

    /// Allocates contiguous single pages from the allocator that moves others out of the way. The places
    /// that it tries are as far apart as what it is asked for is long. So it is asked for whole blocks, and
    /// gets the excess back: then the first page is also that of a block.
    fn from_contig(count: usize, flags: bindings::gfp_t) -> Option<NonNull<bindings::page>> {
        let alloc = |count| {
            // SAFETY: The function has no requirements.
            NonNull::new(unsafe { ffi::shmbuf_alloc_contig_pages(count, flags) })
        };
        let block = cpu::block_size() >> PAGE_SHIFT;
        let all = count.next_multiple_of(block.max(1));
        let Some(first) = (count > block).then(|| alloc(all)).flatten() else {
            return alloc(count);
        };
        for n in count..all {
            // SAFETY: Each page is ours by itself, and nobody knows this one.
            unsafe { bindings::__free_pages(nth(first, n), 0) };
        }
        Some(first)
    }

    /// Allocates contiguous pages from the buddy allocator, which has this order: a block, or single
    /// pages where others have references to each, or there is an excess, which is returned. The first
    /// page, and the order of the blocks.
    fn from_buddy(
        count: usize,
        order: u32,
        flags: bindings::gfp_t,
        references: References,
    ) -> Option<(NonNull<bindings::page>, u32)> {
        // SAFETY: The order is one that the allocator has.
        let first = NonNull::new(unsafe { bindings::alloc_pages(flags, order) })?;
        if count == 1 << order && references == References::Ours {
            return Some((first, order));
        }
        // SAFETY: We own the block of this order, which is not compound.
        unsafe { bindings::split_page(first.as_ptr(), order) };
        for n in count..1 << order {
            // SAFETY: After the split each page is ours by itself, and nobody knows this one.
            unsafe { bindings::__free_pages(nth(first, n), 0) };
        }
        Some((first, 0))
    }

    /// Allocates pages wherever they lie, in blocks as large as there are some at once. The contents are
    /// whatever was there. The control group is always charged. May sleep.
    ///
    /// # Errors
    ///
    /// - [`ENOMEM`] if the zone has not that many free pages;
    /// - [`EINVAL`] for no page;
    /// - [`EINTR`] if the process was killed.
    pub(crate) fn scattered(request: Request) -> Result<Self> {
        let count = request.size >> PAGE_SHIFT;
        if count == 0 {
            return Err(EINVAL);
        }
        if count == 1 {
            return Self::next_contiguous(request);
        }
        let flags = request.zone.flags(request.charge);
        // Do not take all there is from everybody, to find out that it is too little.
        // SAFETY: The function has no requirements.
        if count > unsafe { ffi::shmbuf_total_pages() } {
            return Err(ENOMEM);
        }

        // Dropped with what it has if there is no more.
        let layout = Layout::List(KVVec::new(), Blocks::default());
        let mut pages = Self::own(layout, 0, request.references);
        let Layout::List(list, blocks) = &mut pages.layout else {
            return Err(ENOMEM);
        };
        list.reserve(count, GFP_KERNEL_ACCOUNT)?;
        let mut order = LARGEST;
        while pages.count < count {
            task::go_on()?;
            order = min(order, (count - pages.count).ilog2());
            let Some(first) = Self::block(flags, order) else {
                order = order.checked_sub(1).ok_or(ENOMEM)?;
                continue;
            };
            for n in 0..1 << order {
                // SAFETY: The block has so many pages.
                let page = NonNull::new(unsafe { nth(first, n) });
                // There is room.
                let _ = list.push_within_capacity(page.unwrap_or(first));
            }
            pages.count += 1 << order;
            match request.references {
                References::Ours => {
                    blocks[order as usize] += 1;
                    // SAFETY: The pages were just allocated, and nobody else knows them.
                    unsafe { ffi::shmbuf_pages_set_reserved(first.as_ptr(), order) };
                }
                References::Shared => {
                    blocks[0] += 1 << order;
                    // SAFETY: The block is ours, and not compound.
                    unsafe { bindings::split_page(first.as_ptr(), order) };
                }
            }
        }
        Ok(pages)
    }

    /// A block for [`Self::scattered`], if there is one, or, for a single page, if one can be had.
    fn block(flags: bindings::gfp_t, order: u32) -> Option<NonNull<bindings::page>> {
        let flags = match order {
            0 => flags,
            // SAFETY: The function has no requirements.
            _ => unsafe { ffi::shmbuf_gfp_at_once(flags) },
        };
        // SAFETY: The order is one that the allocator has.
        NonNull::new(unsafe { bindings::alloc_pages(flags, order) })
    }

    /// Takes the pages of `layout`, which are ours.
    fn own(layout: Layout, count: usize, references: References) -> Self {
        // INVARIANT: The marks are set here.
        let pages = Self {
            layout,
            count,
            references,
        };
        if references == References::Ours {
            let _ = pages.each_block(|first, order| {
                // SAFETY: The pages were just allocated, and nobody else knows them.
                unsafe { ffi::shmbuf_pages_set_reserved(pages.nth(first), order) };
                Ok(())
            });
        }
        pages
    }

    /// Calls `f` with the number of the first page and the order of one block after the other. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// Those of `f`.
    fn each_block(&self, mut f: impl FnMut(usize, u32) -> Result) -> Result {
        let mut n = 0;
        let mut blocks = |count, order| {
            (0..count).try_for_each(|_| {
                f(n, order)?;
                n += 1 << order;
                task::cond_resched();
                Ok(())
            })
        };
        match &self.layout {
            Layout::Run(run) => blocks(self.count >> run.order, run.order),
            Layout::List(_, counts) => {
                let mut orders = (0..LARGEST + 1).zip(counts).rev();
                orders.try_for_each(|(order, &count)| blocks(count, order))
            }
        }
    }

    /// The page `n`. One that is none of them is a bug, and panics.
    fn nth(&self, n: usize) -> *mut bindings::page {
        assert!(n < self.count);
        match &self.layout {
            // SAFETY: By the type invariants, and `n` is one of them.
            Layout::Run(run) => unsafe { nth(run.first, n) },
            Layout::List(list, _) => list[n].as_ptr(),
        }
    }

    /// The number of bytes of all pages.
    pub(crate) fn size(&self) -> usize {
        self.count << PAGE_SHIFT
    }

    /// The physically contiguous parts of `range`, one after the other. One that is not inside is a
    /// bug, and panics.
    pub(crate) fn runs(&self, range: Range) -> impl Iterator<Item = Range> + '_ {
        let mut rest = Some(range);
        iter::from_fn(move || {
            let all = rest?;
            let run = self.first_run(all);
            rest = all.behind(run);
            Some(run)
        })
    }

    /// The first bytes of `range`, as far as they are physically contiguous. One that is not inside is a
    /// bug, and panics.
    pub(super) fn first_run(&self, range: Range) -> Range {
        assert!(range.end() <= self.size());
        let Layout::List(list, _) = &self.layout else {
            return range;
        };
        // SAFETY: By the type invariants.
        let pfn = |n: usize| unsafe { ffi::shmbuf_page_to_pfn(list[n].as_ptr()) };
        let (first, last) = (range.start() / PAGE_SIZE, (range.end() - 1) / PAGE_SIZE);
        let start = pfn(first);
        match (first + 1..=last).find(|&n| pfn(n) != start + (n - first)) {
            Some(elsewhere) => Range::between(range.start(), elsewhere * PAGE_SIZE),
            None => range,
        }
    }

    /// Who may hold references to the pages.
    pub(crate) fn references(&self) -> References {
        self.references
    }

    /// The page that holds the byte at `offset`, which is inside.
    pub(super) fn page(&self, offset: usize) -> *mut bindings::page {
        assert!(offset < self.size());
        self.nth(offset >> PAGE_SHIFT)
    }

    /// The pages of `range`, whole pages, if they are not one after the other. One that is none of them
    /// is a bug, and panics.
    pub(super) fn list(&self, range: Range) -> Option<&[NonNull<bindings::page>]> {
        match &self.layout {
            Layout::Run(_) => None,
            Layout::List(list, _) => {
                Some(&list[range.start() / PAGE_SIZE..range.end() / PAGE_SIZE])
            }
        }
    }

    /// The frame number of the page that holds the byte at `offset`, which is inside.
    pub(crate) fn pfn(&self, offset: usize) -> usize {
        if let Layout::Run(run) = &self.layout {
            assert!(offset < self.size());
            return (run.phys >> PAGE_SHIFT) as usize + (offset >> PAGE_SHIFT);
        }
        // SAFETY: By the type invariants.
        unsafe { ffi::shmbuf_page_to_pfn(self.page(offset)) }
    }

    /// The physical address of the byte at `offset`, which is inside.
    pub(crate) fn phys(&self, offset: usize) -> bindings::phys_addr_t {
        if let Layout::Run(run) = &self.layout {
            assert!(offset < self.size());
            return run.phys + offset as bindings::phys_addr_t;
        }
        let page = (self.pfn(offset) as bindings::phys_addr_t) << PAGE_SHIFT;
        page + (offset % PAGE_SIZE) as bindings::phys_addr_t
    }

    /// Cleans and invalidates every cache line of the pages, down to memory and in the outer cache
    /// too. Lines under other addresses than the linear ones remain on VIVT caches. May sleep.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if the process was killed; some lines may remain then.
    pub(crate) fn flush(&self) -> Result {
        self.flush_by(|part| {
            part.flush();
            part.refresh();
        })
    }

    /// Brings what was written by the kernel's write-back mapping to memory, in one pass: who reads ahead
    /// may have lines of it again, so the pages have to keep that type. May sleep.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if the process was killed.
    pub(crate) fn clean(&self) -> Result {
        self.flush_by(|part| part.flush())
    }

    /// Brings what the cache has of `range`, which must be inside, to memory, on machines whose caches
    /// go by physical addresses: there lines of the kernel's write-back mapping are everybody's, and
    /// those of a device that snoops. May sleep.
    pub(crate) fn clean_range(&self, range: Range) {
        let mut rest = range.start();
        while rest < range.end() {
            task::cond_resched();
            let (page, offset) = (rest / PAGE_SIZE, rest % PAGE_SIZE);
            let len = (PAGE_SIZE - offset).min(range.end() - rest);
            self.with_page(page, |span| {
                if let Ok(part) = Range::new(offset as u64, len as u64, PAGE_SIZE) {
                    span.slice(part).flush();
                }
            });
            rest += len;
        }
        cpu::drain_write_buffer();
    }

    fn flush_by(&self, f: impl FnMut(Span<'_>)) -> Result {
        // Not by the DMA API, which may work on a copy: where the kernel bounces (swiotlb=force),
        // and for a device that does not reach the page.
        match cpu::flushes_all_instead(self.size()) {
            true => cpu::flush_all(),
            false => self.each_part(f)?,
        }
        cpu::drain_write_buffer();
        Ok(())
    }

    /// Fills new pages with zeroes, by the kernel's write-back mapping, in whose lines they are then.
    /// Whoever had the pages before left no lines but by that mapping, or by one whose lines went with
    /// it. May sleep.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if the process was killed.
    pub(crate) fn zero(&self) -> Result {
        self.each_part(|part| part.zero())
    }

    /// Calls `f` with the pages by the kernel's write-back mapping, the linear one where there is one,
    /// as long as the process lives: physically contiguous parts, one after the other. May sleep.
    fn each_part(&self, mut f: impl FnMut(Span<'_>)) -> Result {
        if let Some(span) = self.linear() {
            return task::in_stretches(Range::whole(self.size()), |stretch| {
                f(span.slice(stretch));
                Ok(())
            });
        }
        self.each_block(|first, order| {
            let page = NonNull::new(self.nth(first)).ok_or(ENOMEM)?;
            // SAFETY: It is the first of a block.
            let block = unsafe { Run::new(page, order) };
            if let Some(linear) = block.linear {
                task::go_on()?;
                // SAFETY: The pages of a block are contiguous, and so is their linear mapping.
                f(unsafe { Span::new(linear, PAGE_SIZE << order, block.phys) });
                return Ok(());
            }
            (first..first + (1 << order)).try_for_each(|n| {
                task::go_on()?;
                self.with_page(n, &mut f);
                Ok(())
            })
        })
    }

    /// Calls `f` with one of the pages by the kernel's write-back mapping. It must not sleep.
    fn with_page(&self, n: usize, f: impl FnOnce(Span<'_>)) {
        // SAFETY: By the type invariants; unmapped below.
        let address = unsafe { bindings::kmap_local_page(self.nth(n)) };
        if let Some(address) = NonNull::new(address.cast()) {
            // SAFETY: The page is mapped there.
            f(unsafe { Span::new(address, PAGE_SIZE, self.phys(n << PAGE_SHIFT)) });
        }
        // SAFETY: It is the page that was mapped last.
        unsafe { bindings::kunmap_local(address) };
    }

    /// Whether the kernel has no linear mapping of contiguous pages. Of others, it is that of the first.
    pub(crate) fn is_highmem(&self) -> bool {
        // SAFETY: By the type invariants. A run lies in one zone.
        unsafe { ffi::shmbuf_page_is_highmem(self.nth(0)) }
    }

    /// Whether kmap() has left a mapping, which is cacheable, of one of the pages. May sleep.
    pub(crate) fn is_kmapped(&self) -> bool {
        self.kmapped().next().is_some()
    }

    /// The pages that kmap() has left a mapping of.
    fn kmapped(&self) -> impl Iterator<Item = NonNull<bindings::page>> + '_ {
        (0..self.count)
            .filter_map(|n| NonNull::new(self.nth(n)))
            .filter(|page| {
                task::cond_resched();
                // SAFETY: By the type invariants.
                unsafe { ffi::shmbuf_page_is_kmapped(page.as_ptr()) }
            })
    }

    /// Other references to the pages that kmap() has left a mapping of, if there are some. They remain
    /// allocated when `self` is dropped.
    fn share_kmapped(&mut self) -> Result<Option<Self>> {
        let mut list = KVVec::new();
        for page in self.kmapped() {
            list.push(page, GFP_KERNEL_ACCOUNT)?;
        }
        if let (Layout::Run(run), false) = (&mut self.layout, list.is_empty()) {
            // SAFETY: The block is ours, by the type invariants, and not compound.
            unsafe { bindings::split_page(run.first.as_ptr(), run.order) };
            // INVARIANT: Just split.
            run.order = 0;
        }
        for page in &list {
            // SAFETY: The page is ours, by the type invariants; the reference is given back when what
            // is returned is dropped.
            unsafe { ffi::shmbuf_get_page(page.as_ptr()) };
        }
        let count = list.len();
        let mut blocks = Blocks::default();
        blocks[0] = count;
        Ok((count > 0).then(|| Self::own(Layout::List(list, blocks), count, References::Shared)))
    }

    /// The linear mapping of contiguous pages, if there is one.
    pub(crate) fn linear(&self) -> Option<Span<'_>> {
        let Layout::Run(run) = &self.layout else {
            return None;
        };
        // SAFETY: The linear mapping of contiguous pages is contiguous and lives as long as they
        // are ours.
        Some(unsafe { Span::new(run.linear?, self.size(), run.phys) })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let _ = self.each_block(|first, order| {
            let first = self.nth(first);
            if self.references == References::Ours {
                // SAFETY: By the type invariants.
                unsafe { ffi::shmbuf_pages_clear_reserved(first, order) };
            }
            // SAFETY: The reference is ours, by the type invariants, and nothing of ours maps the
            // pages any more. Whoever else has a reference to a page keeps it.
            unsafe { bindings::__free_pages(first, order) };
            Ok(())
        });
    }
}

/// The page `n` pages after `first`.
///
/// # Safety
///
/// There must be so many pages.
unsafe fn nth(first: NonNull<bindings::page>, n: usize) -> *mut bindings::page {
    // SAFETY: By this function's contract.
    unsafe { ffi::shmbuf_nth_page(first.as_ptr(), n) }
}
