// SPDX-License-Identifier: GPL-2.0

//! The address space that all user mappings of one object are in, so that they
//! can be found and withdrawn, whichever file they were made by.

use super::ffi;
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
    /// A new, empty address space. `name` is that of its inode. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], [`ENFILE`].
    pub(crate) fn new(name: &CStr) -> Result<Arc<Self>> {
        // The file that comes with it may be released when this module is gone already, so its
        // operations are the kernel's.
        // SAFETY: The name is copied.
        let file = from_err_ptr(unsafe {
            ffi::shmbuf_file_of_own_inode(name.as_char_ptr(), &raw const bindings::generic_ro_fops)
        })?;
        // SAFETY: The function returned a reference to a new file, whose inode lives as long, and
        // longer with another reference.
        let inode = unsafe {
            let inode = (*file).f_inode;
            bindings::ihold(inode);
            bindings::fput(file);
            inode
        };
        // INVARIANT: The reference to the new inode is ours.
        let space = Self {
            inode: NonNull::new(inode).ok_or(ENOMEM)?,
        };
        Ok(Arc::new(space, GFP_KERNEL_ACCOUNT)?)
    }

    /// Puts the mappings that will be made of `file` here.
    ///
    /// # Safety
    ///
    /// `file` must be valid and nobody else have it yet, and it must keep this address space until it
    /// is released.
    pub(super) unsafe fn adopt(&self, file: *mut bindings::file) {
        // SAFETY: The inode is valid, and the file by this function's contract.
        unsafe { (*file).f_mapping = (*self.inode.as_ptr()).i_mapping };
    }

    /// Removes the page table entries of the pages that have bytes of `range`, from the mappings made
    /// of files that were adopted, in all processes; the mappings stay, and a touch is a fault. Takes
    /// `i_mmap_rwsem`. May sleep.
    pub(crate) fn unmap(&self, range: Range) {
        let first = range.start() / PAGE_SIZE;
        let count = range.end().div_ceil(PAGE_SIZE) - first;
        // SAFETY: The inode is valid. A count of zero would mean up to the end.
        unsafe {
            bindings::unmap_mapping_pages((*self.inode.as_ptr()).i_mapping, first, count, true)
        };
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        // SAFETY: The reference is ours.
        unsafe { bindings::iput(self.inode.as_ptr()) };
    }
}
