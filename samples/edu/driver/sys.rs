// SPDX-License-Identifier: GPL-2.0

//! What the kernel crate lacks for this driver. What is unsafe is here, but for the lock of
//! `edu_main.rs`, which has to be initialized there.

use core::{
    mem,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    bindings,
    device::{
        Bound,
        Core,
        Device, //
    },
    dma::{
        self,
        DmaMask, //
    },
    error::from_err_ptr,
    irq,
    pci,
    prelude::*,
    scatterlist::SGTable,
    sync::{
        aref::ARef,
        Arc, //
    },
    time::Jiffies,
    transmute::{
        AsBytes,
        FromBytes, //
    },
    types::Opaque, //
};

#[allow(
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    unreachable_pub,
    clippy::all,
    reason = "generated from C headers; the kernel's structures are opaque here"
)]
pub(crate) mod abi {
    use kernel::{
        bindings::{
            device,
            sg_table, //
        },
        ffi, //
    };

    include!(concat!(env!("EDU_GENERATED"), "/generated.rs"));
}

// SAFETY: Any bytes are numbers.
unsafe impl FromBytes for abi::edu_attach {}
// SAFETY: As above.
unsafe impl FromBytes for abi::edu_transfer {}
// SAFETY: There are no holes.
unsafe impl AsBytes for abi::edu_transfer {}

/// QEMU's educational device. Its vendor (1234) is in no registry, and [`pci::Vendor`] makes none
/// by number.
pub(crate) const EDU: pci::DeviceId = {
    let id = bindings::pci_device_id {
        vendor: 0x1234,
        device: 0x11e8,
        subvendor: !0,
        subdevice: !0,
        class: 0,
        class_mask: 0,
        driver_data: 0,
        override_only: 0,
    };
    // SAFETY: `DeviceId` is a transparent wrapper of this structure.
    unsafe { mem::transmute(id) }
};

/// Tells the kernel which addresses the device drives, and that what is contiguous may be as long
/// as it likes: transfers are pieces of it anyway. For probe alone.
///
/// # Errors
///
/// [`EIO`] if this machine has no memory there that the kernel gives to devices.
pub(crate) fn set_dma_mask(device: &pci::Device<Core<'_>>, mask: DmaMask) -> Result {
    // SAFETY: The driver is not bound yet, and has neither allocated nor mapped anything.
    unsafe {
        dma::Device::dma_set_mask_and_coherent(device, mask)?;
        dma::Device::dma_set_max_seg_size(device, u32::MAX);
    }
    Ok(())
}

/// Ends all DMA of the device, whatever it does. May sleep.
pub(crate) fn clear_master(device: &pci::Device) {
    // SAFETY: The device is valid, and a PCI device.
    unsafe { abi::edu_clear_master(raw(device.as_ref())) };
}

/// `Device` is a transparent wrapper of the C structure.
fn raw(device: &Device) -> *mut bindings::device {
    ptr::from_ref(device).cast_mut().cast()
}

/// A dma-buf, mapped for a device.
///
/// # Invariants
///
/// `attachment` is one of the device, and ours; `table` is its mapping with `direction`.
pub(crate) struct Import {
    attachment: NonNull<abi::dma_buf_attachment>,
    table: NonNull<bindings::sg_table>,
    direction: u32,
    _device: ARef<pci::Device>,
}

// SAFETY: An attachment belongs to no thread.
unsafe impl Send for Import {}

impl Import {
    /// Maps the dma-buf `fd` for `device`, whose driver is bound and stays so until this is dropped.
    /// The exporter may hand it over to the device. `direction` is one of `edu_direction`. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// Those of `dma_buf_get()`, and of the exporter.
    pub(crate) fn new(device: &ARef<pci::Device>, fd: i32, direction: u32) -> Result<Self> {
        let device_ref: &Device = (**device).as_ref();
        // SAFETY: The device is valid; the function copes with any number.
        let attachment = from_err_ptr(unsafe { abi::edu_dma_buf_attach(raw(device_ref), fd) })?;
        // SAFETY: The attachment was just made.
        let table = from_err_ptr(unsafe { abi::edu_dma_buf_map(attachment, direction) });
        let table = table.inspect_err(|_| {
            // SAFETY: As above, and it is not mapped.
            unsafe { abi::edu_dma_buf_detach(attachment) };
        })?;
        // INVARIANT: Just made and mapped.
        Ok(Self {
            attachment: NonNull::new(attachment).ok_or(EIO)?,
            table: NonNull::new(table).ok_or(EIO)?,
            direction,
            _device: device.clone(),
        })
    }

