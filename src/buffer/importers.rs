// SPDX-License-Identifier: GPL-2.0

//! dma-bufs of a buffer, and the devices of their importers.

use super::{
    locked::Locked,
    object::{
        Buffer,
        ImporterView, //
    }, //
};
use crate::{
    rules::{
        failure::Unfit,
        kind::Kind,
        ownership::{
            Hold,
            Room,
            WritesTo, //
        },
        range::Range,
        range_lock::{
            Mode,
            Request, //
        }, //
    },
    sys::{
        cpu,
        dma_attachment::{
            Attachment,
            ImporterMapping, //
        },
        errno::EOPNOTSUPP,
        kernel_view::KernelView,
        wait_queue::{
            EndedBy,
            Patience, //
        }, //
    },
};
use kernel::{
    device::Device,
    dma::DataDirection,
    prelude::*,
    sync::Arc, //
};

/// Says in the log why `device` is not fit for the memory. Returns what its driver gets.
fn refuse(device: &Device, reason: Unfit) -> Error {
    if cpu::log_allowed() {
        pr_notice!("{}: {reason}\n", device.name());
    }
    reason.errno()
}

impl Buffer {
    /// The device of an importer gets a view of `range`, whole pages, as by SYNC END. It is lent all
    /// of it if that can be `lent`, and else only sees what the CPU wrote. Waits for who uses some of
    /// it, which is never for a program but for a DMA engine. The buffer must be exported.
    ///
    /// # Errors
    ///
    /// - [`EOPNOTSUPP`] if the memory has no pages of its own;
    /// - that of an [`Unfit`], if the device is not fit for the memory, and says why in the log;
    /// - [`EACCES`] if the device would write, and devices only read the buffer;
    /// - [`EBUSY`] if the kernel copies for this device or for one that has the buffer: copies of
    ///   several devices would not be the same;
    /// - [`ERESTARTSYS`] if the process was killed while waiting;
    /// - [`ENOMEM`].
    pub(crate) fn map_device(
        &self,
        attachment: &mut Attachment<'_>,
        range: Range,
        direction: DataDirection,
        lent: bool,
    ) -> Result {
        if !self.is_written_by_devices() && direction != DataDirection::ToDevice {
            return Err(EACCES);
        }
        let storage = self.state.lock().storage.clone();
        let backing = storage.backing().ok_or(EOPNOTSUPP)?;
        let device = attachment.device();
        let unfit = |reason| refuse(device, reason);
        let mapping = match attachment.map(backing, range, direction) {
            Err(EIO) => return Err(unfit(Unfit::Unreached)),
            mapping => mapping?,
        };
        let has_sync = storage.policy().is_cached() && storage.kind() != Kind::Coherent;
        if mapping.bounces() && !has_sync {
            return Err(unfit(Unfit::Copied));
        }
        if mapping.snoops() && !storage.policy().is_cached() {
            return Err(unfit(Unfit::Snooping));
        }
        let is_coherent = storage.kind() == Kind::Coherent && storage.policy().is_cached();
        if is_coherent && !mapping.snoops() {
            return Err(unfit(Unfit::Unsnooping));
        }
        let (hold, mode) = match storage.policy().is_cached() && lent {
            true => (Hold::Lent, Mode::Exclusive),
            false => (Hold::Never, Mode::Shared),
        };
        // A signal that the program survives is no reason for an importer to give up: V4L2 would
        // say EINVAL.
        let patience = Patience::Until(EndedBy::FatalSignal);
        let _locked = Locked::wait(self, &[Request::exact(range, mode)], patience)?;

        let mut views = self.views.lock();
        let writes_to = WritesTo::of_device(mapping.snoops() || mapping.bounces());
        let bounces = mapping.bounces() || views.iter().any(|view| view.mapping.bounces());
        if bounces && !views.is_empty() {
            return Err(EBUSY);
        }
        views.reserve(1, GFP_KERNEL)?;
        let room = Room::new(views.len() + 1)?;
        let mut state = self.state.lock();
        let id = state.access.add_view(range, hold, writes_to, room)?;
        drop(state);
        if hold == Hold::Lent {
            self.withdraw(range);
        }
        if storage.policy().is_cached() {
            if self.has_aliases(storage.policy()) {
                self.address_space().lock().flush(range);
            }
            self.clean_for(writes_to, &storage, range);
            mapping.sync_all_for_device();
        }
        cpu::drain_write_buffer();
        let view = ImporterView {
            id,
            writes_to,
            mapping,
        };
        views.push(view, GFP_KERNEL)?;
        Ok(())
    }

    /// The device of an importer no longer has the view that `mapping` is, and returns what it was
    /// lent of it. Waits for nobody. May sleep.
    pub(crate) fn unmap_device(&self, mapping: &Arc<ImporterMapping>) {
        let mut views = self.views.lock();
        let at = views
            .iter()
            .position(|view| Arc::ptr_eq(&view.mapping, mapping));
        if let Some(view) = at.and_then(|at| views.remove(at).ok()) {
            let storage = self.state.lock().storage.clone();
            if self.has_aliases(storage.policy()) {
                // A program may have read what the device then wrote.
                self.address_space().lock().flush(mapping.range());
            }
            self.return_view(&storage, &views, &view);
            self.state.lock().access.ownership.remove_view(view.id);
        }
    }

    /// A dma-buf of the buffer came to be.
    ///
    /// # Errors
    ///
    /// - [`EOPNOTSUPP`] if the memory has no pages of its own;
    /// - [`EBUSY`] while it is being replaced.
    pub(crate) fn export_opened(&self) -> Result {
        let mut state = self.state.lock();
        if state.storage.backing().is_none() {
            return Err(EOPNOTSUPP);
        }
        *state.users.exports()? += 1;
        Ok(())
    }

    /// A dma-buf of the buffer is gone.
    pub(crate) fn export_closed(&self) {
        if let Ok(exports) = self.state.lock().users.exports() {
            *exports -= 1;
        }
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
        let mut state = self.state.lock();
        state.was_vmapped = true;
        let storage = state.storage.clone();
        drop(state);
        storage.kernel_view(range)
    }
}
