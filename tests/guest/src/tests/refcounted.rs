// SPDX-License-Identifier: MIT OR Apache-2.0
//! Refcounted mappings: the kernel pins their pages and works on them, also
//! when the buffer is long gone.

use std::{
    fs::{File, OpenOptions},
    io::{self, IoSlice, IoSliceMut, Read},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{FileExt, OpenOptionsExt},
    },
};

use io_uring::{opcode, squeue, types, IoUring};
use nix::{
    errno::Errno,
    libc,
    sys::uio::{process_vm_readv, process_vm_writev, RemoteIoVec},
    unistd::{getpid, pipe, Pid},
};
use shmbuf::{Alloc, Buffer, Kind, MappingKind, Policy};
use shmbuf_verify::Pattern;

use super::{
    alloc::{each_kind, every, make, SIZE},
    claim,
    data::{assert_pattern, fresh, read_all, write_all},
    without_debugfs, Claim, Scope,
};
use crate::{
    machine::Machine,
    module::{users, Config, DEVICE},
    process::Child,
    procfs::private_used,
    runner::Env,
    sys::{self, refused, vmsplice, Region},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Own, "refcounted_is_refused", not_here).unless(|machine, _| {
        let text = "there are refcounted mappings here";
        (!machine.is_vivt()).then_some(text)
    }),
    claim(Scope::Once, "refcounted_o_direct_writes", direct_write).unless(without_pinning),
    claim(Scope::Once, "refcounted_o_direct_reads", direct_read).unless(without_pinning),
    claim(Scope::Once, "refcounted_io_uring_writes", uring_write).unless(without_pinning),
    claim(Scope::Once, "refcounted_io_uring_reads", uring_read).unless(without_pinning),
    claim(Scope::Once, "refcounted_vmsplice", spliced).unless(without_pinning),
    claim(Scope::Once, "refcounted_process_vm_readv", vm_readv).unless(without_pinning),
    claim(Scope::Once, "refcounted_process_vm_writev", vm_writev).unless(without_pinning),
    claim(Scope::Once, "refcounted_keeps_its_policy", set_cache).unless(without_pinning),
    claim(Scope::Once, "refcounted_zapped_range_comes_back", zapped).unless(without_pinning),
    claim(
        Scope::Once,
        "refcounted_zapped_range_is_pinned",
        zapped_pinned,
    )
    .unless(without_pinning),
    claim(
        Scope::Own,
        "refcounted_zapped_range_of_a_reader",
        zapped_reader,
    )
    .unless(without_pinning),
    claim(Scope::Own, "vmspliced_pages_outlive_all", splice_outlives).unless(without_pinning),
    claim(Scope::Own, "io_uring_buffers_outlive_all", uring_outlives).unless(without_pinning),
    claim(Scope::Once, "pfnmap_is_not_pinned", not_pinned).unless(|_, _| without_disk()),
];

/// A block device that is memory.
const DISK: &str = "/dev/ram0";

fn without_disk() -> Option<&'static str> {
    File::open(DISK).is_err().then_some("no /dev/ram0")
}

fn without_pinning(machine: &Machine, config: &Config) -> Option<&'static str> {
    let vivt = machine.is_vivt();
    vivt.then_some("there are no refcounted mappings here")
        .or_else(without_disk)
        .or_else(|| without_debugfs(machine, config))
}

/// Refcounted private buffers of each kind that can be.
fn refcounted(env: &Env) -> Vec<Alloc> {
    let mut list = every(&env.machine);
    list.retain(|alloc| alloc.mapping == MappingKind::Refcounted);
    let kinds: Vec<_> = list.iter().map(|alloc| alloc.kind).collect();
    assert_eq!(kinds, [Kind::Pages, Kind::Streaming, Kind::Scatter]);
    list
}

#[track_caller]
fn map(buffer: &Buffer) -> Region {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    Region::map(buffer, SIZE as usize, protection, libc::MAP_SHARED, 0).expect("mmap")
}

/// Calls a function for each refcounted buffer, with a mapping of all of it, and the pattern
/// that is in it.
fn each(env: &Env, f: impl Fn(&Buffer, Region, Pattern)) {
    for alloc in refcounted(env) {
        let buffer = make(env, &alloc);
        let pattern = fresh();
        write_all(&buffer, pattern);
        let region = map(&buffer);
        f(&buffer, region, pattern);
    }
}

/// Opens the disk, past the page cache.
fn disk() -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(DISK)
        .expect(DISK)
}

const LENGTH: usize = SIZE as usize;

