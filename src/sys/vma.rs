// SPDX-License-Identifier: GPL-2.0

//! User mappings of memory that is not the page cache's.
//!
//! mmap(2) brings a [`NewVma`]; of that a [`NewMapping`] is made, and of that a mapping, in one of
//! several ways, each with VMA operations of its own. Each step takes what was before, so nobody
//! configures a VMA in which something is mapped. Whatever is mapped is kept by the mapping.

use super::{
    cache_mode::CacheMode,
    dma_coherent::CoherentMemory,
    errno::EOPNOTSUPP,
    ffi,
    io_region::IoRegion,
    pages::{
        Pages,
        References, //
    },
    task::{
        self,
        STRETCH, //
    },
    transfer::KernelBytes, //
};
use crate::rules::range::Range;
use core::ptr;
use kernel::{
    bindings,
    error::to_result,
    mm::{
        virt::{
            flags,
            VmaNew,
            VmaRef, //
        },
        MmWithUser, //
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
    /// A page of a mapping that is [left to faults](NewMapping::leave_to_faults) was touched and is
    /// not there: [fill](Unfilled::fill) it, or refuse. Called with the mmap lock or the VMA's own
    /// held for reading.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] lets the core try again after a reclaim; for any other the program gets SIGBUS.
    fn fault(&self, unfilled: &Unfilled<'_>) -> Result;
    /// A debugger reads or writes at `position`; returns how many bytes that were. Called with
    /// the mmap lock held for reading, by kernels with CONFIG_HAVE_IOREMAP_PROT.
    fn access(&self, position: u64, data: KernelBytes<'_>) -> Result<usize>;
}

/// What a mapping is of, and keeps.
enum MappedMemory {
    /// Pages by their frame numbers.
    Frames(Arc<Pages>, CacheMode),
    /// Pages by references to each.
    Refcounted(Arc<Pages>),
    /// Coherent memory, by the DMA API.
    Coherent(#[expect(dead_code, reason = "it is only kept")] Arc<CoherentMemory>),
    /// Device memory.
    Io(#[expect(dead_code, reason = "it is only kept")] Arc<IoRegion>),
}

/// The private data of the VMAs of a mapping.
struct Attached {
    // First: the object accounts for the memory.
    memory: MappedMemory,
    object: Arc<dyn Mapped>,
}

/// A VMA that mmap(2) is making.
///
/// # Invariants
///
/// Nothing is mapped in the VMA, and nobody else configures it.
pub(crate) struct NewVma<'a>(&'a VmaNew);

impl<'a> NewVma<'a> {
    /// # Safety
    ///
    /// Nothing may be mapped in the VMA, and the caller must do nothing else with it. What else an
    /// importer of a dma-buf has configured, which passes its own mmap(2) on, gives way.
    pub(super) unsafe fn new(vma: &'a VmaNew) -> Self {
        // INVARIANT: By this function's contract.
        Self(vma)
    }

    /// Takes the right away to make the mapping writable.
    ///
    /// # Errors
    ///
    /// [`EACCES`] if it shall be writable from the beginning.
    pub(crate) fn forbid_writing(&self) -> Result {
        self.0.try_clear_maywrite().map_err(|_| EACCES)
    }

    /// Makes the offset of the mapping one in an object that begins `bytes`, whole pages, before what
    /// it was one in.
    ///
    /// # Errors
    ///
    /// [`EOVERFLOW`] if there is no such offset.
    pub(crate) fn move_offset(&mut self, bytes: usize) -> Result {
        // SAFETY: A new VMA is not shared with anybody yet.
        let pgoff = unsafe { &mut (*self.0.as_ptr()).vm_pgoff };
        *pgoff = pgoff.checked_add(bytes >> PAGE_SHIFT).ok_or(EOVERFLOW)?;
        Ok(())
    }
}

/// A VMA under construction, for a range of an object: not expandable, not dumped, not executable,
/// no copy-on-write, and its page protection one of these flags that causes no fault once it is
/// mapped.
///
/// # Invariants
///
/// The VMA is all of that and what a [`NewVma`] is, and not one of VM_MIXEDMAP. It has the length of
/// `range`, which consists of whole pages.
pub(crate) struct NewMapping<'a> {
    vma: &'a VmaNew,
    range: Range,
}

impl<'a> NewMapping<'a> {
    /// The mapping of the part of an object of `size` bytes that the offset of `vma` says.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`] if it reaches past the end, or somebody has configured it for references to pages;
    /// - [`EOPNOTSUPP`] for a private writable mapping. A private read-only one is left without the
    ///   right to become writable;
    /// - [`EPERM`] if execution was asked for. Where every readable mapping implies it (ELF
    ///   programs before ARMv6: arch/arm/kernel/elf.c), it was not, and is taken away.
    pub(crate) fn new(vma: NewVma<'a>, size: usize) -> Result<Self> {
        let NewVma(vma) = vma;
        // Frame numbers in such a VMA would be taken for references, or be a BUG().
        if vma.flags() & flags::MIXEDMAP != 0 {
            return Err(EINVAL);
        }
        let range = range(vma, size)?;
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
        vma.set_dontexpand();
        vma.set_dontdump();
        // SAFETY: A new VMA may be given another protection.
        unsafe { (*vma.as_ptr()).vm_page_prot = ffi::shmbuf_vma_prot(vma.as_ptr()) };
        // INVARIANT: Just made so. A VMA consists of whole pages, and its offset counts pages.
        Ok(Self { vma, range })
    }

    /// The range of the object.
    pub(crate) fn range(&self) -> Range {
        self.range
    }

    /// The address space that the VMA is made in, with the mmap lock held as long as this lives.
    pub(super) fn mm(&self) -> &MmWithUser {
        self.vma.mm()
    }

    /// # Errors
    ///
    /// [`EINVAL`] if the range is not inside of memory of `size` bytes.
    fn check_inside(&self, size: usize) -> Result {
        if self.range.end() > size {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Maps pages at once, by their frame numbers and with the memory type of `mode`: no fault
    /// happens afterwards, and nobody can pin them. The caller has counted the mapping. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`] if the range reaches past the pages;
    /// - [`ENOMEM`];
    /// - [`EINTR`] if the process was killed.
    pub(crate) fn remap(
        self,
        object: Arc<dyn Mapped>,
        pages: &Arc<Pages>,
        mode: CacheMode,
    ) -> Result {
        self.check_inside(pages.size())?;
        let attached = Attached::new(object, MappedMemory::Frames(pages.clone(), mode))?;
        self.vma.set_io();
        // SAFETY: A new VMA is not shared with anybody yet, and may be given another protection.
        let prot = unsafe {
            let prot = &raw mut (*self.vma.as_ptr()).vm_page_prot;
            *prot = ffi::shmbuf_prot(*prot, mode.number());
            *prot
        };
        let stretches = self.range.pieces(STRETCH);
        let mut runs = stretches.flat_map(|stretch| pages.runs(stretch));
        let filled = runs.try_for_each(|run| {
            task::go_on()?;
            // SAFETY: A new VMA may be filled; the frames are those of pages that it keeps, as the
            // range is inside of them.
            to_result(unsafe {
                bindings::remap_pfn_range(
                    self.vma.as_ptr(),
                    self.vma.start() + (run.start() - self.range.start()),
                    pages.pfn(run.start()),
                    run.len(),
                    prot,
                )
            })
        });
        if let Err(error) = filled {
            // The core takes the entries away later, when nobody may keep the pages any more.
            self.vma.zap_vma_range(self.vma.start(), self.range.len());
            return Err(error);
        }
        self.attach(attached, &FIXED);
        Ok(())
    }

    /// Leaves the mapping empty: [`Mapped::fault`] fills it with pages by their frame numbers, with
    /// the memory type of `mode`, and nobody can pin them. The caller has counted the mapping.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`] if the range reaches past the pages;
    /// - [`ENOMEM`].
    pub(crate) fn leave_to_faults(
        self,
        object: Arc<dyn Mapped>,
        pages: &Arc<Pages>,
        mode: CacheMode,
    ) -> Result {
        self.check_inside(pages.size())?;
        let attached = Attached::new(object, MappedMemory::Frames(pages.clone(), mode))?;
        self.vma.set_io();
        // SAFETY: A new VMA is not shared with anybody yet, and there is no copy-on-write in it, as
        // VM_PFNMAP needs it.
        unsafe { (*self.vma.as_ptr()).__bindgen_anon_2.vm_flags |= flags::PFNMAP };
        self.attach(attached, &BY_FAULTS);
        Ok(())
    }

    /// Maps pages at once, write-back and with a reference to each: they can be pinned, and what is
    /// taken away by madvise(2) comes back when it is touched. The caller has counted the mapping.
    /// May sleep.
    ///
    /// # Errors
    ///
    /// - [`EOPNOTSUPP`] if the pages are for nobody but us;
    /// - [`EINVAL`] if the range reaches past the pages, or somebody has configured the VMA for frame
    ///   numbers;
    /// - [`ENOMEM`];
    /// - [`EINTR`] if the process was killed.
    pub(crate) fn insert(self, object: Arc<dyn Mapped>, pages: &Arc<Pages>) -> Result {
        if pages.references() != References::Shared {
            return Err(EOPNOTSUPP);
        }
        if self.vma.flags() & flags::PFNMAP != 0 {
            return Err(EINVAL);
        }
        self.check_inside(pages.size())?;
        let attached = Attached::new(object, MappedMemory::Refcounted(pages.clone()))?;
        let mut list = KVVec::with_capacity(self.range.len() / PAGE_SIZE, GFP_KERNEL_ACCOUNT)?;
        for page in self.range.pieces(PAGE_SIZE) {
            task::go_on()?;
            list.push(pages.page(page.start()), GFP_KERNEL_ACCOUNT)?;
        }
        let mut count = list.len();
        // SAFETY: A new VMA may be filled, and each page of the list is one of order 0 to which we
        // have a reference.
        to_result(unsafe {
            bindings::vm_insert_pages(
                self.vma.as_ptr(),
                self.vma.start(),
                list.as_mut_ptr(),
                &mut count,
            )
        })?;
        self.attach(attached, &REFCOUNTED);
        Ok(())
    }

    /// Maps coherent memory at once, with the type that it has. The caller has counted the mapping.
    /// May sleep.
    ///
    /// # Errors
    ///
    /// - [`ENXIO`] if the range reaches past the memory;
    /// - [`ENOMEM`].
    pub(crate) fn coherent(self, object: Arc<dyn Mapped>, memory: &Arc<CoherentMemory>) -> Result {
        let attached = Attached::new(object, MappedMemory::Coherent(memory.clone()))?;
        self.vma.set_io();
        // SAFETY: The mapping keeps the memory.
        unsafe { memory.mmap(self.vma) }?;
        self.attach(attached, &FIXED);
        Ok(())
    }

    /// Maps device memory at once, with the type that the kernel's mapping has. The caller has
    /// counted the mapping. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`] if the range reaches past the region;
    /// - [`ENOMEM`].
    pub(crate) fn io(self, object: Arc<dyn Mapped>, region: &Arc<IoRegion>) -> Result {
        let attached = Attached::new(object, MappedMemory::Io(region.clone()))?;
        self.vma.set_io();
        // SAFETY: The mapping keeps the region.
        unsafe { region.mmap(self.vma, self.range) }?;
        self.attach(attached, &FIXED);
        Ok(())
    }

    /// Gives the VMA what it keeps, and its operations.
    fn attach(self, attached: Arc<Attached>, operations: &'static Operations) {
        let vma = self.vma.as_ptr();
        // SAFETY: A new VMA may be given operations and private data.
        unsafe {
            (*vma).vm_private_data = attached.into_foreign();
            (*vma).vm_ops = &operations.0;
        }
    }
}

/// The part of an object of `size` bytes that `vma` maps.
///
/// # Errors
///
/// [`EINVAL`] if it reaches past the end.
fn range(vma: &VmaRef, size: usize) -> Result<Range> {
    // SAFETY: The VMA is valid and locked, by the invariants of `VmaRef`.
    let pgoff = unsafe { (*vma.as_ptr()).vm_pgoff } as u64;
    Range::new(pgoff << PAGE_SHIFT, (vma.end() - vma.start()) as u64, size).map_err(|_| EINVAL)
}

/// A mapping that is [left to faults](NewMapping::leave_to_faults), of which a page was touched that
/// is not there.
///
/// # Invariants
///
/// The VMA is one of [`BY_FAULTS`] that keeps `pages`, of which it maps `mapped`, and it or its
/// address space is locked for `'a`; `page` is a page of `mapped`.
pub(crate) struct Unfilled<'a> {
    vma: *mut bindings::vm_area_struct,
    pages: &'a Pages,
    /// How a page is mapped.
    prot: bindings::pgprot_t,
    mapped: Range,
    page: Range,
}

impl Unfilled<'_> {
    /// How many bytes are filled by one fault at most, as the page cache does it (fault-around). More
    /// than there, as there is nothing to look up for a page.
    const AROUND: usize = 256 << 10;

    /// The page of the object that was touched.
    pub(crate) fn page(&self) -> Range {
        self.page
    }

    /// The page that was touched, and mapped ones around it: few.
    pub(crate) fn around(&self) -> Range {
        let around = self.page.enclosing(Self::AROUND, self.pages.size());
        around.intersect(self.mapped).unwrap_or(self.page)
    }

    /// The address of `page`, one of the mapping.
    fn address(&self, page: Range) -> usize {
        // SAFETY: The VMA is locked, by the type invariants.
        let start = unsafe { VmaRef::from_raw(self.vma) }.start();
        start + (page.start() - self.mapped.start())
    }

    /// Makes the page tables that the pages around need. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    fn make_tables(&self) -> Result {
        let around = self.around();
        // SAFETY: The VMA is locked, and the addresses are inside. No function is called for them.
        to_result(unsafe {
            bindings::apply_to_page_range(
                (*self.vma).vm_mm,
                self.address(around),
                around.len(),
                None,
                ptr::null_mut(),
            )
        })
    }

    /// Maps `page`, one of those around the one that was touched. Allocates nothing, unless the page
    /// tables were taken away again since the fault began. May sleep.
    ///
    /// # Errors
    ///
    /// - [`ENOMEM`];
    /// - [`EFAULT`] if it is not a page of the mapping.
    pub(crate) fn fill(&self, page: Range) -> Result {
        let is_page = page.len() == PAGE_SIZE && page.start() % PAGE_SIZE == 0;
        if !is_page || page.intersect(self.mapped) != Some(page) {
            return Err(EFAULT);
        }
        // SAFETY: By the type invariants the VMA is of the right kind; the address is inside, and the
        // frame that of a page that it keeps.
        let fault = unsafe {
            bindings::vmf_insert_pfn_prot(
                self.vma,
                self.address(page),
                self.pages.pfn(page.start()),
                self.prot,
            )
        };
        match fault {
            bindings::vm_fault_reason_VM_FAULT_NOPAGE => Ok(()),
            bindings::vm_fault_reason_VM_FAULT_OOM => Err(ENOMEM),
            _ => Err(EFAULT),
        }
    }
}

impl Attached {
    fn new(object: Arc<dyn Mapped>, memory: MappedMemory) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { object, memory }, GFP_KERNEL_ACCOUNT)?)
    }
}

