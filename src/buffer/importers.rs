// SPDX-License-Identifier: GPL-2.0

//! dma-bufs of a buffer, and the devices of their importers.

use super::object::Buffer;
use crate::{
    memory::storage::KernelView,
    rules::{
        kind::Kind,
        range::Range, //
    },
    sys::{
        cpu,
        dma_mapping::{
            DeviceMapping,
            SgTable, //
        },
        user, //
    },
};
use kernel::{
    device::Device,
    dma::DataDirection,
    prelude::*, //
};

impl Buffer {
    /// The device of an importer gets `range`, whole pages, as after SYNC. Returns the table for the
    /// importer, and for [`Self::unmap_device`]. Waits for nothing; may sleep. The buffer must be
    /// exported.
    ///
    /// # Errors
    ///
    /// - [`EOPNOTSUPP`] if the memory has no pages of its own, or the kernel would copy for the
    ///   device, and nobody has to SYNC such memory;
    /// - [`EACCES`] if the device would write, and devices only read the buffer;
    /// - [`EIO`] if the device cannot address the memory;
    /// - [`EBUSY`] if the kernel copies for this device or for one that has the buffer: copies of
    ///   several devices would not be the same;
    /// - [`ENOMEM`].
    pub(crate) fn map_device(
        &self,
        device: &Device,
        range: Range,
        direction: DataDirection,
    ) -> Result<SgTable> {
        if !self.is_written_by_devices() && direction != DataDirection::ToDevice {
            return Err(EACCES);
        }
        let storage = self.state.lock().storage.clone();
        let backing = storage.backing().ok_or(EOPNOTSUPP)?;
        let mapping = DeviceMapping::new(device, backing, range, direction)?;
        let has_sync = storage.policy().is_cached() && storage.kind() != Kind::Coherent;
        if mapping.bounces() && !has_sync {
            return Err(EOPNOTSUPP);
        }
        let table = mapping.table();

        let mut devices = self.devices.lock();
        let bounces = mapping.bounces() || devices.iter().any(DeviceMapping::bounces);
        if bounces && !devices.is_empty() {
            return Err(EBUSY);
        }
        devices.reserve(1, GFP_KERNEL)?;
        if storage.policy().is_cached() {
            if direction == DataDirection::FromDevice {
                // The DMA API would discard what the CPU wrote around what the device will.
                storage.sync_for_device(range)?;
            }
            self.state.lock().access.hand_over(range);
            self.withdraw();
            if self.has_aliases(storage.policy()) {
                // Of all processes, as the mmap lock comes before that of an importer.
                user::flush_all();
            }
            mapping.sync_all_for_device();
        }
        cpu::drain_write_buffer();
        devices.push(mapping, GFP_KERNEL)?;
        Ok(table)
    }

    /// The device of an importer no longer has what `table` says. The owner stays. May sleep.
    pub(crate) fn unmap_device(&self, table: SgTable) {
        let mut devices = self.devices.lock();
        if let Some(at) = devices.iter().position(|mapping| mapping.table() == table) {
            let Ok(mapping) = devices.remove(at) else {
                return;
            };
            let state = self.state.lock();
            // If the CPU has the buffer, its lines may be dirty, and are somebody's data.
            if state.storage.policy().is_cached() && state.access.is_given() {
                drop(state);
                mapping.sync_all_for_cpu();
            }
        }
    }

    /// A dma-buf of the buffer came to be.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] if the memory has no pages of its own.
    pub(crate) fn export_opened(&self) -> Result {
        let mut state = self.state.lock();
        if state.storage.backing().is_none() {
            return Err(EOPNOTSUPP);
        }
        state.exports += 1;
        Ok(())
    }

    /// A dma-buf of the buffer is gone.
    pub(crate) fn export_closed(&self) {
        self.state.lock().exports -= 1;
    }

    /// Whether importers can have a kernel's view: not if it would be one more set of cache lines,
    /// which nobody maintains. It stays so while the buffer is exported.
    pub(crate) fn has_kernel_view(&self) -> bool {
        let storage = self.state.lock().storage.clone();
        !self.has_aliases(storage.policy()) || storage.has_permanent_view()
    }

    /// A kernel's view of `range`, whole pages, for an importer; see [`Self::has_kernel_view`]. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if there is no memory or no vmalloc space.
    pub(crate) fn kernel_view(&self, range: Range) -> Result<KernelView> {
        let storage = self.state.lock().storage.clone();
        KernelView::new(storage, range)
    }
}
