// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mappings, and what becomes of them: pieces, forks, moves, protections.

use nix::{
    errno::Errno,
    libc,
    sys::{
        personality::{self, Persona},
        signal::Signal,
        wait::WaitStatus,
    },
};
use shmbuf::{Buffer, Mapping, Policy, Protection};

use super::{
    claim,
    data::{assert_both, assert_pattern, fresh, load_all, read_all, store_all, write_all},
    Claim, Scope,
};
use crate::{
    machine::Arch,
    process::{Child, Turn},
    procfs::mapped,
    runner::Env,
    sys::{faults, page, refused, settle, Region},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Each, "mapped_at_offset_and_length", offsets),
    claim(Scope::Each, "mapped_by_several_processes", processes),
    claim(Scope::Each, "mapped_across_fork", across_fork),
    claim(Scope::Each, "partial_munmap_keeps_the_pieces", pieces),
    claim(Scope::Each, "mremap_shrinks_and_never_grows", shrink),
    claim(Scope::Each, "mremap_moves", moves),
    claim(Scope::Each, "mprotect_and_back", protect_and_back),
    claim(Scope::Each, "no_page_faults_after_mmap", no_faults),
    claim(Scope::Each, "second_mapping_in_one_process", second),
    claim(Scope::Kind, "smaps_flags", flags),
    claim(Scope::Kind, "mapping_outlives_its_handle", outlives),
    claim(Scope::Kind, "killed_process_leaves_nothing", killed),
    claim(Scope::Kind, "past_the_end_is_refused", past_end),
    claim(Scope::Kind, "copy_on_write_is_refused", copy_on_write),
    claim(Scope::Kind, "private_read_only", private_read_only),
    claim(Scope::Kind, "exec_is_refused", exec).unless(|machine, _| {
        machine
            .read_implies_exec()
            .then_some("every program has READ_IMPLIES_EXEC here")
    }),
    claim(Scope::Kind, "read_implies_no_exec", no_exec).unless(|machine, _| {
        let says = "programs have no READ_IMPLIES_EXEC here";
        (!machine.read_implies_exec()).then_some(says)
    }),
    claim(Scope::Each, "code_does_not_run", code)
        .unless(|machine, _| (machine.arch == Arch::Armv5).then_some("ARMv5 cannot forbid it")),
    claim(Scope::Kind, "read_only_handle_maps_read_only", read_only),
    claim(Scope::Kind, "madvise_drops_nothing", advise),
    claim(Scope::Kind, "futex_between_processes_is_refused", futex),
];

const READ: i32 = libc::PROT_READ;
const WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
const SHARED: i32 = libc::MAP_SHARED;
const PRIVATE: i32 = libc::MAP_PRIVATE;

#[track_caller]
fn region(env: &Env, buffer: &Buffer) -> Region {
    Region::map(buffer, env.size(), WRITE, SHARED, 0).expect("mmap")
}

#[track_caller]
fn mappings(buffer: &Buffer) -> u32 {
    buffer.info().expect("INFO").mappings
}

/// Reads 32 bits of the buffer by pread(2).
#[track_caller]
fn kernel_word(buffer: &Buffer, offset: usize) -> u32 {
    let mut bytes = [0; 4];
    assert_eq!(buffer.read_at(&mut bytes, offset as u64), Ok(4));
    u32::from_ne_bytes(bytes)
}

/// Asserts that a word of a region and of the buffer are the same, each way.
#[track_caller]
fn assert_alive(buffer: &Buffer, region: &Region, at: usize, offset: usize) {
    let value = fastrand::u32(..);
    region.write(at, value);
    assert_eq!(kernel_word(buffer, offset), value, "by read(2)");
    let value = !value;
    let bytes = value.to_ne_bytes();
    assert_eq!(buffer.write_at(&bytes, offset as u64), Ok(4));
    assert_eq!(region.read(at), value, "in the mapping");
}