/// The operations of VMAs whose private data is an `Arc<Attached>`. Only [`NewMapping::attach`] gives
/// them to one; a copy of a VMA gets them from the core.
struct Operations(bindings::vm_operations_struct);

// SAFETY: Nobody writes to it.
unsafe impl Sync for Operations {}

impl Operations {
    const NO_FAULT: bindings::vm_operations_struct = bindings::vm_operations_struct {
        open: Some(open),
        close: Some(close),
        access: Some(access),
        ..pin_init::zeroed()
    };
}

/// For a mapping in which all is there from the beginning, and of which the core takes nothing away.
static FIXED: Operations = Operations(Operations::NO_FAULT);

/// For a mapping that is [left to faults](NewMapping::leave_to_faults), one of VM_PFNMAP without
/// copy-on-write.
static BY_FAULTS: Operations = Operations(bindings::vm_operations_struct {
    fault: Some(fill),
    ..Operations::NO_FAULT
});

/// For a mapping of [references to pages](NewMapping::insert).
static REFCOUNTED: Operations = Operations(bindings::vm_operations_struct {
    fault: Some(give_page),
    ..Operations::NO_FAULT
});

/// # Safety
///
/// `vma` must be a copy of a VMA with these [`Operations`], under construction.
unsafe extern "C" fn open(vma: *mut bindings::vm_area_struct) {
    // SAFETY: The private data is that of the VMA it was copied from, which has a reference.
    let attached = Arc::from(unsafe { Arc::<Attached>::borrow((*vma).vm_private_data) });
    attached.object.mapping_opened();
    // SAFETY: The copy gets a reference of its own.
    unsafe { (*vma).vm_private_data = attached.into_foreign() };
}

