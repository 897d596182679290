// SPDX-License-Identifier: GPL-2.0

//! DMA memory and mappings of a device of ours.
//!
//! The kernel crate has these for platform and PCI devices that are bound. Ours
//! is a faux device, which lives as long as any memory that belongs to it.

use super::{
    ffi,
    pages::Pages,
    span::Span, //
};
use crate::rules::range::Range;
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    bindings,
    device,
    dma::{
        DataDirection,
        DmaMask, //
    },
    error::to_result,
    faux,
    mm::virt::VmaNew,
    page::PAGE_SIZE,
    prelude::*,
    scatterlist::SGTable,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    types::Opaque, //
};

/// A device without hardware, for which memory is allocated and mapped: one that can address all
/// memory, and does not snoop unless all of the machine's devices do.
///
/// # Invariants
///
/// The device is registered and has a DMA mask.
pub(crate) struct DmaDevice(faux::Registration);

impl DmaDevice {
    /// Registers the device, which addresses what `mask` says, or all memory. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EIO`] if the kernel serves no device whose mask is so small on this machine;
    /// - [`ENOMEM`].
    pub(crate) fn new(mask: Option<DmaMask>) -> Result<Arc<Self>> {
        // Some may still be in use when their names are free again.
        static NEXT: Atomic<u32> = Atomic::new(0);

        let number = NEXT.fetch_add(1, Relaxed);
        let name = CString::try_from_fmt(fmt!("shmbuf.{number}"))?;
        let this = Arc::new(Self(faux::Registration::new(&name, None)?), GFP_KERNEL)?;
        let mask = mask.map_or(u64::MAX, |mask| mask.value());
        // SAFETY: The device is valid, and nobody else uses it yet.
        unsafe { ffi::shmbuf_dma_init_mask(this.raw()) };
        // SAFETY: As above.
        to_result(unsafe { bindings::dma_set_mask_and_coherent(this.raw(), mask) })?;
        // INVARIANT: Both were just done.
        Ok(this)
    }

    /// The same, whose coherent memory is the reserved memory that the device-tree node of `node`
    /// refers to first (`memory-region`). May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Self::new`]; [`ENODEV`] if it refers to none, or to one that is no
    /// `shared-dma-pool`.
    pub(crate) fn with_reserved_memory(
        mask: Option<DmaMask>,
        node: &device::Device,
    ) -> Result<Arc<Self>> {
        let this = Self::new(mask)?;
        // SAFETY: Both devices are valid; `drop` undoes it.
        to_result(unsafe { ffi::shmbuf_reserved_attach(this.raw(), raw(node)) })?;
        Ok(this)
    }

    /// Whether its coherent memory was declared for it alone: it is reserved with `no-map`.
    pub(crate) fn has_declared_memory(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { ffi::shmbuf_has_declared_memory(self.raw()) }
    }

    /// The device itself.
    pub(crate) fn device(&self) -> &device::Device {
        let faux: &faux::Device<device::Bound> = self.0.as_ref();
        let device: &device::Device<device::Bound> = faux.as_ref();
        device
    }

    pub(super) fn raw(&self) -> *mut bindings::device {
        raw(self.device())
    }

    /// The name under which DMA addresses are reported.
    pub(crate) fn name(&self) -> &[u8] {
        self.device().name().to_bytes()
    }

    /// Whether coherent memory loses its cacheable linear mapping, as CMA's does on
    /// 32-bit ARM.
    pub(crate) fn has_cma(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { ffi::shmbuf_cma_remapped(self.raw()) }
    }

    /// Whether all of `pages` is inside the DMA mask, so that no copy is needed for the device.
    pub(crate) fn reaches(&self, pages: &Pages) -> bool {
        Range::whole(pages.size())
            .pieces(pages.contiguity())
            .all(|piece| {
                let (phys, size) = (pages.phys(piece.start()), piece.len());
                // SAFETY: The device is valid and has a mask, by the type invariants.
                unsafe { ffi::shmbuf_dma_reaches(self.raw(), phys, size) }
            })
    }
}

