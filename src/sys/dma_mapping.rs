// SPDX-License-Identifier: GPL-2.0

//! Memory that is mapped for a device.

use super::{
    dma_coherent::CoherentMemory,
    dma_device::{
        raw,
        reaches,
        DmaDevice, //
    },
    ffi,
    pages::Pages,
    stay::Stay,
    task::{
        self,
        STRETCH, //
    }, //
};
use crate::rules::{
    pairs::Part,
    range::Range, //
};
use core::{
    cell::UnsafeCell,
    cmp::min,
    iter,
    ptr::{
        self,
        NonNull, //
    },
    slice,
};
use kernel::{
    bindings,
    device,
    dma::DataDirection,
    error::to_result,
    page::PAGE_SIZE,
    prelude::*,
    scatterlist::SGTable,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

/// Memory that can be mapped for any device.
///
/// # Invariants
///
/// Each of its bytes is in a page, and the kernel can map that: it may copy for a device (swiotlb).
#[derive(Clone)]
pub(crate) struct Backing(Memory);

#[derive(Clone)]
enum Memory {
    /// Pages that the driver allocated.
    Pages(Arc<Pages>),
    /// The pages of coherent memory.
    Coherent(Arc<CoherentMemory>),
}

impl Backing {
    /// What can be mapped of pages: all.
    pub(crate) fn pages(pages: Arc<Pages>) -> Self {
        // INVARIANT: They are from the page allocator.
        Self(Memory::Pages(pages))
    }

    /// What can be mapped of coherent memory; nothing if it was declared for one device: what is
    /// reserved with `no-map` has struct pages where it lies inside RAM, but no linear mapping behind
    /// them.
    pub(crate) fn coherent(memory: &Arc<CoherentMemory>) -> Option<Self> {
        // INVARIANT: What was not declared comes from the page allocator, or from CMA.
        (!memory.device().has_declared_memory()).then(|| Self(Memory::Coherent(memory.clone())))
    }

    /// The number of bytes.
    fn size(&self) -> usize {
        match &self.0 {
            Memory::Pages(pages) => pages.size(),
            Memory::Coherent(memory) => memory.size(),
        }
    }

    /// The page that holds the byte at `offset`, which is inside the memory.
    fn page(&self, offset: usize) -> *mut bindings::page {
        match &self.0 {
            Memory::Pages(pages) => pages.page(offset),
            Memory::Coherent(memory) => memory.page(offset),
        }
    }

    /// The pages of `range`, whole pages inside the memory, if there is a list of them; else they are one
    /// after the other.
    fn list(&self, range: Range) -> Option<&[NonNull<bindings::page>]> {
        match &self.0 {
            Memory::Pages(pages) => pages.list(range),
            Memory::Coherent(_) => None,
        }
    }

    /// The first bytes of `range`, which is inside the memory, as far as they are physically contiguous.
    fn first_run(&self, range: Range) -> Range {
        match &self.0 {
            Memory::Pages(pages) => pages.first_run(range),
            Memory::Coherent(_) => range,
        }
    }
}

/// The pages of a range of some memory, to be mapped for a device.
///
/// # Invariants
///
/// `table` has the pages of `range` of `memory`, and is not mapped, or by the [`DeviceMapping`] that
/// has this.
pub(crate) struct Scatterlist {
    table: UnsafeCell<bindings::sg_table>,
    range: Range,
    memory: Backing,
    /// Room for what is mapped, if there is more than one entry.
    entries: KVVec<Entry>,
}

// SAFETY: A list belongs to no thread.
unsafe impl Send for Scatterlist {}
// SAFETY: The table is not changed through a shared reference.
unsafe impl Sync for Scatterlist {}

impl Scatterlist {
    /// The pages of `range` of `memory`, whole pages, in segments as long as `device` can have them.
    /// May sleep.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`] if the range is not one of whole pages inside the memory;
    /// - [`ENOMEM`].
    pub(crate) fn new(device: &device::Device, memory: Backing, range: Range) -> Result<Self> {
        range.check_pages()?;
        if range.end() > memory.size() {
            return Err(EINVAL);
        }
        let count = u32::try_from(range.len() / PAGE_SIZE).map_err(|_| ENOMEM)?;
        // What the kernel copies for a device has to fit into its buffers (swiotlb).
        // SAFETY: The device is valid.
        let longest = unsafe {
            let segment = ffi::shmbuf_dma_max_segment(raw(device)) as usize;
            min(segment, bindings::dma_max_mapping_size(raw(device)))
        };
        let segment = (longest / PAGE_SIZE).max(1) as u32 * PAGE_SIZE as u32;
        let table = UnsafeCell::new(bindings::sg_table::default());
        to_result(match memory.list(range) {
            // SAFETY: The pages are valid, and their list is only read.
            Some(pages) => unsafe {
                bindings::sg_alloc_table_from_pages_segment(
                    table.get(),
                    pages.as_ptr().cast_mut().cast(),
                    count,
                    0,
                    range.len(),
                    segment,
                    bindings::GFP_KERNEL_ACCOUNT,
                )
            },
            None => {
                let first = memory.page(range.start());
                // SAFETY: So many pages from the first on are valid.
                unsafe { ffi::shmbuf_sg_table_of_run(table.get(), first, range.len(), segment) }
            }
        })?;
        // INVARIANT: Just made, of pages.
        let mut list = Self {
            table,
            range,
            memory,
            entries: KVVec::new(),
        };
        let count = list.table.get_mut().orig_nents as usize;
        if count > 1 {
            list.entries.reserve(count, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(list)
    }

    /// Maps the pages for a device. Allocates nothing itself.
    ///
    /// # Errors
    ///
    /// - [`ENOMEM`];
    /// - [`EIO`] if the device cannot address them.
    ///
    /// # Safety
    ///
    /// The device must stay bound to its driver as long as the mapping lives: what translates its
    /// addresses is gone afterwards.
    pub(super) unsafe fn map(
        self,
        device: &device::Device,
        direction: DataDirection,
        bound: Bound,
    ) -> Result<DeviceMapping> {
        let direction = match direction {
            DataDirection::ToDevice => DataDirection::ToDevice,
            _ => DataDirection::Bidirectional,
        };
        // SAFETY: By the type invariants.
        if !unsafe { can_map(device, self.table.get()) } {
            return Err(EIO);
        }
        let device: ARef<device::Device> = device.into();
        let (table, attrs) = (self.table.get(), DeviceMapping::ATTRS);
        // SAFETY: By the type invariants, and the device is valid and bound.
        to_result(unsafe {
            bindings::dma_map_sgtable(raw(&device), table, direction.into(), attrs)
        })?;
        // SAFETY: By the type invariants.
        let mut entries = unsafe { SGTable::from_raw(table) }.iter();
        let all = Entry {
            range: self.range,
            dma: entries.next().map_or(0, |entry| entry.dma_address()),
        };
        // INVARIANT: Just mapped.
        let mut mapping = DeviceMapping {
            direction,
            device,
            list: self,
            all,
            _bound: bound,
        };
        mapping.note_entries()?;
        Ok(mapping)
    }
}

impl Drop for Scatterlist {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; it is not mapped any more.
        unsafe { bindings::sg_free_table(self.table.get()) };
    }
}

/// A range of some memory, mapped for a device by a scatter-gather table. The CPU owns it at first.
///
/// Caches are maintained by syncs alone: to map and unmap as the DMA API does by default gives the
/// memory to the device and takes it back, which discards what the CPU wrote if the CPU has it.
/// Nor does the API's debugging report other mappings of the same pages then.
///
/// A device that only writes is mapped as one that reads too. Else the API discards what the CPU
/// wrote when the device gets the memory, or a copy that the kernel makes for it (swiotlb) begins
/// with something else, and what the device then does not write is lost.
///
/// # Invariants
///
/// The table of `list` is mapped for `device`, with `direction` and [`Self::ATTRS`]. The device stays
/// bound to its driver as long as this lives.
pub(crate) struct DeviceMapping {
    direction: DataDirection,
    device: ARef<device::Device>,
    list: Scatterlist,
    /// All of it, if it is physically contiguous; else the list has the parts.
    all: Entry,
    // Unmapped before the device may go.
    _bound: Bound,
}

/// Why a device stays bound to its driver.
#[expect(dead_code, reason = "what they hold is only dropped")]
pub(super) enum Bound {
    /// It is registered by us.
    Registered(Arc<DmaDevice>),
    /// Its driver, an engine's, is kept from leaving.
    Stays(Stay),
    /// Who has the mapping sees to it.
    ByContract,
}

impl DeviceMapping {
    const ATTRS: usize = bindings::DMA_ATTR_SKIP_CPU_SYNC as usize;

    /// Maps `range` of `memory`, whole pages, for a device of ours. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`] if the range is not one of whole pages inside the memory;
    /// - [`ENOMEM`];
    /// - [`EIO`] if the device cannot address it.
    pub(crate) fn new(
        device: &Arc<DmaDevice>,
        memory: Backing,
        range: Range,
        direction: DataDirection,
    ) -> Result<Self> {
        let list = Scatterlist::new(device.device(), memory, range)?;
        let bound = Bound::Registered(device.clone());
        // SAFETY: The device is bound while it is registered.
        unsafe { list.map(device.device(), direction, bound) }
    }

    /// Maps `range` of `memory`, whole pages, for any device. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Self::new`].
    ///
    /// # Safety
    ///
    /// The device must stay bound to its driver as long as the mapping lives: what translates its
    /// addresses is gone afterwards.
    pub(super) unsafe fn of_device(
        device: &device::Device,
        memory: Backing,
        range: Range,
        direction: DataDirection,
    ) -> Result<Self> {
        let list = Scatterlist::new(device, memory, range)?;
        // SAFETY: By this function's contract.
        unsafe { list.map(device, direction, Bound::ByContract) }
    }

    /// A copy of the scatter-gather table, whose entries are valid as long as the mapping lives.
    pub(super) fn table(&self) -> bindings::sg_table {
        // SAFETY: By the type invariants.
        unsafe { *self.list.table.get() }
    }

    /// The part of the memory that is mapped.
    pub(crate) fn range(&self) -> Range {
        self.list.range
    }

    /// The address of the first mapped byte for the device.
    pub(crate) fn dma(&self) -> bindings::dma_addr_t {
        self.all.dma
    }

    /// Notes where the device finds each physically contiguous part of the memory, to be searched.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if the DMA API made more of them than there were in the table, which it does not.
    fn note_entries(&mut self) -> Result {
        let Scatterlist {
            table,
            range,
            memory,
            entries,
        } = &mut self.list;
        if entries.capacity() == 0 {
            return Ok(());
        }
        let is_direct = is_direct(&self.device);
        let mut at = range.start();
        // SAFETY: By the type invariants.
        for entry in unsafe { SGTable::from_raw(table.get()) }.iter() {
            task::cond_resched();
            let mapped = Range::between(at, at + entry.dma_len() as usize);
            at = mapped.end();
            let mut rest = Some(mapped);
            while let Some(left) = rest {
                // It may join what an IOMMU made contiguous only for the device.
                let run = match is_direct {
                    true => left,
                    false => memory.first_run(left),
                };
                rest = left.behind(run);
                let offset = (run.start() - mapped.start()) as bindings::dma_addr_t;
                let entry = Entry {
                    range: run,
                    dma: entry.dma_address() + offset,
                };
                entries.push_within_capacity(entry).map_err(|_| ENOMEM)?;
            }
        }
        Ok(())
    }

    /// Whether the device has a copy of the memory, which each sync makes anew (swiotlb).
    pub(crate) fn bounces(&self) -> bool {
        let device = raw(&self.device);
        let is_direct = is_direct(&self.device);
        // SAFETY: By the type invariants.
        let mut entries = unsafe { SGTable::from_raw(self.list.table.get()) }.iter();
        entries.any(|entry| {
            task::cond_resched();
            let address = entry.dma_address();
            let entry = ptr::from_ref(entry).cast_mut().cast();
            // An IOMMU's driver marks a copy, else the address tells.
            // SAFETY: The entry is valid, and the device by the type invariants.
            unsafe {
                ffi::shmbuf_sg_is_swiotlb(entry)
                    || is_direct
                        && address != ffi::shmbuf_phys_to_dma(device, ffi::shmbuf_sg_phys(entry))
            }
        })
    }

    /// Whether the device snoops the caches of the CPU (`dma-coherent` in the device tree, any
    /// device of an x86): what it writes may stay there, where only cached mappings see it.
    pub(crate) fn snoops(&self) -> bool {
        // SAFETY: The device is valid by the type invariants.
        unsafe { ffi::shmbuf_dma_is_coherent(raw(&self.device)) }
    }

    /// The physically contiguous parts of `range` that are mapped.
    pub(crate) fn segments(&self, range: Range) -> impl Iterator<Item = Segment<'_>> {
        self.parts(range).map(|part| Segment {
            mapping: self,
            dma: part.dma,
            len: part.range.len(),
        })
    }

    /// Where the device finds the first byte of `range`, and how many bytes of it follow each other
    /// there, if it is mapped. May sleep.
    pub(crate) fn first_segment(&self, range: Range) -> Option<(bindings::dma_addr_t, usize)> {
        let mut parts = self.parts(range);
        let first = parts.next()?;
        let mut len = first.range.len();
        for part in parts {
            task::cond_resched();
            if part.dma != first.dma + len as bindings::dma_addr_t {
                break;
            }
            len += part.range.len();
        }
        Some((first.dma, len))
    }

    /// Where the device finds the physically contiguous parts of `range` that are mapped.
    #[inline]
    fn parts(&self, range: Range) -> impl Iterator<Item = Entry> + '_ {
        let entries = match self.list.entries.is_empty() {
            true => slice::from_ref(&self.all),
            false => {
                let all = &self.list.entries[..];
                &all[all.partition_point(|entry| entry.range.end() <= range.start())..]
            }
        };
        entries.iter().map_while(move |entry| {
            let part = entry.range.intersect(range)?;
            let offset = (part.start() - entry.range.start()) as bindings::dma_addr_t;
            Some(Entry {
                range: part,
                dma: entry.dma + offset,
            })
        })
    }

    /// Calls `sync` with the device's address and the length of one part of `range` after the other,
    /// each no longer than a [`STRETCH`]. May sleep.
    #[inline]
    fn sync(&self, range: Range, sync: impl Fn(bindings::dma_addr_t, usize)) {
        for part in self.parts(range) {
            let (mut dma, mut rest) = (part.dma, part.range.len());
            while rest > 0 {
                task::cond_resched();
                let len = min(rest, STRETCH);
                sync(dma, len);
                dma += len as bindings::dma_addr_t;
                rest -= len;
            }
        }
    }

    /// Makes what the device wrote to `range` of the memory visible to the CPU. Lines of other
    /// virtual addresses remain on VIVT caches. May sleep.
    pub(crate) fn sync_for_cpu(&self, range: Range) {
        let (device, direction) = (raw(&self.device), self.direction as u32);
        self.sync(range, |dma, len| {
            // SAFETY: The bytes are inside the mapping, and physically contiguous.
            unsafe { ffi::shmbuf_dma_sync_for_cpu(device, dma, len, direction) };
        });
    }

    /// Makes what the CPU wrote to `range` of the memory visible to the device. May sleep.
    pub(crate) fn sync_for_device(&self, range: Range) {
        let (device, direction) = (raw(&self.device), self.direction as u32);
        self.sync(range, |dma, len| {
            // SAFETY: The bytes are inside the mapping, and physically contiguous.
            unsafe { ffi::shmbuf_dma_sync_for_device(device, dma, len, direction) };
        });
    }

    /// Makes what the device wrote to any of the mapped memory visible to the CPU, by one sync of the
    /// whole table. Lines of other virtual addresses remain on VIVT caches.
    ///
    /// Where several mappings of one device overlap, the DMA API's debugging can tell them apart
    /// only if the whole table is synced, as it was mapped (`check_sync()` in
    /// kernel/dma/debug.c).
    pub(crate) fn sync_all_for_cpu(&self) {
        // SAFETY: By the type invariants.
        unsafe {
            ffi::shmbuf_dma_sync_table_for_cpu(
                raw(&self.device),
                self.list.table.get(),
                self.direction as u32,
            );
        }
    }

    /// Makes what the CPU wrote to any of the mapped memory visible to the device, by one sync of the
    /// whole table.
    ///
    /// Where several mappings of one device overlap, the DMA API's debugging can tell them apart only
    /// if the whole table is synced, as it was mapped (`check_sync()` in kernel/dma/debug.c).
    pub(crate) fn sync_all_for_device(&self) {
        // SAFETY: By the type invariants.
        unsafe {
            ffi::shmbuf_dma_sync_table_for_device(
                raw(&self.device),
                self.list.table.get(),
                self.direction as u32,
            );
        }
    }
}

