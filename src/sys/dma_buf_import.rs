// SPDX-License-Identifier: GPL-2.0

//! dma-bufs of other drivers, for a device of ours: `drivers/dma-buf/dma-buf.c` calls their
//! exporter.

use super::{
    cpu::{
        self,
        CacheType, //
    },
    dma_buf::{
        Exporter,
        Operations, //
    },
    dma_device::DmaDevice,
    dma_fence::{
        Reservation,
        Usage, //
    },
    errno::EOPNOTSUPP,
    ffi,
    rights::Rights,
    task::{
        self,
        STRETCH, //
    },
    vma::NewVma,
    wait_queue::Patience, //
};
use crate::rules::range::Range;
use core::{
    cmp::min,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    dma::DataDirection,
    error::{
        from_err_ptr,
        to_result, //
    },
    fs::File,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    new_mutex,
    prelude::*,
    scatterlist::SGTable,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    },
};

/// A dma-buf.
///
/// # Invariants
///
/// `dma_buf` is valid, and a reference to it, that of its file, is ours.
pub(crate) struct DmaBuf {
    dma_buf: NonNull<bindings::dma_buf>,
}

// SAFETY: A dma-buf belongs to no thread.
unsafe impl Send for DmaBuf {}
// SAFETY: The functions of the core may be called at the same time.
unsafe impl Sync for DmaBuf {}

impl DmaBuf {
    /// The dma-buf that the calling process has open as `fd`.
    ///
    /// # Errors
    ///
    /// [`EBADF`] if it has nothing open there, [`EINVAL`] if that is no dma-buf.
    pub(crate) fn get(fd: i32) -> Result<Self> {
        // SAFETY: The function takes any number.
        let dma_buf = from_err_ptr(unsafe { bindings::dma_buf_get(fd) })?;
        // INVARIANT: The reference that was taken is ours.
        Ok(Self {
            dma_buf: NonNull::new(dma_buf).ok_or(EINVAL)?,
        })
    }

    fn raw(&self) -> *mut bindings::dma_buf {
        self.dma_buf.as_ptr()
    }

    /// Whether it is one that [`export`](super::dma_buf::export) made of a `T`.
    pub(crate) fn is_of<T: Exporter>(&self) -> bool {
        // SAFETY: By the type invariants; a dma-buf has operations, and keeps the exporter's module.
        Operations::<T>::are(unsafe { &*(*self.raw()).ops })
    }

    /// The size in bytes, whole pages.
    pub(crate) fn size(&self) -> usize {
        // SAFETY: By the type invariants; it does not change.
        unsafe { (*self.raw()).size }
    }

    /// What its exporter is called.
    pub(crate) fn exporter(&self) -> &CStr {
        // SAFETY: By the type invariants. The exporter keeps the name as long as it has dma-bufs.
        unsafe { CStr::from_char_ptr((*self.raw()).exp_name) }
    }

    /// Its file, which is open for reading, writing or both.
    pub(crate) fn file(&self) -> ARef<File> {
        // SAFETY: By the type invariants; nobody uses its position.
        unsafe { File::from_raw_file((*self.raw()).file) }.into()
    }

    /// Whether its file is open for writing.
    pub(crate) fn is_writable(&self) -> bool {
        Rights::of(self.file().flags()).writable
    }

    /// Whether its exporter does anything where an access of the CPU begins.
    fn syncs_for_cpu(&self) -> bool {
        // SAFETY: By the type invariants; the operations do not change.
        unsafe { (*(*self.raw()).ops).begin_cpu_access.is_some() }
    }

    fn reservation(&self) -> &Reservation {
        // SAFETY: By the type invariants. Each dma-buf has a reservation object as long as it lives, and
        // that is the whole of a `Reservation`.
        unsafe { &*(*self.raw()).resv.cast() }
    }
}

impl Drop for DmaBuf {
    fn drop(&mut self) {
        // SAFETY: The reference is ours.
        unsafe { bindings::dma_buf_put(self.raw()) };
    }
}