/// Reads the beginning of the disk, into memory that is not the driver's.
fn read_disk(disk: &File) -> Vec<u8> {
    let memory = Region::anonymous(LENGTH);
    // SAFETY: nothing has a reference to it.
    let count = unsafe { sys::pread(disk, memory.start(), LENGTH, 0) };
    assert_eq!(count, Ok(LENGTH));
    bytes(&memory)
}

fn write_disk(disk: &File, pattern: Pattern) {
    let memory = Region::anonymous(LENGTH);
    store(&memory, pattern);
    assert_eq!(sys::pwrite(disk, memory.start(), LENGTH, 0), Ok(LENGTH));
}

fn bytes(region: &Region) -> Vec<u8> {
    (0..region.len())
        .step_by(4)
        .flat_map(|offset| region.read(offset).to_ne_bytes())
        .collect()
}

fn store(region: &Region, pattern: Pattern) {
    let bytes = pattern.bytes(0, region.len());
    for (offset, word) in (0..).step_by(4).zip(bytes.chunks_exact(4)) {
        let word = word.try_into().expect("four bytes");
        region.write(offset, u32::from_ne_bytes(word));
    }
}

fn not_here(env: &Env) {
    for kind in [Kind::Pages, Kind::Streaming, Kind::Scatter] {
        let parameters = format!("kind={kind} mapping=refcounted");
        let reasons = env.module.must_not_load(&parameters, Errno::EOPNOTSUPP);
        let says = |word: &str| reasons.iter().any(|line| line.text.contains(word));
        assert!(says("refcounted") && says("VIVT"), "{reasons:?}");
    }
}

fn direct_write(env: &Env) {
    let disk = disk();
    each(env, |_, region, pattern| {
        write_disk(&disk, fresh());
        assert_eq!(sys::pwrite(&disk, region.start(), LENGTH, 0), Ok(LENGTH));
        assert_pattern(pattern, 0, &read_disk(&disk), "the disk");
    });
}

fn direct_read(env: &Env) {
    let disk = disk();
    each(env, |buffer, region, _| {
        let pattern = fresh();
        write_disk(&disk, pattern);
        // SAFETY: nothing has a reference to it.
        let count = unsafe { sys::pread(&disk, region.start(), LENGTH, 0) };
        assert_eq!(count, Ok(LENGTH));
        assert_pattern(pattern, 0, &bytes(&region), "the mapping");
        assert_pattern(pattern, 0, &read_all(buffer), "read(2)");
    });
}

/// A ring for which a region is registered as the fixed buffer 0.
struct Ring {
    ring: IoUring,
    start: *mut u8,
}

impl Ring {
    fn new(region: &Region) -> io::Result<Self> {
        let ring = IoUring::new(4).expect("io_uring_setup");
        let start = region.start();
        let iovec = libc::iovec {
            iov_base: start.cast(),
            iov_len: region.len(),
        };
        // SAFETY: what the kernel writes to is memory that has no references.
        unsafe { ring.submitter().register_buffers(&[iovec]) }?;
        Ok(Self { ring, start })
    }

    fn run(&mut self, entry: &squeue::Entry) {
        // SAFETY: the kernel uses the registered pages, whatever has become of
        // the mapping.
        unsafe { self.ring.submission().push(entry) }.expect("there is room");
        self.ring.submit_and_wait(1).expect("io_uring_enter");
        let done = self.ring.completion().next().expect("one is complete");
        assert_eq!(done.result(), LENGTH as i32);
    }

    /// Writes the registered buffer to the disk.
    fn write(&mut self, disk: &File) {
        let fd = types::Fd(disk.as_raw_fd());
        let entry = opcode::WriteFixed::new(fd, self.start, LENGTH as u32, 0);
        self.run(&entry.build());
    }

    /// Reads the disk into the registered buffer.
    fn read(&mut self, disk: &File) {
        let fd = types::Fd(disk.as_raw_fd());
        let entry = opcode::ReadFixed::new(fd, self.start, LENGTH as u32, 0);
        self.run(&entry.build());
    }
}

fn uring_write(env: &Env) {
    let disk = disk();
    each(env, |_, region, pattern| {
        write_disk(&disk, fresh());
        Ring::new(&region).expect("register").write(&disk);
        assert_pattern(pattern, 0, &read_disk(&disk), "the disk");
    });
}

