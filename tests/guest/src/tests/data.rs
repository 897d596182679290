// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same bytes on all sides: mapping, read(2), write(2).

use std::io::{IoSlice, IoSliceMut};

use nix::{
    errno::Errno,
    libc,
    sys::uio::{preadv, pwritev},
    unistd,
};
use shmbuf::{Buffer, Mapping, Protection};
use shmbuf_verify::{pieces, Check, Pattern};

use super::{claim, Claim, Scope};
use crate::{
    ktap::diagnose,
    runner::Env,
    sys::{self, page, refused, Region},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Each, "mapping_seen_by_read", mapping_seen_by_read),
    claim(Scope::Each, "write_seen_by_mapping", write_seen_by_mapping),
    claim(Scope::Each, "small_transfers_at_any_alignment", small),
    claim(Scope::Each, "read_into_own_mapping", into_own_mapping),
    claim(
        Scope::Each,
        "read_into_own_untouched_mapping",
        into_own_untouched_mapping,
    ),
    claim(Scope::Each, "write_from_own_mapping", from_own_mapping),
    claim(
        Scope::Each,
        "read_and_write_onto_itself_change_nothing",
        onto_itself,
    ),
    claim(Scope::OwnEach, "zeroed_at_insmod", zeroed),
    claim(Scope::Kind, "lseek_moves_within_the_buffer", lseek),
    claim(Scope::Kind, "read_and_write_move_the_position", position),
    claim(Scope::Kind, "transfers_end_at_the_end", end),
    claim(Scope::Kind, "vectors", vectors),
    claim(Scope::Kind, "bad_pointers", bad_pointers),
];

/// A pattern that nobody has written yet.
pub(super) fn fresh() -> Pattern {
    Pattern::new(fastrand::u32(..))
}

/// Reads the whole buffer by pread(2).
#[track_caller]
pub(super) fn read_all(buffer: &Buffer) -> Vec<u8> {
    let mut bytes = vec![0; buffer.size() as usize];
    assert_eq!(buffer.read_at(&mut bytes, 0), Ok(bytes.len()));
    bytes
}

/// Reads the whole mapping.
pub(super) fn load_all(mapping: &Mapping) -> Vec<u8> {
    let mut bytes = vec![0; mapping.len()];
    mapping.read(0, &mut bytes);
    bytes
}

/// Writes a pattern over the whole buffer by pwrite(2).
#[track_caller]
pub(super) fn write_all(buffer: &Buffer, pattern: Pattern) {
    let bytes = pattern.bytes(0, buffer.size() as usize);
    assert_eq!(buffer.write_at(&bytes, 0), Ok(bytes.len()));
}

/// Writes a pattern over a whole mapping that begins at an offset of the
/// buffer.
pub(super) fn store_all(mapping: &Mapping, offset: usize, pattern: Pattern) {
    mapping.write(0, &pattern.bytes(offset, mapping.len()));
}

/// Asserts that bytes at an offset of the buffer are a pattern.
#[track_caller]
pub(super) fn assert_pattern(pattern: Pattern, offset: usize, got: &[u8], by: &str) {
    let mut check = Check::new(pattern, &[]);
    check.compare(offset, got);
    assert!(check.is_ok(), "{by}: {check}");
}

/// Asserts that both sides show a pattern, everywhere.
#[track_caller]
pub(super) fn assert_both(buffer: &Buffer, mapping: &Mapping, pattern: Pattern) {
    assert_eq!(mapping.len() as u64, buffer.size());
    assert_pattern(pattern, 0, &load_all(mapping), "mapping");
    assert_pattern(pattern, 0, &read_all(buffer), "read(2)");
}

fn mapping_seen_by_read(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let pattern = fresh();
    let before = read_all(&buffer);
    assert!(!pattern.is_in(&before));

    for (offset, length) in pieces(pattern.seed, env.size()) {
        mapping.write(offset, &pattern.bytes(offset, length));
    }
    let mut check = Check::new(pattern, &before);
    let mut space = [0; 8192 + 8];
    for (offset, length) in pieces(!pattern.seed, env.size()) {
        let to = &mut space[offset % 7..][..length];
        assert_eq!(buffer.read_at(to, offset as u64), Ok(length));
        check.compare(offset, to);
    }
    assert!(check.is_ok(), "{check}");
}