fn offsets(env: &Env) {
    let buffer = env.open();
    let pages = env.size() / page();
    for first in [0, 1, 7, pages / 2, pages - 1] {
        for length in [1, 100, page(), 3 * page() + 5, env.size()] {
            let offset = first * page();
            let length = length.min(env.size() - offset);
            let before = fresh();
            write_all(&buffer, before);
            let mapping = buffer
                .map(offset as u64, length, Protection::ReadWrite)
                .expect("mmap");
            assert_pattern(before, offset, &load_all(&mapping), "mapping");
            let pattern = fresh();
            store_all(&mapping, offset, pattern);

            let all = read_all(&buffer);
            assert_pattern(before, 0, &all[..offset], "before it");
            assert_pattern(pattern, offset, &all[offset..][..length], "read(2)");
            let after = offset + length;
            assert_pattern(before, after, &all[after..], "after it");
        }
    }
}

fn processes(env: &Env) {
    const PROCESSES: usize = 4;
    let share = env.size() / PROCESSES;
    let patterns = [(); PROCESSES].map(|()| fresh());
    let after = fresh();
    let (stored, written) = (Turn::new(), Turn::new());

    let children: Vec<_> = (0..PROCESSES)
        .map(|i| {
            Child::run(|| {
                let buffer = env.open();
                let mapping = env.map(&buffer);
                let bytes = patterns[i].bytes(i * share, share);
                mapping.write(i * share, &bytes);
                stored.give();
                written.take();
                assert_pattern(after, 0, &load_all(&mapping), "mapping");
            })
        })
        .collect();
    let buffer = env.open();
    children.iter().for_each(|_| stored.take());
    assert_eq!(mappings(&buffer), PROCESSES as u32);
    let all = read_all(&buffer);
    for (i, pattern) in patterns.into_iter().enumerate() {
        let bytes = &all[i * share..][..share];
        assert_pattern(pattern, i * share, bytes, "read(2)");
    }
    write_all(&buffer, after);
    children.iter().for_each(|_| written.give());
    children.into_iter().for_each(Child::join);
    assert_eq!(mappings(&buffer), 0);
}

fn across_fork(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let (first, second) = (fresh(), fresh());
    store_all(&mapping, 0, first);
    let (stored, go) = (Turn::new(), Turn::new());
    let child = Child::run(|| {
        assert_pattern(first, 0, &load_all(&mapping), "the child's mapping");
        store_all(&mapping, 0, second);
        assert_pattern(second, 0, &read_all(&buffer), "the child's read(2)");
        stored.give();
        go.take();
    });
    stored.take();
    assert_eq!(mappings(&buffer), 2);
    assert_both(&buffer, &mapping, second);
    go.give();
    child.join();
    assert_eq!(mappings(&buffer), 1);
    drop(mapping);
    assert_eq!(mappings(&buffer), 0);
}

fn pieces(env: &Env) {
    let buffer = env.open();
    let mut region = region(env, &buffer);
    let third = env.size() / page() / 3 * page();
    let last = env.size() - 4;

    region.unmap(third, third).expect("munmap of the middle");
    assert_eq!(mappings(&buffer), 2);
    assert_alive(&buffer, &region, 0, 0);
    assert_alive(&buffer, &region, third - 4, third - 4);
    assert_alive(&buffer, &region, 2 * third, 2 * third);
    assert_alive(&buffer, &region, last, last);

    region.unmap(0, third).expect("munmap of the first");
    assert_eq!(mappings(&buffer), 1);
    let head = env.size() - 2 * third - page();
    region.unmap(2 * third, head).expect("munmap of the head");
    assert_eq!(mappings(&buffer), 1);
    assert_alive(&buffer, &region, last, last);
    drop(region);
    assert_eq!(mappings(&buffer), 0);
}

fn shrink(env: &Env) {
    let buffer = env.open();
    let mut region = region(env, &buffer);
    let (all, half) = (env.size(), env.size() / 2);
    region.remap(all, half, 0).expect("mremap to the half");
    assert_eq!(mappings(&buffer), 1);
    assert_alive(&buffer, &region, half - 4, half - 4);

    for flags in [0, libc::MREMAP_MAYMOVE] {
        refused(region.remap(half, all, flags), Errno::EFAULT);
        refused(region.remap(half, half + page(), flags), Errno::EFAULT);
    }
    // A copy of the mapping, and a mapping that leaves its pages behind.
    let flags = libc::MREMAP_MAYMOVE;
    refused(region.remap(0, half, flags), Errno::EFAULT);
    let flags = flags | libc::MREMAP_DONTUNMAP;
    refused(region.remap(half, half, flags), Errno::EINVAL);

    assert_eq!(mappings(&buffer), 1);
    assert_alive(&buffer, &region, 0, 0);
    drop(region);
    assert_eq!(mappings(&buffer), 0);
}