impl Drop for DmaDevice {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; nothing is allocated any more. It does nothing where
        // nothing is attached.
        unsafe { ffi::shmbuf_reserved_detach(self.raw()) };
    }
}

/// The range of the reserved memory that the device-tree node of `node` refers to first: the first
/// address and the bytes.
///
/// # Errors
///
/// [`ENODEV`] if it refers to none.
pub(crate) fn reserved_range(node: &device::Device) -> Result<(bindings::phys_addr_t, u64)> {
    let (mut start, mut size) = (0, 0);
    // SAFETY: The device is valid, and the numbers outlive the call.
    to_result(unsafe { ffi::shmbuf_reserved_range(raw(node), &mut start, &mut size) })?;
    Ok((start, size))
}

/// `Device` is a transparent wrapper of the C structure.
fn raw(device: &device::Device) -> *mut bindings::device {
    ptr::from_ref(device).cast_mut().cast()
}

/// Memory that CPU and device share without cache maintenance: `dma_alloc_attrs()`.
///
/// # Invariants
///
/// `cpu` and `dma` are the two addresses of `size` bytes allocated for `device` with `attrs`.
pub(crate) struct CoherentMemory {
    cpu: NonNull<u8>,
    dma: bindings::dma_addr_t,
    size: usize,
    attrs: usize,
    device: Arc<DmaDevice>,
}

// SAFETY: The memory belongs to no thread.
unsafe impl Send for CoherentMemory {}
// SAFETY: No method changes anything through a shared reference but by `Span`.
unsafe impl Sync for CoherentMemory {}

impl CoherentMemory {
    /// Allocates `size` bytes of zeroes, write-combined if asked, else what the architecture calls
    /// coherent. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(device: &Arc<DmaDevice>, size: usize, writecombine: bool) -> Result<Self> {
        let attrs = match writecombine {
            true => bindings::DMA_ATTR_WRITE_COMBINE | bindings::DMA_ATTR_NO_WARN,
            false => bindings::DMA_ATTR_NO_WARN,
        } as usize;
        let mut dma = 0;
        // SAFETY: The device has a mask, and `dma` outlives the call.
        let cpu = unsafe { ffi::shmbuf_dma_alloc(device.raw(), size, &mut dma, attrs) };
        // INVARIANT: Just allocated, if not null.
        Ok(Self {
            cpu: NonNull::new(cpu.cast()).ok_or(ENOMEM)?,
            dma,
            size,
            attrs,
            device: device.clone(),
        })
    }

    /// The bytes.
    pub(crate) fn span(&self) -> Span<'_> {
        // SAFETY: By the type invariants; the memory lives as long as `self`.
        unsafe { Span::new(self.cpu, self.size, self.phys()) }
    }

    /// The address of the first byte for the device.
    pub(crate) fn dma(&self) -> bindings::dma_addr_t {
        self.dma
    }

    /// The address of the first byte on the CPU's bus.
    pub(crate) fn phys(&self) -> bindings::phys_addr_t {
        // SAFETY: The address is one of this device, which has no IOMMU.
        unsafe { ffi::shmbuf_dma_to_phys(self.device.raw(), self.dma) }
    }

    /// The device it was allocated for.
    pub(crate) fn device(&self) -> &Arc<DmaDevice> {
        &self.device
    }

    /// Maps the part that the offset of `vma` says, with the type that the memory has. The
    /// memory must outlive the mapping.
    pub(crate) fn mmap(&self, vma: &VmaNew) -> Result {
        // SAFETY: The memory and its addresses are those of the type invariants, and a new VMA
        // may be filled.
        to_result(unsafe {
            bindings::dma_mmap_attrs(
                self.device.raw(),
                vma.as_ptr(),
                self.cpu.as_ptr().cast(),
                self.dma,
                self.size,
                self.attrs,
            )
        })
    }
}

impl Drop for CoherentMemory {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, and nothing uses it any more.
        unsafe {
            bindings::dma_free_attrs(
                self.device.raw(),
                self.size,
                self.cpu.as_ptr().cast(),
                self.dma,
                self.attrs,
            );
        }
    }
}

