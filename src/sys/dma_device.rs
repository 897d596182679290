// SPDX-License-Identifier: GPL-2.0

//! A device that DMA memory is allocated and mapped for.
//!
//! It is a faux device, which lives as long as any memory that belongs to it.

use super::{
    compat::bound,
    ffi,
    pages::Pages,
    task::{
        self,
        STRETCH, //
    },
    NAME, //
};
use crate::rules::range::Range;
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    bindings, device,
    dma::DmaMask,
    error::{
        from_err_ptr,
        to_result, //
    },
    faux,
    prelude::*,
    str::{
        BStr,
        CString, //
    },
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};

/// A device without hardware, for which memory is allocated and mapped, in segments of any length. It
/// can address all memory, and does not snoop unless all of the machine's devices do; or its DMA is
/// that of a device of the machine, when it was made: what becomes of that one does not matter.
///
/// # Invariants
///
/// The device is registered and has a DMA mask.
pub(crate) struct DmaDevice {
    registration: faux::Registration,
    /// The name of the device that it is like.
    like: Option<CString>,
}

/// The device of the machine that has `name` in one of /sys/bus/{platform,pci,amba}/devices; or that
/// of one bus, if the name has it before it: `amba/NAME`. May sleep.
///
/// # Errors
///
/// - [`ENODEV`] if there is none;
/// - [`EEXIST`] if several buses have one.
pub(crate) fn find(name: &CStr) -> Result<ARef<device::Device>> {
    // SAFETY: The name is NUL-terminated.
    let found = unsafe { ffi::shmbuf_find_device(name.as_char_ptr().cast()) };
    let found = NonNull::new(from_err_ptr(found)?.cast()).ok_or(ENODEV)?;
    // SAFETY: The reference that was taken is ours.
    Ok(unsafe { ARef::from_raw(found) })
}

/// The device of the node that `property` of the node of `node` refers to. May sleep.
///
/// # Errors
///
/// - [`ENOENT`] if it refers to none;
/// - [`ENODEV`] if that is disabled, or one above it;
/// - [`EPROBE_DEFER`] if that has no device yet; then the device of `node` is said to wait for it.
pub(crate) fn find_referred(
    node: &device::Device,
    property: &CStr,
) -> Result<ARef<device::Device>> {
    let property = property.as_char_ptr().cast();
    // SAFETY: The device is valid, and the name is NUL-terminated.
    let found = from_err_ptr(unsafe { ffi::shmbuf_find_referred(raw(node), property) })?;
    match NonNull::new(found.cast()) {
        // SAFETY: The reference that was taken is ours.
        Some(found) => Ok(unsafe { ARef::from_raw(found) }),
        None => {
            // SAFETY: As above.
            unsafe { ffi::shmbuf_waits_for_device(raw(node), property) };
            Err(EPROBE_DEFER)
        }
    }
}

impl DmaDevice {
    /// Registers the device, which addresses what `mask` says, or all memory. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EIO`] if the kernel serves no device whose mask is so small on this machine;
    /// - [`ENOMEM`].
    pub(crate) fn new(mask: Option<DmaMask>) -> Result<Arc<Self>> {
        Self::like(mask, None)
    }

    /// Registers a device whose DMA is that of `other`, a device of the machine, and which addresses
    /// what `mask` says, or what that one does. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Self::of_node`].
    pub(crate) fn of_device(mask: Option<DmaMask>, other: &device::Device) -> Result<Arc<Self>> {
        Self::like(mask, Some((other, Whose::Anothers)))
    }

    /// Registers a device whose DMA is as the device-tree node of `node` says (`dma-coherent`, and
    /// `dma-ranges` of its bus), and which addresses what `mask` says, or all that is left of memory.
    /// May sleep.
    ///
    /// # Errors
    ///
    /// - [`EOPNOTSUPP`] if an IOMMU translates for it;
    /// - those of [`Self::new`].
    pub(crate) fn of_node(mask: Option<DmaMask>, node: &device::Device) -> Result<Arc<Self>> {
        Self::like(mask, Some((node, Whose::Ours)))
    }

    fn like(mask: Option<DmaMask>, other: Option<(&device::Device, Whose)>) -> Result<Arc<Self>> {
        // Some may still be in use when their names are free again.
        static NEXT: Atomic<u32> = Atomic::new(0);

        let number = NEXT.fetch_add(1, Relaxed);
        let name = CString::try_from_fmt(fmt!("{}.{number}", BStr::from_bytes(NAME.to_bytes())))?;
        let registration = faux::Registration::new(&name, None)?;
        let device = raw(bound(&registration));
        // A faux device has none: dma_set_mask() fails and dma_alloc_attrs() warns.
        // SAFETY: The device is valid, and nobody else uses it yet.
        unsafe {
            (*device).coherent_dma_mask = u64::MAX;
            (*device).dma_mask = &raw mut (*device).coherent_dma_mask;
            ffi::shmbuf_dma_allow_any_segment(device);
        }
        let mut own_mask = u64::MAX;
        let mut like = None;
        if let Some((other, whose)) = other {
            // SAFETY: Both devices are valid, and nobody else uses the new one yet.
            to_result(unsafe { ffi::shmbuf_dma_configure_like(device, raw(other)) })?;
            if whose == Whose::Anothers {
                own_mask = self::mask(other);
                like = Some(CString::try_from(other.name())?);
            }
        }
        let mask = mask.map_or(own_mask, |mask| mask.value());
        // SAFETY: The device is valid, and nobody else uses it yet.
        to_result(unsafe { bindings::dma_set_mask_and_coherent(device, mask) })?;
        // INVARIANT: Both were just done.
        let made = Self { registration, like };
        Ok(Arc::new(made, GFP_KERNEL)?)
    }

