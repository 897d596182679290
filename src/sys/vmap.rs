// SPDX-License-Identifier: GPL-2.0

//! Kernel mappings of pages with a memory type of their own.

use super::{
    cache_mode::CacheMode,
    ffi,
    pages::Pages,
    span::Span,
    task, //
};
use crate::rules::range::Range;
use core::ptr::NonNull;
use kernel::{
    bindings,
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc, //
};

/// Makes sure that no page is reached by a kernel mapping that was removed: `vunmap()` leaves the
/// TLB entries until enough have gathered. To be called before pages change their memory type.
/// May sleep.
pub(crate) fn flush_removed() {
    // SAFETY: The function has no requirements.
    unsafe { ffi::shmbuf_vm_unmap_aliases() };
}

/// A mapping of a range of pages in vmalloc space, by `vmap()`.
///
/// # Invariants
///
/// `address` is a live mapping of the pages of `range`, which starts at a page, and is ours.
pub(crate) struct Vmap {
    address: NonNull<u8>,
    range: Range,
    pages: Arc<Pages>,
}

// SAFETY: A kernel mapping belongs to no thread.
unsafe impl Send for Vmap {}
// SAFETY: No method changes anything through a shared reference.
unsafe impl Sync for Vmap {}

impl Vmap {
    /// Maps the pages of `range`, which starts at one. Another start, or an end outside of the pages, is
    /// a bug, and panics. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if there is no memory or no vmalloc space (see vmalloc= on the command line).
    pub(crate) fn new(pages: &Arc<Pages>, range: Range, mode: CacheMode) -> Result<Self> {
        assert!(range.start() % PAGE_SIZE == 0 && range.end() <= pages.size());
        let whole = range.enclosing(PAGE_SIZE, pages.size());
        let count = whole.len() / PAGE_SIZE;
        let length = u32::try_from(count).map_err(|_| ENOMEM)?;
        let mut made = KVVec::<*mut bindings::page>::new();
        let list = match pages.list(whole) {
            Some(list) => list.as_ptr().cast_mut().cast(),
            None => {
                made.reserve(count, GFP_KERNEL_ACCOUNT)?;
                for n in 0..count {
                    made.push(
                        pages.page(range.start() + n * PAGE_SIZE),
                        GFP_KERNEL_ACCOUNT,
                    )?;
                    // Importers that get no view are warned of (dma_buf_vmap()), killed or not.
                    task::cond_resched();
                }
                made.as_mut_ptr()
            }
        };
        // SAFETY: The list has `count` valid pages, which the mapping's reference keeps. It is only
        // read.
        let address = unsafe { ffi::shmbuf_vmap(list, length, mode.number()) };
        task::cond_resched();
        // INVARIANT: `vmap()` returned a new mapping of these pages, if any.
        Ok(Self {
            address: NonNull::new(address.cast()).ok_or(ENOMEM)?,
            range,
            pages: pages.clone(),
        })
    }

    /// The part of the pages that is mapped.
    pub(crate) fn range(&self) -> Range {
        self.range
    }

    /// The bytes of `range` of the pages. One that is not inside what is mapped is a bug, and panics.
    pub(crate) fn span(&self, range: Range) -> Span<'_> {
        let at = range.relative_to(self.range);
        // SAFETY: Inside, by the type invariants and the check above; the mapping lives as long as
        // `self`.
        unsafe {
            Span::new(
                self.address.add(at.start()),
                range.len(),
                self.pages.phys(range.start()),
            )
        }
    }
}

impl Drop for Vmap {
    fn drop(&mut self) {
        // SAFETY: The mapping is ours, by the type invariants.
        unsafe { ffi::shmbuf_vunmap(self.address.as_ptr().cast()) };
        task::cond_resched();
    }
}
