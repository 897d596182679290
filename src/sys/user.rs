// SPDX-License-Identifier: GPL-2.0

//! The cache lines of user mappings, and copies that do not fault.
//!
//! On a VIVT cache a user mapping and the kernel's view of the same memory are
//! two sets of lines. Only the mappings of the running process can hold any, as
//! a switch of address spaces cleans and invalidates the whole cache
//! (arch/arm/include/asm/mmu_context.h, cpu_switch_mm).

use super::{
    cpu, ffi,
    vma::{
        self,
        Mapped,
        NewMapping, //
    },
};
use crate::rules::range::Range;
use core::marker::PhantomData;
use kernel::{
    bindings,
    mm::{
        Mm,
        MmapReadGuard, //
    },
    page::PAGE_SHIFT, //
};

/// The address space of the running process, with its mmap lock held for reading, if it is known.
pub(crate) struct CurrentMappings<'a>(Option<(&'a Mm, MmapReadGuard<'a>)>);

impl CurrentMappings<'_> {
    /// Runs `f` with the mappings of the running process, if its mmap lock can be had at once, and
    /// else as if nothing were known of them. So any lock may be held: who has the mmap lock may wait
    /// for that.
    pub(crate) fn with<R>(f: impl FnOnce(&CurrentMappings<'_>) -> R) -> R {
        let current = kernel::current!();
        let locked = current
            .mm()
            .and_then(|mm| Some((&**mm, mm.mmap_read_trylock()?)));
        let mappings = CurrentMappings(locked);
        f(&mappings)
    }

    /// The mappings of `range` of `object`, of `size` bytes, in this address space. No more come to be
    /// while the mmap lock is held. May sleep.
    pub(crate) fn of<'a>(
        &'a self,
        object: &'a dyn Mapped,
        range: Range,
        size: usize,
    ) -> MappingsOf<'a> {
        // INVARIANT: The mmap lock is held as long as `self` lives.
        MappingsOf(self.find(object, range, size))
    }

    fn find<'a>(&'a self, object: &'a dyn Mapped, range: Range, size: usize) -> Mappings<'a> {
        let Some((mm, _)) = self.0 else {
            return Mappings::Others;
        };
        if !object.is_mapped() {
            return Mappings::None;
        }
        // SAFETY: The mmap lock is held.
        let mut all = unsafe { mappings(mm, object, size) };
        match all.find(|found| found.range.intersect(range).is_some()) {
            None => Mappings::None,
            // A process maps a byte once, see `maps_already`.
            Some(found) if found.range.intersect(range) == Some(range) => Mappings::One(found),
            Some(_) => Mappings::Several(mm, object, size),
        }
    }
}

/// What is mapped of a range of an object where the running process runs.
///
/// # Invariants
///
/// The mmap lock of that address space is held for `'a`, if it is known.
pub(crate) struct MappingsOf<'a>(Mappings<'a>);

enum Mappings<'a> {
    /// Nothing of the range.
    None,
    /// All of the range, by one mapping.
    One(Found<'a>),
    /// Parts of the range.
    Several(&'a Mm, &'a dyn Mapped, usize),
    /// Perhaps some of the range, by this process, whose mappings change now, or by another: a kernel
    /// thread runs in the address space of whoever ran before it.
    Others,
}

impl MappingsOf<'_> {
    /// Cleans and invalidates the lines by which `range` of the object was reached, which is inside
    /// of what these are the mappings of. Costs as much as the range, and for several a look at
    /// each VMA of the process. On caches without aliases it does nothing. Any context.
    pub(crate) fn flush(&self, range: Range) {
        match &self.0 {
            Mappings::None => return,
            Mappings::One(found) => found.flush(range),
            Mappings::Several(mm, object, size) => {
                // SAFETY: The mmap lock is held, by the type invariants.
                unsafe { mappings(mm, *object, *size) }.for_each(|found| found.flush(range));
            }
            Mappings::Others => return flush_all(),
        }
        // The flush of ARM926 and its like leaves the lines in the write buffer.
        cpu::drain_write_buffer();
    }
}

