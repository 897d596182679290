// SPDX-License-Identifier: GPL-2.0

//! Physically contiguous pages.

use super::{
    ffi,
    span::Span, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    fmt,
    page::PAGE_SHIFT,
    prelude::*, //
};

/// Where the pages may lie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zone {
    /// In the kernel's linear map, which is cacheable.
    Linear,
    /// Outside of it, and nowhere else.
    Highmem,
}

/// There are no pages: the zone has no free run of that many bytes.
pub(crate) struct AllocFailure {
    size: usize,
    zone: Zone,
}

impl fmt::Display for AllocFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, zone } = self;
        let place = match zone {
            Zone::Linear => "memory",
            Zone::Highmem => "highmem (memory without a cacheable kernel mapping)",
        };
        f.write_fmt(fmt!(
            "no {size} bytes of physically contiguous {place} are free; ask for less, load the \
             module earlier, or use kind=coherent, which CMA serves"
        ))
    }
}

impl From<AllocFailure> for Error {
    fn from(_: AllocFailure) -> Self {
        ENOMEM
    }
}

/// Where the pages came from, and go to.
enum Source {
    Buddy,
    Contig,
}

/// A run of pages, one after the other in physical memory, marked reserved.
///
/// PG_reserved is what this field's drivers have always set before remap_pfn_range(), and shows in
/// /proc/kpageflags; 7.x no longer needs it. Such pages must never be refcounted by a user mapping.
///
/// # Invariants
///
/// The `count` pages from `first` on are ours, each with one reference, and all have PG_reserved
/// set. They came from `source`.
pub(crate) struct ContiguousPages {
    first: NonNull<bindings::page>,
    count: usize,
    source: Source,
}

// SAFETY: Pages belong to no thread.
unsafe impl Send for ContiguousPages {}
// SAFETY: No method changes anything through a shared reference.
unsafe impl Sync for ContiguousPages {}

impl ContiguousPages {
    /// Allocates `size` bytes, a multiple of the page size and not zero. The contents are
    /// whatever was there. May sleep.
    pub(crate) fn new(size: usize, zone: Zone) -> Result<Self, AllocFailure> {
        let count = size >> PAGE_SHIFT;
        let highmem = zone == Zone::Highmem;
        let failure = AllocFailure { size, zone };

        let (first, source) = match Self::from_buddy(count, highmem) {
            Some(first) => (first, Source::Buddy),
            None => {
                // SAFETY: The function has no requirements.
                let first = unsafe { ffi::shmbuf_alloc_contig_pages(count, highmem) };
                (NonNull::new(first).ok_or(failure)?, Source::Contig)
            }
        };
        for n in 0..count {
            // SAFETY: The pages were just allocated, and nobody else knows them.
            unsafe { ffi::shmbuf_page_set_reserved(nth(first, n)) };
        }
        // INVARIANT: Just established.
        let pages = Self {
            first,
            count,
            source,
        };
        // The allocator falls back to lower zones silently.
        if highmem != pages.is_highmem() {
            return Err(AllocFailure { size, zone });
        }
        Ok(pages)
    }

    /// A run from the buddy allocator, whose blocks are powers of two, without the excess.
    fn from_buddy(count: usize, highmem: bool) -> Option<NonNull<bindings::page>> {
        // SAFETY: The function has no requirements.
        let order = unsafe { ffi::shmbuf_get_order(count << PAGE_SHIFT) };
        if order > bindings::MAX_PAGE_ORDER {
            return None;
        }
        // SAFETY: The order is one that the allocator has.
        let first = NonNull::new(unsafe { ffi::shmbuf_alloc_pages(order, highmem) })?;
        // SAFETY: We own the block of this order, which is not compound.
        unsafe { bindings::split_page(first.as_ptr(), order) };
        for n in count..1 << order {
            // SAFETY: After the split each page is ours by itself, and nobody knows this one.
            unsafe { bindings::__free_pages(nth(first, n), 0) };
        }
        Some(first)
    }

    /// The number of bytes.
    pub(crate) fn size(&self) -> usize {
        self.count << PAGE_SHIFT
    }

    /// The frame number of the page that holds the byte at `offset`.
    pub(crate) fn pfn(&self, offset: usize) -> usize {
        // SAFETY: By the type invariants.
        unsafe { ffi::shmbuf_page_to_pfn(self.first.as_ptr()) + (offset >> PAGE_SHIFT) }
    }

    /// The physical address of the byte at `offset`.
    pub(crate) fn phys(&self, offset: usize) -> bindings::phys_addr_t {
        // SAFETY: By the type invariants.
        let first = unsafe { ffi::shmbuf_page_to_phys(self.first.as_ptr()) };
        first + offset as bindings::phys_addr_t
    }

    /// Whether the kernel has no linear mapping of them.
    pub(crate) fn is_highmem(&self) -> bool {
        // SAFETY: By the type invariants. A run lies in one zone.
        unsafe { ffi::shmbuf_page_is_highmem(self.first.as_ptr()) }
    }

    /// The linear mapping, if there is one.
    pub(crate) fn linear(&self) -> Option<Span<'_>> {
        if self.is_highmem() {
            return None;
        }
        // SAFETY: By the type invariants; a page outside of highmem has a linear address.
        let address = unsafe { ffi::shmbuf_page_address(self.first.as_ptr()) };
        // SAFETY: The linear mapping of contiguous pages is contiguous and lives as long as they
        // are ours.
        Some(unsafe { Span::new(NonNull::new(address.cast())?, self.size(), self.phys(0)) })
    }

    /// The page that holds the byte at `offset`, which is inside.
    pub(super) fn page(&self, offset: usize) -> *mut bindings::page {
        debug_assert!(offset < self.size());
        nth(self.first, offset >> PAGE_SHIFT)
    }
}

impl Drop for ContiguousPages {
    fn drop(&mut self) {
        for n in 0..self.count {
            // SAFETY: By the type invariants.
            unsafe { ffi::shmbuf_page_clear_reserved(nth(self.first, n)) };
        }
        match self.source {
            Source::Buddy => {
                for n in 0..self.count {
                    // SAFETY: By the type invariants, and nothing maps them any more.
                    unsafe { bindings::__free_pages(nth(self.first, n), 0) };
                }
            }
            // SAFETY: As above.
            Source::Contig => unsafe {
                ffi::shmbuf_free_contig_pages(self.first.as_ptr(), self.count);
            },
        }
    }
}

/// The page `n` pages after `first`.
fn nth(first: NonNull<bindings::page>, n: usize) -> *mut bindings::page {
    // SAFETY: The function computes an address; callers stay inside what they own.
    unsafe { ffi::shmbuf_nth_page(first.as_ptr(), n) }
}