/// Memory that can be mapped for any device: it has pages.
#[derive(Clone)]
pub(crate) enum Backing {
    /// Pages of ours.
    Pages(Arc<Pages>),
    /// The pages of coherent memory.
    Coherent(Arc<CoherentMemory>),
}

impl Backing {
    /// That of coherent memory; none if it was declared for one device: what is reserved with
    /// `no-map` has struct pages where it lies inside RAM, but no linear mapping behind them.
    pub(crate) fn coherent(memory: &Arc<CoherentMemory>) -> Option<Self> {
        (!memory.device().has_declared_memory()).then(|| Self::Coherent(memory.clone()))
    }

    /// The page that holds the byte at `offset`, which is inside.
    fn page(&self, offset: usize) -> *mut bindings::page {
        match self {
            Self::Pages(pages) => pages.page(offset),
            Self::Coherent(memory) => {
                assert!(offset < memory.size);
                // SAFETY: The function takes any address; coherent memory is contiguous.
                unsafe { ffi::shmbuf_phys_to_page(memory.phys() + offset as bindings::phys_addr_t) }
            }
        }
    }

    /// How many bytes from a multiple of this many on are physically contiguous.
    fn contiguity(&self) -> usize {
        match self {
            Self::Pages(pages) => pages.contiguity(),
            Self::Coherent(_) => usize::MAX,
        }
    }
}

/// The scatter-gather table of a [`DeviceMapping`], which says nothing about whether that lives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SgTable(pub(super) *mut bindings::sg_table);

/// A range of some memory, mapped for a device by a scatter-gather table. The CPU owns it at first.
///
/// Caches are maintained by syncs alone: to map and unmap as the DMA API does by default gives the
/// memory to the device and takes it back, which discards what the CPU wrote if the CPU has it.
/// Nor does the API's debugging report other mappings of the same pages then.
///
/// # Invariants
///
/// `table` is a live mapping of `range` of `memory` for `device`, with `direction` and
/// [`Self::ATTRS`].
pub(crate) struct DeviceMapping {
    table: KBox<Opaque<bindings::sg_table>>,
    range: Range,
    direction: DataDirection,
    device: ARef<device::Device>,
    memory: Backing,
}

// SAFETY: A mapping belongs to no thread.
unsafe impl Send for DeviceMapping {}
// SAFETY: The table is not changed through a shared reference.
unsafe impl Sync for DeviceMapping {}

impl DeviceMapping {
    const ATTRS: usize = bindings::DMA_ATTR_SKIP_CPU_SYNC as usize;

    /// Maps `range` of `memory`, whole pages. May sleep.
    ///
    /// # Errors
    ///
    /// - [`ENOMEM`];
    /// - [`EIO`] if the device cannot address it.
    pub(crate) fn new(
        device: &device::Device,
        memory: Backing,
        range: Range,
        direction: DataDirection,
    ) -> Result<Self> {
        let mut pages = KVVec::with_capacity(range.len() / PAGE_SIZE, GFP_KERNEL)?;
        for piece in range.pieces(PAGE_SIZE) {
            let page = memory.page(piece.start());
            // SAFETY: Device and page are valid.
            if !unsafe { ffi::shmbuf_dma_maps(raw(device), page) } {
                return Err(EIO);
            }
            pages.push(page, GFP_KERNEL)?;
        }
        let table = KBox::new(Opaque::<bindings::sg_table>::uninit(), GFP_KERNEL)?;
        // SAFETY: The pages are valid; the table is written before it is read. The device is valid.
        to_result(unsafe {
            let segment = ffi::shmbuf_dma_max_segment(raw(device)) / PAGE_SIZE as u32;
            bindings::sg_alloc_table_from_pages_segment(
                table.get(),
                pages.as_mut_ptr(),
                pages.len() as u32,
                0,
                range.len(),
                segment.max(1) * PAGE_SIZE as u32,
                bindings::GFP_KERNEL,
            )
        })?;
        // SAFETY: The table was just made, and the device is valid.
        let mapped = to_result(unsafe {
            bindings::dma_map_sgtable(raw(device), table.get(), direction.into(), Self::ATTRS)
        });
        if let Err(error) = mapped {
            // SAFETY: The table is not mapped.
            unsafe { bindings::sg_free_table(table.get()) };
            return Err(error);
        }
        // INVARIANT: Just mapped.
        Ok(Self {
            table,
            range,
            direction,
            device: device.into(),
            memory,
        })
    }

