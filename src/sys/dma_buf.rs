// SPDX-License-Identifier: GPL-2.0

//! dma-bufs of ours: `drivers/dma-buf/dma-buf.c` calls an [`Exporter`].

use super::{
    address_space::AddressSpace,
    compat::this_module,
    dma_attachment::{
        Attachment,
        ImporterMapping, //
    },
    dma_fence::Reservation,
    kernel_view::KernelView,
    vma::NewVma, //
};
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
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
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    },
    types::ForeignOwnable, //
};

/// What a dma-buf does for importers and programs, a method for each of `struct dma_buf_ops`.
pub(crate) trait Exporter: Sized + Send + Sync + 'static {
    /// A device of an importer wants the memory, which it owns from now on: it is to be
    /// [mapped](Attachment::map) for it. Called with the reservation lock held.
    fn map(&self, attachment: &mut Attachment<'_>, direction: DataDirection) -> Result;
    /// The device no longer uses the mapping that [`Self::map`] made, which ends when this returns.
    /// Called with the reservation lock held.
    fn unmap(&self, mapping: &Arc<ImporterMapping>);
    /// The CPU begins to access the memory, in any direction. Called with no lock held.
    fn begin_cpu_access(&self) -> Result;
    /// The CPU no longer accesses the memory. Called with no lock held.
    fn end_cpu_access(&self) -> Result;
    /// What the dma-buf is called, where the kernel shows it to people. Asked once, when the dma-buf
    /// is made.
    fn name(&self) -> Result<CString>;
    /// Where the mappings of programs are. Asked once, when the dma-buf is made.
    fn address_space(&self) -> Arc<AddressSpace>;
    /// A program calls mmap(2); the range is inside the dma-buf.
    fn mmap(&self, vma: NewVma<'_>) -> Result;
    /// Whether importers can have a kernel address of the memory. It stays so.
    fn has_vmap(&self) -> bool;
    /// An importer wants a kernel's view of all of the memory. Called with the reservation lock held,
    /// if [`Self::has_vmap`]. The core warns if it fails.
    fn vmap(&self) -> Result<KernelView>;
}

/// The private data of a dma-buf.
#[pin_data]
struct Private<T> {
    exporter: T,
    /// The kernel's view that importers have.
    #[pin]
    view: Mutex<Option<KernelView>>,
    // Goes after what uses it.
    space: Arc<AddressSpace>,
    /// What the dma-buf is called: `exp_name` points to it.
    name: CString,
}

/// A new dma-buf of `size` bytes, whole pages. It keeps `exporter`, and the module, as long as it
/// lives; `reservation` has its fences. May sleep.
///
/// # Errors
///
/// [`ENOMEM`], [`ENFILE`].
pub(crate) fn export<T: Exporter>(
    exporter: T,
    reservation: Arc<Reservation>,
    size: usize,
    writable: bool,
) -> Result<ARef<File>> {
    let ops = Operations::<T>::table(exporter.has_vmap());
    let space = exporter.address_space();
    let kept = space.clone();
    let name = exporter.name()?;
    let exp_name = name.as_char_ptr();
    let private = KBox::pin_init(
        pin_init!(Private {
            exporter,
            view <- new_mutex!(None, "dma_buf::view"),
            space: kept,
            name,
        }),
        GFP_KERNEL_ACCOUNT,
    )?
    .into_foreign();
    let reservation = Arc::into_raw(reservation);
    let info = bindings::dma_buf_export_info {
        // In the private data, which nobody is left to ask for it when it goes.
        exp_name,
        owner: this_module(),
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
            // SAFETY: The reference is ours, and nobody has the file yet; it keeps the dma-buf, hence
            // the address space.
            Ok(unsafe {
                space.adopt(file.as_ptr());
                ARef::from_raw(file.cast())
            })
        }
        Err(error) => {
            // SAFETY: There is no dma-buf that has it.
            drop(unsafe { Pin::<KBox<Private<T>>>::from_foreign(private) });
            // SAFETY: Nor one that has the reservation object.
            drop(unsafe { Arc::from_raw(reservation) });
            Err(error)
        }
    }
}