/// A physically contiguous part of the memory of a [`DeviceMapping`].
#[derive(Clone, Copy)]
struct Entry {
    range: Range,
    /// Where the device finds it.
    dma: bindings::dma_addr_t,
}

impl Drop for DeviceMapping {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe {
            bindings::dma_unmap_sgtable(
                raw(&self.device),
                self.list.table.get(),
                self.direction.into(),
                Self::ATTRS,
            );
        }
    }
}

/// A physically contiguous part of what is mapped for a device.
#[derive(Clone, Copy)]
pub(crate) struct Segment<'a> {
    mapping: &'a DeviceMapping,
    dma: bindings::dma_addr_t,
    len: usize,
}

impl Segment<'_> {
    /// Whether it is mapped for `device`.
    pub(super) fn is_for(&self, device: &device::Device) -> bool {
        raw(&self.mapping.device) == raw(device)
    }

    /// Whether the device may write to it.
    pub(super) fn is_written(&self) -> bool {
        self.mapping.direction != DataDirection::ToDevice
    }

    /// Its address for the device.
    pub(super) fn dma(&self) -> bindings::dma_addr_t {
        self.dma
    }
}

impl Part for Segment<'_> {
    fn len(self) -> usize {
        self.len
    }

    fn part(self, start: usize, len: usize) -> Self {
        let start = min(start, self.len);
        Self {
            dma: self.dma + start as bindings::dma_addr_t,
            len: min(len, self.len - start),
            ..self
        }
    }
}

