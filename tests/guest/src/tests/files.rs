// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs do with any file: a buffer does it too, or refuses it as the kernel's own
//! character devices do.

use std::{
    ffi::c_int,
    fs::File,
    io::{Read, Write},
    ops::Range,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::fs::{FileExt, OpenOptionsExt},
    },
    process::Command,
    ptr::{self, NonNull},
    slice, thread,
};

use nix::{
    errno::Errno,
    fcntl::{fcntl, FcntlArg, OFlag},
    libc,
    sys::{
        mman::{self, MsFlags},
        stat,
    },
    unistd::{self, pipe},
};
use shmbuf::{Access, Alloc, Buffer, Kind, Mapping, Phase, Policy, Protection};

use super::{
    alloc::{every, kinds, make},
    claim,
    data::{assert_both, assert_pattern, fresh, load_all, read_all, store_all, write_all},
    signals::set_nonblocking,
    Claim, Scope,
};
use crate::{
    kmsg::{Line, Log},
    machine::Arch,
    module::DEVICE,
    runner::Env,
    sys::{self, page, preadv2, pwritev2, refused, sendfile, splice, vmsplice, Region},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Each, "spliced_to_a_pipe", to_pipe),
    claim(Scope::Each, "spliced_from_a_pipe", from_pipe),
    claim(Scope::Each, "vmspliced_pages_are_written", from_vmsplice),
    claim(Scope::Each, "pipe_is_vmspliced_to_a_mapping", to_vmsplice),
    claim(Scope::Each, "sendfile_to_a_file", send_to),
    claim(Scope::Each, "sendfile_from_a_file", send_from),
    claim(Scope::Once, "sendfile_of_each_private_buffer", private),
    claim(Scope::Kind, "splice_moves_the_position", position),
    claim(Scope::Kind, "splice_ends_at_the_end", end),
    claim(Scope::Kind, "splice_needs_the_right_handle", rights),
    claim(Scope::Owned, "splice_refuses_what_is_lent", lent),
    claim(Scope::Each, "fsync_and_msync_keep_data", synced),
    claim(Scope::Each, "msync_of_any_part", msync_parts),
    claim(Scope::Kind, "fsync_by_any_handle", fsync_rights),
    claim(Scope::Owned, "fsync_moves_no_owner", fsync_owner),
    claim(Scope::Once, "fsync_of_each_private_buffer", fsync_private),
    claim(Scope::Kind, "dd_with_fsync", dd),
    claim(Scope::Each, "synchronous_writes_are_seen", synchronous),
    claim(
        Scope::Each,
        "synchronous_handle_maps_what_is_not_cached",
        synchronous_mapping,
    ),
    claim(
        Scope::Once,
        "synchronous_handle_maps_as_the_policy_is_now",
        synchronous_policies,
    ),
    claim(
        Scope::Own,
        "synchronous_handle_is_told_why_it_maps_nothing",
        synchronous_reason,
    )
    .unless(|machine, _| {
        let snooping = matches!(machine.arch, Arch::Snooping);
        snooping.then_some("nothing needs SYNC here")
    }),
    claim(Scope::Kind, "preadv2_and_pwritev2_flags", flags_of_calls),
    claim(Scope::Kind, "appended_is_past_the_end", appended),
    claim(Scope::Kind, "open_flags", open_flags),
    claim(Scope::Kind, "requests_of_any_file", requests),
    claim(Scope::Kind, "requests_of_regular_files", regular_files),
];

/// A new, empty file that is no buffer.
pub(super) fn regular_file() -> File {
    let path = std::env::temp_dir().join(format!("shmbuf-test-{}", std::process::id()));
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).open(&path);
    std::fs::remove_file(&path).expect("unlink");
    file.expect("a file")
}

/// Reads from a pipe until nobody has its other end.
fn drain(from: impl AsFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    let from = from.as_fd().try_clone_to_owned().expect("dup");
    File::from(from).read_to_end(&mut bytes).expect("read");
    bytes
}