/// A device that is attached to a dma-buf.
///
/// # Invariants
///
/// `attachment` is one of `dma_buf` and `device`, and ours.
struct Attached {
    attachment: NonNull<bindings::dma_buf_attachment>,
    dma_buf: DmaBuf,
    // It goes after what belongs to it.
    device: Arc<DmaDevice>,
}

impl Attached {
    fn new(dma_buf: DmaBuf, device: Arc<DmaDevice>) -> Result<Self> {
        // SAFETY: Both are valid. Without operations of an importer the memory is not moved.
        let attachment = unsafe { bindings::dma_buf_attach(dma_buf.raw(), device.raw()) };
        // INVARIANT: Just attached.
        Ok(Self {
            attachment: NonNull::new(from_err_ptr(attachment)?).ok_or(ENOMEM)?,
            dma_buf,
            device,
        })
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; nothing is mapped any more.
        unsafe { bindings::dma_buf_detach(self.dma_buf.raw(), self.attachment.as_ptr()) };
    }
}

/// The table of an attachment that is mapped.
///
/// # Invariants
///
/// `table` is mapped by `attached` in `direction`.
struct Mapped {
    table: NonNull<bindings::sg_table>,
    direction: DataDirection,
    attached: Attached,
}

impl Mapped {
    fn new(attached: Attached, direction: DataDirection) -> Result<Self> {
        // SAFETY: The attachment is valid, and nothing is mapped yet.
        let table = unsafe {
            bindings::dma_buf_map_attachment_unlocked(
                attached.attachment.as_ptr(),
                direction.into(),
            )
        };
        // INVARIANT: Just mapped.
        Ok(Self {
            table: NonNull::new(from_err_ptr(table)?).ok_or(ENOMEM)?,
            direction,
            attached,
        })
    }