/// Whether the addresses that `device` uses are physical ones, but for an offset.
fn is_direct(device: &device::Device) -> bool {
    // SAFETY: The device is valid.
    unsafe { ffi::shmbuf_dma_is_direct(raw(device)) }
}

/// Whether `table` can be mapped for `device`: it is translated, copied where the device does not
/// reach it, or reached. The DMA API warns of what cannot.
///
/// # Safety
///
/// `table` must have entries, with pages.
unsafe fn can_map(device: &device::Device, table: *mut bindings::sg_table) -> bool {
    // SAFETY: The device is valid.
    if !is_direct(device) || unsafe { bindings::dma_max_mapping_size(raw(device)) } != usize::MAX {
        return true;
    }
    // SAFETY: By this function's contract.
    let first = NonNull::new(unsafe { (*table).sgl });
    // SAFETY: It is an entry of the table.
    let next = |entry: &NonNull<_>| NonNull::new(unsafe { bindings::sg_next(entry.as_ptr()) });
    iter::successors(first, next).all(|entry| {
        task::cond_resched();
        let entry = entry.as_ptr();
        // SAFETY: It is an entry of the table, with pages.
        let (phys, size) = unsafe { (ffi::shmbuf_sg_phys(entry), (*entry).length as usize) };
        reaches(device, phys, size)
    })
}