/// Splices all from an offset of the buffer on to a pipe that another thread reads.
fn to_pipe(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let pattern = fresh();
    store_all(&mapping, 0, pattern);
    for start in [0, 4093] {
        let (from, to) = pipe().expect("pipe");
        let reader = thread::spawn(move || drain(from));
        let (mut at, end) = (start as i64, env.size() as i64);
        while at < end {
            let before = at;
            let count = splice(&buffer, Some(&mut at), &to, None, (end - before) as usize);
            let count = count.expect("splice");
            assert!(count > 0 && at == before + count as i64, "{count} bytes");
        }
        drop(to);
        let got = reader.join().expect("the reader ends");
        assert_eq!(got.len(), env.size() - start);
        assert_pattern(pattern, start, &got, "the pipe");
    }
}

/// Splices all from a pipe that another thread writes to the buffer, from an offset on.
fn from_pipe(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    for start in [0, 4093] {
        // Cached mappings have it in the cache now.
        let mut expected = load_all(&mapping);
        let pattern = fresh();
        pattern.fill(start, &mut expected[start..]);
        let (from, to) = pipe().expect("pipe");
        let bytes = expected[start..].to_vec();
        let writer = thread::spawn(move || File::from(to).write_all(&bytes).expect("write"));
        let (mut at, end) = (start as i64, env.size() as i64);
        while at < end {
            let before = at;
            let count = splice(&from, None, &buffer, Some(&mut at), (end - before) as usize);
            let count = count.expect("splice");
            assert!(count > 0 && at == before + count as i64, "{count} bytes");
        }
        writer.join().expect("the writer ends");
        assert!(load_all(&mapping) == expected, "mapping");
        assert!(read_all(&buffer) == expected, "read(2)");
    }
}

/// Bytes that a pipe has room for.
const PIPE: usize = 64 << 10;

/// Memory of this process that is no buffer.
fn memory(bytes: &[u8]) -> Region {
    let region = Region::anonymous(bytes.len());
    for (offset, word) in (0..).step_by(4).zip(bytes.chunks_exact(4)) {
        region.write(offset, u32::from_ne_bytes(word.try_into().expect("4")));
    }
    region
}

fn from_vmsplice(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    write_all(&buffer, fresh());
    let pattern = fresh();
    for at in (0..env.size()).step_by(PIPE) {
        let region = memory(&pattern.bytes(at, PIPE));
        let (from, to) = pipe().expect("pipe");
        assert_eq!(vmsplice(&to, &region), Ok(PIPE));
        let mut to_at = at as i64;
        let count = splice(&from, None, &buffer, Some(&mut to_at), PIPE);
        assert_eq!(count, Ok(PIPE));
    }
    assert_both(&buffer, &mapping, pattern);
}

/// What is in a pipe goes to a mapping, as read(2) of it does.
fn to_vmsplice(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let (before, pattern) = (fresh(), fresh());
    write_all(&buffer, before);
    let (from, to) = pipe().expect("pipe");
    let sent = pattern.bytes(page() + 5, PIPE);
    assert_eq!(unistd::write(&to, &sent), Ok(PIPE));
    let iovec = libc::iovec {
        iov_base: mapping.as_ptr().wrapping_add(page() + 5).cast(),
        iov_len: PIPE,
    };
    let mut done = 0;
    while done < PIPE {
        let rest = libc::iovec {
            iov_base: iovec.iov_base.wrapping_byte_add(done),
            iov_len: PIPE - done,
        };
        // SAFETY: the bytes are in the mapping, to which there are no references.
        done += unsafe { sys::vmsplice_out(&from, &rest) }.expect("vmsplice");
    }
    let mut expected = before.bytes(0, env.size());
    expected[page() + 5..][..PIPE].copy_from_slice(&sent);
    assert!(load_all(&mapping) == expected, "mapping");
    assert!(read_all(&buffer) == expected, "read(2)");
}

/// sendfile(2) until all has moved.
#[track_caller]
fn send_all(to: impl AsFd, from: impl AsFd, length: usize) {
    let mut done = 0;
    while done < length {
        let count = sendfile(&to, &from, done as i64, length - done).expect("sendfile");
        assert!(count > 0, "{done} of {length} bytes");
        done += count;
    }
}

fn send_to(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let pattern = fresh();
    store_all(&mapping, 0, pattern);
    let file = regular_file();
    send_all(&file, &buffer, env.size());
    let mut got = vec![0; env.size()];
    file.read_exact_at(&mut got, 0).expect("read");
    assert_pattern(pattern, 0, &got, "the file");
    // That is all.
    assert_eq!(sendfile(&file, &buffer, env.size() as i64, 1), Ok(0));
}