fn moves(env: &Env) {
    let buffer = env.open();
    let mut region = region(env, &buffer);
    let value = fastrand::u32(..);
    region.write(page(), value);
    let place = Region::anonymous(env.size());
    let to = place.start();
    region.move_over(place).expect("mremap to another place");
    assert_eq!(region.start(), to);
    assert_eq!(mappings(&buffer), 1);
    assert_eq!(region.read(page()), value);
    assert_eq!(kernel_word(&buffer, page()), value);
    assert_alive(&buffer, &region, 0, 0);
    assert_alive(&buffer, &region, env.size() - 4, env.size() - 4);
    drop(region);
    assert_eq!(mappings(&buffer), 0);
}

fn protect_and_back(env: &Env) {
    let buffer = env.open();
    let region = region(env, &buffer);
    let value = fastrand::u32(..);
    region.write(8, value);
    region.protect(READ).expect("mprotect to read-only");
    assert_eq!(region.read(8), value);
    let permissions = mapped(region.start()).expect("in smaps").permissions;
    assert_eq!(permissions, "r--s");
    region.protect(libc::PROT_NONE).expect("mprotect to none");
    region.protect(WRITE).expect("mprotect back");
    assert_eq!(region.read(8), value);
    assert_alive(&buffer, &region, 8, 8);
    drop(region);

    // One that was born without any access.
    let region = Region::map(&buffer, env.size(), libc::PROT_NONE, SHARED, 0).expect("mmap");
    region.protect(WRITE).expect("mprotect to writing");
    assert_alive(&buffer, &region, 8, 8);
}

/// One call maps all; touching, for reading or writing, needs no other.
fn no_faults(env: &Env) {
    settle();
    let buffer = env.open();
    let touch = |region: &Region, write: bool| {
        let before = faults();
        for offset in (0..region.len()).step_by(page()) {
            if write {
                region.write(offset, offset as u32);
            } else {
                region.read(offset);
            }
        }
        faults() - before
    };
    let ordinary = Region::anonymous(16 * page());
    assert!(touch(&ordinary, true) >= 16, "faults are not counted");
    assert_eq!(touch(&ordinary, true), 0);

    let writable = region(env, &buffer);
    assert_eq!(touch(&writable, false), 0, "reading");
    drop(writable);
    let writable = region(env, &buffer);
    assert_eq!(touch(&writable, true), 0, "writing");
}

/// Whether two mappings in one process are two aliases in its cache.
fn aliases(env: &Env) -> bool {
    let cached = matches!(env.config.policy, Policy::WriteBack | Policy::WriteThrough);
    env.machine.is_vivt() && cached
}

fn second(env: &Env) {
    let buffer = env.open();
    let (page, half) = (page(), env.size() / 2);
    let map = |offset: usize, length: usize| -> shmbuf::Result<Mapping> {
        buffer.map(offset as u64, length, Protection::ReadWrite)
    };
    let first = map(0, half).expect("mmap");
    let disjoint = map(half, half).expect("mmap of other bytes");
    first.write_u32(0, 1);
    disjoint.write_u32(0, 2);
    assert_eq!(kernel_word(&buffer, half), 2);
    drop(disjoint);

    if !aliases(env) {
        let other = map(0, env.size()).expect("second mmap");
        let pattern = fresh();
        store_all(&first, 0, pattern);
        let mut got = vec![0; half];
        other.read(0, &mut got);
        assert_pattern(pattern, 0, &got, "the second mapping");
        let pattern = fresh();
        store_all(&other, 0, pattern);
        assert_pattern(pattern, 0, &load_all(&first), "the first mapping");
        return;
    }

    refused(map(0, half), Errno::EBUSY);
    refused(map(half - page, 2 * page), Errno::EBUSY);
    refused(map(page, page), Errno::EBUSY);
    refused(
        env.open_read_only().map(0, page, Protection::Read),
        Errno::EBUSY,
    );
    assert_eq!(mappings(&buffer), 1);
    assert_eq!(first.read_u32(0), 1, "a refused call changed it");

    // Another process has a cache of its own, so to speak; a forked one has
    // the mapping already.
    Child::run(|| refused(map(0, half), Errno::EBUSY)).join();
    let (go, done) = (Turn::new(), Turn::new());
    drop(first);
    let child = Child::run(|| {
        go.take();
        map(0, half)
            .expect("mmap in another process")
            .write_u32(0, 5);
        done.give();
    });
    let first = map(0, half).expect("mmap after munmap");
    go.give();
    done.take();
    child.join();
    assert_eq!(first.read_u32(0), 5);
}

