// SPDX-License-Identifier: GPL-2.0

//! dma-bufs of ours: `drivers/dma-buf/dma-buf.c` calls an [`Exporter`].

use super::{
    dma_fence::Reservation,
    dma_mapping::SgTable, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    device::Device,
    dma::DataDirection,
    error::{
        from_err_ptr,
        from_result, //
    },
    fs::{
        file::flags,
        File, //
    },
    mm::virt::VmaNew,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    types::ForeignOwnable, //
};

/// What a dma-buf does for importers and programs, a method for each of `struct dma_buf_ops`.
pub(crate) trait Exporter: Sized + Send + Sync + 'static {
    /// The memory is mapped for a device of an importer, which owns it from now on. Called with
    /// the reservation lock held.
    fn map(&self, device: &Device, direction: DataDirection) -> Result<SgTable>;
    /// What [`Self::map`] returned is no longer used. Called with the reservation lock held.
    fn unmap(&self, table: SgTable);
    /// The CPU begins to access the memory, in any direction. Called with no lock held.
    fn begin_cpu_access(&self) -> Result;
    /// The CPU no longer accesses the memory. Called with no lock held.
    fn end_cpu_access(&self) -> Result;
    /// A program calls mmap(2); the range is inside the dma-buf.
    fn mmap(&self, vma: &VmaNew) -> Result;
    /// Whether importers can have a kernel address of the memory. It stays so.
    fn has_vmap(&self) -> bool;
    /// An importer wants a kernel address of all of the memory, until [`Self::vunmap`]. Called once,
    /// with the reservation lock held, if [`Self::has_vmap`]. The core warns if it fails.
    fn vmap(&self) -> Result<usize>;
    /// The importer no longer uses the address that [`Self::vmap`] returned.
    fn vunmap(&self);
}

/// A new dma-buf of `size` bytes, whole pages. It keeps `exporter`, and the module, as long as it
/// lives; `reservation` has its fences. May sleep.
///
/// # Errors
///
/// [`ENOMEM`], [`ENFILE`].
pub(crate) fn export<T: Exporter>(
    exporter: Pin<KBox<T>>,
    reservation: Arc<Reservation>,
    size: usize,
    writable: bool,
) -> Result<ARef<File>> {
    let ops = Operations::<T>::table(exporter.has_vmap());
    let private = exporter.into_foreign();
    let reservation = Arc::into_raw(reservation);
    let info = bindings::dma_buf_export_info {
        exp_name: c"shmbuf".as_char_ptr(),
        owner: kernel::module::this_module::<crate::LocalModule>().as_ptr(),
        ops,
        size,
        flags: match writable {
            true => flags::O_RDWR,
            false => flags::O_RDONLY,
        } as c_int,
        // A reservation object is the whole of a `Reservation`.
        resv: reservation.cast_mut().cast(),
        priv_: private.cast(),
    };
    // SAFETY: The description is valid, and the operations are those of the private data.
    match from_err_ptr(unsafe { bindings::dma_buf_export(&info) }) {
        Ok(dma_buf) => {
            // SAFETY: The dma-buf is valid, and its one reference, that of its file, is ours.
            let file = unsafe { NonNull::new_unchecked((*dma_buf).file) };
            // SAFETY: The reference is ours, and nobody has used the file's position yet.
            Ok(unsafe { ARef::from_raw(file.cast()) })
        }
        Err(error) => {
            // SAFETY: There is no dma-buf that has it.
            drop(unsafe { Pin::<KBox<T>>::from_foreign(private) });
            // SAFETY: Nor one that has the reservation object.
            drop(unsafe { Arc::from_raw(reservation) });
            Err(error)
        }
    }
}

/// The operations of a dma-buf whose private data is a `Pin<KBox<T>>`.
struct Operations<T>(PhantomData<T>);

impl<T: Exporter> Operations<T> {
    const TABLE: bindings::dma_buf_ops = bindings::dma_buf_ops {
        map_dma_buf: Some(Self::map),
        unmap_dma_buf: Some(Self::unmap),
        release: Some(Self::release),
        begin_cpu_access: Some(Self::begin_cpu_access),
        end_cpu_access: Some(Self::end_cpu_access),
        mmap: Some(Self::mmap),
        ..pin_init::zeroed()
    };

    const TABLE_WITH_VMAP: bindings::dma_buf_ops = bindings::dma_buf_ops {
        vmap: Some(Self::vmap),
        vunmap: Some(Self::vunmap),
        ..Self::TABLE
    };

