// SPDX-License-Identifier: GPL-2.0

//! The address space that all user mappings of one object are in, so that they
//! can be found and withdrawn, whichever file they were made by.

use super::{
    ffi,
    vma::NewMapping, //
};
use crate::rules::range::Range;
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::from_err_ptr,
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc, //
};

/// An inode of our own, for its `i_mapping`.
///
/// A node that was made twice by mknod(2) has two inodes, and anonymous files share one with the
/// whole system; so files get this one's mapping as their `f_mapping`. drivers/gpu/drm/drm_file.c
/// does the same.
///
/// # Invariants
///
/// `inode` is valid, and a reference to it is ours. No file system and no other driver uses it.
pub(crate) struct AddressSpace {
    inode: NonNull<bindings::inode>,
}

// SAFETY: An inode belongs to no thread.
unsafe impl Send for AddressSpace {}
// SAFETY: The methods may be called at the same time.
unsafe impl Sync for AddressSpace {}

impl AddressSpace {
    /// A new, empty address space. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], [`ENFILE`].
    pub(crate) fn new() -> Result<Arc<Self>> {
        // SAFETY: The function has no requirements.
        let inode = from_err_ptr(unsafe { ffi::shmbuf_inode_new() })?;
        // INVARIANT: The reference to the new inode is ours.
        let space = Self {
            inode: NonNull::new(inode).ok_or(ENOMEM)?,
        };
        Ok(Arc::new(space, GFP_KERNEL_ACCOUNT)?)
    }

    fn mapping(&self) -> *mut bindings::address_space {
        // SAFETY: The inode is valid.
        unsafe { (*self.inode.as_ptr()).i_mapping }
    }

    /// Puts the mappings that will be made of `file` here.
    ///
    /// # Safety
    ///
    /// `file` must be valid and nobody else have it yet, and it must keep this address space until it
    /// is released.
    pub(super) unsafe fn adopt(&self, file: *mut bindings::file) {
        // SAFETY: By this function's contract.
        unsafe { (*file).f_mapping = self.mapping() };
    }

    /// Removes the page table entries of the pages that have bytes of `range`, from the mappings made
    /// of files that were adopted, in all processes; the mappings stay, and a touch is a fault. Takes
    /// `i_mmap_rwsem`. May sleep.
    pub(crate) fn unmap(&self, range: Range) {
        let first = range.start() / PAGE_SIZE;
        let count = range.end().div_ceil(PAGE_SIZE) - first;
        // SAFETY: The inode is valid. A count of zero would mean up to the end.
        unsafe { bindings::unmap_mapping_pages(self.mapping(), first, count, true) };
    }

    /// The mappings made of files that were adopted, in all processes. Nobody makes, moves or ends one
    /// as long as this lives. Takes `i_mmap_rwsem`, under which no memory may be allocated. May sleep.
    pub(crate) fn lock(&self) -> LockedMappings<'_> {
        // SAFETY: The inode is valid; unlocked when what is returned is dropped.
        unsafe { ffi::shmbuf_lock_mappings(self.mapping()) };
        // INVARIANT: Just locked.
        LockedMappings(self)
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        // SAFETY: The reference is ours.
        unsafe { bindings::iput(self.inode.as_ptr()) };
    }
}

/// The mappings of an [`AddressSpace`], which stay as they are.
///
/// On a VIVT cache a user mapping and the kernel's view of the same memory are two sets of lines.
/// Only the mappings of the running process can hold any, as a switch of address spaces cleans and
/// invalidates the whole cache (arch/arm/include/asm/mmu_context.h, cpu_switch_mm).
///
/// # Invariants
///
/// Its `i_mmap_rwsem` is held.
pub(crate) struct LockedMappings<'a>(&'a AddressSpace);

impl LockedMappings<'_> {
    /// Whether the process that `new` is made for maps some of its range already. Only for VIVT caches:
    /// on others it does not look.
    pub(crate) fn has_some_of(&self, new: &NewMapping<'_>) -> bool {
        let range = new.range();
        // SAFETY: The lock is held, by the type invariants.
        unsafe {
            ffi::shmbuf_is_mapped_by(
                new.mm().as_raw(),
                self.0.mapping(),
                range.start(),
                range.end(),
            )
        }
    }

    /// Cleans and invalidates the lines by which the running process reached `range`. Costs as much as
    /// the range, whatever else the process has mapped. On caches without aliases it does nothing. Any
    /// context.
    pub(crate) fn flush(&self, range: Range) {
        // SAFETY: The lock is held, by the type invariants.
        unsafe { ffi::shmbuf_flush_mappings(self.0.mapping(), range.start(), range.end()) };
    }
}

impl Drop for LockedMappings<'_> {
    fn drop(&mut self) {
        // SAFETY: Locked, by the type invariants.
        unsafe { ffi::shmbuf_unlock_mappings(self.0.mapping()) };
    }
}
