// SPDX-License-Identifier: GPL-2.0

//! User mappings of memory that is not the page cache's.

use super::{
    ffi,
    pages::{
        Pages,
        References, //
    },
    transfer::KernelBytes, //
};
use crate::rules::{
    policy::Policy,
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
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
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
    /// Whether there are VMAs of this object, in any process. Called with an mmap lock held.
    fn is_mapped(&self) -> bool;
    /// A page of a VMA of [`prepare_faults`] was touched and is not there: fill all of it, by
    /// [`Faulting::insert`]. Called with the mmap lock or the VMA's own held for reading.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] lets the core try again after a reclaim; for any other the program gets SIGBUS.
    fn fault(&self, vma: &Faulting) -> Result;
    /// A debugger reads or writes at `position`; returns how many bytes that were. Called with
    /// the mmap lock held for reading, by kernels with CONFIG_HAVE_IOREMAP_PROT.
    fn access(&self, position: u64, data: KernelBytes<'_>) -> Result<usize>;
}

/// Whether pages that are mapped can be pinned (by get_user_pages() and its like).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pinning {
    /// Pages cannot be pinned: VM_IO is set.
    Refused,
    /// Pages can be pinned.
    Allowed,
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
pub(crate) fn restrict(vma: &VmaNew, pinning: Pinning) -> Result {
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
    if pinning == Pinning::Refused {
        vma.set_io();
    }
    vma.set_dontexpand();
    vma.set_dontdump();
    // SAFETY: A new VMA may be given another protection.
    unsafe { (*vma.as_ptr()).vm_page_prot = ffi::shmbuf_vma_prot(vma.as_ptr()) };
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

/// Makes the offset of `vma` one in an object that begins `bytes` before what it was one in.
pub(crate) fn move_offset(vma: &VmaNew, bytes: usize) {
    // SAFETY: A new VMA is not shared with anybody yet.
    unsafe { (*vma.as_ptr()).vm_pgoff += bytes >> PAGE_SHIFT };
}

/// Maps `range` of `pages` at `vma`, which has its length, at once and with the memory type of
/// `policy`: no fault happens afterwards. The pages must outlive the mapping. May sleep.
pub(crate) fn remap_pages(vma: &VmaNew, pages: &Pages, range: Range, policy: Policy) -> Result {
    // SAFETY: A new VMA is not shared with anybody yet, and may be given another protection.
    let prot = unsafe {
        let prot = &raw mut (*vma.as_ptr()).vm_page_prot;
        *prot = ffi::shmbuf_prot(*prot, policy.to_uapi());
        *prot
    };
    range.pieces(pages.contiguity()).try_for_each(|run| {
        // SAFETY: A new VMA may be filled; the frames are those of memory that is ours.
        to_result(unsafe {
            bindings::remap_pfn_range(
                vma.as_ptr(),
                vma.start() + (run.start() - range.start()),
                pages.pfn(run.start()),
                run.len(),
                prot,
            )
        })
    })
}

/// Maps `range` of `pages` at `vma`, which has its length, at once, write-back and with a reference
/// to each page, which must allow that. May sleep.
pub(crate) fn insert_pages(vma: &VmaNew, pages: &Pages, range: Range) -> Result {
    assert!(pages.references() == References::Shared);
    let mut list = KVVec::with_capacity(range.len() / PAGE_SIZE, GFP_KERNEL)?;
    for page in range.pieces(PAGE_SIZE) {
        list.push(pages.page(page.start()), GFP_KERNEL)?;
    }
    let mut count = list.len();
    // SAFETY: A new VMA may be filled, and each page of the list is one of order 0 to which we
    // have a reference.
    to_result(unsafe {
        bindings::vm_insert_pages(vma.as_ptr(), vma.start(), list.as_mut_ptr(), &mut count)
    })
}

/// Leaves `vma` empty: [`Mapped::fault`] fills it.
pub(crate) fn prepare_faults(vma: &VmaNew) {
    // SAFETY: A new VMA is not shared with anybody yet; [`restrict`] has made it a mapping
    // without copy-on-write, as VM_PFNMAP needs it.
    unsafe { (*vma.as_ptr()).__bindgen_anon_2.vm_flags |= flags::PFNMAP };
}

/// A VMA in which a page was touched that is not there.
///
/// # Invariants
///
/// The VMA is one of [`prepare_faults`], and it or its address space is locked.
pub(crate) struct Faulting(*mut bindings::vm_area_struct);

impl Faulting {
    /// The part of an object of `size` bytes that the VMA maps.
    pub(crate) fn range(&self, size: usize) -> Result<Range> {
        // SAFETY: By the type invariants.
        range(unsafe { VmaRef::from_raw(self.0) }, size)
    }

    /// Maps `range` of `pages`, which is the VMA's, with the memory type of `policy`. The pages
    /// must outlive the mapping, or [`unmap_all`] be called before they go. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], [`EFAULT`]; some of the pages are mapped then.
    ///
    /// [`unmap_all`]: super::address_space::AddressSpace::unmap_all
    pub(crate) fn insert(&self, pages: &Pages, range: Range, policy: Policy) -> Result {
        // SAFETY: By the type invariants.
        let start = unsafe { VmaRef::from_raw(self.0) }.start();
        // Not with vm_page_prot, which the core resets to what the flags say.
        // SAFETY: By the type invariants.
        let prot = unsafe { ffi::shmbuf_prot(ffi::shmbuf_vma_prot(self.0), policy.to_uapi()) };
        range.pieces(PAGE_SIZE).try_for_each(|page| {
            // SAFETY: The VMA is locked and of the right kind; the address is inside, and the frame
            // that of memory that is ours.
            let fault = unsafe {
                bindings::vmf_insert_pfn_prot(
                    self.0,
                    start + (page.start() - range.start()),
                    pages.pfn(page.start()),
                    prot,
                )
            };
            match fault {
                bindings::vm_fault_reason_VM_FAULT_NOPAGE => Ok(()),
                bindings::vm_fault_reason_VM_FAULT_OOM => Err(ENOMEM),
                _ => Err(EFAULT),
            }
        })
    }
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
        fault: Some(Self::fault),
        access: Some(Self::access),
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

    /// # Safety
    ///
    /// `vmf` must be the fault of a VMA with these operations, which is locked.
    unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: The fault is valid.
        let vma = unsafe { (*vmf).__bindgen_anon_1.vma };
        // SAFETY: The reference is the VMA's, which is locked.
        let object = unsafe { Arc::<T>::borrow((*vma).vm_private_data) };
        // INVARIANT: Only [`prepare_faults`] leaves a VMA with these operations without its pages.
        match object.fault(&Faulting(vma)) {
            Ok(()) => bindings::vm_fault_reason_VM_FAULT_NOPAGE,
            Err(error) if error == ENOMEM => bindings::vm_fault_reason_VM_FAULT_OOM,
            Err(_) => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
        }
    }

    /// # Safety
    ///
    /// `vma` must be a VMA with these operations whose mmap lock is held, `address` inside it, and
    /// `buffer` valid for `len` bytes.
    unsafe extern "C" fn access(
        vma: *mut bindings::vm_area_struct,
        address: usize,
        buffer: *mut c_void,
        len: c_int,
        write: c_int,
    ) -> c_int {
        // SAFETY: By this function's contract.
        let (object, this, pgoff) = unsafe {
            (
                Arc::<T>::borrow((*vma).vm_private_data),
                VmaRef::from_raw(vma),
                (*vma).vm_pgoff,
            )
        };
        let position = ((pgoff as u64) << PAGE_SHIFT) + (address - this.start()) as u64;
        let len = (len as usize).min(this.end() - address);
        let data = if write == 0 {
            // SAFETY: By this function's contract.
            KernelBytes::Read(unsafe { core::slice::from_raw_parts_mut(buffer.cast(), len) })
        } else if this.flags() & flags::WRITE != 0 {
            // SAFETY: By this function's contract.
            KernelBytes::Write(unsafe { core::slice::from_raw_parts(buffer.cast(), len) })
        } else {
            return EACCES.to_errno();
        };
        match object.access(position, data) {
            Ok(count) => count as c_int,
            Err(error) => error.to_errno(),
        }
    }
}