fn write_seen_by_mapping(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let pattern = fresh();
    // Cached mappings have it in the cache now.
    let before = load_all(&mapping);
    assert!(!pattern.is_in(&before));

    let mut space = [0; 8192 + 8];
    for (offset, length) in pieces(pattern.seed, env.size()) {
        let from = &mut space[offset % 7..][..length];
        pattern.fill(offset, from);
        assert_eq!(buffer.write_at(from, offset as u64), Ok(length));
    }
    let mut check = Check::new(pattern, &before);
    for (offset, length) in pieces(!pattern.seed, env.size()) {
        let mut got = vec![0; length];
        mapping.read(offset, &mut got);
        check.compare(offset, &got);
    }
    assert!(check.is_ok(), "{check}");
}

/// All alignments of buffer and user memory, around a page's end, against a
/// model; the neighbours of what is written stay.
fn small(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let base = page() - 48;
    let mut model = fresh().bytes(0, 128);
    mapping.write(base, &model);

    let mut space = [0; 64];
    for offset in 40..56 {
        for length in [1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 33] {
            for shift in 0..4 {
                let data = fresh().bytes(0, length);
                let user = &mut space[shift..shift + length];
                user.copy_from_slice(&data);
                let at = (base + offset) as u64;
                assert_eq!(buffer.write_at(user, at), Ok(length));
                model[offset..offset + length].copy_from_slice(&data);

                let mut all = vec![0; model.len()];
                mapping.read(base, &mut all);
                assert_eq!(all, model, "{length} bytes at {offset}, {shift}");
                user.fill(0);
                assert_eq!(buffer.read_at(user, at), Ok(length));
                assert_eq!(user, &data, "{length} bytes at {offset}, {shift}");
            }
        }
    }
}

/// Reads the first half of the buffer into the second by pread(2), both oddly aligned.
fn read_into(env: &Env, touch: bool) {
    let buffer = env.open();
    let pattern = fresh();
    write_all(&buffer, pattern);
    let mapping = env.map(&buffer);
    if touch {
        load_all(&mapping);
    }

    let (from, to, length) = (3, env.size() / 2 + 6, env.size() / 2 - 13);
    let address = mapping.as_ptr().wrapping_add(to);
    // SAFETY: the bytes are in the mapping, to which there are no references.
    let result = unsafe { sys::pread(&buffer, address, length, from as i64) };
    assert_eq!(result, Ok(length));

    let mut expected = pattern.bytes(0, env.size());
    expected.copy_within(from..from + length, to);
    assert!(load_all(&mapping) == expected, "mapping");
    assert!(read_all(&buffer) == expected, "read(2)");
}

fn into_own_mapping(env: &Env) {
    read_into(env, true);
}

fn into_own_untouched_mapping(env: &Env) {
    read_into(env, false);
}

fn from_own_mapping(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let pattern = fresh();
    store_all(&mapping, 0, pattern);

    let (from, to, length) = (3, env.size() / 2 + 6, env.size() / 2 - 13);
    let address = mapping.as_ptr().wrapping_add(from);
    let result = sys::pwrite(&buffer, address, length, to as i64);
    assert_eq!(result, Ok(length));

    let mut expected = pattern.bytes(0, env.size());
    expected.copy_within(from..from + length, to);
    assert!(load_all(&mapping) == expected, "mapping");
    assert!(read_all(&buffer) == expected, "read(2)");
}

fn onto_itself(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let pattern = fresh();
    store_all(&mapping, 0, pattern);
    // SAFETY: the bytes are in the mapping, to which there are no references.
    let result = unsafe { sys::pread(&buffer, mapping.as_ptr(), env.size(), 0) };
    assert_eq!(result, Ok(env.size()));
    assert_both(&buffer, &mapping, pattern);
    let result = sys::pwrite(&buffer, mapping.as_ptr(), env.size(), 0);
    assert_eq!(result, Ok(env.size()));
    assert_both(&buffer, &mapping, pattern);
}