    /// The table, for an importer; it is valid as long as the mapping lives.
    pub(crate) fn table(&self) -> SgTable {
        SgTable(self.table.get())
    }

    /// The part of the memory that is mapped.
    pub(crate) fn range(&self) -> Range {
        self.range
    }

    /// The address of the first byte for the device.
    pub(crate) fn dma(&self) -> bindings::dma_addr_t {
        // SAFETY: By the type invariants.
        let mut entries = unsafe { SGTable::from_raw(self.table.get()) }.iter();
        entries.next().map_or(0, |entry| entry.dma_address())
    }

    /// Whether the device has a copy, which each sync makes anew (swiotlb).
    pub(crate) fn bounces(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { ffi::shmbuf_dma_bounces(raw(&self.device), self.table.get()) }
    }

    /// What the device does with it.
    pub(crate) fn direction(&self) -> DataDirection {
        self.direction
    }

    /// Address and length of each physically contiguous part of `range` that is mapped.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn segments(&self, range: Range) -> Result<KVVec<(bindings::dma_addr_t, usize)>> {
        let mut segments = KVVec::new();
        let mut result = Ok(());
        self.each_entry(range, |dma, len| {
            if result.is_ok() {
                result = segments.push((dma, len), GFP_KERNEL);
            }
        });
        result?;
        Ok(segments)
    }

    /// Makes what the device wrote to `range` of the memory visible to the CPU. Lines of other
    /// virtual addresses remain on VIVT caches.
    pub(crate) fn sync_for_cpu(&self, range: Range) {
        self.each_entry(range, |dma, len| {
            // SAFETY: The bytes are inside the mapping, and physically contiguous.
            unsafe {
                ffi::shmbuf_dma_sync_for_cpu(raw(&self.device), dma, len, self.direction as u32);
            }
        });
    }

    /// Makes what the CPU wrote to `range` of the memory visible to the device. As the direction is
    /// that of the mapping, dirty lines are cleaned, and discarded only if the device writes and
    /// does not read.
    pub(crate) fn sync_for_device(&self, range: Range) {
        self.each_entry(range, |dma, len| {
            // SAFETY: The bytes are inside the mapping, and physically contiguous.
            unsafe {
                ffi::shmbuf_dma_sync_for_device(raw(&self.device), dma, len, self.direction as u32);
            }
        });
    }

    /// As [`Self::sync_for_cpu`] for all that is mapped.
    ///
    /// Where several mappings of one device overlap, the DMA API's debugging can tell them apart
    /// only if the whole table is synced, as it was mapped (`check_sync()` in
    /// kernel/dma/debug.c).
    pub(crate) fn sync_all_for_cpu(&self) {
        // SAFETY: By the type invariants.
        unsafe {
            ffi::shmbuf_dma_sync_table_for_cpu(
                raw(&self.device),
                self.table.get(),
                self.direction as u32,
            );
        }
    }

    /// As [`Self::sync_for_device`] for all that is mapped. See [`Self::sync_all_for_cpu`].
    pub(crate) fn sync_all_for_device(&self) {
        // SAFETY: By the type invariants.
        unsafe {
            ffi::shmbuf_dma_sync_table_for_device(
                raw(&self.device),
                self.table.get(),
                self.direction as u32,
            );
        }
    }

    /// Calls `f` with DMA address and length of each physically contiguous part of `range` that is
    /// mapped.
    fn each_entry(&self, range: Range, mut f: impl FnMut(bindings::dma_addr_t, usize)) {
        let mut at = self.range.start();
        // SAFETY: By the type invariants.
        for entry in unsafe { SGTable::from_raw(self.table.get()) }.iter() {
            let mapped = Range::between(at, at + entry.dma_len() as usize);
            at = mapped.end();
            if let Some(wanted) = mapped.intersect(range) {
                // An entry may join what an IOMMU made contiguous only for the device.
                for piece in wanted.pieces(self.memory.contiguity()) {
                    let offset = piece.start() - mapped.start();
                    f(
                        entry.dma_address() + offset as bindings::dma_addr_t,
                        piece.len(),
                    );
                }
            }
        }
    }
}