    /// [`Self::of_device`] for `other`, or else [`Self::of_node`], with the reserved memory that the
    /// node refers to first (`memory-region`) as coherent memory. May sleep.
    ///
    /// # Errors
    ///
    /// - [`ENODEV`] if the node refers to no reserved memory, or to one that is no
    ///   `shared-dma-pool`;
    /// - those of [`Self::of_node`].
    pub(crate) fn with_reserved_memory(
        mask: Option<DmaMask>,
        node: &device::Device,
        other: Option<&device::Device>,
    ) -> Result<Arc<Self>> {
        let made = match other {
            Some(other) => Self::of_device(mask, other)?,
            None => Self::of_node(mask, node)?,
        };
        // SAFETY: Both devices are valid; `drop` undoes it.
        to_result(unsafe { ffi::shmbuf_reserved_attach(made.raw(), raw(node)) })?;
        Ok(made)
    }

    /// Whether the device's coherent memory was declared for it alone: it is reserved with `no-map`.
    pub(crate) fn has_declared_memory(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { ffi::shmbuf_has_declared_memory(self.raw()) }
    }

    /// The device, as the driver core has it. Not for others: what is allocated for it would have to
    /// go before it.
    pub(super) fn device(&self) -> &device::Device<device::Bound> {
        bound(&self.registration)
    }

    pub(super) fn raw(&self) -> *mut bindings::device {
        raw(self.device())
    }

    /// The name under which DMA addresses are reported.
    pub(crate) fn name(&self) -> &[u8] {
        match &self.like {
            Some(like) => like.to_bytes(),
            None => self.device().name().to_bytes(),
        }
    }

    /// Whether the device snoops the caches of the CPU.
    pub(crate) fn snoops(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { ffi::shmbuf_dma_is_coherent(self.raw()) }
    }

    /// Whether coherent memory of the device loses its cacheable linear mapping, as CMA's does on
    /// 32-bit ARM.
    pub(crate) fn has_cma(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { ffi::shmbuf_cma_remapped(self.raw()) }
    }

    /// Whether it is its bus that leaves memory out of the device's reach, and not its DMA mask.
    pub(crate) fn is_limited_by_bus(&self) -> bool {
        let device = self.device();
        bus_limit(device).is_some_and(|limit| limit <= mask(device))
    }

    /// Whether all of `pages` is inside the DMA mask, so that no copy is needed for the device.
    pub(crate) fn reaches(&self, pages: &Pages) -> bool {
        let stretches = Range::whole(pages.size()).pieces(STRETCH);
        let mut runs = stretches.flat_map(|stretch| pages.runs(stretch));
        runs.all(|run| {
            task::cond_resched();
            let (phys, size) = (pages.phys(run.start()), run.len());
            reaches(self.device(), phys, size)
        })
    }
}

/// Whose device tells of the DMA of a new one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// That of a node of the driver's.
    Ours,
    /// One with a driver of its own.
    Anothers,
}

impl Drop for DmaDevice {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; nothing is allocated any more. It does nothing where
        // nothing is attached.
        unsafe { ffi::shmbuf_reserved_detach(self.raw()) };
    }
}

/// Whether `device` reaches the `size` bytes from `phys` on, as `dma_capable()` decides for memory
/// that is not encrypted.
pub(super) fn reaches(device: &device::Device, phys: bindings::phys_addr_t, size: usize) -> bool {
    // SAFETY: The device is valid.
    let first = unsafe { ffi::shmbuf_phys_to_dma(raw(device), phys) };
    addresses(device, first, size)
}

/// Whether the `size` bytes from its address `first` on are inside the mask of `device`, and what its
/// bus can pass.
pub(super) fn addresses(device: &device::Device, first: bindings::dma_addr_t, size: usize) -> bool {
    let last = first.wrapping_add(size as bindings::dma_addr_t - 1);
    let limit = bus_limit(device).map_or(mask(device), |limit| limit.min(mask(device)));
    // What is in no range of the device's bus has no address there, but the last one.
    first <= last && u64::from(last) <= limit
}

/// The DMA mask of `device`.
fn mask(device: &device::Device) -> u64 {
    // SAFETY: The device is valid.
    unsafe { ffi::shmbuf_dma_mask(raw(device)) }
}

/// The last address that the bus of `device` passes, if it does not pass all.
fn bus_limit(device: &device::Device) -> Option<u64> {
    // SAFETY: The device is valid.
    match unsafe { (*raw(device)).bus_dma_limit } {
        0 => None,
        limit => Some(limit),
    }
}

/// The C structure of `device`, which is a transparent wrapper of it.
pub(super) fn raw(device: &device::Device) -> *mut bindings::device {
    ptr::from_ref(device).cast_mut().cast()
}