fn zeroed(env: &Env) {
    let parameters = env.config.parameters();
    let mut places = Vec::new();
    for _ in 0..3 {
        env.module.must_load(&parameters);
        {
            let buffer = env.open();
            let mapping = env.map(&buffer);
            let zero = |bytes: Vec<u8>| bytes.iter().position(|b| *b != 0);
            assert_eq!(zero(load_all(&mapping)), None, "mapping");
            assert_eq!(zero(read_all(&buffer)), None, "read(2)");
            // For the next round, which likely gets the same memory.
            mapping.fill(0, env.size(), 0xa5);
            places.push(buffer.info().expect("INFO").phys_addr);
        }
        env.module.must_unload();
    }
    diagnose(format_args!("physical addresses: {places:x?}"));
}

fn lseek(env: &Env) {
    let buffer = env.open();
    let size = env.size() as i64;
    let seek = |offset, whence| sys::lseek(&buffer, offset, whence);
    assert_eq!(seek(0, libc::SEEK_END), Ok(size as u64));
    assert_eq!(seek(-1, libc::SEEK_END), Ok(size as u64 - 1));
    assert_eq!(seek(0, libc::SEEK_SET), Ok(0));
    assert_eq!(seek(size, libc::SEEK_SET), Ok(size as u64));
    assert_eq!(seek(77, libc::SEEK_SET), Ok(77));
    assert_eq!(seek(-7, libc::SEEK_CUR), Ok(70));

    refused(seek(1, libc::SEEK_END), Errno::EINVAL);
    refused(seek(size + 1, libc::SEEK_SET), Errno::EINVAL);
    refused(seek(-1, libc::SEEK_SET), Errno::EINVAL);
    refused(seek(-71, libc::SEEK_CUR), Errno::EINVAL);
    refused(seek(size, libc::SEEK_CUR), Errno::EINVAL);
    refused(seek(i64::MAX, libc::SEEK_CUR), Errno::EINVAL);
    refused(seek(0, 99), Errno::EINVAL);
    assert_eq!(seek(0, libc::SEEK_CUR), Ok(70), "a refused call moved it");
}

fn position(env: &Env) {
    let buffer = env.open();
    let pattern = fresh();
    write_all(&buffer, pattern);
    let position = || sys::lseek(&buffer, 0, libc::SEEK_CUR);
    assert_eq!(position(), Ok(0), "pwrite(2) moved it");

    let mut bytes = [0; 101];
    assert_eq!(unistd::read(&buffer, &mut bytes), Ok(101));
    assert_pattern(pattern, 0, &bytes, "read(2)");
    assert_eq!(position(), Ok(101));
    assert_eq!(unistd::read(&buffer, &mut bytes), Ok(101));
    assert_pattern(pattern, 101, &bytes, "read(2)");

    let other = fresh();
    assert_eq!(unistd::write(&buffer, &other.bytes(202, 33)), Ok(33));
    assert_eq!(position(), Ok(235));
    let mut all = pattern.bytes(0, env.size());
    other.fill(202, &mut all[202..235]);
    assert!(read_all(&buffer) == all);
    assert_eq!(position(), Ok(235), "pread(2) moved it");

    // Another handle has its own.
    assert_eq!(sys::lseek(env.open(), 0, libc::SEEK_CUR), Ok(0));
}

fn end(env: &Env) {
    let buffer = env.open();
    let pattern = fresh();
    write_all(&buffer, pattern);
    let size = env.size() as u64;

    let mut bytes = [0; 100];
    assert_eq!(buffer.read_at(&mut bytes, size - 33), Ok(33));
    assert_pattern(pattern, env.size() - 33, &bytes[..33], "short read");
    assert!(bytes[33..].iter().all(|b| *b == 0));
    assert_eq!(buffer.read_at(&mut bytes, size), Ok(0));
    assert_eq!(buffer.read_at(&mut bytes, size + 4096), Ok(0));
    assert_eq!(buffer.read_at(&mut bytes, i64::MAX as u64 - 200), Ok(0));
    sys::lseek(&buffer, 0, libc::SEEK_END).expect("lseek");
    assert_eq!(unistd::read(&buffer, &mut bytes), Ok(0));

    refused(buffer.write_at(&bytes, size), Errno::ENOSPC);
    refused(buffer.write_at(&bytes, size + 4096), Errno::ENOSPC);
    refused(unistd::write(&buffer, &bytes), Errno::ENOSPC);
    assert_pattern(pattern, 0, &read_all(&buffer), "after refused writes");

    let other = fresh();
    let more = other.bytes(env.size() - 33, 100);
    assert_eq!(buffer.write_at(&more, size - 33), Ok(33));
    let all = read_all(&buffer);
    assert_pattern(pattern, 0, &all[..env.size() - 33], "before it");
    assert_pattern(
        other,
        env.size() - 33,
        &all[env.size() - 33..],
        "short write",
    );
}