/// The operations of a dma-buf whose private data is a `Pin<KBox<Private<T>>>`.
pub(super) struct Operations<T>(PhantomData<T>);

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

    /// Whether `ops` are these.
    pub(super) fn are(ops: &bindings::dma_buf_ops) -> bool {
        [false, true]
            .into_iter()
            .any(|has_vmap| ptr::eq(ops, Self::table(has_vmap)))
    }

    // One address of each, by which dma-bufs are known.
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
    unsafe fn private<'a>(dma_buf: *mut bindings::dma_buf) -> &'a Private<T> {
        // SAFETY: By this function's contract; the private data lives until `release`.
        unsafe { Pin::<KBox<Private<T>>>::borrow((*dma_buf).priv_.cast()) }.get_ref()
    }

    /// # Safety
    ///
    /// As for [`Self::private`].
    unsafe fn exporter<'a>(dma_buf: *mut bindings::dma_buf) -> &'a T {
        // SAFETY: By this function's contract.
        unsafe { &Self::private(dma_buf).exporter }
    }

    /// # Safety
    ///
    /// `attachment` must be one of a dma-buf with these operations.
    unsafe extern "C" fn map(
        attachment: *mut bindings::dma_buf_attachment,
        direction: bindings::dma_data_direction,
    ) -> *mut bindings::sg_table {
        // SAFETY: By this function's contract. An importer detaches its device before that is unbound,
        // and unmaps what is mapped before it detaches.
        let (exporter, mut mapped) = unsafe {
            let dma_buf = (*attachment).dmabuf;
            let device = Device::from_raw((*attachment).dev);
            (
                Self::exporter(dma_buf),
                Attachment::new(device, (*dma_buf).size),
            )
        };
        data_direction(direction)
            .and_then(|direction| exporter.map(&mut mapped, direction))
            .and_then(|()| mapped.into_table())
            .unwrap_or_else(|error| error.to_ptr())
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
        let (exporter, mapping) = unsafe {
            (
                Self::exporter((*attachment).dmabuf),
                ImporterMapping::take(table),
            )
        };
        exporter.unmap(&mapping);
        mapping.end();
    }

    /// # Safety
    ///
    /// `dma_buf` must be one with these operations, at its end.
    unsafe extern "C" fn release(dma_buf: *mut bindings::dma_buf) {
        // SAFETY: The dma-buf is valid, and was made with a reference to its reservation object, which
        // is the whole of a `Reservation`.
        let reservation = unsafe { Arc::<Reservation>::from_raw((*dma_buf).resv.cast()) };
        // SAFETY: The private data is not used again.
        drop(unsafe { Pin::<KBox<Private<T>>>::from_foreign((*dma_buf).priv_.cast()) });
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
        // SAFETY: By this function's contract; we do no more with it.
        let (exporter, vma) =
            unsafe { (Self::exporter(dma_buf), NewVma::new(VmaNew::from_raw(vma))) };
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
        let (private, size) = unsafe { (Self::private(dma_buf), (*dma_buf).size) };
        from_result(|| {
            let view = private.exporter.vmap()?;
            let span = view.span().filter(|span| span.len() == size);
            let address = span.ok_or(EINVAL)?.address();
            // The core calls this when nobody has an address.
            *private.view.lock() = Some(view);
            // SAFETY: By this function's contract.
            let map = unsafe { &mut *map };
            map.is_iomem = false;
            map.__bindgen_anon_1.vaddr = address as *mut c_void;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `dma_buf` must be one with these operations, and nobody use an address that `vmap` gave.
    unsafe extern "C" fn vunmap(dma_buf: *mut bindings::dma_buf, _map: *mut bindings::iosys_map) {
        // SAFETY: By this function's contract.
        *unsafe { Self::private(dma_buf) }.view.lock() = None;
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