fn send_from(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    write_all(&buffer, fresh());
    load_all(&mapping);
    let (file, pattern) = (regular_file(), fresh());
    let bytes = pattern.bytes(0, env.size());
    file.write_all_at(&bytes, 0).expect("write");
    send_all(&buffer, &file, env.size());
    assert_both(&buffer, &mapping, pattern);
}

/// They have no node, and were not opened.
fn private(env: &Env) {
    for kind in kinds() {
        let size = match kind {
            Kind::Pool => 256,
            _ => 2 * page() as u64,
        };
        let from = make(env, &Alloc::new(size, kind));
        let to = make(env, &Alloc::new(size, kind));
        let pattern = fresh();
        write_all(&from, pattern);
        send_all(&to, &from, size as usize);
        assert_pattern(pattern, 0, &read_all(&to), "read(2)");
    }
}

fn position(env: &Env) {
    let buffer = env.open();
    let pattern = fresh();
    write_all(&buffer, pattern);
    let position = || sys::lseek(&buffer, 0, libc::SEEK_CUR);
    let (from, to) = pipe().expect("pipe");
    assert_eq!(splice(&buffer, None, &to, None, 101), Ok(101));
    assert_eq!(position(), Ok(101));
    assert_eq!(splice(&from, None, &buffer, None, 101), Ok(101));
    assert_eq!(position(), Ok(202));
    let mut expected = pattern.bytes(0, env.size());
    expected.copy_within(0..101, 101);
    assert!(read_all(&buffer) == expected);
    // An offset is another.
    assert_eq!(splice(&buffer, Some(&mut 7), &to, None, 11), Ok(11));
    assert_eq!(position(), Ok(202));
}

fn end(env: &Env) {
    let buffer = env.open();
    let pattern = fresh();
    write_all(&buffer, pattern);
    let size = env.size() as i64;
    let (from, to) = pipe().expect("pipe");
    assert_eq!(
        splice(&buffer, Some(&mut (size - 33)), &to, None, 100),
        Ok(33)
    );
    let mut bytes = [0; 33];
    assert_eq!(unistd::read(&from, &mut bytes), Ok(33));
    assert_pattern(pattern, env.size() - 33, &bytes, "the pipe");
    assert_eq!(
        splice(&buffer, Some(&mut size.clone()), &to, None, 100),
        Ok(0)
    );

    assert_eq!(unistd::write(&to, &[7; 50]), Ok(50));
    let written = splice(&from, None, &buffer, Some(&mut (size - 33)), 50);
    assert_eq!(written, Ok(33));
    // The rest is still in the pipe.
    let refusal = splice(&from, None, &buffer, Some(&mut size.clone()), 17);
    refused(refusal, Errno::ENOSPC);
    assert_eq!(unistd::read(&from, &mut bytes), Ok(17));
    assert_eq!(read_all(&buffer)[env.size() - 33..], [7; 33]);
}

fn rights(env: &Env) {
    let reader = env.open_read_only();
    let (from, to) = pipe().expect("pipe");
    assert_eq!(splice(&reader, Some(&mut 0), &to, None, 10), Ok(10));
    refused(splice(&from, None, &reader, Some(&mut 0), 10), Errno::EBADF);
    refused(sendfile(&reader, env.open(), 0, 10), Errno::EBADF);
}

fn lent(env: &Env) {
    let buffer = env.open();
    let pattern = fresh();
    write_all(&buffer, pattern);
    let page = page() as u64;
    let sync = |phase| {
        let synced = buffer.sync(page..2 * page, Access::ReadWrite, phase);
        synced.expect("SYNC");
    };
    sync(Phase::End);
    let (from, to) = pipe().expect("pipe");
    let mut at = page as i64;
    refused(splice(&buffer, Some(&mut at), &to, None, 10), Errno::EBUSY);
    refused(sendfile(&to, &buffer, at, 10), Errno::EBUSY);
    // Up to there it goes.
    at -= 5;
    assert_eq!(splice(&buffer, Some(&mut at), &to, None, 10), Ok(5));
    let back = |at: i64| splice(&from, None, &buffer, Some(&mut at.clone()), 5);
    refused(back(page as i64), Errno::EBUSY);
    sync(Phase::Begin);
    assert_eq!(back(page as i64), Ok(5));
    let got = read_all(&buffer);
    assert_pattern(
        pattern,
        page as usize - 5,
        &got[page as usize..][..5],
        "read(2)",
    );
}