    /// Where the device finds the first `size` bytes, in the order of the memory. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EIO`] if there are less;
    /// - [`ENOMEM`].
    fn entries(&self, size: usize) -> Result<KVVec<Entry>> {
        let mut entries = KVVec::new();
        let mut at = 0;
        // SAFETY: By the type invariants.
        for entry in unsafe { SGTable::from_raw(self.table.as_ptr()) }.iter() {
            task::cond_resched();
            let len = min(entry.dma_len() as usize, size - at);
            if len > 0 {
                let entry = Entry {
                    range: Range::between(at, at + len),
                    dma: entry.dma_address(),
                };
                entries.push(entry, GFP_KERNEL_ACCOUNT)?;
            }
            at += len;
        }
        match at == size {
            true => Ok(entries),
            false => Err(EIO),
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe {
            bindings::dma_buf_unmap_attachment_unlocked(
                self.attached.attachment.as_ptr(),
                self.table.as_ptr(),
                self.direction.into(),
            );
        }
    }
}

/// Where the device finds a part of the memory.
#[derive(Clone, Copy)]
struct Entry {
    range: Range,
    dma: bindings::dma_addr_t,
}

/// A kernel's view of all of a dma-buf.
///
/// # Invariants
///
/// `map` is what the core gave for `dma_buf`, which is valid as long as this lives, and has `address`.
struct View {
    dma_buf: NonNull<bindings::dma_buf>,
    map: bindings::iosys_map,
    address: NonNull<u8>,
}

// SAFETY: A kernel mapping belongs to no thread.
unsafe impl Send for View {}
// SAFETY: Nothing is changed through a shared reference.
unsafe impl Sync for View {}

impl View {
    /// # Errors
    ///
    /// - [`EOPNOTSUPP`] if the exporter gives none, or one that is not memory;
    /// - what the exporter refuses.
    ///
    /// # Safety
    ///
    /// The dma-buf must live longer than what is returned.
    unsafe fn new(dma_buf: &DmaBuf) -> Result<Self> {
        // SAFETY: By the type invariants of the dma-buf, whose operations do not change.
        if unsafe { (*(*dma_buf.raw()).ops).vmap }.is_none() {
            return Err(EOPNOTSUPP);
        }
        let mut map = bindings::iosys_map::default();
        // SAFETY: The dma-buf is valid.
        to_result(unsafe { bindings::dma_buf_vmap_unlocked(dma_buf.raw(), &mut map) })?;
        // SAFETY: Whichever of the two it is, it is an address.
        let address = unsafe { map.__bindgen_anon_1.vaddr };
        // INVARIANT: By this function's contract.
        let view = Self {
            dma_buf: dma_buf.dma_buf,
            map,
            address: NonNull::new(address.cast()).ok_or(ENOMEM)?,
        };
        match view.map.is_iomem {
            true => Err(EOPNOTSUPP),
            false => Ok(view),
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; nobody uses the address any more.
        unsafe { bindings::dma_buf_vunmap_unlocked(self.dma_buf.as_ptr(), &mut self.map) };
    }
}

/// A dma-buf that is mapped for a device of ours as long as this lives: its memory stays where it is.
///
/// An importer does not know where the memory is for the CPU. So it syncs by the exporter's calls. As
/// some exporters have none, it syncs by the addresses for its device too, which no IOMMU
/// translates, so that the lines are the same.
#[pin_data(PinnedDrop)]
pub(crate) struct ImportedMemory {
    entries: KVVec<Entry>,
    /// Whether the memory is RAM that the kernel maps, of which there may be lines in the cache.
    is_ram: bool,
    /// The kernel's view, from when it was first needed. It goes before the dma-buf.
    #[pin]
    view: Mutex<Option<Arc<View>>>,
    mapped: Mapped,
}

// SAFETY: A mapping belongs to no thread.
unsafe impl Send for ImportedMemory {}
// SAFETY: What is pointed to is not changed through a shared reference.
unsafe impl Sync for ImportedMemory {}

impl ImportedMemory {
    /// Maps `dma_buf` for `device`, which has it from then on: it reads it, and writes it too if the
    /// dma-buf is open for that. Waits for the exporter, and for fences of the kernel's own. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EIO`] if the exporter maps less than all;
    /// - [`ENOMEM`];
    /// - what the exporter refuses.
    pub(crate) fn new(dma_buf: DmaBuf, device: &Arc<DmaDevice>) -> Result<Pin<KBox<Self>>> {
        let direction = match dma_buf.is_writable() {
            true => DataDirection::Bidirectional,
            false => DataDirection::ToDevice,
        };
        let size = dma_buf.size();
        let mapped = Mapped::new(Attached::new(dma_buf, device.clone())?, direction)?;
        let entries = mapped.entries(size)?;
        let is_ram = entries.iter().all(|entry| {
            task::cond_resched();
            // SAFETY: The device is valid.
            unsafe { ffi::shmbuf_is_ram(device.raw(), entry.dma, entry.range.len()) }
        });
        let memory = KBox::pin_init(
            pin_init!(Self {
                entries,
                is_ram,
                view <- new_mutex!(None, "ImportedMemory::view"),
                mapped,
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        // Some exporters map what is dirty, such as the zeroes of a new memfd.
        memory.clean();
        Ok(memory)
    }

    /// The dma-buf.
    pub(crate) fn dma_buf(&self) -> &DmaBuf {
        &self.mapped.attached.dma_buf
    }

    /// The device that it is mapped for.
    pub(crate) fn device(&self) -> &DmaDevice {
        &self.mapped.attached.device
    }

    /// Whether the kernel may copy for the device (swiotlb), which only syncs of all that were mapped would
    /// do: those of the exporter need not be any.
    pub(crate) fn may_be_copied(&self) -> bool {
        self.entries.iter().any(|entry| {
            task::cond_resched();
            // SAFETY: The device is valid.
            unsafe { ffi::shmbuf_dma_may_be_copy(self.device().raw(), entry.dma) }
        })
    }

    /// Where the device finds the first byte of `range`, and how many bytes of it follow each other
    /// there. May sleep.
    pub(crate) fn first_segment(&self, range: Range) -> Option<(bindings::dma_addr_t, usize)> {
        let first = self
            .entries
            .partition_point(|entry| entry.range.end() <= range.start());
        let mut parts = self.entries[first..].iter().map_while(|entry| {
            let part = entry.range.intersect(range)?;
            let offset = (part.start() - entry.range.start()) as bindings::dma_addr_t;
            Some((entry.dma + offset, part.len()))
        });
        let (dma, mut len) = parts.next()?;
        for (next, more) in parts {
            task::cond_resched();
            if next != dma + len as bindings::dma_addr_t {
                break;
            }
            len += more;
        }
        Some((dma, len))
    }

    /// The CPU begins to access the memory: what devices wrote is visible to it. Waits for the fences of
    /// others. Nothing that the CPU wrote before is lost. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EAGAIN`] without patience, if there are fences to wait for;
    /// - [`ERESTARTSYS`] if a signal came;
    /// - what the exporter refuses.
    pub(crate) fn begin_cpu_access(&self, patience: Patience) -> Result {
        let usage = match self.mapped.direction {
            DataDirection::ToDevice => Usage::Reads,
            _ => Usage::Writes,
        };
        let reservation = self.dma_buf().reservation();
        match patience {
            Patience::None if reservation.has(usage, |_| true) => return Err(EAGAIN),
            Patience::None => {}
            Patience::Until(_) => reservation.wait(usage, |_| true)?,
        }
        // Who wrote by the CPU, and did not say so to the exporter, loses nothing.
        self.clean();
        // SAFETY: The dma-buf is valid.
        to_result(unsafe {
            bindings::dma_buf_begin_cpu_access(self.dma_buf().raw(), self.cpu_direction().into())
        })?;
        // Who has such an operation does it himself, and twice is once too often: it is the first that
        // the DMA API takes for the end of the device's turn.
        if !self.dma_buf().syncs_for_cpu() {
            self.refresh();
        }
        flush_aliases();
        Ok(())
    }

    /// The CPU no longer accesses the memory, which [`Self::begin_cpu_access`] began: what it wrote is
    /// visible to devices. May sleep.
    ///
    /// # Errors
    ///
    /// What the exporter refuses.
    pub(crate) fn end_cpu_access(&self) -> Result {
        // The exporter cleans by views of its own, and the device has the memory from then on.
        flush_aliases();
        // SAFETY: The dma-buf is valid.
        to_result(unsafe {
            bindings::dma_buf_end_cpu_access(self.dma_buf().raw(), self.cpu_direction().into())
        })?;
        self.clean();
        Ok(())
    }

    /// What the CPU does, in the words of the DMA API.
    fn cpu_direction(&self) -> DataDirection {
        match self.mapped.direction {
            DataDirection::ToDevice => DataDirection::FromDevice,
            _ => DataDirection::Bidirectional,
        }
    }

    /// Brings what the CPU wrote to memory. May sleep.
    pub(crate) fn clean(&self) {
        flush_aliases();
        let (device, direction) = (self.device().raw(), self.mapped.direction as u32);
        self.each_stretch(|dma, len| {
            // SAFETY: The bytes are mapped for the device, and RAM.
            unsafe { ffi::shmbuf_dma_sync_for_device(device, dma, len, direction) };
        });
        cpu::drain_write_buffer();
    }

    /// Makes what devices wrote visible to the CPU, which has written nothing since [`Self::clean`].
    fn refresh(&self) {
        let (device, direction) = (self.device().raw(), self.mapped.direction as u32);
        self.each_stretch(|dma, len| {
            // SAFETY: The bytes are mapped for the device, and RAM.
            unsafe { ffi::shmbuf_dma_sync_for_cpu(device, dma, len, direction) };
        });
    }

    /// Calls `f` with the address for the device and the length of one stretch after the other, of
    /// memory that has lines in the cache. To the DMA API each is a part of what was mapped.
    fn each_stretch(&self, f: impl Fn(bindings::dma_addr_t, usize)) {
        if !self.is_ram {
            return;
        }
        for entry in self.entries.iter() {
            for stretch in entry.range.pieces(STRETCH) {
                task::cond_resched();
                let offset = stretch.start() - entry.range.start();
                f(entry.dma + offset as bindings::dma_addr_t, stretch.len());
            }
        }
    }

    /// Makes `vma` a mapping of the dma-buf, as its exporter does.
    ///
    /// # Errors
    ///
    /// What the exporter refuses.
    pub(crate) fn mmap(&self, vma: NewVma<'_>) -> Result {
        let vma = vma.into_raw();
        // SAFETY: Both are valid, and the VMA is under construction.
        to_result(unsafe { bindings::dma_buf_mmap(self.dma_buf().raw(), vma, (*vma).vm_pgoff) })
    }

    /// Copies `range` to `iter`, and returns how many bytes that were: fewer on a bad address, or if the
    /// process was killed meanwhile. A range that is not inside is a bug, and panics. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EOPNOTSUPP`] if the exporter gives the kernel no view of memory;
    /// - [`EFAULT`] if nothing could be copied;
    /// - what the exporter refuses.
    pub(crate) fn read(&self, range: Range, iter: &mut IovIterDest<'_>) -> Result<usize> {
        self.transfer(range, |view, part| {
            // SAFETY: The part is inside of the view; the function copes with contents that change.
            unsafe {
                let start = view.address.add(part.start());
                bindings::_copy_to_iter(start.as_ptr().cast(), part.len(), iter.as_raw())
            }
        })
    }

    /// Copies `iter` to `range`, as [`Self::read`] does the other way.
    ///
    /// # Errors
    ///
    /// Those of [`Self::read`].
    pub(crate) fn write(&self, range: Range, iter: &mut IovIterSource<'_>) -> Result<usize> {
        self.transfer(range, |view, part| {
            // SAFETY: The part is inside of the view; the function copes with contents that change.
            unsafe {
                let start = view.address.add(part.start());
                bindings::_copy_from_iter(start.as_ptr().cast(), part.len(), iter.as_raw())
            }
        })
    }

    /// Calls `copy` with the kernel's view and one stretch of `range`, which is inside, after the other,
    /// until it copies less.
    fn transfer(&self, range: Range, mut copy: impl FnMut(&View, Range) -> usize) -> Result<usize> {
        assert!(range.end() <= self.dma_buf().size());
        let view = self.view()?;
        let mut done = 0;
        for stretch in range.pieces(STRETCH) {
            if task::go_on().is_err() {
                break;
            }
            flush_aliases();
            let count = copy(&view, stretch);
            flush_aliases();
            done += count;
            if count < stretch.len() {
                break;
            }
        }
        match done {
            0 => Err(EFAULT),
            _ => Ok(done),
        }
    }

    fn view(&self) -> Result<Arc<View>> {
        let mut view = self.view.lock();
        if let Some(view) = &*view {
            return Ok(view.clone());
        }
        // SAFETY: The views go first, by the order of the fields.
        let made = Arc::new(unsafe { View::new(self.dma_buf()) }?, GFP_KERNEL_ACCOUNT)?;
        *view = Some(made.clone());
        Ok(made)
    }
}

#[pinned_drop]
impl PinnedDrop for ImportedMemory {
    fn drop(self: Pin<&mut Self>) {
        // Unmapping discards lines, and nothing that the CPU wrote may be lost.
        self.clean();
    }
}

/// Cleans and invalidates the whole cache if it is one that has a line for each mapping of a byte: what
/// mappings there are is the exporter's to know.
fn flush_aliases() {
    if matches!(cpu::cache_type(), CacheType::Vivt | CacheType::VipAliasing) {
        cpu::flush_all();
    }
}
