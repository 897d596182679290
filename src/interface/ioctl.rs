// SPDX-License-Identifier: GPL-2.0

//! The ioctls of a handle: parse, call, return.

use super::{
    dmabuf::Exported,
    handle::{
        logged,
        Handle,
        Opened, //
    },
    imported::Imported,
    request::{
        exchange,
        install,
        known,
        parse_set_cache,
        parse_sync,
        put_string,
        read_struct,
        segment,
        zero,
        Call,
        ALLOC_V1,
        COPY_V1,
        EXPORT_V1,
        IMPORT_V1,
        INFO_V1,
        LENT_V1,
        SEGMENT_V1,
        SET_CACHE_V1,
        SYNC_V1, //
    },
};
use crate::{
    copy::{
        begun::{
            Copy,
            Wanted, //
        },
        job::Job, //
    },
    rules::{
        failure::{
            Failure,
            Foreign, //
        },
        ownership::Caller,
        range::Range,
        spec::Spec,
        uapi, //
    },
    sys::{
        cpu,
        eventfd::EventFd,
        node,
        rights::Rights,
        wait_queue::Patience, //
    },
};
use kernel::{
    fs::{
        file::flags,
        File,
        LocalFile, //
    },
    ioctl::_IOC_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::Relaxed, //
    },
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use zerocopy::FromZeros;

impl Handle {
    /// ioctl(2).
    ///
    /// # Errors
    ///
    /// [`ENOTTY`] for what is no call of ours; else those of each in `include/uapi/shmbuf.h`.
    pub(super) fn dispatch(&self, cmd: u32, arg: usize, patience: Patience) -> Result<isize> {
        let call = Call::of(cmd)?;
        let user = UserSlice::new(UserPtr::from_addr(arg), _IOC_SIZE(cmd));

        match call {
            Call::Info => exchange(user, INFO_V1, |request: uapi::shmbuf_info| {
                match request.flags {
                    0 => Ok(self.info()),
                    _ => Err(EINVAL),
                }
            }),
            Call::Lent => exchange(user, LENT_V1, |request| self.lent(&request)),
            Call::Segment => exchange(user, SEGMENT_V1, |request| self.segment(&request)),
            Call::Sync => {
                self.sync(&read_struct(user.reader(), SYNC_V1)?, patience)?;
                Ok(0)
            }
            Call::SetCache => {
                self.set_cache(&read_struct(user.reader(), SET_CACHE_V1)?, patience)?;
                Ok(0)
            }
            Call::Alloc => {
                let request = read_struct(user.reader(), ALLOC_V1)?;
                install(|| self.alloc(&request))
            }
            Call::Export => {
                let request = read_struct(user.reader(), EXPORT_V1)?;
                install(|| self.export(&request))
            }
            Call::Import => {
                let request = read_struct(user.reader(), IMPORT_V1)?;
                install(|| self.import(&request))
            }
            Call::Copy => self.copy(&read_struct(user.reader(), COPY_V1)?),
            Call::CopyResult => {
                self.background.take_result()?;
                Ok(0)
            }
        }
    }

    fn info(&self) -> uapi::shmbuf_info {
        let snapshot = self.buffer().snapshot();
        let storage = &snapshot.storage;
        let mut info = uapi::shmbuf_info {
            kind: snapshot.kind.to_uapi(),
            policy: snapshot.policy.to_uapi(),
            policies: snapshot.policies,
            size: snapshot.size as u64,
            owner: snapshot.owner.to_uapi(),
            cache_line: cpu::cache_line() as u32,
            mappings: snapshot.mappings as u32,
            mapping: snapshot.mapping.to_uapi(),
            direction: snapshot.direction.to_uapi(),
            exports: snapshot.exports as u32,
            access_width: storage.access_width() as u32,
            ..FromZeros::new_zeroed()
        };
        if snapshot.is_aliased {
            info.flags |= uapi::SHMBUF_INFO_ALIASED;
        }
        put_string(&mut info.memory_type, snapshot.memory_type.as_bytes());
        if let Some(name) = self.buffer().name() {
            put_string(&mut info.name, name.to_bytes());
        }
        if let Some(device) = self.opened.engine.device() {
            put_string(&mut info.engine, device.name().to_bytes());
        }
        if let Some((address, device)) = storage.dma() {
            put_string(&mut info.dma_device, device.name());
            if device.snoops() {
                info.flags |= uapi::SHMBUF_INFO_SNOOPS;
            }
            if cpu::may_see_addresses() {
                info.flags |= uapi::SHMBUF_INFO_DMA_ADDR;
                info.dma_addr = address.into();
            }
        }
        if cpu::may_see_addresses() {
            info.flags |= uapi::SHMBUF_INFO_PHYS_ADDR;
            info.phys_addr = storage.phys(0).into();
        }
        info
    }