    #[inline(never)]
    fn table(has_vmap: bool) -> &'static bindings::dma_buf_ops {
        if has_vmap {
            &Self::TABLE_WITH_VMAP
        } else {
            &Self::TABLE
        }
    }

    /// # Safety
    ///
    /// `dma_buf` must be one with these operations, and valid for `'a`.
    unsafe fn exporter<'a>(dma_buf: *mut bindings::dma_buf) -> &'a T {
        // SAFETY: By this function's contract; the private data lives until `release`.
        unsafe { Pin::<KBox<T>>::borrow((*dma_buf).priv_.cast()) }.get_ref()
    }

    /// # Safety
    ///
    /// `attachment` must be one of a dma-buf with these operations.
    unsafe extern "C" fn map(
        attachment: *mut bindings::dma_buf_attachment,
        direction: bindings::dma_data_direction,
    ) -> *mut bindings::sg_table {
        // SAFETY: By this function's contract; the device lives as long as the attachment.
        let (exporter, device) = unsafe {
            (
                Self::exporter((*attachment).dmabuf),
                Device::from_raw((*attachment).dev),
            )
        };
        match data_direction(direction).and_then(|direction| exporter.map(device, direction)) {
            Ok(table) => table.0,
            Err(error) => error.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// `table` must be what `map` returned for this attachment.
    unsafe extern "C" fn unmap(
        attachment: *mut bindings::dma_buf_attachment,
        table: *mut bindings::sg_table,
        _direction: bindings::dma_data_direction,
    ) {
        // SAFETY: By this function's contract.
        unsafe { Self::exporter((*attachment).dmabuf) }.unmap(SgTable(table));
    }

    /// # Safety
    ///
    /// `dma_buf` must be one with these operations, at its end.
    unsafe extern "C" fn release(dma_buf: *mut bindings::dma_buf) {
        // SAFETY: The dma-buf is valid, and was made with a reference to its reservation object, which
        // is the whole of a `Reservation`.
        let reservation = unsafe { Arc::<Reservation>::from_raw((*dma_buf).resv.cast()) };
        // SAFETY: The private data is not used again.
        drop(unsafe { Pin::<KBox<T>>::from_foreign((*dma_buf).priv_.cast()) });
        // The core compares its address once more, and nothing else.
        drop(reservation);
    }

    /// # Safety
    ///
    /// `dma_buf` must be one with these operations.
    unsafe extern "C" fn begin_cpu_access(
        dma_buf: *mut bindings::dma_buf,
        _direction: bindings::dma_data_direction,
    ) -> c_int {
        // SAFETY: By this function's contract.
        let exporter = unsafe { Self::exporter(dma_buf) };
        from_result(|| {
            exporter.begin_cpu_access()?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `dma_buf` must be one with these operations.
    unsafe extern "C" fn end_cpu_access(
        dma_buf: *mut bindings::dma_buf,
        _direction: bindings::dma_data_direction,
    ) -> c_int {
        // SAFETY: By this function's contract.
        let exporter = unsafe { Self::exporter(dma_buf) };
        from_result(|| {
            exporter.end_cpu_access()?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `dma_buf` must be one with these operations, and `vma` under construction.
    unsafe extern "C" fn mmap(
        dma_buf: *mut bindings::dma_buf,
        vma: *mut bindings::vm_area_struct,
    ) -> c_int {
        // SAFETY: By this function's contract.
        let (exporter, vma) = unsafe { (Self::exporter(dma_buf), VmaNew::from_raw(vma)) };
        from_result(|| {
            exporter.mmap(vma)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `dma_buf` must be one with these operations, and `map` valid for writing.
    unsafe extern "C" fn vmap(
        dma_buf: *mut bindings::dma_buf,
        map: *mut bindings::iosys_map,
    ) -> c_int {
        // SAFETY: By this function's contract.
        let exporter = unsafe { Self::exporter(dma_buf) };
        from_result(|| {
            let address = exporter.vmap()?;
            // SAFETY: By this function's contract.
            let map = unsafe { &mut *map };
            map.is_iomem = false;
            map.__bindgen_anon_1.vaddr = address as *mut c_void;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `dma_buf` must be one with these operations.
    unsafe extern "C" fn vunmap(dma_buf: *mut bindings::dma_buf, _map: *mut bindings::iosys_map) {
        // SAFETY: By this function's contract.
        unsafe { Self::exporter(dma_buf) }.vunmap();
    }
}

/// The kernel crate's name for a direction of the DMA API.
///
/// # Errors
///
/// [`EINVAL`] for none.
fn data_direction(direction: bindings::dma_data_direction) -> Result<DataDirection> {
    [
        DataDirection::Bidirectional,
        DataDirection::ToDevice,
        DataDirection::FromDevice,
    ]
    .into_iter()
    .find(|&known| bindings::dma_data_direction::from(known) == direction)
    .ok_or(EINVAL)
}