impl Drop for DeviceMapping {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe {
            bindings::dma_unmap_sgtable(
                raw(&self.device),
                self.table.get(),
                self.direction.into(),
                Self::ATTRS,
            );
            bindings::sg_free_table(self.table.get());
        }
    }
}

/// Coherent memory of less than a page, by `dma_pool`.
///
/// # Invariants
///
/// `pool` is a pool of `device`, and ours.
pub(crate) struct Pool {
    pool: NonNull<ffi::dma_pool>,
    device: Arc<DmaDevice>,
}

// SAFETY: A pool belongs to no thread.
unsafe impl Send for Pool {}
// SAFETY: A pool has a lock of its own.
unsafe impl Sync for Pool {}

impl Pool {
    /// A pool of blocks of `size` bytes, aligned to the power of two `align`, crossing no multiple
    /// of the power of two `boundary` unless that is zero. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(
        device: &Arc<DmaDevice>,
        size: usize,
        align: usize,
        boundary: usize,
    ) -> Result<Self> {
        // SAFETY: The device is valid and has a mask.
        let pool =
            unsafe { ffi::shmbuf_dma_pool_create(device.raw(), size, align.max(1), boundary) };
        // INVARIANT: Just made.
        Ok(Self {
            pool: NonNull::new(pool).ok_or(ENOMEM)?,
            device: device.clone(),
        })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; blocks keep the pool.
        unsafe { ffi::shmbuf_dma_pool_destroy(self.pool.as_ptr()) };
    }
}

/// A block of a [`Pool`].
///
/// # Invariants
///
/// `cpu` and `dma` are the two addresses of a block of `pool`, which is `size` bytes and ours.
pub(crate) struct Block {
    cpu: NonNull<u8>,
    dma: bindings::dma_addr_t,
    size: usize,
    pool: Arc<Pool>,
}

// SAFETY: The memory belongs to no thread.
unsafe impl Send for Block {}
// SAFETY: No method changes anything through a shared reference but by `Span`.
unsafe impl Sync for Block {}

impl Block {
    /// A zeroed block of `pool`, whose blocks are of `size` bytes. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(pool: &Arc<Pool>, size: usize) -> Result<Self> {
        let mut dma = 0;
        // SAFETY: By the invariants of `Pool`, and `dma` outlives the call.
        let cpu = unsafe { ffi::shmbuf_dma_pool_alloc(pool.pool.as_ptr(), &mut dma) };
        // INVARIANT: Just allocated, if not null.
        Ok(Self {
            cpu: NonNull::new(cpu.cast()).ok_or(ENOMEM)?,
            dma,
            size,
            pool: pool.clone(),
        })
    }

    /// The bytes.
    pub(crate) fn span(&self) -> Span<'_> {
        // SAFETY: By the type invariants; the memory lives as long as `self`.
        unsafe { Span::new(self.cpu, self.size, self.phys()) }
    }

    /// The address of the first byte for the device.
    pub(crate) fn dma(&self) -> bindings::dma_addr_t {
        self.dma
    }

    /// The address of the first byte on the CPU's bus.
    pub(crate) fn phys(&self) -> bindings::phys_addr_t {
        // SAFETY: The address is one of this device, which has no IOMMU.
        unsafe { ffi::shmbuf_dma_to_phys(self.pool.device.raw(), self.dma) }
    }

    /// The device it was allocated for.
    pub(crate) fn device(&self) -> &Arc<DmaDevice> {
        &self.pool.device
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, and nothing uses it any more.
        unsafe {
            ffi::shmbuf_dma_pool_free(self.pool.pool.as_ptr(), self.cpu.as_ptr().cast(), self.dma);
        }
    }
}