/// msync(2) of a part of a mapping.
fn msync(mapping: &Mapping, offset: usize, length: usize, flags: MsFlags) -> Result<(), Errno> {
    let address = NonNull::new(mapping.as_ptr()).expect("a mapping");
    // SAFETY: the kernel looks for mappings of these addresses, and changes no memory.
    unsafe { mman::msync(address.byte_add(offset).cast(), length, flags) }
}

/// Each call that brings a whole buffer to memory.
fn sync_all(buffer: &Buffer, mapping: &Mapping) -> [Result<(), Errno>; 4] {
    let msync = |flags| msync(mapping, 0, mapping.len(), flags);
    [
        unistd::fsync(buffer),
        unistd::fdatasync(buffer),
        msync(MsFlags::MS_SYNC),
        // It does nothing, for any file.
        msync(MsFlags::MS_ASYNC),
    ]
}

fn synced(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    for n in 0..4 {
        let pattern = fresh();
        store_all(&mapping, 0, pattern);
        assert_eq!(sync_all(&buffer, &mapping)[n], Ok(()), "call {n}");
        assert_both(&buffer, &mapping, pattern);
        let pattern = fresh();
        write_all(&buffer, pattern);
        assert_eq!(sync_all(&buffer, &mapping)[n], Ok(()), "call {n}");
        assert_both(&buffer, &mapping, pattern);
    }
}

fn msync_parts(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let pattern = fresh();
    store_all(&mapping, 0, pattern);
    let (page, size) = (page(), env.size());
    for (offset, length) in [
        (0, 1),
        (0, page),
        (page, page),
        (size - page, page),
        (size - page, 1),
        (size / 2, size / 4),
    ] {
        for flags in [MsFlags::MS_SYNC, MsFlags::MS_SYNC | MsFlags::MS_INVALIDATE] {
            assert_eq!(msync(&mapping, offset, length, flags), Ok(()), "{offset}");
        }
    }
    refused(msync(&mapping, 1, page, MsFlags::MS_SYNC), Errno::EINVAL);
    assert_both(&buffer, &mapping, pattern);
    // A mapping that begins inside of the buffer, and of which a part is gone.
    drop(mapping);
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let (shared, half) = (libc::MAP_SHARED, size / 2);
    let mut part = Region::map(&buffer, half, protection, shared, half as i64).expect("mmap");
    let msync = |part: &Region, offset| {
        let address = NonNull::new(part.at(offset)).expect("a mapping");
        // SAFETY: the kernel looks for mappings of these addresses, and changes no memory.
        unsafe { mman::msync(address.cast(), half - offset, MsFlags::MS_SYNC) }
    };
    assert_eq!(msync(&part, 0), Ok(()));
    part.unmap(page, page).expect("munmap");
    assert_eq!(msync(&part, 0), Err(Errno::ENOMEM));
    assert_eq!(msync(&part, 2 * page), Ok(()));
    // Of a private mapping there is nothing to bring anywhere.
    let private = Region::map(&buffer, page, libc::PROT_READ, libc::MAP_PRIVATE, 0);
    let private = private.expect("mmap");
    let address = NonNull::new(private.start()).expect("a mapping");
    // SAFETY: as above.
    let result = unsafe { mman::msync(address.cast(), page, MsFlags::MS_SYNC) };
    assert_eq!(result, Ok(()));
    assert_pattern(pattern, 0, &read_all(&buffer), "read(2)");
}

