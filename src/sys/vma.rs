// SPDX-License-Identifier: GPL-2.0

//! User mappings of memory that is not the page cache's.
//!
//! mmap(2) brings a [`NewVma`]; of that a [`NewMapping`] is made, and of that a mapping, in one of
//! several ways, each with VMA operations of its own. Each step takes what was before, so nobody
//! configures a VMA in which something is mapped. Whatever is mapped is kept by the mapping.

use super::{
    cache_mode::CacheMode,
    cpu,
    dma_coherent::CoherentMemory,
    errno::EOPNOTSUPP,
    ffi,
    io_region::IoRegion,
    mapped_memory::MappedMemory,
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
    new_mutex,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::{
        lock::{
            mutex::MutexBackend,
            Guard, //
        },
        Arc,
        ArcBorrow,
        Mutex, //
    },
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
    /// As [`Self::fault`], where one entry can map all around what was touched: fill it, or leave it to
    /// [`Self::fault`]. It must not sleep long.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] leaves it.
    fn fault_block(&self, block: &UnfilledBlock<'_>) -> Result;
    /// A debugger reads or writes at `position`; returns how many bytes that were. Called with
    /// the mmap lock held for reading, by kernels with CONFIG_HAVE_IOREMAP_PROT.
    fn access(&self, position: u64, data: KernelBytes<'_>) -> Result<usize>;
}

/// The private data of the VMAs of a mapping.
#[pin_data]
struct Attached {
    // First: the object accounts for the memory.
    memory: MappedMemory,
    object: Arc<dyn Mapped>,
    /// Held while a fault fills the mapping: the core's functions rely on it that one place does not
    /// get a block and a table of pages at the same time.
    #[pin]
    filling: Mutex<()>,
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

    /// The VMA, for an exporter of a dma-buf, which makes the mapping.
    pub(super) fn into_raw(self) -> *mut bindings::vm_area_struct {
        self.0.as_ptr()
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

    /// Maps pages at once, by their frame numbers and with the memory type of `mode`, and nobody can pin
    /// them. No fault happens afterwards, unless a program takes a piece out of a block. The caller has
    /// counted the mapping. May sleep.
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
        self.fill(object, MappedMemory::Frames(pages.clone(), mode))
    }

    /// Whether one entry can map some of `memory` here.
    fn has_block(&self, memory: &MappedMemory) -> bool {
        let (start, size) = (self.vma.start(), cpu::block_size());
        if size == 0 || self.check_inside(memory.size()).is_err() {
            return false;
        }
        (start..self.vma.end())
            .step_by(size)
            .any(|address| memory.block(self.range, start, address).is_some())
    }

    /// Fills the mapping with `memory`, which its range is inside of: by blocks where that can be, else
    /// by pages.
    fn fill(self, object: Arc<dyn Mapped>, memory: MappedMemory) -> Result {
        let has_block = self.has_block(&memory);
        let attached = Attached::new(object, memory)?;
        let prot = self.take_frames(attached.memory.mode());
        self.attach(
            attached.clone(),
            match has_block {
                true => &WITH_BLOCKS,
                false => &FIXED,
            },
        );
        let mut rest = Some(self.range);
        while let Some(range) = rest {
            match self.fill_first(range, &attached.memory, has_block, prot) {
                Ok(part) => rest = range.behind(part),
                Err(error) => {
                    // The core takes the entries away later, when nobody may keep the memory any more,
                    // and tells nobody.
                    self.vma.zap_vma_range(self.vma.start(), self.range.len());
                    self.detach();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Fills the first bytes of `range`, all that was not filled yet. Returns which these are.
    fn fill_first(
        &self,
        range: Range,
        memory: &MappedMemory,
        has_block: bool,
        prot: bindings::pgprot_t,
    ) -> Result<Range> {
        task::go_on()?;
        let start = self.vma.start();
        let address = start + (range.start() - self.range.start());
        let mut part = range
            .first(STRETCH - range.start() % STRETCH)
            .unwrap_or(range);
        if has_block {
            if let Some(block) = memory.block(self.range, start, address) {
                self.fault_in(address)?;
                return Ok(block);
            }
            let in_block = self.range.in_block(start, address, cpu::block_size());
            part = part.intersect(in_block).unwrap_or(part);
        }
        let run = memory.first_run(part);
        // SAFETY: A new VMA may be filled; the frames are those of memory that it keeps, as the range is
        // inside of it.
        to_result(unsafe {
            bindings::remap_pfn_range(
                self.vma.as_ptr(),
                address,
                memory.pfn(run.start()),
                run.len(),
                prot,
            )
        })?;
        Ok(run)
    }

    /// Has the core do what a touch of `address` would do, so that none is a fault later: nothing else
    /// makes a block. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    fn fault_in(&self, address: usize) -> Result {
        let how = match self.vma.flags() & flags::WRITE {
            0 => 0,
            _ => bindings::fault_flag_FAULT_FLAG_WRITE,
        };
        // SAFETY: The mmap lock is held for writing, and the address is one of the VMA, which has its
        // operations and nobody knows yet. Without registers the fault is nobody's but ours.
        let fault =
            unsafe { bindings::handle_mm_fault(self.vma.as_ptr(), address, how, ptr::null_mut()) };
        match fault & !bindings::vm_fault_reason_VM_FAULT_NOPAGE {
            0 => Ok(()),
            _ => Err(ENOMEM),
        }
    }

    /// Makes the VMA one of frame numbers, with the memory type of `mode`. Returns its protection.
    fn take_frames(&self, mode: CacheMode) -> bindings::pgprot_t {
        self.vma.set_io();
        // SAFETY: A new VMA is not shared with anybody yet, and may be given another protection. There is
        // no copy-on-write in it, as VM_PFNMAP needs it.
        unsafe {
            let vma = self.vma.as_ptr();
            (*vma).__bindgen_anon_2.vm_flags |= flags::PFNMAP;
            (*vma).vm_page_prot = ffi::shmbuf_prot((*vma).vm_page_prot, mode.number());
            (*vma).vm_page_prot
        }
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
        self.leave_memory_to_faults(object, MappedMemory::Frames(pages.clone(), mode))
    }

    /// [`Self::leave_to_faults`] for device memory that is cached, or write-combined.
    ///
    /// # Errors
    ///
    /// - [`EOPNOTSUPP`] if it has the type that only devices have, or bits that are the business of
    ///   ioremap();
    /// - those of [`Self::leave_to_faults`].
    pub(crate) fn leave_io_to_faults(
        self,
        object: Arc<dyn Mapped>,
        region: &Arc<IoRegion>,
    ) -> Result {
        if region.mode() == CacheMode::Noncached || is_encrypted() {
            return Err(EOPNOTSUPP);
        }
        self.leave_memory_to_faults(object, MappedMemory::Io(region.clone()))
    }

    fn leave_memory_to_faults(self, object: Arc<dyn Mapped>, memory: MappedMemory) -> Result {
        self.check_inside(memory.size())?;
        let mode = memory.mode();
        let attached = Attached::new(object, memory)?;
        self.take_frames(mode);
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

    /// Maps coherent memory at once, with the type that it has, which is that of `mode`. The caller has
    /// counted the mapping. May sleep.
    ///
    /// # Errors
    ///
    /// - [`ENXIO`] if the range reaches past the memory;
    /// - [`ENOMEM`];
    /// - [`EINTR`] if the process was killed.
    pub(crate) fn coherent(
        self,
        object: Arc<dyn Mapped>,
        memory: &Arc<CoherentMemory>,
        mode: CacheMode,
    ) -> Result {
        let mapped = MappedMemory::Coherent(memory.clone(), mode);
        if self.has_block(&mapped) && !is_encrypted() {
            return self.fill(object, mapped);
        }
        let attached = Attached::new(object, mapped)?;
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
    /// - [`ENOMEM`];
    /// - [`EINTR`] if the process was killed.
    pub(crate) fn io(self, object: Arc<dyn Mapped>, region: &Arc<IoRegion>) -> Result {
        let mapped = MappedMemory::Io(region.clone());
        if self.has_block(&mapped) && !is_encrypted() {
            return self.fill(object, mapped);
        }
        let attached = Attached::new(object, mapped)?;
        self.vma.set_io();
        // SAFETY: The mapping keeps the region.
        unsafe { region.mmap(self.vma, self.range) }?;
        self.attach(attached, &FIXED);
        Ok(())
    }

    /// Gives the VMA what it keeps, and its operations.
    fn attach(&self, attached: Arc<Attached>, operations: &'static Operations) {
        let vma = self.vma.as_ptr();
        // SAFETY: A new VMA may be given operations and private data.
        unsafe {
            (*vma).vm_private_data = attached.into_foreign();
            (*vma).vm_ops = &operations.0;
        }
    }

    /// Takes back what the VMA was given by [`Self::attach`], before the core is told of a failure.
    fn detach(&self) {
        let vma = self.vma.as_ptr();
        // SAFETY: A new VMA may be given operations and private data; the reference that it has is not
        // used again.
        drop(unsafe {
            (*vma).vm_ops = ptr::null();
            Arc::<Attached>::from_foreign(ptr::replace(
                &raw mut (*vma).vm_private_data,
                ptr::null_mut(),
            ))
        });
    }
}

/// Whether mappings of memory have bits that are the business of those that made the memory: of the
/// DMA API, and of ioremap().
fn is_encrypted() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { ffi::shmbuf_memory_is_encrypted() }
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

/// A mapping of frame numbers, of which a page was touched that is not there.
///
/// # Invariants
///
/// The VMA is one of [`BY_FAULTS`] or [`WITH_BLOCKS`] that keeps `memory`, of which it maps `mapped`, and
/// it or its address space is locked for `'a`, and so is what fills it; `page` is a page of `mapped`, and
/// of `in_block`, for which there is no block entry.
pub(crate) struct Unfilled<'a> {
    vma: *mut bindings::vm_area_struct,
    memory: &'a MappedMemory,
    /// How a page is mapped.
    prot: bindings::pgprot_t,
    mapped: Range,
    /// What of `mapped` one entry would map, if it could.
    in_block: Range,
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
        let around = self.page.enclosing(Self::AROUND, self.memory.size());
        around.intersect(self.in_block).unwrap_or(self.page)
    }

    /// The address of `page`, one of the mapping.
    fn address(&self, page: Range) -> usize {
        // SAFETY: The VMA is locked, by the type invariants.
        let start = unsafe { VmaRef::from_raw(self.vma) }.start();
        start + (page.start() - self.mapped.start())
    }

    /// Makes the page tables that the pages around need, so that none has to be made when they are
    /// [filled](Self::fill). From then on no block is mapped there. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn make_tables(&self) -> Result {
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
    /// tables were not made, or taken away again since. May sleep.
    ///
    /// # Errors
    ///
    /// - [`ENOMEM`];
    /// - [`EFAULT`] if it is not a page of the mapping, or not near the one that was touched.
    pub(crate) fn fill(&self, page: Range) -> Result {
        let is_page = page.len() == PAGE_SIZE && page.start() % PAGE_SIZE == 0;
        if !is_page || page.intersect(self.in_block) != Some(page) {
            return Err(EFAULT);
        }
        // SAFETY: By the type invariants the VMA is of the right kind; the address is inside, and the
        // frame that of a page that it keeps.
        let fault = unsafe {
            bindings::vmf_insert_pfn_prot(
                self.vma,
                self.address(page),
                self.memory.pfn(page.start()),
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

/// A block of a mapping of frame numbers, for which there is no entry.
///
/// # Invariants
///
/// `vmf` is the fault, of a VMA of [`BY_FAULTS`] or [`WITH_BLOCKS`] whose memory is `pfn` and what follows
/// in `range`, and there is no table of pages in its place; what fills it is locked for `'a`.
pub(crate) struct UnfilledBlock<'a> {
    vmf: *mut bindings::vm_fault,
    range: Range,
    pfn: usize,
    _filling: &'a Guard<'a, (), MutexBackend>,
}

impl UnfilledBlock<'_> {
    /// What of the object it maps.
    pub(crate) fn range(&self) -> Range {
        self.range
    }

    /// Maps it. Allocates nothing on the machines that have blocks and this driver: the core keeps a
    /// table of pages in reserve for some others.
    ///
    /// # Errors
    ///
    /// - [`ENOMEM`];
    /// - [`EBUSY`] if the kernel has no blocks.
    pub(crate) fn fill(&self) -> Result {
        // SAFETY: By the type invariants.
        match unsafe { ffi::shmbuf_insert_block(self.vmf, self.pfn) } {
            bindings::vm_fault_reason_VM_FAULT_NOPAGE => Ok(()),
            bindings::vm_fault_reason_VM_FAULT_OOM => Err(ENOMEM),
            _ => Err(EBUSY),
        }
    }
}

impl Attached {
    fn new(object: Arc<dyn Mapped>, memory: MappedMemory) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                memory,
                object,
                filling <- new_mutex!((), "shmbuf::filling"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
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

/// For a mapping in which all is there from the beginning, some of it by blocks, one of VM_PFNMAP without
/// copy-on-write. Where a program takes a piece out of a block, or gives it other rights, the core
/// removes the whole block, and relies on a fault for the rest.
static WITH_BLOCKS: Operations = Operations(bindings::vm_operations_struct {
    fault: Some(refill),
    huge_fault: Some(refill_block),
    ..Operations::NO_FAULT
});

/// For a mapping that is [left to faults](NewMapping::leave_to_faults), one of VM_PFNMAP without
/// copy-on-write.
static BY_FAULTS: Operations = Operations(bindings::vm_operations_struct {
    fault: Some(fill),
    huge_fault: Some(fill_block),
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
    // SAFETY: By this function's contract.
    unsafe { fill_by(vmf, |object, unfilled| object.fault(unfilled)) }
}

/// # Safety
///
/// `vmf` must be the fault of a VMA of [`WITH_BLOCKS`], which is locked.
unsafe extern "C" fn refill(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
    let all = |_: &dyn Mapped, unfilled: &Unfilled<'_>| {
        let mut pages = unfilled.in_block.pieces(PAGE_SIZE);
        pages.try_for_each(|page| unfilled.fill(page))
    };
    // SAFETY: By this function's contract.
    unsafe { fill_by(vmf, all) }
}

/// Fills a mapping by pages, as `f` says.
///
/// # Safety
///
/// `vmf` must be the fault of a VMA of [`BY_FAULTS`] or [`WITH_BLOCKS`], which is locked.
unsafe fn fill_by(
    vmf: *mut bindings::vm_fault,
    f: impl FnOnce(&dyn Mapped, &Unfilled<'_>) -> Result,
) -> bindings::vm_fault_t {
    // SAFETY: By this function's contract.
    let Some((vma, address, attached, mapped)) = (unsafe { touched(vmf) }) else {
        return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
    };
    let memory = &attached.memory;
    // SAFETY: The VMA is locked.
    let (start, prot) = unsafe {
        (
            VmaRef::from_raw(vma).start(),
            ffi::shmbuf_prot(ffi::shmbuf_vma_prot(vma), memory.mode().number()),
        )
    };
    let page = mapped.in_block(start, address, PAGE_SIZE);
    let in_block = match cpu::block_size() {
        0 => mapped,
        size => mapped.in_block(start, address, size),
    };
    let _filling = attached.filling.lock();
    // SAFETY: The fault is valid.
    if unsafe { ffi::shmbuf_fault_has_block(vmf) } {
        // Somebody was faster.
        return bindings::vm_fault_reason_VM_FAULT_NOPAGE;
    }
    // INVARIANT: By this function's contract; the core says which page of the VMA was touched. Others
    // that fill it wait.
    let unfilled = Unfilled {
        vma,
        memory,
        prot,
        mapped,
        in_block,
        page,
    };
    match f(&*attached.object, &unfilled) {
        Ok(()) => bindings::vm_fault_reason_VM_FAULT_NOPAGE,
        Err(ENOMEM) => bindings::vm_fault_reason_VM_FAULT_OOM,
        Err(_) => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
    }
}

/// # Safety
///
/// `vmf` must be the fault of a VMA of [`BY_FAULTS`], which is locked, where there is no table of pages.
unsafe extern "C" fn fill_block(
    vmf: *mut bindings::vm_fault,
    order: c_uint,
) -> bindings::vm_fault_t {
    // SAFETY: By this function's contract.
    unsafe { fill_block_by(vmf, order, |object, block| object.fault_block(block)) }
}

/// # Safety
///
/// `vmf` must be the fault of a VMA of [`WITH_BLOCKS`], which is locked, where there is no table of pages.
unsafe extern "C" fn refill_block(
    vmf: *mut bindings::vm_fault,
    order: c_uint,
) -> bindings::vm_fault_t {
    // SAFETY: By this function's contract.
    unsafe { fill_block_by(vmf, order, |_, block| block.fill()) }
}

/// Fills a mapping by a block, as `f` says, where it can be one of that order.
///
/// # Safety
///
/// `vmf` must be the fault of a VMA of [`BY_FAULTS`] or [`WITH_BLOCKS`], which is locked, where there was
/// no table of pages when the core looked.
unsafe fn fill_block_by(
    vmf: *mut bindings::vm_fault,
    order: c_uint,
    f: impl FnOnce(&dyn Mapped, &UnfilledBlock<'_>) -> Result,
) -> bindings::vm_fault_t {
    if PAGE_SIZE << order != cpu::block_size() {
        return bindings::vm_fault_reason_VM_FAULT_FALLBACK;
    }
    // SAFETY: By this function's contract.
    let Some((vma, address, attached, mapped)) = (unsafe { touched(vmf) }) else {
        return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
    };
    // SAFETY: The VMA is locked.
    let start = unsafe { VmaRef::from_raw(vma) }.start();
    let Some(range) = attached.memory.block(mapped, start, address) else {
        return bindings::vm_fault_reason_VM_FAULT_FALLBACK;
    };
    let filling = attached.filling.lock();
    // SAFETY: The fault is valid.
    if unsafe { ffi::shmbuf_fault_has_table(vmf) } {
        // Somebody was faster, and the core has to look again.
        return bindings::vm_fault_reason_VM_FAULT_NOPAGE;
    }
    // INVARIANT: By this function's contract, and just looked. Others that fill it wait.
    let block = UnfilledBlock {
        vmf,
        range,
        pfn: attached.memory.pfn(range.start()),
        _filling: &filling,
    };
    match f(&*attached.object, &block) {
        Ok(()) => bindings::vm_fault_reason_VM_FAULT_NOPAGE,
        Err(ENOMEM) => bindings::vm_fault_reason_VM_FAULT_OOM,
        Err(_) => bindings::vm_fault_reason_VM_FAULT_FALLBACK,
    }
}

/// The VMA of a fault, the address that was touched, what the VMA keeps, and what of that it maps.
///
/// # Safety
///
/// `vmf` must be the fault of a VMA whose private data is an `Arc<Attached>`, and which is locked for
/// `'a`.
unsafe fn touched<'a>(
    vmf: *mut bindings::vm_fault,
) -> Option<(
    *mut bindings::vm_area_struct,
    usize,
    ArcBorrow<'a, Attached>,
    Range,
)> {
    // SAFETY: The fault is valid.
    let (vma, address) = unsafe {
        let fault = &(*vmf).__bindgen_anon_1;
        (fault.vma, fault.address)
    };
    // SAFETY: The reference is the VMA's, which is locked.
    let (attached, mapping) = unsafe {
        (
            Arc::<Attached>::borrow((*vma).vm_private_data),
            VmaRef::from_raw(vma),
        )
    };
    let mapped = range(mapping, attached.memory.size()).ok()?;
    Some((vma, address, attached, mapped))
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