fn uring_read(env: &Env) {
    let disk = disk();
    each(env, |buffer, region, _| {
        let pattern = fresh();
        write_disk(&disk, pattern);
        Ring::new(&region).expect("register").read(&disk);
        assert_pattern(pattern, 0, &bytes(&region), "the mapping");
        assert_pattern(pattern, 0, &read_all(buffer), "read(2)");
    });
}

/// Reads all that a region has from a pipe.
fn read_pipe(from: impl AsFd) -> Vec<u8> {
    let fd = from.as_fd().try_clone_to_owned().expect("dup");
    let mut bytes = vec![0; LENGTH];
    File::from(fd).read_exact(&mut bytes).expect("read");
    bytes
}

fn spliced(env: &Env) {
    each(env, |_, region, pattern| {
        let (from, to) = pipe().expect("pipe");
        assert_eq!(vmsplice(&to, &region), Ok(LENGTH));
        assert_pattern(pattern, 0, &read_pipe(&from), "the pipe");
        // These are the pages, not copies.
        assert_eq!(vmsplice(&to, &region), Ok(LENGTH));
        let pattern = fresh();
        store(&region, pattern);
        assert_pattern(pattern, 0, &read_pipe(&from), "the pipe");
    });
}

/// A region as another process names it.
fn remote(region: &Region) -> [RemoteIoVec; 1] {
    [RemoteIoVec {
        base: region.start().addr(),
        len: region.len(),
    }]
}

fn read_remote(process: Pid, region: &Region) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; region.len()];
    let mut local = [IoSliceMut::new(&mut bytes)];
    let count = process_vm_readv(process, &mut local, &remote(region))?;
    bytes.truncate(count);
    Ok(bytes)
}

fn vm_readv(env: &Env) {
    let parent = getpid();
    each(env, |_, region, pattern| {
        Child::run(|| {
            let got = read_remote(parent, &region).expect("process_vm_readv");
            assert_eq!(got.len(), LENGTH);
            assert_pattern(pattern, 0, &got, "what another process read");
        })
        .join();
    });
}

fn vm_writev(env: &Env) {
    let parent = getpid();
    each(env, |buffer, region, _| {
        let pattern = fresh();
        Child::run(|| {
            let bytes = pattern.bytes(0, LENGTH);
            let local = [IoSlice::new(&bytes)];
            let count = process_vm_writev(parent, &local, &remote(&region));
            assert_eq!(count, Ok(LENGTH));
        })
        .join();
        assert_pattern(pattern, 0, &bytes(&region), "the mapping");
        assert_pattern(pattern, 0, &read_all(buffer), "read(2)");
    });
}

fn set_cache(env: &Env) {
    each(env, |buffer, region, pattern| {
        drop(region);
        for policy in Policy::ALL {
            let result = buffer.set_cache(*policy);
            if *policy == Policy::WriteBack {
                result.expect("SET_CACHE to what it is");
            } else {
                refused(result, Errno::EOPNOTSUPP);
            }
        }
        assert_pattern(pattern, 0, &read_all(buffer), "read(2)");
    });
}

/// Takes the pages of a region away from the process, by madvise(2).
#[track_caller]
fn zap(region: &Region) {
    region.advise(libc::MADV_DONTNEED).expect("MADV_DONTNEED");
}

fn zapped(env: &Env) {
    each(env, |buffer, region, pattern| {
        zap(&region);
        assert_pattern(pattern, 0, &bytes(&region), "the mapping");
        zap(&region);
        let pattern = fresh();
        store(&region, pattern);
        assert_pattern(pattern, 0, &read_all(buffer), "read(2)");
        for advice in [libc::MADV_POPULATE_READ, libc::MADV_POPULATE_WRITE] {
            zap(&region);
            region.advise(advice).expect("MADV_POPULATE");
            assert_pattern(pattern, 0, &bytes(&region), "the mapping");
        }
    });
}

fn zapped_pinned(env: &Env) {
    let disk = disk();
    let parent = getpid();
    each(env, |_, region, pattern| {
        zap(&region);
        write_disk(&disk, fresh());
        assert_eq!(sys::pwrite(&disk, region.start(), LENGTH, 0), Ok(LENGTH));
        assert_pattern(pattern, 0, &read_disk(&disk), "the disk");
        zap(&region);
        Child::run(|| {
            let got = read_remote(parent, &region).expect("process_vm_readv");
            assert_pattern(pattern, 0, &got, "what another process read");
        })
        .join();
        zap(&region);
        let (from, to) = pipe().expect("pipe");
        assert_eq!(vmsplice(&to, &region), Ok(LENGTH));
        assert_pattern(pattern, 0, &read_pipe(&from), "the pipe");
    });
}