fn fsync_rights(env: &Env) {
    let writer = env.open();
    let pattern = fresh();
    write_all(&writer, pattern);
    let write_only = File::options().write(true).open(DEVICE).expect(DEVICE);
    let read_only = env.open_read_only();
    assert_eq!(unistd::fsync(&write_only), Ok(()));
    assert_eq!(unistd::fsync(&read_only), Ok(()));
    assert_eq!(read_only.fsync(), Ok(()));
    // Python's mmap.flush() of what was opened for reading.
    let mapping = read_only.map(0, env.size(), Protection::Read);
    let mapping = mapping.expect("mmap");
    assert_eq!(msync(&mapping, 0, env.size(), MsFlags::MS_SYNC), Ok(()));
    set_nonblocking(&writer);
    assert_eq!(writer.fsync(), Ok(()));
    assert_pattern(pattern, 0, &load_all(&mapping), "mapping");
    assert_eq!(writer.info().expect("INFO").mappings, 1);
}

fn fsync_owner(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let pattern = fresh();
    store_all(&mapping, 0, pattern);
    let line = u64::from(buffer.info().expect("INFO").cache_line);
    let expect = |expected: &[Range<u64>]| {
        for result in sync_all(&buffer, &mapping) {
            assert_eq!(result, Ok(()));
        }
        assert_eq!(buffer.lent().expect("LENT"), expected);
    };
    let sync = |range: Range<u64>, phase| {
        buffer.sync(range, Access::ReadWrite, phase).expect("SYNC");
    };
    expect(&[]);
    assert_pattern(pattern, 0, &read_all(&buffer), "read(2)");
    // Some of it, here and there, and then all.
    let end = buffer.size();
    sync(line..2 * line, Phase::End);
    sync(end - line..end, Phase::End);
    expect(&[line..2 * line, end - line..end]);
    sync(0..end, Phase::End);
    expect(slice::from_ref(&(0..end)));
    refused(buffer.read_at(&mut [0], 0), Errno::EBUSY);
    sync(0..end, Phase::Begin);
    expect(&[]);
    assert_both(&buffer, &mapping, pattern);
}

fn fsync_private(env: &Env) {
    for alloc in every(&env.machine) {
        let buffer = make(env, &alloc);
        let pattern = fresh();
        write_all(&buffer, pattern);
        let size = buffer.size() as usize;
        assert_eq!(buffer.fsync(), Ok(()), "{alloc:?}");
        assert_pattern(pattern, 0, &read_all(&buffer), "read(2)");
        if alloc.kind == Kind::Pool {
            continue;
        }
        let mapping = buffer.map(0, size, Protection::ReadWrite).expect("mmap");
        let pattern = fresh();
        store_all(&mapping, 0, pattern);
        let result = msync(&mapping, 0, size, MsFlags::MS_SYNC);
        assert_eq!(result, Ok(()), "{alloc:?}");
        assert_both(&buffer, &mapping, pattern);
        // A dma-buf is another file, which the kernel has no fsync for.
        let dma_buf = buffer.export(.., Protection::ReadWrite).expect("EXPORT");
        refused(unistd::fsync(&dma_buf), Errno::EINVAL);
    }
}

fn dd(env: &Env) {
    let buffer = env.open();
    let pattern = fresh();
    write_all(&buffer, pattern);
    let arguments = ["if=/dev/zero", "bs=4096", "count=1", "conv=notrunc,fsync"];
    let output = format!("of={DEVICE}");
    let ended = Command::new("dd").args(arguments).arg(output).output();
    let ended = ended.expect("dd");
    assert!(ended.status.success(), "{ended:?}");
    let got = read_all(&buffer);
    assert_eq!(got[..4096], [0; 4096]);
    assert_pattern(pattern, 4096, &got[4096..], "read(2)");
}

/// Opens the node with more flags.
fn open_with(flags: c_int) -> Buffer {
    let mut options = File::options();
    let options = options.read(true).write(true).custom_flags(flags);
    Buffer::from_fd(options.open(DEVICE).expect(DEVICE).into()).expect("a handle")
}

