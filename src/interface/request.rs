// SPDX-License-Identifier: GPL-2.0

//! What the ioctls of all handles have in common: which call it is, its structure, its answer.

use crate::{
    rules::{
        failure::{
            Failure,
            Invalid, //
        },
        ownership::Phase,
        policy::Policy,
        range::Range,
        uapi, //
    },
    sys::{
        cpu,
        errno::EOPNOTSUPP, //
    },
};
use core::cmp::min;
use kernel::{
    bindings,
    fs::{
        file::{
            flags,
            FileDescriptorReservation, //
        },
        File, //
    },
    prelude::*,
    sync::aref::ARef,
    uaccess::{
        UserSlice,
        UserSliceReader, //
    },
    uapi::{
        _IOC_SIZEMASK,
        _IOC_SIZESHIFT, //
    },
};
use zerocopy::{
    FromZeros,
    Immutable, //
};

/// The calls of `include/uapi/shmbuf.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Info,
    Lent,
    Segment,
    Sync,
    SetCache,
    Alloc,
    Export,
    Import,
    Copy,
    CopyResult,
}

impl Call {
    /// Which call `cmd` is. They are told by direction, type and number; the size may be that of an
    /// earlier or later header.
    ///
    /// # Errors
    ///
    /// [`ENOTTY`] for what is no call of ours.
    // Each SYNC comes here: the two matches become one.
    #[inline(always)]
    pub(super) fn of(cmd: u32) -> Result<Self> {
        const INFO: u32 = without_size(uapi::SHMBUF_IOC_INFO);
        const LENT: u32 = without_size(uapi::SHMBUF_IOC_LENT);
        const SEGMENT: u32 = without_size(uapi::SHMBUF_IOC_SEGMENT);
        const SYNC: u32 = without_size(uapi::SHMBUF_IOC_SYNC);
        const SET_CACHE: u32 = without_size(uapi::SHMBUF_IOC_SET_CACHE);
        const ALLOC: u32 = without_size(uapi::SHMBUF_IOC_ALLOC);
        const EXPORT: u32 = without_size(uapi::SHMBUF_IOC_EXPORT);
        const IMPORT: u32 = without_size(uapi::SHMBUF_IOC_IMPORT);
        const COPY: u32 = without_size(uapi::SHMBUF_IOC_COPY);
        const COPY_RESULT: u32 = without_size(uapi::SHMBUF_IOC_COPY_RESULT);

        Ok(match without_size(cmd) {
            INFO => Self::Info,
            LENT => Self::Lent,
            SEGMENT => Self::Segment,
            SYNC => Self::Sync,
            SET_CACHE => Self::SetCache,
            ALLOC => Self::Alloc,
            EXPORT => Self::Export,
            IMPORT => Self::Import,
            COPY => Self::Copy,
            COPY_RESULT => Self::CopyResult,
            _ => return Err(ENOTTY),
        })
    }
}

const fn without_size(cmd: u32) -> u32 {
    cmd & !(_IOC_SIZEMASK << _IOC_SIZESHIFT)
}

/// The sizes of the structures in their first version: less is not understood.
pub(super) const INFO_V1: usize = 136;
pub(super) const SET_CACHE_V1: usize = 8;
pub(super) const SYNC_V1: usize = 24;
pub(super) const ALLOC_V1: usize = 40;
pub(super) const EXPORT_V1: usize = 24;
pub(super) const COPY_V1: usize = 40;
pub(super) const LENT_V1: usize = 16;
pub(super) const SEGMENT_V1: usize = 24;
pub(super) const IMPORT_V1: usize = 8;

/// Gives the calling process a descriptor, close-on-exec, of the file that `make` makes. Where that
/// fails, nobody has seen one.
pub(super) fn install(make: impl FnOnce() -> Result<ARef<File>>) -> Result<isize> {
    let descriptor = FileDescriptorReservation::get_unused_fd_flags(flags::O_CLOEXEC)?;
    let file = make()?;
    let number = descriptor.reserved_fd();
    descriptor.fd_install(file);
    Ok(number as isize)
}