/// # Safety
///
/// `vma` must be a VMA with these operations, at its end.
unsafe extern "C" fn close(vma: *mut bindings::vm_area_struct) {
    // SAFETY: The reference is this VMA's, and not used again.
    let attached = unsafe { Arc::<Attached>::from_foreign((*vma).vm_private_data) };
    attached.object.mapping_closed();
}

/// # Safety
///
/// `vmf` must be the fault of a VMA of [`BY_FAULTS`], which is locked.
unsafe extern "C" fn fill(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
    // SAFETY: The fault is valid.
    let (vma, pgoff) = unsafe {
        let fault = &(*vmf).__bindgen_anon_1;
        (fault.vma, fault.pgoff)
    };
    // SAFETY: The reference is the VMA's, which is locked.
    let (attached, mapping) = unsafe {
        (
            Arc::<Attached>::borrow((*vma).vm_private_data),
            VmaRef::from_raw(vma),
        )
    };
    let MappedMemory::Frames(pages, mode) = &attached.memory else {
        return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
    };
    let page = Range::new((pgoff as u64) << PAGE_SHIFT, PAGE_SIZE as u64, pages.size());
    let (Ok(mapped), Ok(page)) = (range(mapping, pages.size()), page) else {
        return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
    };
    // SAFETY: The VMA is locked.
    let prot = unsafe { ffi::shmbuf_prot(ffi::shmbuf_vma_prot(vma), mode.number()) };
    // INVARIANT: Only `leave_to_faults` makes VMAs with these operations; the core says which
    // page of the VMA was touched.
    let unfilled = Unfilled {
        vma,
        pages,
        prot,
        mapped,
        page,
    };
    // Who is asked holds a lock that others wait for with the mmap lock held: nobody is to wait for
    // memory under it.
    let filled = unfilled.make_tables();
    match filled.and_then(|()| attached.object.fault(&unfilled)) {
        Ok(()) => bindings::vm_fault_reason_VM_FAULT_NOPAGE,
        Err(ENOMEM) => bindings::vm_fault_reason_VM_FAULT_OOM,
        Err(_) => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
    }
}