fn zapped_reader(env: &Env) {
    for kind in [Kind::Pages, Kind::Streaming, Kind::Scatter] {
        env.module
            .must_load(&format!("kind={kind} size={SIZE} mapping=refcounted"));
        let pattern = fresh();
        let writer = OpenOptions::new().write(true).open(DEVICE).expect(DEVICE);
        writer
            .write_all_at(&pattern.bytes(0, LENGTH), 0)
            .expect("write");
        let reader = File::open(DEVICE).expect(DEVICE);
        for flags in [libc::MAP_SHARED, libc::MAP_PRIVATE] {
            let region = Region::map(&reader, LENGTH, libc::PROT_READ, flags, 0).expect("mmap");
            zap(&region);
            assert_pattern(pattern, 0, &bytes(&region), "the mapping");
        }
        drop((reader, writer));
        env.module.must_unload();
    }
}

/// Takes much memory, and writes over it.
fn dirty_much_memory(env: &Env) {
    let mut buffers = Vec::new();
    for alloc in each_kind(&env.machine) {
        for _ in 0..16 {
            let buffer = make(env, &alloc);
            write_all(&buffer, fresh());
            buffers.push(buffer);
        }
    }
    let memory = Region::anonymous(32 << 20);
    for offset in (0..memory.len()).step_by(64) {
        memory.write(offset, 0x5a5a_5a5a);
    }
}

/// Unloads the module, which nothing but pins of its pages is left of, loads
/// it again, and takes much memory.
fn start_over(env: &Env) {
    assert_eq!((private_used(), users()), (0, Some(0)));
    env.module.must_unload();
    env.module.must_load(&Config::DEFAULT.parameters());
    dirty_much_memory(env);
}

fn splice_outlives(env: &Env) {
    env.module.must_load(&Config::DEFAULT.parameters());
    for alloc in refcounted(env) {
        let buffer = make(env, &alloc);
        let pattern = fresh();
        write_all(&buffer, pattern);
        let region = map(&buffer);
        let (from, to) = pipe().expect("pipe");
        assert_eq!(vmsplice(&to, &region), Ok(LENGTH));
        refused(env.module.unload(), Errno::EWOULDBLOCK);
        drop(buffer);
        refused(env.module.unload(), Errno::EWOULDBLOCK);
        drop(region);
        dirty_much_memory(env);
        start_over(env);
        let name = format!("the pipe, {}", alloc.kind);
        assert_pattern(pattern, 0, &read_pipe(&from), &name);
    }
}

fn uring_outlives(env: &Env) {
    env.module.must_load(&Config::DEFAULT.parameters());
    let disk = disk();
    for alloc in refcounted(env) {
        let buffer = make(env, &alloc);
        let pattern = fresh();
        write_all(&buffer, pattern);
        let region = map(&buffer);
        let mut ring = Ring::new(&region).expect("register");
        refused(env.module.unload(), Errno::EWOULDBLOCK);
        drop(buffer);
        refused(env.module.unload(), Errno::EWOULDBLOCK);
        drop(region);
        dirty_much_memory(env);
        start_over(env);
        write_disk(&disk, fresh());
        ring.write(&disk);
        let name = format!("the disk, {}", alloc.kind);
        assert_pattern(pattern, 0, &read_disk(&disk), &name);

        // And the other way.
        let pattern = fresh();
        write_disk(&disk, pattern);
        ring.read(&disk);
        write_disk(&disk, fresh());
        dirty_much_memory(env);
        ring.write(&disk);
        assert_pattern(pattern, 0, &read_disk(&disk), &name);
    }
}

fn not_pinned(env: &Env) {
    let disk = disk();
    let parent = getpid();
    for kind in [Kind::Pages, Kind::Streaming, Kind::Scatter] {
        let buffer = make(env, &Alloc::new(SIZE, kind));
        let region = map(&buffer);
        refused(sys::pwrite(&disk, region.start(), LENGTH, 0), Errno::EFAULT);
        // SAFETY: nothing has a reference to it.
        let result = unsafe { sys::pread(&disk, region.start(), LENGTH, 0) };
        refused(result, Errno::EFAULT);
        refused(Ring::new(&region).map(drop), Errno::EFAULT);
        let (_from, to) = pipe().expect("pipe");
        refused(vmsplice(&to, &region), Errno::EFAULT);
        Child::run(|| refused(read_remote(parent, &region), Errno::EFAULT)).join();
    }
}
