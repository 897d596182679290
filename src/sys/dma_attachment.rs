// SPDX-License-Identifier: GPL-2.0

//! Mappings for devices that are somebody else's: those of importers of a dma-buf.

use super::dma_mapping::{
    Backing,
    DeviceMapping, //
};
use crate::rules::range::Range;
use kernel::{
    bindings,
    device::Device,
    dma::DataDirection,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    types::Opaque, //
};

/// The device of an importer, for which a dma-buf is being mapped: once, and only while this lives.
pub(crate) struct Attachment<'a> {
    device: &'a Device,
    size: usize,
    mapping: Option<Arc<ImporterMapping>>,
}

impl<'a> Attachment<'a> {
    /// The attachment of `device` to a dma-buf of `size` bytes.
    ///
    /// # Safety
    ///
    /// The device must stay bound to its driver until this is dropped, and if it is taken over by
    /// [`Self::into_table`], until [`ImporterMapping::end`].
    pub(super) unsafe fn new(device: &'a Device, size: usize) -> Self {
        Self {
            device,
            size,
            mapping: None,
        }
    }

    /// The device.
    pub(crate) fn device(&self) -> &'a Device {
        self.device
    }

    /// Maps `range` of `memory`, whole pages, for the device. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`] if the range is not as long as the dma-buf, or something is mapped already;
    /// - those of [`DeviceMapping::new`].
    pub(crate) fn map(
        &mut self,
        memory: Backing,
        range: Range,
        direction: DataDirection,
    ) -> Result<Arc<ImporterMapping>> {
        if range.len() != self.size || self.mapping.is_some() {
            return Err(EINVAL);
        }
        // SAFETY: `drop` ends the mapping, or who took it over does, by the contract of `new`.
        let mapping = unsafe { DeviceMapping::of_device(self.device, memory, range, direction) }?;
        let mapping = Arc::pin_init(ImporterMapping::new(mapping), GFP_KERNEL_ACCOUNT)?;
        self.mapping = Some(mapping.clone());
        Ok(mapping)
    }

    /// The table of what was mapped, for the importer, which has it until [`ImporterMapping::take`].
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if nothing was mapped.
    pub(super) fn into_table(mut self) -> Result<*mut bindings::sg_table> {
        let mapping = self.mapping.take().ok_or(EINVAL)?;
        Ok(Arc::into_raw(mapping).cast_mut().cast())
    }
}

impl Drop for Attachment<'_> {
    fn drop(&mut self) {
        if let Some(mapping) = &self.mapping {
            mapping.end();
        }
    }
}

/// A mapping for the device of an importer. It ends when the importer says so, whoever still has this.
///
/// # Invariants
///
/// `table` is the first field, and a copy of that of `mapping` as long as there is one.
#[pin_data]
#[repr(C)]
pub(crate) struct ImporterMapping {
    table: Opaque<bindings::sg_table>,
    range: Range,
    bounces: bool,
    snoops: bool,
    #[pin]
    mapping: Mutex<Option<DeviceMapping>>,
}

// SAFETY: A table belongs to no thread.
unsafe impl Send for ImporterMapping {}
// SAFETY: The table is reached by the importer alone.
unsafe impl Sync for ImporterMapping {}

impl ImporterMapping {
    fn new(mapping: DeviceMapping) -> impl PinInit<Self> {
        // INVARIANT: Just copied.
        pin_init!(Self {
            table: Opaque::new(mapping.table()),
            range: mapping.range(),
            bounces: mapping.bounces(),
            snoops: mapping.snoops(),
            mapping <- new_mutex!(Some(mapping), "ImporterMapping::mapping"),
        })
    }

    /// The mapping that an importer got `table` of, from the importer, which no longer uses it.
    ///
    /// # Safety
    ///
    /// `table` must be of [`Attachment::into_table`], and not have been taken before.
    pub(super) unsafe fn take(table: *mut bindings::sg_table) -> Arc<Self> {
        // SAFETY: By this function's contract; the table is the first field, by the type invariants.
        unsafe { Arc::from_raw(table.cast_const().cast()) }
    }

    /// Unmaps the memory. From then on syncs do nothing. May sleep.
    pub(super) fn end(&self) {
        let mapping = self.mapping.lock().take();
        drop(mapping);
    }

    /// The part of the memory that is mapped.
    pub(crate) fn range(&self) -> Range {
        self.range
    }

    /// Whether the device has a copy of the memory, which each sync makes anew (swiotlb).
    pub(crate) fn bounces(&self) -> bool {
        self.bounces
    }

    /// Whether the device snoops the caches of the CPU, by [`DeviceMapping::snoops`].
    pub(crate) fn snoops(&self) -> bool {
        self.snoops
    }

    /// Makes what the device wrote to any of the mapped memory visible to the CPU, by
    /// [`DeviceMapping::sync_all_for_cpu`]. May sleep.
    pub(crate) fn sync_all_for_cpu(&self) {
        if let Some(mapping) = &*self.mapping.lock() {
            mapping.sync_all_for_cpu();
        }
    }

    /// Makes what the CPU wrote to any of the mapped memory visible to the device, by
    /// [`DeviceMapping::sync_all_for_device`]. May sleep.
    pub(crate) fn sync_all_for_device(&self) {
        if let Some(mapping) = &*self.mapping.lock() {
            mapping.sync_all_for_device();
        }
    }
}