/// A way to write some bytes, to an offset.
type Writing = (&'static str, fn(&[u8], usize) -> Result<usize, Errno>);

/// Each way to write synchronously.
const SYNCHRONOUS: [Writing; 4] = [
    ("O_SYNC", |bytes, at| {
        sys::pwrite(
            open_with(libc::O_SYNC),
            bytes.as_ptr(),
            bytes.len(),
            at as i64,
        )
    }),
    ("O_DSYNC", |bytes, at| {
        sys::pwrite(
            open_with(libc::O_DSYNC),
            bytes.as_ptr(),
            bytes.len(),
            at as i64,
        )
    }),
    ("RWF_SYNC", |bytes, at| {
        pwritev2(open_with(0), bytes, at, libc::RWF_SYNC)
    }),
    ("RWF_DSYNC", |bytes, at| {
        pwritev2(open_with(0), bytes, at, libc::RWF_DSYNC)
    }),
];

/// What they write is there, whole, and nothing else changes, though caches are maintained by lines.
fn synchronous(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let pattern = fresh();
    store_all(&mapping, 0, pattern);
    let mut expected = pattern.bytes(0, env.size());
    let (page, size) = (page(), env.size());
    for (what, write) in SYNCHRONOUS {
        for (at, length) in [
            (0, 1),
            (31, 2),
            (page - 1, 2),
            (page + 7, 3 * page),
            (size - 5, 5),
            (size / 2 - 3, size / 4 + 11),
        ] {
            let bytes = fresh().bytes(at, length);
            // A line of a mapping that is dirty beside the bytes.
            let beside = (at + length).min(size - 4) & !3;
            let word = fastrand::u32(..);
            mapping.write_u32(beside, word);
            expected[beside..][..4].copy_from_slice(&word.to_ne_bytes());
            assert_eq!(write(&bytes, at), Ok(length), "{what} at {at}");
            expected[at..][..length].copy_from_slice(&bytes);
        }
        assert!(load_all(&mapping) == expected, "{what}: mapping");
        assert!(read_all(&buffer) == expected, "{what}: read(2)");
        let past = write(&[0; 7], size);
        refused(past, Errno::ENOSPC);
        assert_eq!(write(&expected[size - 3..], size - 3), Ok(3));
    }
}

/// Whether a mapping of the policy would need SYNC.
fn needs_sync(env: &Env, policy: Policy) -> bool {
    let cached = matches!(policy, Policy::WriteBack | Policy::WriteThrough);
    cached && !matches!(env.machine.arch, Arch::Snooping)
}

/// Tries to map the buffer through a handle that was opened with O_SYNC or O_DSYNC.
#[track_caller]
fn assert_maps_synchronously(env: &Env, works: bool) {
    for flags in [libc::O_SYNC, libc::O_DSYNC] {
        let handle = open_with(flags);
        let mapped = handle.map(0, env.size(), Protection::ReadWrite);
        if works {
            let pattern = fresh();
            let mapping = mapped.expect("mmap");
            store_all(&mapping, 0, pattern);
            assert_both(&handle, &mapping, pattern);
        } else {
            refused(mapped.map(drop), Errno::EOPNOTSUPP);
        }
        assert_eq!(handle.info().expect("INFO").mappings, 0);
    }
}

fn synchronous_mapping(env: &Env) {
    assert_maps_synchronously(env, !needs_sync(env, env.config.policy));
}

fn synchronous_policies(env: &Env) {
    let handle = open_with(libc::O_SYNC);
    for policy in env.machine.settable(&env.config).iter() {
        handle.set_cache(policy).expect("SET_CACHE");
        assert_maps_synchronously(env, !needs_sync(env, policy));
    }
    handle.set_cache(env.config.policy).expect("SET_CACHE");
}

fn synchronous_reason(env: &Env) {
    // So there is room in the log for it.
    env.module.must_load(&env.config.parameters());
    let mut log = Log::from_now();
    let mapped = open_with(libc::O_SYNC).map(0, env.size(), Protection::Read);
    refused(mapped.map(drop), Errno::EOPNOTSUPP);
    let says = |line: Line| line.text.contains("mmap") && line.text.contains("O_SYNC");
    assert!(log.lines().into_iter().any(says), "no reason in the log");
}

/// Flags of Linux 5.7 to 6.14, which the C library may not know.
const RWF_NOAPPEND: c_int = 0x20;
const RWF_ATOMIC: c_int = 0x40;
const RWF_DONTCACHE: c_int = 0x80;
/// No flag of any Linux so far.
const RWF_UNKNOWN: c_int = 1 << 30;

fn flags_of_calls(env: &Env) {
    let buffer = env.open();
    let pattern = fresh();
    write_all(&buffer, pattern);
    let mut bytes = [0; 100];
    for flags in [
        0,
        libc::RWF_HIPRI,
        libc::RWF_NOWAIT,
        libc::RWF_SYNC,
        libc::RWF_DSYNC,
    ] {
        bytes.fill(0);
        assert_eq!(preadv2(&buffer, &mut bytes, 5, flags), Ok(100), "{flags}");
        assert_pattern(pattern, 5, &bytes, "preadv2(2)");
        assert_eq!(pwritev2(&buffer, &bytes, 5, flags), Ok(100), "{flags}");
    }
    for flags in [RWF_ATOMIC, RWF_DONTCACHE, RWF_UNKNOWN] {
        refused(preadv2(&buffer, &mut bytes, 5, flags), Errno::EOPNOTSUPP);
        refused(pwritev2(&buffer, &[0; 100], 5, flags), Errno::EOPNOTSUPP);
    }
    // At the end there is no waiting either.
    let size = env.size();
    let got = preadv2(&buffer, &mut bytes, size - 7, libc::RWF_NOWAIT);
    assert_eq!(got, Ok(7));
    assert_eq!(preadv2(&buffer, &mut bytes, size, libc::RWF_NOWAIT), Ok(0));
    let past = pwritev2(&buffer, &bytes, size, libc::RWF_NOWAIT);
    refused(past, Errno::ENOSPC);
    // As are those of a private buffer, which has no node.
    let private = make(env, &Alloc::new(page() as u64, Kind::Pages));
    let got = preadv2(&private, &mut bytes, 0, libc::RWF_NOWAIT);
    assert_eq!((got, bytes), (Ok(100), [0; 100]));
    assert_pattern(pattern, 0, &read_all(&buffer), "read(2)");
}

/// Past the end of what cannot grow, as on a block device.
fn appended(env: &Env) {
    let buffer = env.open();
    let pattern = fresh();
    write_all(&buffer, pattern);
    refused(
        pwritev2(&buffer, &[7; 10], 0, libc::RWF_APPEND),
        Errno::ENOSPC,
    );
    let appending = open_with(libc::O_APPEND);
    refused(unistd::write(&appending, &[7; 10]), Errno::ENOSPC);
    refused(appending.write_at(&[7; 10], 0), Errno::ENOSPC);
    assert_eq!(unistd::write(&appending, &[]), Ok(0));
    assert_pattern(pattern, 0, &read_all(&appending), "after refused writes");
    let other = fresh();
    let written = pwritev2(&appending, &other.bytes(3, 10), 3, RWF_NOAPPEND);
    assert_eq!(written, Ok(10));
    assert_pattern(other, 3, &read_all(&buffer)[3..13], "read(2)");
}

fn open_flags(env: &Env) {
    let buffer = env.open();
    let pattern = fresh();
    write_all(&buffer, pattern);
    // What has no meaning here, or a meaning that the kernel sees to.
    for flags in [
        libc::O_TRUNC,
        libc::O_CREAT,
        libc::O_NOATIME,
        libc::O_NOCTTY,
        libc::O_NOFOLLOW,
        libc::O_NONBLOCK,
        libc::O_ASYNC,
        libc::O_LARGEFILE,
    ] {
        let handle = open_with(flags);
        assert_eq!(handle.size(), buffer.size(), "{flags:o}");
        assert_pattern(pattern, 0, &read_all(&handle), "read(2)");
        assert_eq!(handle.write_at(&pattern.bytes(0, 10), 0), Ok(10));
    }
    let open = |flags| {
        let mut options = File::options();
        options.read(true).custom_flags(flags).open(DEVICE)
    };
    // There is no way past the page cache, as there is none.
    refused(open(libc::O_DIRECT), Errno::EINVAL);
    refused(open(libc::O_DIRECTORY), Errno::ENOTDIR);
    let path = open(libc::O_PATH).expect("O_PATH");
    refused(unistd::read(&path, &mut [0]), Errno::EBADF);
    let direct = fcntl(&buffer, FcntlArg::F_SETFL(OFlag::O_DIRECT));
    refused(direct, Errno::EINVAL);
}

/// A character device of the kernel's own.
fn another_device() -> File {
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .open("/dev/zero")
        .expect("/dev/zero")
}

fn requests(env: &Env) {
    let buffer = env.open();
    let request = |fd: BorrowedFd<'_>, number, argument: &mut c_int| {
        // SAFETY: no call of these takes more than a number.
        unsafe { sys::ioctl(fd, number as u32, ptr::from_mut(argument).cast()) }
    };
    let zero = another_device();
    for fd in [buffer.as_fd(), zero.as_fd()] {
        let flags = |get| fcntl(fd, get).expect("fcntl");
        for number in [libc::FIONREAD, libc::FIOASYNC, libc::FIOQSIZE] {
            refused(request(fd, number, &mut 1), Errno::ENOTTY);
        }
        assert_eq!(unistd::isatty(fd), Ok(false));
        for on in [1, 0] {
            assert_eq!(request(fd, libc::FIONBIO, &mut { on }), Ok(()));
            let set = flags(FcntlArg::F_GETFL) & libc::O_NONBLOCK != 0;
            assert_eq!(set, on == 1);
        }
        for (number, on) in [(libc::FIONCLEX, false), (libc::FIOCLEX, true)] {
            assert_eq!(request(fd, number, &mut 0), Ok(()));
            assert_eq!(flags(FcntlArg::F_GETFD) & libc::FD_CLOEXEC != 0, on);
        }
    }
}