fn vectors(env: &Env) {
    let buffer = env.open();
    let pattern = fresh();
    let bytes = pattern.bytes(5, 5000);
    let (a, b, c) = (&bytes[..1], &bytes[1..4096], &bytes[4096..]);
    let out = [a, &[], b, c].map(IoSlice::new);
    assert_eq!(pwritev(&buffer, &out, 5), Ok(5000));

    let mut got = vec![0; 5000];
    let (a, rest) = got.split_at_mut(333);
    let (b, c) = rest.split_at_mut(4000);
    let mut into = [a, &mut [], b, c].map(IoSliceMut::new);
    assert_eq!(preadv(&buffer, &mut into, 5), Ok(5000));
    assert_pattern(pattern, 5, &got, "preadv(2)");

    // Short within the second vector.
    let at = env.size() as i64 - 10;
    let mut first = [0; 7];
    let mut second = [0; 7];
    let mut into = [&mut first[..], &mut second[..]].map(IoSliceMut::new);
    assert_eq!(preadv(&buffer, &mut into, at as _), Ok(10));
    assert_eq!(second[3..], [0; 4]);
}

/// Addresses at which there is nothing: no page, and the kernel's.
pub(super) fn nowhere() -> [*mut u8; 2] {
    let kernel = usize::MAX - 2 * page() + 1;
    [
        std::ptr::null_mut(),
        std::ptr::without_provenance_mut(kernel),
    ]
}

fn bad_pointers(env: &Env) {
    let buffer = env.open();
    let mapping = buffer
        .map(0, env.size(), Protection::Read)
        .expect("mmap read-only");
    let pattern = fresh();
    write_all(&buffer, pattern);

    for address in nowhere() {
        // SAFETY: no memory of ours is there.
        let result = unsafe { sys::pread(&buffer, address, 100, 0) };
        refused(result, Errno::EFAULT);
        refused(sys::pwrite(&buffer, address, 100, 0), Errno::EFAULT);
    }
    // A read-only mapping, even one of the same buffer.
    // SAFETY: there are no references to it.
    let result = unsafe { sys::pread(&buffer, mapping.as_ptr(), 100, 0) };
    refused(result, Errno::EFAULT);
    assert_pattern(pattern, 0, &load_all(&mapping), "after refusals");

    // The second of two pages is missing: a short count, of what was copied.
    let mut user = Region::anonymous(2 * page());
    user.unmap(page(), page()).expect("munmap");
    let from = user.at(page() - 100);
    // SAFETY: there are no references to it.
    let count = unsafe { sys::pread(&buffer, from, 200, 7) }.expect("pread");
    assert!((1..=100).contains(&count), "{count} of 100 bytes");
    // SAFETY: as many bytes are there, and nobody else has them.
    let got = unsafe { std::slice::from_raw_parts(from, count) }.to_vec();
    assert_pattern(pattern, 7, &got, "partial read");

    let other = fresh();
    for (i, byte) in other.bytes(7, 100).into_iter().enumerate() {
        // SAFETY: the last 100 bytes of the first page.
        unsafe { from.add(i).write(byte) };
    }
    let count = sys::pwrite(&buffer, from, 200, 7).expect("pwrite");
    assert!((1..=100).contains(&count), "{count} of 100 bytes");
    let all = read_all(&buffer);
    assert_pattern(pattern, 0, &all[..7], "before it");
    assert_pattern(other, 7, &all[7..7 + count], "partial write");
    assert_pattern(pattern, 7 + count, &all[7 + count..], "after it");
}