    fn set_cache(&self, request: &uapi::shmbuf_set_cache, patience: Patience) -> Result {
        let policy = parse_set_cache(request).map_err(|failure| logged("SET_CACHE", failure))?;
        if !self.rights.writable {
            return Err(EBADF);
        }
        self.buffer()
            .set_policy(policy, patience)
            .map_err(|failure| logged("SET_CACHE", failure))
    }

    fn sync(&self, request: &uapi::shmbuf_sync, patience: Patience) -> Result {
        let (writes, phase) = parse_sync(request)?;
        let range = Range::new(request.offset, request.length, self.buffer().size())?;
        range.check_lines(cpu::cache_line(), self.buffer().size())?;
        if writes && !self.rights.writable {
            return Err(EBADF);
        }
        let caller = Caller::of(self.rights.writable);
        self.buffer().sync_with(range, phase, caller, patience)
    }

    fn lent(&self, request: &uapi::shmbuf_lent) -> Result<uapi::shmbuf_lent> {
        let range = Range::new(request.offset, request.length, self.buffer().size())?;
        if range.start() == 0 {
            // What comes back after this look is news.
            self.seen.store(self.buffer().returns(), Relaxed);
        }
        let found = self.buffer().first_lent(range);
        Ok(uapi::shmbuf_lent {
            offset: found.map_or(request.offset, |lent| lent.start() as u64),
            length: found.map_or(0, |lent| lent.len() as u64),
        })
    }

    fn segment(&self, request: &uapi::shmbuf_segment) -> Result<uapi::shmbuf_segment> {
        let storage = self.buffer().snapshot().storage;
        segment(request, self.buffer().size(), |rest| {
            storage.first_segment(rest)
        })
    }

    fn alloc(&self, request: &uapi::shmbuf_alloc) -> Result<ARef<File>> {
        let spec = parse_alloc(request).map_err(|failure| logged("ALLOC", failure))?;
        if !self.rights.writable {
            return Err(EBADF);
        }
        let buffer = self
            .opened
            .private
            .alloc(&spec, self.buffer())
            .map_err(|failure| logged("ALLOC", failure))?;
        let opened = Opened {
            buffer,
            ..self.opened.clone()
        };
        node::anonymous_file(c"[shmbuf]", Self::new(opened, Rights::ALL)?, flags::O_RDWR)
    }

    fn import(&self, request: &uapi::shmbuf_import) -> Result<ARef<File>> {
        zero("flags", request.flags).map_err(|failure| logged("IMPORT", failure))?;
        if !self.rights.writable {
            return Err(EBADF);
        }
        Imported::file(request.fd, &self.buffer().allocator().device)
            .map_err(|failure| logged("IMPORT", failure))
    }

    fn export(&self, request: &uapi::shmbuf_export) -> Result<ARef<File>> {
        if request.flags & !uapi::SHMBUF_EXPORT_READ_ONLY != 0 || request.reserved != 0 {
            return Err(EINVAL);
        }
        // There is no dma-buf that can be written to and not read.
        if !self.rights.readable {
            return Err(EBADF);
        }
        let exported = Exported::new(self.buffer())?;
        let range = Range::new(request.offset, request.length, self.buffer().size())?;
        range.check_pages()?;
        let read_only = request.flags & uapi::SHMBUF_EXPORT_READ_ONLY != 0;
        exported.into_dma_buf(range, self.rights.writable && !read_only)
    }