/// A call, by a descriptor that is open for reading and writing.
type Call = (&'static str, fn(RawFd, RawFd) -> isize, Errno);

/// Calls that are for regular files alone. The second descriptor is that of one.
const FOR_REGULAR_FILES: [Call; 7] = [
    // SAFETY: no memory of ours is involved in any of these.
    (
        "ftruncate",
        |fd, _| unsafe { libc::ftruncate(fd, 0) } as isize,
        Errno::EINVAL,
    ),
    // SAFETY: as above.
    (
        "fallocate",
        |fd, _| unsafe { libc::fallocate(fd, 0, 0, 1) } as isize,
        Errno::ENODEV,
    ),
    // SAFETY: as above.
    (
        "readahead",
        |fd, _| unsafe { libc::readahead(fd, 0, 1) },
        Errno::EINVAL,
    ),
    (
        "sync_file_range",
        // SAFETY: as above.
        |fd, _| unsafe { libc::sync_file_range(fd, 0, 1, 0) } as isize,
        Errno::ESPIPE,
    ),
    (
        "copy_file_range from it",
        |fd, file| {
            let (none, length) = (ptr::null_mut(), 1);
            // SAFETY: as above.
            unsafe { libc::copy_file_range(fd, none, file, none, length, 0) }
        },
        Errno::EINVAL,
    ),
    (
        "copy_file_range to it",
        |fd, file| {
            let (none, length) = (ptr::null_mut(), 1);
            // SAFETY: as above.
            unsafe { libc::copy_file_range(file, none, fd, none, length, 0) }
        },
        Errno::EINVAL,
    ),
    // SAFETY: as above.
    (
        "SEEK_DATA",
        |fd, _| unsafe { libc::lseek(fd, 0, libc::SEEK_DATA) } as isize,
        Errno::EINVAL,
    ),
];

fn regular_files(env: &Env) {
    let (buffer, zero) = (env.open(), another_device());
    let private = make(env, &Alloc::new(page() as u64, Kind::Pages));
    let pattern = fresh();
    write_all(&buffer, pattern);
    let file = regular_file();
    file.write_all_at(b"some", 0).expect("write");
    for (what, call, errno) in FOR_REGULAR_FILES {
        for fd in [buffer.as_fd(), private.as_fd(), zero.as_fd()] {
            // The one exception: /dev/zero has an lseek(2) that does nothing.
            if what == "SEEK_DATA" && fd.as_raw_fd() == zero.as_raw_fd() {
                continue;
            }
            let result = Errno::result(call(fd.as_raw_fd(), file.as_raw_fd()));
            assert_eq!(result, Err(errno), "{what}");
        }
    }
    let stat = stat::fstat(&buffer).expect("fstat");
    assert_eq!(
        (stat.st_mode & libc::S_IFMT, stat.st_size),
        (libc::S_IFCHR, 0)
    );
    assert_pattern(pattern, 0, &read_all(&buffer), "read(2)");
    assert_eq!(private.size(), page() as u64);
}