fn flags(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let mapped = mapped(mapping.as_ptr()).expect("in smaps");
    assert_eq!(mapped.permissions, "rw-s");
    for flag in ["io", "de", "dd"] {
        let there = mapped.flags.iter().any(|f| f == flag);
        assert!(there, "no {flag} among {:?}", mapped.flags);
    }
}

fn outlives(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    drop(buffer);
    let pattern = fresh();
    store_all(&mapping, 0, pattern);
    let buffer = env.open();
    assert_eq!(mappings(&buffer), 1);
    assert_both(&buffer, &mapping, pattern);
}

fn killed(env: &Env) {
    let buffer = env.open();
    let (mapped, never) = (Turn::new(), Turn::new());
    let child = Child::run(|| {
        let own = env.open();
        let mapping = env.map(&own);
        mapping.fill(0, env.size(), 1);
        mapped.give();
        never.take();
    });
    mapped.take();
    assert_eq!(mappings(&buffer), 1);
    child.kill();
    assert_eq!(mappings(&buffer), 0);
    assert_eq!(crate::module::users(), Some(1), "more than our own handle");
}

fn past_end(env: &Env) {
    let buffer = env.open();
    let size = env.size() as i64;
    let bytes = page() as i64;
    let map =
        |offset: i64, length: i64| Region::map(&buffer, length as usize, WRITE, SHARED, offset);
    refused(map(size, bytes), Errno::EINVAL);
    refused(map(0, size + 1), Errno::EINVAL);
    refused(map(0, size + bytes), Errno::EINVAL);
    refused(map(size - bytes, 2 * bytes), Errno::EINVAL);
    refused(map(size - bytes, bytes + 1), Errno::EINVAL);
    // Beyond what 32 bits hold in bytes, and then in pages: there the core of
    // a 32-bit kernel is before the driver.
    let far = match env.machine.has_64bit_kernel() {
        false => Errno::EOVERFLOW,
        true => Errno::EINVAL,
    };
    refused(map((1 << 32) - 2 * bytes, bytes), Errno::EINVAL);
    refused(map((1 << 32) - bytes, 2 * bytes), far);
    refused(map(1 << 32, bytes), far);
    refused(map((1 << 43) - bytes, bytes), far);
    refused(map(1, bytes), Errno::EINVAL);
    refused(map(0, 0), Errno::EINVAL);
    assert_eq!(mappings(&buffer), 0);
}

fn copy_on_write(env: &Env) {
    let buffer = env.open();
    let read_only = env.open_read_only();
    for protection in [WRITE, libc::PROT_WRITE] {
        let map = |fd: &Buffer| Region::map(fd, page(), protection, PRIVATE, 0);
        refused(map(&buffer), Errno::EOPNOTSUPP);
        refused(map(&read_only), Errno::EOPNOTSUPP);
    }
    assert_eq!(mappings(&buffer), 0);
}

fn private_read_only(env: &Env) {
    let buffer = env.open();
    let region = Region::map(&buffer, env.size(), READ, PRIVATE, 0).expect("mmap");
    let value = fastrand::u32(..);
    buffer.write_at(&value.to_ne_bytes(), 0).expect("pwrite");
    assert_eq!(region.read(0), value);
    refused(region.protect(WRITE), Errno::EACCES);
    let permissions = mapped(region.start()).expect("in smaps").permissions;
    assert_eq!(permissions, "r--p");
    // Still not a copy.
    buffer.write_at(&(!value).to_ne_bytes(), 0).expect("pwrite");
    assert_eq!(region.read(0), !value);
}