    fn copy(&self, request: &uapi::shmbuf_copy) -> Result<isize> {
        let (patience, goes_on) = parse_copy(request)?;
        if !self.rights.writable {
            return Err(EBADF);
        }
        let number = u32::try_from(request.src_fd).map_err(|_| EBADF)?;
        let file = LocalFile::fget(number).map_err(|_| EBADF)?;
        if node::handle::<Imported>(&file).is_some() {
            return Err(logged("COPY", Failure::Foreign(Foreign::Engine)));
        }
        let source = node::handle::<Self>(&file).filter(|handle| handle.rights.readable);
        let source = source.ok_or(EBADF)?.buffer().clone();
        let from = Range::new(request.src_offset, request.length, source.size())?;
        let to = Range::new(request.dst_offset, request.length, self.buffer().size())?;
        let (source, target) = ((source, from), (self.buffer().clone(), to));
        let engine = &self.opened.engine;
        let begin = |wanted| Copy::begin(engine, &source, &target, wanted);
        match goes_on {
            GoesOn::No => {
                let job = Job::new(engine, patience, None)?;
                let (copy, _) = begin(Wanted::Nothing)?;
                job.complete(engine, copy)?;
                Ok(0)
            }
            GoesOn::Yes { eventfd, wanted } => {
                let counter = eventfd.map(EventFd::get).transpose()?;
                let job = Job::new(engine, patience, counter)?;
                let start = || self.background.start(engine, &job, || begin(wanted));
                match wanted {
                    Wanted::Nothing => start().map(|_| 0),
                    Wanted::SyncFile => install(|| start()?.ok_or(EIO)),
                }
            }
        }
    }
}

/// What ALLOC asks for.
fn parse_alloc(request: &uapi::shmbuf_alloc) -> Result<Spec, Failure> {
    zero("flags", request.flags)?;
    zero("reserved", request.reserved)?;
    Ok(Spec {
        size: request.size,
        kind: known("kind", request.kind)?,
        policy: match request.policy {
            uapi::SHMBUF_POLICY_DEFAULT => None,
            policy => Some(known("policy", policy)?),
        },
        mapping: known("mapping", request.mapping)?,
        direction: known("direction", request.direction)?,
        align: request.align as usize,
        boundary: request.boundary as usize,
    })
}

/// Whether a copy goes on when the call has returned.
enum GoesOn {
    No,
    /// It does; and what tells of its end.
    Yes {
        eventfd: Option<i32>,
        wanted: Wanted,
    },
}

/// How long the engine may take, and what else the copy is like.
fn parse_copy(request: &uapi::shmbuf_copy) -> Result<(Jiffies, GoesOn)> {
    const DEFAULT_MS: u32 = 10_000;
    const MOST_MS: u32 = 60_000;
    const MORE: u32 = uapi::SHMBUF_COPY_EVENTFD | uapi::SHMBUF_COPY_SYNC_FILE;

    let patience = match request.timeout_ms {
        0 => DEFAULT_MS,
        milliseconds @ 1..=MOST_MS => milliseconds,
        _ => return Err(EINVAL),
    };
    let has = |flag| request.flags & flag != 0;
    if request.flags & !(uapi::SHMBUF_COPY_ASYNC | MORE) != 0
        || !has(uapi::SHMBUF_COPY_ASYNC) && has(MORE)
        || !has(uapi::SHMBUF_COPY_EVENTFD) && request.eventfd != 0
    {
        return Err(EINVAL);
    }
    let goes_on = match has(uapi::SHMBUF_COPY_ASYNC) {
        false => GoesOn::No,
        true => GoesOn::Yes {
            eventfd: has(uapi::SHMBUF_COPY_EVENTFD).then_some(request.eventfd),
            wanted: match has(uapi::SHMBUF_COPY_SYNC_FILE) {
                true => Wanted::SyncFile,
                false => Wanted::Nothing,
            },
        },
    };
    Ok((msecs_to_jiffies(patience), goes_on))
}
