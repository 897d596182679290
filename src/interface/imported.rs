// SPDX-License-Identifier: GPL-2.0

//! A handle on a dma-buf of another driver, for a device: its file operations and its ioctls.
//!
//! It has little in common with a buffer: the memory, its type and its mappings are the exporter's,
//! and only the exporter knows who uses it. What the driver adds is a mapping for the device, with its
//! addresses, and a SYNC that reaches both. The calls on a handle do not wait for each other.

use super::{
    dmabuf,
    handle::logged,
    request::{
        exchange,
        install,
        parse_set_cache,
        parse_sync,
        put_string,
        read_struct,
        segment,
        Call,
        EXPORT_V1,
        INFO_V1,
        LENT_V1,
        SEGMENT_V1,
        SET_CACHE_V1,
        SYNC_V1, //
    },
};
use crate::{
    rules::{
        failure::{
            Failure,
            Foreign, //
        },
        ownership::{
            Owner,
            Phase, //
        },
        range::Range,
        uapi, //
    },
    sys::{
        address_space::AddressSpace,
        cpu,
        dma_buf_import::{
            DmaBuf,
            ImportedMemory, //
        },
        dma_device::DmaDevice,
        errno::ENODATA,
        node::{
            self,
            NodeOperations,
            Ready, //
        },
        poll_queue::PollQueue,
        rights::Rights,
        transfer::Settle,
        vma::NewVma,
        wait_queue::Patience, //
    },
};
use core::convert::Infallible;
use kernel::{
    bindings,
    fs::{
        file::flags,
        File, //
    },
    ioctl::_IOC_SIZE,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    str::BStr,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        poll::PollCondVar,
        Arc, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use zerocopy::FromZeros;

/// An open file on a dma-buf of another driver.
pub(super) struct Imported {
    memory: Pin<KBox<ImportedMemory>>,
    rights: Rights,
    /// Whether the CPU has begun to access the memory: else the device has it, if it can write.
    begun: Atomic<bool>,
    space: Arc<AddressSpace>,
    news: Arc<PollQueue>,
}

impl Imported {
    /// A new handle on the dma-buf that the calling process has open as `fd`, for `device`, with the rights
    /// that the dma-buf has. May sleep.
    ///
    /// # Errors
    ///
    /// - [`Failure::Foreign`] if it cannot be imported;
    /// - [`EBADF`] if nothing is open as `fd`;
    /// - [`ENOMEM`], [`ENFILE`];
    /// - what the exporter refuses.
    pub(super) fn file(fd: i32, device: &Arc<DmaDevice>) -> Result<ARef<File>, Failure> {
        let dma_buf = DmaBuf::get(fd).map_err(|error| match error {
            EINVAL => Failure::Foreign(Foreign::NoDmaBuf),
            error => Failure::Other(error),
        })?;
        if dmabuf::is_ours(&dma_buf) {
            return Err(Failure::Foreign(Foreign::Ours));
        }
        if dma_buf.size() == 0 {
            return Err(Failure::Other(EINVAL));
        }
        let mode = dma_buf.file().flags() & flags::O_ACCMODE;
        let memory = ImportedMemory::new(dma_buf, device)?;
        if memory.may_be_copied() {
            return Err(Failure::Foreign(Foreign::Copied));
        }
        let news = PollQueue::new(c"shmbuf::imported", kernel::static_lock_class!())?;
        let handle = Self {
            memory,
            rights: Rights::of(mode),
            begun: Atomic::new(false),
            space: AddressSpace::new()?,
            news,
        };
        let handle = KBox::pin(handle, GFP_KERNEL_ACCOUNT).map_err(Error::from)?;
        Ok(node::anonymous_file(c"[shmbuf-imported]", handle, mode)?)
    }

    /// All of the memory.
    fn whole(&self) -> Range {
        Range::whole(self.size())
    }

    /// Who may touch the contents. From who can only read them nothing is lent.
    fn owner(&self) -> Owner {
        match self.rights.writable && !self.begun.load(Relaxed) {
            true => Owner::Device,
            false => Owner::Cpu,
        }
    }

    /// # Errors
    ///
    /// [`EBUSY`] if the device has the memory.
    fn check_owner(&self) -> Result {
        match self.owner() {
            Owner::Cpu => Ok(()),
            Owner::Device => Err(EBUSY),
        }
    }

    /// ioctl(2).
    ///
    /// # Errors
    ///
    /// Those of each call in `include/uapi/shmbuf.h`.
    fn dispatch(&self, cmd: u32, arg: usize, patience: Patience) -> Result<isize> {
        let call = Call::of(cmd)?;
        let user = UserSlice::new(UserPtr::from_addr(arg), _IOC_SIZE(cmd));

        match call {
            Call::Info => exchange(user, INFO_V1, |request| self.info(&request)),
            Call::Lent => exchange(user, LENT_V1, |request| self.lent(&request)),
            Call::Segment => exchange(user, SEGMENT_V1, |request| self.segment(&request)),
            Call::Sync => {
                self.sync(&read_struct(user.reader(), SYNC_V1)?, patience)?;
                Ok(0)
            }
            Call::Export => {
                let request = read_struct(user.reader(), EXPORT_V1)?;
                install(|| self.export(&request))
            }
            Call::SetCache => {
                parse_set_cache(&read_struct(user.reader(), SET_CACHE_V1)?)?;
                Err(refused("SET_CACHE", Foreign::Policy))
            }
            Call::Alloc => Err(refused("ALLOC", Foreign::Origin)),
            Call::Import => Err(refused("IMPORT", Foreign::Origin)),
            Call::Copy => Err(refused("COPY", Foreign::Engine)),
            Call::CopyResult => Err(ENODATA),
        }
    }

    fn info(&self, request: &uapi::shmbuf_info) -> Result<uapi::shmbuf_info> {
        if request.flags != 0 {
            return Err(EINVAL);
        }
        let device = self.memory.device();
        let mut info = uapi::shmbuf_info {
            kind: uapi::SHMBUF_KIND_IMPORTED,
            size: self.size() as u64,
            owner: self.owner().to_uapi(),
            cache_line: cpu::cache_line() as u32,
            direction: match self.rights.writable {
                true => uapi::SHMBUF_DIRECTION_BIDIRECTIONAL,
                false => uapi::SHMBUF_DIRECTION_TO_DEVICE,
            },
            access_width: 1,
            ..FromZeros::new_zeroed()
        };
        put_string(
            &mut info.memory_type,
            self.memory.dma_buf().exporter().to_bytes(),
        );
        put_string(&mut info.dma_device, device.name());
        if device.snoops() {
            info.flags |= uapi::SHMBUF_INFO_SNOOPS;
        }
        if cpu::may_see_addresses() {
            if let Some((address, _)) = self.memory.first_segment(self.whole()) {
                info.flags |= uapi::SHMBUF_INFO_DMA_ADDR;
                info.dma_addr = address.into();
            }
        }
        Ok(info)
    }

    fn lent(&self, request: &uapi::shmbuf_lent) -> Result<uapi::shmbuf_lent> {
        let range = Range::new(request.offset, request.length, self.size())?;
        Ok(uapi::shmbuf_lent {
            offset: request.offset,
            length: match self.owner() {
                Owner::Device => range.len() as u64,
                Owner::Cpu => 0,
            },
        })
    }

    fn segment(&self, request: &uapi::shmbuf_segment) -> Result<uapi::shmbuf_segment> {
        segment(request, self.size(), |rest| self.memory.first_segment(rest))
    }

    fn sync(&self, request: &uapi::shmbuf_sync, patience: Patience) -> Result {
        let (writes, phase) = parse_sync(request)?;
        let range = Range::new(request.offset, request.length, self.size())?;
        if writes && !self.rights.writable {
            return Err(EBADF);
        }
        if range != self.whole() {
            return Err(refused("SYNC", Foreign::Part));
        }
        match phase {
            Phase::Start => {
                self.memory.begin_cpu_access(patience)?;
                self.begun.store(true, Relaxed);
            }
            // Some exporters refuse the end of what was not begun.
            Phase::End if !self.begun.load(Relaxed) => self.memory.clean(),
            Phase::End => {
                self.memory.end_cpu_access()?;
                self.begun.store(false, Relaxed);
            }
        }
        Ok(())
    }

    fn export(&self, request: &uapi::shmbuf_export) -> Result<ARef<File>> {
        if request.flags & !uapi::SHMBUF_EXPORT_READ_ONLY != 0 || request.reserved != 0 {
            return Err(EINVAL);
        }
        if !self.rights.readable {
            return Err(EBADF);
        }
        let range = Range::new(request.offset, request.length, self.size())?;
        range.check_pages()?;
        if range != self.whole() {
            return Err(refused("EXPORT", Foreign::Part));
        }
        if self.rights.writable && request.flags & uapi::SHMBUF_EXPORT_READ_ONLY != 0 {
            return Err(refused("EXPORT", Foreign::Rights));
        }
        Ok(self.memory.dma_buf().file())
    }
}

/// What a call gets that does not go with an imported dma-buf.
fn refused(call: &str, reason: Foreign) -> Error {
    logged(call, Failure::Foreign(reason))
}

impl NodeOperations for Imported {
    // There is no node of it.
    type Data = Infallible;

    fn open(data: &Infallible, _flags: u32) -> Result<Pin<KBox<Self>>> {
        match *data {}
    }

    fn address_space(&self) -> Arc<AddressSpace> {
        self.space.clone()
    }

    fn size(&self) -> usize {
        self.memory.dma_buf().size()
    }

    fn phys(&self) -> bindings::phys_addr_t {
        0
    }

    fn read(
        &self,
        position: u64,
        iter: &mut IovIterDest<'_>,
        _patience: Patience,
    ) -> Result<usize> {
        let Some(range) = Range::clamped(position, iter.len(), self.size()) else {
            return Ok(0);
        };
        self.check_owner()?;
        self.memory.read(range, iter)
    }

    fn write(
        &self,
        position: u64,
        iter: &mut IovIterSource<'_>,
        settle: Settle,
        _patience: Patience,
    ) -> Result<usize> {
        if iter.is_empty() {
            return Ok(0);
        }
        let range = Range::clamped(position, iter.len(), self.size()).ok_or(ENOSPC)?;
        self.check_owner()?;
        let count = self.memory.write(range, iter)?;
        if settle == Settle::Now {
            self.memory.clean();
        }
        Ok(count)
    }

    fn fsync(&self, _first: u64, _last: u64) -> Result {
        self.memory.clean();
        Ok(())
    }

    fn mmap(&self, vma: NewVma<'_>, _synchronous: bool) -> Result {
        self.memory.mmap(vma)
    }

    fn ioctl(&self, cmd: u32, arg: usize, patience: Patience) -> Result<isize> {
        self.dispatch(cmd, arg, patience)
    }

    fn news(&self) -> Arc<PollQueue> {
        self.news.clone()
    }

    fn poll(&self, _register: impl FnOnce(&PollCondVar)) -> Ready {
        Ready {
            transfers: true,
            news: false,
        }
    }

    fn show_fdinfo(&self, m: &SeqFile) {
        let device = BStr::from_bytes(self.memory.device().name());
        let exporter = BStr::from_bytes(self.memory.dma_buf().exporter().to_bytes());
        seq_print!(m, "kind:\timported\n");
        seq_print!(m, "size:\t{}\n", self.size());
        seq_print!(m, "owner:\t{}\n", self.owner());
        seq_print!(m, "exporter:\t{exporter}\n");
        seq_print!(m, "device:\t{device}\n");
    }
}