/// # Safety
///
/// `vmf` must be the fault of a VMA of [`REFCOUNTED`], which is locked.
unsafe extern "C" fn give_page(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
    // SAFETY: The fault is valid.
    let (vma, pgoff) = unsafe {
        let fault = &(*vmf).__bindgen_anon_1;
        (fault.vma, fault.pgoff)
    };
    // SAFETY: The reference is the VMA's, which is locked.
    let attached = unsafe { Arc::<Attached>::borrow((*vma).vm_private_data) };
    let MappedMemory::Refcounted(pages) = &attached.memory else {
        return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
    };
    match Range::new((pgoff as u64) << PAGE_SHIFT, 1, pages.size()) {
        Ok(byte) => {
            let page = pages.page(byte.start());
            // SAFETY: The page is valid, and the fault takes over the reference.
            unsafe {
                ffi::shmbuf_get_page(page);
                (*vmf).page = page;
            }
            0
        }
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
    let (attached, mapping, pgoff) = unsafe {
        (
            Arc::<Attached>::borrow((*vma).vm_private_data),
            VmaRef::from_raw(vma),
            (*vma).vm_pgoff,
        )
    };
    let position = ((pgoff as u64) << PAGE_SHIFT) + (address - mapping.start()) as u64;
    let len = (len as usize).min(mapping.end() - address);
    let data = if write == 0 {
        // SAFETY: By this function's contract. Who reads need not have initialized the buffer.
        KernelBytes::Read(unsafe {
            buffer.cast::<u8>().write_bytes(0, len);
            core::slice::from_raw_parts_mut(buffer.cast(), len)
        })
    } else if mapping.flags() & flags::WRITE != 0 {
        // SAFETY: By this function's contract.
        KernelBytes::Write(unsafe { core::slice::from_raw_parts(buffer.cast(), len) })
    } else {
        return EACCES.to_errno();
    };
    match attached.object.access(position, data) {
        // The core believes it.
        Ok(count) => count.min(len) as c_int,
        Err(error) => error.to_errno(),
    }
}