/// Serves a call whose structure comes back with the answer, as far as the caller's has room for it.
///
/// # Errors
///
/// Those of `serve` and [`read_struct`].
pub(super) fn exchange<T>(
    user: UserSlice,
    least: usize,
    serve: impl FnOnce(T) -> Result<T>,
) -> Result<isize>
where
    T: FromBytes + IntoBytes + Immutable,
{
    let (reader, mut writer) = user.reader_writer();
    let answer = serve(read_struct(reader, least)?)?;
    // A longer structure keeps its zeroes.
    let len = min(writer.len(), size_of_val(&answer));
    writer.write_slice(&answer.as_bytes()[..len])?;
    Ok(0)
}

/// Reads a structure that may be of another version, as copy_struct_from_user() does.
///
/// # Errors
///
/// - [`EINVAL`] if it is shorter than `least`;
/// - [`E2BIG`] if it is longer than ours, and what we do not know is not zero;
/// - [`EFAULT`] for a bad pointer.
pub(super) fn read_struct<T>(mut reader: UserSliceReader, least: usize) -> Result<T>
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
pub(super) fn put_string(field: &mut [kernel::ffi::c_char], text: &[u8]) {
    let room = field.len() - 1;
    for (to, from) in field[..room].iter_mut().zip(text) {
        *to = *from;
    }
}

/// Serves SEGMENT for memory of `size` bytes, of whose ranges `find` says where the device finds the first
/// byte, and how many follow each other there.
///
/// # Errors
///
/// - [`EINVAL`], [`ERANGE`] for a bad argument;
/// - [`EPERM`] if the caller may not see addresses;
/// - [`EOPNOTSUPP`] if no device has a view.
pub(super) fn segment(
    request: &uapi::shmbuf_segment,
    size: usize,
    find: impl FnOnce(Range) -> Option<(bindings::dma_addr_t, usize)>,
) -> Result<uapi::shmbuf_segment> {
    if request.length != 0 || request.dma_addr != 0 {
        return Err(EINVAL);
    }
    let rest = Range::clamped(request.offset, usize::MAX, size).ok_or(ERANGE)?;
    if !cpu::may_see_addresses() {
        return Err(EPERM);
    }
    let (dma, len) = find(rest).ok_or(EOPNOTSUPP)?;
    Ok(uapi::shmbuf_segment {
        offset: request.offset,
        length: len as u64,
        dma_addr: dma.into(),
    })
}

/// The value that a field has, by its number.
pub(super) fn known<T: TryFrom<u32>>(field: &'static str, number: u32) -> Result<T, Failure> {
    T::try_from(number).map_err(|_| Failure::Invalid(Invalid::Number(field, number)))
}

/// Nothing, if a field that has no meaning yet is zero.
pub(super) fn zero(field: &'static str, number: u32) -> Result<(), Failure> {
    match number {
        0 => Ok(()),
        _ => Err(Failure::Invalid(Invalid::Number(field, number))),
    }
}

/// The policy that SET_CACHE asks for.
pub(super) fn parse_set_cache(request: &uapi::shmbuf_set_cache) -> Result<Policy, Failure> {
    zero("flags", request.flags)?;
    known("policy", request.policy)
}

/// Whether the CPU writes, and the phase.
pub(super) fn parse_sync(request: &uapi::shmbuf_sync) -> Result<(bool, Phase)> {
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

#[kunit_tests(shmbuf_request)]
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
        assert!(size_of::<uapi::shmbuf_import>() >= IMPORT_V1);
    }

    #[test]
    fn calls_are_told_whatever_their_size() {
        const SIZE: u32 = 1 << _IOC_SIZESHIFT;
        let sync = uapi::SHMBUF_IOC_SYNC;
        assert_eq!(Call::of(sync), Ok(Call::Sync));
        assert_eq!(Call::of(sync + SIZE), Ok(Call::Sync));
        assert_eq!(Call::of(sync - SIZE), Ok(Call::Sync));
        for bit in 0..32 {
            let is_size = _IOC_SIZEMASK << _IOC_SIZESHIFT & 1 << bit != 0;
            let is_sync = Call::of(sync ^ 1 << bit) == Ok(Call::Sync);
            assert_eq!(is_sync, is_size);
        }
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