fn exec(env: &Env) {
    let buffer = env.open();
    for flags in [SHARED, PRIVATE] {
        for protection in [READ | libc::PROT_EXEC, libc::PROT_EXEC] {
            let result = Region::map(&buffer, page(), protection, flags, 0);
            refused(result, Errno::EPERM);
        }
    }
    assert_eq!(mappings(&buffer), 0);
    let region = region(env, &buffer);
    refused(region.protect(READ | libc::PROT_EXEC), Errno::EACCES);
    refused(region.protect(WRITE | libc::PROT_EXEC), Errno::EACCES);
    let permissions = mapped(region.start()).expect("in smaps").permissions;
    assert_eq!(permissions, "rw-s");
}

fn no_exec(env: &Env) {
    let buffer = env.open();
    for (protection, expected) in [(READ, "r--s"), (WRITE, "rw-s")] {
        let region = Region::map(&buffer, page(), protection, SHARED, 0).expect("mmap");
        let permissions = || mapped(region.start()).expect("in smaps").permissions;
        assert_eq!(permissions(), expected);
        refused(region.protect(READ | libc::PROT_EXEC), Errno::EACCES);
        assert_eq!(permissions(), expected);
        region.protect(READ).expect("mprotect to read-only");
        assert_eq!(permissions(), "r--s");
    }
}

/// A function that returns at once.
const RETURN: u32 = if cfg!(target_arch = "arm") {
    0xe12f_ff1e // bx lr
} else if cfg!(target_arch = "aarch64") {
    0xd65f_03c0 // ret
} else if cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
    0xc3 // ret
} else {
    panic!("what is a return here?")
};

unsafe extern "C" {
    /// The compiler's: makes code that was written in a range fit to be run.
    fn __clear_cache(begin: *mut u8, end: *mut u8);
}

/// Execute-never is in the page table, also for a program in which reading
/// implies executing.
fn code(env: &Env) {
    for persona in [Persona::empty(), Persona::READ_IMPLIES_EXEC] {
        let child = Child::run(|| {
            let inherited = personality::get().expect("personality");
            personality::set(inherited | persona).expect("personality");
            let buffer = env.open();
            let region = Region::map(&buffer, page(), WRITE, SHARED, 0).expect("mmap");
            region.write(0, RETURN);
            // SAFETY: the range is ours.
            unsafe { __clear_cache(region.at(0), region.at(4)) };
            // SAFETY: if this runs, it is a function that returns at once.
            let function: extern "C" fn() = unsafe { std::mem::transmute(region.start()) };
            function();
        });
        let status = child.wait();
        assert!(
            matches!(status, WaitStatus::Signaled(_, Signal::SIGSEGV, _)),
            "with {persona:?} it ran: {status:?}"
        );
    }
}

fn read_only(env: &Env) {
    let buffer = env.open_read_only();
    for protection in [WRITE, libc::PROT_WRITE] {
        let result = Region::map(&buffer, page(), protection, SHARED, 0);
        refused(result, Errno::EACCES);
    }
    let region = Region::map(&buffer, env.size(), READ, SHARED, 0).expect("mmap");
    refused(region.protect(WRITE), Errno::EACCES);
    let value = fastrand::u32(..);
    let other = env.open();
    other.write_at(&value.to_ne_bytes(), 4).expect("pwrite");
    assert_eq!(region.read(4), value);
    let mut bytes = [0; 4];
    assert_eq!(buffer.read_at(&mut bytes, 4), Ok(4));
    assert_eq!(u32::from_ne_bytes(bytes), value);
    refused(buffer.write_at(&bytes, 4), Errno::EBADF);
}

/// futex(2), to wake one waiter at the beginning of a region.
fn futex_wake(region: &Region, operation: libc::c_int) -> Result<(), Errno> {
    // SAFETY: it reads no memory.
    let woken = unsafe { libc::syscall(libc::SYS_futex, region.start(), operation, 1) };
    Errno::result(woken).map(|count| assert_eq!(count, 0))
}

fn futex(env: &Env) {
    let buffer = env.open();
    let region = region(env, &buffer);
    refused(futex_wake(&region, libc::FUTEX_WAKE), Errno::EFAULT);
    let private = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    futex_wake(&region, private).expect("FUTEX_WAKE");
}

fn advise(env: &Env) {
    let buffer = env.open();
    let region = region(env, &buffer);
    let value = fastrand::u32(..);
    region.write(0, value);
    refused(region.advise(libc::MADV_DONTNEED), Errno::EINVAL);
    assert_eq!(region.read(0), value);
    assert_eq!(kernel_word(&buffer, 0), value);
}