/// Cleans and invalidates all lines of user mappings, where such lines are others than the kernel's
/// (VIVT caches). Any context.
pub(crate) fn flush_all() {
    // SAFETY: The function has no requirements.
    unsafe { ffi::shmbuf_flush_user_all() };
    cpu::drain_write_buffer();
}

/// Whether the process that `new` is made for maps some of its range of `object`, of `size` bytes,
/// already.
pub(crate) fn maps_already(new: &NewMapping<'_>, object: &dyn Mapped, size: usize) -> bool {
    // SAFETY: The mmap lock is held while a VMA is made.
    let mut others = unsafe { mappings(new.mm(), object, size) };
    others.any(|other| other.range.intersect(new.range()).is_some())
}

/// A VMA that maps a range of an object.
///
/// # Invariants
///
/// The VMA begins at `start`, maps `range` of an object, and is valid for `'a`.
struct Found<'a> {
    vma: *mut bindings::vm_area_struct,
    start: usize,
    range: Range,
    _locked: PhantomData<&'a Mm>,
}

impl Found<'_> {
    /// Cleans and invalidates the lines by which the VMA reaches `range` of the object.
    fn flush(&self, range: Range) {
        if let Some(part) = self.range.intersect(range) {
            let start = self.start + (part.start() - self.range.start());
            // SAFETY: By the type invariants, and the addresses are inside.
            unsafe { ffi::shmbuf_flush_user_range(self.vma, start, start + part.len()) };
        }
    }
}

/// The VMAs of `mm` that map `object`, of `size` bytes.
///
/// # Safety
///
/// The mmap lock must be held as long as the iterator and what it yields are used.
unsafe fn mappings<'a>(
    mm: &'a Mm,
    object: &'a dyn Mapped,
    size: usize,
) -> impl Iterator<Item = Found<'a>> {
    let mut iter = bindings::vma_iterator::default();
    // SAFETY: The address space is valid, and the iterator is ours.
    unsafe { ffi::shmbuf_vma_iter_init(&mut iter, mm.as_raw()) };
    core::iter::from_fn(move || loop {
        // SAFETY: The lock is held, and the iterator was initialized.
        let vma = unsafe { ffi::shmbuf_vma_next(&mut iter) };
        if vma.is_null() {
            return None;
        }
        // SAFETY: The VMA is valid while the lock is held, and nobody writes to these fields.
        let (start, end, pgoff) = unsafe {
            let ends = &(*vma).__bindgen_anon_1.__bindgen_anon_1;
            (ends.vm_start, ends.vm_end, (*vma).vm_pgoff)
        };
        // SAFETY: The VMA is valid while the lock is held.
        if unsafe { vma::maps(vma, object) } {
            let range = Range::new((pgoff as u64) << PAGE_SHIFT, (end - start) as u64, size);
            if let Ok(range) = range {
                // INVARIANT: It stays as it is while the lock is held.
                return Some(Found {
                    vma,
                    start,
                    range,
                    _locked: PhantomData,
                });
            }
        }
    })
}

/// Runs `f` without page faults: copies to and from user space in it are short where a page is not
/// there.
pub(crate) fn without_faults<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: Ended below.
    unsafe { ffi::shmbuf_pagefault_disable() };
    let result = f();
    // SAFETY: Begun above.
    unsafe { ffi::shmbuf_pagefault_enable() };
    result
}

/// [`without_faults`], and without preemption: where there is one CPU no other program runs
/// meanwhile. `f` must not sleep, as under a spin lock.
pub(crate) fn alone_without_faults<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: Ended below.
    unsafe { ffi::shmbuf_atomic_begin() };
    let result = f();
    // SAFETY: Begun above.
    unsafe { ffi::shmbuf_atomic_end() };
    result
}
