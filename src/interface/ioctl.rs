// SPDX-License-Identifier: GPL-2.0

//! The ioctls of a handle: parse, call, return.

use super::{
    dmabuf::Exported,
    handle::{
        logged,
        Handle,
        Opened, //
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
            Invalid, //
        },
        ownership::{
            Caller,
            Phase, //
        },
        policy::Policy,
        range::Range,
        spec::Spec,
        uapi, //
    },
    sys::{
        cpu,
        errno::EOPNOTSUPP,
        eventfd::EventFd,
        node,
        wait_queue::Patience, //
    },
};
use core::cmp::min;
use kernel::{
    fs::{
        file::{
            flags,
            FileDescriptorReservation, //
        },
        File,
        LocalFile, //
    },
    ioctl::{
        _IOC_DIR,
        _IOC_NR,
        _IOC_SIZE,
        _IOC_TYPE, //
    },
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
        UserSlice,
        UserSliceReader, //
    },
};
use zerocopy::FromZeros;

impl Handle {
    /// ioctl(2). Calls are told by direction, type and number; the size may be that of an earlier
    /// or later header.
    ///
    /// # Errors
    ///
    /// [`ENOTTY`] for what is no call of ours; else those of each in `include/uapi/shmbuf.h`.
    pub(super) fn dispatch(&self, cmd: u32, arg: usize, patience: Patience) -> Result<isize> {
        let is = |known: u32| {
            _IOC_DIR(cmd) == _IOC_DIR(known)
                && _IOC_TYPE(cmd) == _IOC_TYPE(known)
                && _IOC_NR(cmd) == _IOC_NR(known)
        };
        let user = UserSlice::new(UserPtr::from_addr(arg), _IOC_SIZE(cmd));

        if is(uapi::SHMBUF_IOC_INFO) {
            let (reader, mut writer) = user.reader_writer();
            let request: uapi::shmbuf_info = read_struct(reader, INFO_V1)?;
            if request.flags != 0 {
                return Err(EINVAL);
            }
            let answer = self.info();
            // A longer structure keeps its zeroes.
            let len = min(writer.len(), size_of_val(&answer));
            writer.write_slice(&answer.as_bytes()[..len])?;
            Ok(0)
        } else if is(uapi::SHMBUF_IOC_LENT) {
            let (reader, mut writer) = user.reader_writer();
            let answer = self.lent(&read_struct(reader, LENT_V1)?)?;
            let len = min(writer.len(), size_of_val(&answer));
            writer.write_slice(&answer.as_bytes()[..len])?;
            Ok(0)
        } else if is(uapi::SHMBUF_IOC_SEGMENT) {
            let (reader, mut writer) = user.reader_writer();
            let answer = self.segment(&read_struct(reader, SEGMENT_V1)?)?;
            let len = min(writer.len(), size_of_val(&answer));
            writer.write_slice(&answer.as_bytes()[..len])?;
            Ok(0)
        } else if is(uapi::SHMBUF_IOC_SET_CACHE) {
            self.set_cache(&read_struct(user.reader(), SET_CACHE_V1)?, patience)?;
            Ok(0)
        } else if is(uapi::SHMBUF_IOC_SYNC) {
            self.sync(&read_struct(user.reader(), SYNC_V1)?, patience)?;
            Ok(0)
        } else if is(uapi::SHMBUF_IOC_ALLOC) {
            let request = read_struct(user.reader(), ALLOC_V1)?;
            install(|| self.alloc(&request))
        } else if is(uapi::SHMBUF_IOC_EXPORT) {
            let request = read_struct(user.reader(), EXPORT_V1)?;
            install(|| self.export(&request))
        } else if is(uapi::SHMBUF_IOC_COPY) {
            self.copy(&read_struct(user.reader(), COPY_V1)?)
        } else if is(uapi::SHMBUF_IOC_COPY_RESULT) {
            self.background.take_result()?;
            Ok(0)
        } else {
            Err(ENOTTY)
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
        if !self.writable {
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
        if writes && !self.writable {
            return Err(EBADF);
        }
        let caller = Caller::of(self.writable);
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
        if request.length != 0 || request.dma_addr != 0 {
            return Err(EINVAL);
        }
        let rest =
            Range::clamped(request.offset, usize::MAX, self.buffer().size()).ok_or(ERANGE)?;
        if !cpu::may_see_addresses() {
            return Err(EPERM);
        }
        let (dma, len) = self
            .buffer()
            .snapshot()
            .storage
            .first_segment(rest)
            .ok_or(EOPNOTSUPP)?;
        Ok(uapi::shmbuf_segment {
            offset: request.offset,
            length: len as u64,
            dma_addr: dma.into(),
        })
    }

    fn alloc(&self, request: &uapi::shmbuf_alloc) -> Result<ARef<File>> {
        let spec = parse_alloc(request).map_err(|failure| logged("ALLOC", failure))?;
        if !self.writable {
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
        node::anonymous_file(c"[shmbuf]", Self::new(opened, true, true)?)
    }

    fn export(&self, request: &uapi::shmbuf_export) -> Result<ARef<File>> {
        if request.flags & !uapi::SHMBUF_EXPORT_READ_ONLY != 0 || request.reserved != 0 {
            return Err(EINVAL);
        }
        // There is no dma-buf that can be written to and not read.
        if !self.readable {
            return Err(EBADF);
        }
        let exported = Exported::new(self.buffer())?;
        let range = Range::new(request.offset, request.length, self.buffer().size())?;
        range.check_pages()?;
        let read_only = request.flags & uapi::SHMBUF_EXPORT_READ_ONLY != 0;
        exported.into_dma_buf(range, self.writable && !read_only)
    }

    fn copy(&self, request: &uapi::shmbuf_copy) -> Result<isize> {
        let (patience, goes_on) = parse_copy(request)?;
        if !self.writable {
            return Err(EBADF);
        }
        let number = u32::try_from(request.src_fd).map_err(|_| EBADF)?;
        let file = LocalFile::fget(number).map_err(|_| EBADF)?;
        let source = node::handle::<Self>(&file).filter(|handle| handle.readable);
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

/// Gives the calling process a descriptor, close-on-exec, of the file that `make` makes. Where that
/// fails, nobody has seen one.
fn install(make: impl FnOnce() -> Result<ARef<File>>) -> Result<isize> {
    let descriptor = FileDescriptorReservation::get_unused_fd_flags(flags::O_CLOEXEC)?;
    let file = make()?;
    let number = descriptor.reserved_fd();
    descriptor.fd_install(file);
    Ok(number as isize)
}

/// The value that a field has, by its number.
fn known<T: TryFrom<u32>>(field: &'static str, number: u32) -> Result<T, Failure> {
    T::try_from(number).map_err(|_| Failure::Invalid(Invalid::Number(field, number)))
}

/// Nothing, if a field that has no meaning yet is zero.
fn zero(field: &'static str, number: u32) -> Result<(), Failure> {
    match number {
        0 => Ok(()),
        _ => Err(Failure::Invalid(Invalid::Number(field, number))),
    }
}

/// The policy that SET_CACHE asks for.
fn parse_set_cache(request: &uapi::shmbuf_set_cache) -> Result<Policy, Failure> {
    zero("flags", request.flags)?;
    known("policy", request.policy)
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

/// The sizes of the structures in their first version: less is not understood.
const INFO_V1: usize = 136;
const SET_CACHE_V1: usize = 8;
const SYNC_V1: usize = 24;
const ALLOC_V1: usize = 40;
const EXPORT_V1: usize = 24;
const COPY_V1: usize = 40;
const LENT_V1: usize = 16;
const SEGMENT_V1: usize = 24;

/// Whether the CPU writes, and the phase.
fn parse_sync(request: &uapi::shmbuf_sync) -> Result<(bool, Phase)> {
    const KNOWN: u32 = uapi::SHMBUF_SYNC_RW | uapi::SHMBUF_SYNC_END;

    if request.flags & !KNOWN != 0 || request.reserved != 0 {
        return Err(EINVAL);
    }
    if request.flags & uapi::SHMBUF_SYNC_RW == 0 {
        return Err(EINVAL);
    }
    let writes = request.flags & uapi::SHMBUF_SYNC_WRITE != 0;
    let phase = if request.flags & uapi::SHMBUF_SYNC_END != 0 {
        Phase::End
    } else {
        Phase::Start
    };
    Ok((writes, phase))
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

/// Reads a structure that may be of another version, as copy_struct_from_user() does.
///
/// # Errors
///
/// - [`EINVAL`] if it is shorter than `least`;
/// - [`E2BIG`] if it is longer than ours, and what we do not know is not zero;
/// - [`EFAULT`] for a bad pointer.
fn read_struct<T>(mut reader: UserSliceReader, least: usize) -> Result<T>
where
    T: FromBytes + IntoBytes,
{
    if reader.len() < least {
        return Err(EINVAL);
    }
    let mut value = T::new_zeroed();
    let known = min(reader.len(), size_of::<T>());
    reader.read_slice(&mut value.as_mut_bytes()[..known])?;
    while !reader.is_empty() {
        let mut rest = [0; 64];
        let count = min(reader.len(), rest.len());
        reader.read_slice(&mut rest[..count])?;
        if rest.iter().any(|&byte| byte != 0) {
            return Err(E2BIG);
        }
    }
    Ok(value)
}

/// Puts `text` into `field`, which is zero, cut so that a NUL remains.
fn put_string(field: &mut [kernel::ffi::c_char], text: &[u8]) {
    let room = field.len() - 1;
    for (to, from) in field[..room].iter_mut().zip(text) {
        *to = *from;
    }
}

#[kunit_tests(shmbuf_ioctl)]
mod tests {
    use super::*;

    #[test]
    fn first_versions_are_what_the_header_says() {
        // A structure may grow; its first version does not.
        assert!(size_of::<uapi::shmbuf_info>() >= INFO_V1);
        assert!(size_of::<uapi::shmbuf_set_cache>() >= SET_CACHE_V1);
        assert!(size_of::<uapi::shmbuf_sync>() >= SYNC_V1);
        assert!(size_of::<uapi::shmbuf_alloc>() >= ALLOC_V1);
        assert!(size_of::<uapi::shmbuf_export>() >= EXPORT_V1);
        assert!(size_of::<uapi::shmbuf_copy>() >= COPY_V1);
        assert!(size_of::<uapi::shmbuf_lent>() >= LENT_V1);
        assert!(size_of::<uapi::shmbuf_segment>() >= SEGMENT_V1);
    }

    #[test]
    fn sync_flags() {
        let parse = |flags, reserved| {
            parse_sync(&uapi::shmbuf_sync {
                flags,
                reserved,
                ..FromZeros::new_zeroed()
            })
        };
        assert_eq!(parse(1, 0), Ok((false, Phase::Start)));
        assert_eq!(parse(2, 0), Ok((true, Phase::Start)));
        assert_eq!(parse(7, 0), Ok((true, Phase::End)));
        for (flags, reserved) in [(0, 0), (4, 0), (8, 0), (9, 0), (1 << 31 | 1, 0), (1, 1)] {
            assert_eq!(parse(flags, reserved), Err(EINVAL));
        }
    }

    #[test]
    fn strings_are_cut_and_terminated() {
        let mut field = [0; 4];
        put_string(&mut field, b"abcdef");
        assert_eq!(field, *b"abc\0");
        let mut field = [0; 4];
        put_string(&mut field, b"a");
        assert_eq!(field, *b"a\0\0\0");
    }
}
