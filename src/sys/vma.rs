// SPDX-License-Identifier: GPL-2.0

//! User mappings of physically contiguous memory (PFN maps).

use super::{
    ffi,
    pages::ContiguousPages, //
};
use crate::{
    cache::Policy,
    range::Range, //
};
use core::marker::PhantomData;
use kernel::{
    bindings,
    error::to_result,
    mm::virt::{
        flags,
        VmaNew,
        VmaRef, //
    },
    page::PAGE_SHIFT,
    prelude::*,
    sync::Arc,
    types::ForeignOwnable, //
};

/// An object that counts its user mappings.
pub(crate) trait Mapped: Send + Sync + 'static {
    /// A VMA of this object came to be, by fork, by mremap or by splitting one. Called with the
    /// mmap lock held for writing.
    fn mapping_opened(&self);
    /// A VMA of this object is gone. Called with the mmap lock held for writing.
    fn mapping_closed(&self);
}

/// Makes `vma` one of a device's memory: not expandable, not dumped, not executable, no
/// copy-on-write, and its page protection one of these flags that causes no fault once it is
/// mapped.
///
/// # Errors
///
/// - [`EOPNOTSUPP`] for a private writable mapping. A private read-only one is left without the
///   right to become writable.
/// - [`EPERM`] if execution was asked for. Where every readable mapping implies it (ELF programs
///   before ARMv6: arch/arm/kernel/elf.c), it was not, and is taken away.
pub(crate) fn restrict(vma: &VmaNew) -> Result {
    // is_cow_mapping(): a read-only shared mapping has VM_SHARED cleared by the core.
    if vma.flags() & (flags::SHARED | flags::MAYWRITE) == flags::MAYWRITE {
        vma.try_clear_maywrite().map_err(|_| EOPNOTSUPP)?;
    }
    if vma.executable() {
        // SAFETY: The function has no requirements.
        if !unsafe { ffi::shmbuf_read_implies_exec() } {
            return Err(EPERM);
        }
        // SAFETY: A new VMA is not shared with anybody yet, and needs no VM_EXEC.
        unsafe { (*vma.as_ptr()).__bindgen_anon_2.vm_flags &= !flags::EXEC };
    }
    vma.try_clear_mayexec()?;
    vma.set_io();
    vma.set_dontexpand();
    vma.set_dontdump();
    // SAFETY: A new VMA may be given another protection.
    unsafe { ffi::shmbuf_vma_init_prot(vma.as_ptr()) };
    Ok(())
}

/// The part of an object of `size` bytes that `vma` maps.
///
/// # Errors
///
/// [`EINVAL`] if it reaches past the end.
pub(crate) fn range(vma: &VmaRef, size: usize) -> Result<Range> {
    // SAFETY: The VMA is valid and locked, by the invariants of `VmaRef`.
    let pgoff = unsafe { (*vma.as_ptr()).vm_pgoff } as u64;
    Range::new(pgoff << PAGE_SHIFT, (vma.end() - vma.start()) as u64, size).map_err(|_| EINVAL)
}

/// Maps `range` of `pages` at `vma`, which has its length, at once and with the memory type of
/// `policy`: no fault happens afterwards. The pages must outlive the mapping. May sleep.
pub(crate) fn remap_pages(
    vma: &VmaNew,
    pages: &ContiguousPages,
    range: Range,
    policy: Policy,
) -> Result {
    assert!(range.end() <= pages.size());
    // SAFETY: A new VMA may be filled; the frames are those of memory that is ours.
    to_result(unsafe {
        ffi::shmbuf_remap_pfn_range(vma.as_ptr(), pages.pfn(range.start()), policy.to_uapi())
    })
}

/// Gives `vma` a reference to the object that it maps, which lasts as long as any VMA made of it.
/// The caller has counted this one already.
pub(crate) fn attach<T: Mapped>(vma: &VmaNew, object: Arc<T>) {
    let vma = vma.as_ptr();
    // SAFETY: A new VMA may be given operations and private data.
    unsafe {
        (*vma).vm_private_data = object.into_foreign();
        (*vma).vm_ops = Operations::<T>::table();
    }
}

/// Whether `vma` is a mapping of `object`.
///
/// # Safety
///
/// `vma` must be valid, and the mmap lock of its address space held.
pub(super) unsafe fn maps<T: Mapped>(vma: *const bindings::vm_area_struct, object: &T) -> bool {
    // SAFETY: By this function's contract.
    let (ops, private) = unsafe { ((*vma).vm_ops, (*vma).vm_private_data) };
    core::ptr::eq(ops, Operations::<T>::table())
        // SAFETY: A VMA with these operations has such a reference.
        && core::ptr::eq(&*unsafe { Arc::<T>::borrow(private) }, object)
}

/// The operations of a VMA whose private data is an `Arc<T>`.
struct Operations<T>(PhantomData<T>);

impl<T: Mapped> Operations<T> {
    const TABLE: bindings::vm_operations_struct = bindings::vm_operations_struct {
        open: Some(Self::open),
        close: Some(Self::close),
        ..pin_init::zeroed()
    };

    #[inline(never)]
    fn table() -> &'static bindings::vm_operations_struct {
        &Self::TABLE
    }

    /// # Safety
    ///
    /// `vma` must be a copy of a VMA with these operations, under construction.
    unsafe extern "C" fn open(vma: *mut bindings::vm_area_struct) {
        // SAFETY: The private data is that of the VMA it was copied from, which has a reference.
        let object = Arc::from(unsafe { Arc::<T>::borrow((*vma).vm_private_data) });
        object.mapping_opened();
        // SAFETY: The copy gets a reference of its own.
        unsafe { (*vma).vm_private_data = object.into_foreign() };
    }

    /// # Safety
    ///
    /// `vma` must be a VMA with these operations, at its end.
    unsafe extern "C" fn close(vma: *mut bindings::vm_area_struct) {
        // SAFETY: The reference is this VMA's, and not used again.
        let object = unsafe { Arc::<T>::from_foreign((*vma).vm_private_data) };
        object.mapping_closed();
    }
}