    /// What the device may do, one of `edu_direction`.
    pub(crate) fn direction(&self) -> u32 {
        self.direction
    }

    /// The dma-buf's size in bytes.
    pub(crate) fn size(&self) -> u64 {
        // SAFETY: By the type invariants.
        let size = unsafe { abi::edu_dma_buf_size(self.attachment.as_ptr()) };
        size as u64
    }

    /// The address of the byte at `offset` for the device, and how many bytes follow there,
    /// itself included.
    ///
    /// # Errors
    ///
    /// [`ERANGE`] past the end.
    pub(crate) fn find(&self, mut offset: u64) -> Result<(u64, u64)> {
        // SAFETY: By the type invariants.
        for entry in unsafe { SGTable::from_raw(self.table.as_ptr()) }.iter() {
            let length = u64::from(entry.dma_len());
            if offset < length {
                let address: u64 = entry.dma_address().into();
                return Ok((address + offset, length - offset));
            }
            offset -= length;
        }
        Err(ERANGE)
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, and the device has stopped.
        unsafe {
            abi::edu_dma_buf_unmap(
                self.attachment.as_ptr(),
                self.table.as_ptr(),
                self.direction,
            );
            abi::edu_dma_buf_detach(self.attachment.as_ptr());
        }
    }
}

/// Something that ends, told by an interrupt. The kernel crate's `Completion` has neither a time
/// limit nor a second use.
#[pin_data]
pub(crate) struct Ended {
    #[pin]
    completion: Opaque<bindings::completion>,
}

// SAFETY: A completion has a lock of its own.
unsafe impl Send for Ended {}
// SAFETY: As above.
unsafe impl Sync for Ended {}

impl Ended {
    /// Makes one, of which nothing has ended yet.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                completion <- Opaque::ffi_init(|slot| {
                    // SAFETY: The slot is valid; it is initialized here, and pinned.
                    unsafe { bindings::init_completion(slot) };
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// Tells who waits that it has ended. Any context.
    pub(crate) fn tell(&self) {
        // SAFETY: Initialized by `new`.
        unsafe { bindings::complete(self.completion.get()) };
    }

    /// Waits until [`Self::tell`] was called, once for each call. Sleeps.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`].
    pub(crate) fn wait(&self, patience: Jiffies) -> Result {
        // SAFETY: As above.
        let rest =
            unsafe { bindings::wait_for_completion_timeout(self.completion.get(), patience) };
        match rest {
            0 => Err(ETIMEDOUT),
            _ => Ok(()),
        }
    }
}

/// The one interrupt of a PCI device, message-signalled if it can be.
pub(crate) struct Interrupt<'a, T: irq::Handler + 'a> {
    // Goes before the vectors, which it borrows.
    _registration: Pin<KBox<irq::Registration<'a, T>>>,
    _vectors: KBox<pci::IrqVectorRegistration<'a>>,
}

impl<'a, T: irq::Handler + 'a> Interrupt<'a, T> {
    /// Calls `handler` from now on. The line may be shared. May sleep.
    ///
    /// # Errors
    ///
    /// Those of `pci_alloc_irq_vectors()` and `request_irq()`.
    pub(crate) fn new(
        device: &'a pci::Device<Bound>,
        name: &'static CStr,
        handler: T,
    ) -> Result<Self> {
        let vectors = device.alloc_irq_vectors(1, 1, pci::IrqTypes::all())?;
        let vectors = KBox::new(vectors, GFP_KERNEL)?;
        // SAFETY: The box keeps its contents where they are, and is dropped after what borrows them.
        let borrowed = unsafe { &*ptr::from_ref(&*vectors) };
        // SAFETY: Who forgets it forgets the vectors with it, and the device's data.
        let registration = unsafe {
            irq::Registration::new(
                borrowed.index(0)?.into(),
                irq::Flags::SHARED,
                name,
                Ok(handler),
            )
        };
        Ok(Self {
            _registration: KBox::pin_init(registration, GFP_KERNEL)?,
            _vectors: vectors,
        })
    }
}
