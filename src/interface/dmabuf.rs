// SPDX-License-Identifier: GPL-2.0

//! A range of a buffer as a dma-buf.

use crate::{
    buffer::{
        announce::Reserved,
        object::Buffer, //
    },
    rules::{
        ownership::{
            Caller,
            Phase, //
        },
        range::Range, //
    },
    sys::{
        address_space::AddressSpace,
        dma_attachment::{
            Attachment,
            ImporterMapping, //
        },
        dma_buf::{
            self,
            Exporter, //
        },
        dma_buf_import::DmaBuf,
        kernel_view::KernelView,
        vma::NewVma, //
    },
};
use kernel::{
    dma::DataDirection,
    fs::File,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        Arc, //
    },
};

/// A buffer that is exported, for as long as this lives: its memory stays where it is.
pub(crate) struct Exported(Arc<Buffer>);

impl Exported {
    /// Exports `buffer`.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] if the memory has no pages of its own.
    pub(crate) fn new(buffer: &Arc<Buffer>) -> Result<Self> {
        buffer.export_opened()?;
        Ok(Self(buffer.clone()))
    }

    /// A dma-buf of `range`, whole pages, that importers and programs may write to if `writable`.
    /// May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], [`ENFILE`].
    pub(crate) fn into_dma_buf(self, range: Range, writable: bool) -> Result<ARef<File>> {
        let reserved = self.0.reserve(range)?;
        let reservation = reserved.reservation().clone();
        let export = Export {
            exported: self,
            _reserved: reserved,
            range,
            writable,
        };
        dma_buf::export(export, reservation, range.len(), writable)
    }
}

impl Drop for Exported {
    fn drop(&mut self) {
        self.0.export_closed();
    }
}

/// Whether a dma-buf is one of ours.
pub(super) fn is_ours(dma_buf: &DmaBuf) -> bool {
    dma_buf.is_of::<Export>()
}

/// What a dma-buf of ours is made of.
struct Export {
    range: Range,
    writable: bool,
    /// Its fences.
    _reserved: Reserved,
    exported: Exported,
}

impl Export {
    fn buffer(&self) -> &Arc<Buffer> {
        &self.exported.0
    }

    fn sync(&self, phase: Phase) -> Result {
        self.buffer()
            .sync(self.range, phase, Caller::of(self.writable))
    }
}

impl Exporter for Export {
    fn map(&self, attachment: &mut Attachment<'_>, direction: DataDirection) -> Result {
        if !self.writable && direction != DataDirection::ToDevice {
            return Err(EACCES);
        }
        // Who can only read takes nothing from who writes.
        let lent = self.writable;
        self.buffer()
            .map_device(attachment, self.range, direction, lent)
    }

    fn unmap(&self, mapping: &Arc<ImporterMapping>) {
        self.buffer().unmap_device(mapping);
    }

    fn begin_cpu_access(&self) -> Result {
        self.sync(Phase::Start)
    }

    fn end_cpu_access(&self) -> Result {
        self.sync(Phase::End)
    }

    fn name(&self) -> Result<CString> {
        self.buffer().export_name()
    }

    fn address_space(&self) -> Arc<AddressSpace> {
        self.buffer().address_space().clone()
    }

    fn mmap(&self, mut vma: NewVma<'_>) -> Result {
        if !self.writable {
            // An importer's own file may be one that can be written to.
            vma.forbid_writing()?;
        }
        vma.move_offset(self.range.start())?;
        Ok(self.buffer().mmap(vma, false)?)
    }

    fn has_vmap(&self) -> bool {
        self.writable && self.buffer().has_kernel_view()
    }

    fn vmap(&self) -> Result<KernelView> {
        self.buffer().kernel_view(self.range)
    }
}
