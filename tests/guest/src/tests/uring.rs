// SPDX-License-Identifier: MIT OR Apache-2.0
//! io_uring(7): what a ring does with a handle.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use io_uring::{opcode, squeue, types, IoUring};
use nix::{
    errno::Errno,
    libc,
    unistd::{self, pipe},
};
use shmbuf::{Access, Buffer, Phase};

use super::{
    alloc::SIZE,
    claim,
    copy_async::{slow, with_slow_engine, FOREVER},
    data::{assert_pattern, fresh, load_all, read_all, store_all, write_all},
    signals::{set_nonblocking, Used},
    Claim, Scope,
};
use crate::{
    machine::Machine,
    module::Config,
    runner::Env,
    sys::{page, refused, Region},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Each, "uring_reads_and_writes", transfers).unless(without_rings),
    claim(Scope::Each, "uring_moves_vectors", vectors).unless(without_rings),
    claim(Scope::Each, "uring_moves_fixed_buffers", fixed_buffers).unless(without_rings),
    claim(Scope::Kind, "uring_ends_at_the_end", end).unless(without_rings),
    claim(Scope::Kind, "uring_syncs", syncs).unless(without_rings),
    claim(Scope::Kind, "uring_splices", splices).unless(without_rings),
    claim(Scope::Kind, "uring_polls", polls).unless(without_rings),
    claim(Scope::Owned, "uring_is_refused_what_is_lent", lent).unless(without_rings),
    claim(Scope::Once, "uring_fills_untouched_memory", untouched).unless(without_rings),
    slow("uring_waits_for_other_callers", waits).unless(|machine, config| {
        without_rings(machine, config)
            .or_else(|| super::copy_async::without_slow_engine(machine, config))
    }),
];

fn without_rings(machine: &Machine, _: &Config) -> Option<&'static str> {
    if machine.is_vivt() {
        // Kernel and program look at a ring by two addresses.
        return Some("a VIVT cache does not keep rings coherent");
    }
    IoUring::new(1).is_err().then_some("no io_uring")
}

/// A ring that knows the handle by number 0 too.
struct Ring {
    ring: IoUring,
    handle: RawFd,
}

/// A file that an entry names.
#[derive(Clone, Copy)]
enum By {
    Descriptor,
    Number,
}

/// How entries are made: which way the handle is named, and whether a worker does it at once.
const WAYS: [(By, squeue::Flags); 4] = [
    (By::Descriptor, squeue::Flags::empty()),
    (By::Descriptor, squeue::Flags::ASYNC),
    (By::Number, squeue::Flags::empty()),
    (By::Number, squeue::Flags::ASYNC),
];

/// An entry for a file, which is named in one of two ways.
macro_rules! entry {
    ($ring:expr, $way:expr, $operation:ident($($argument:expr),*) $($more:tt)*) => {
        match $way.0 {
            By::Descriptor => {
                opcode::$operation::new(types::Fd($ring.handle), $($argument),*) $($more)*.build()
            }
            By::Number => opcode::$operation::new(types::Fixed(0), $($argument),*) $($more)*.build(),
        }
        .flags($way.1)
    };
}

impl Ring {
    fn new(buffer: &Buffer) -> Self {
        let ring = IoUring::new(64).expect("io_uring_setup");
        let handle = buffer.as_fd().as_raw_fd();
        let registered = ring.submitter().register_files(&[handle]);
        registered.expect("IORING_REGISTER_FILES");
        Self { ring, handle }
    }

    /// Adds an entry, with its number.
    ///
    /// # Safety
    ///
    /// What it points to has no references, and stays until the entry is complete.
    unsafe fn push(&mut self, entry: squeue::Entry, number: u64) {
        let entry = entry.user_data(number);
        // SAFETY: the caller has promised it.
        unsafe { self.ring.submission().push(&entry) }.expect("there is room");
    }

    /// Submits what was added, and waits until one more entry is complete: its number, and the result.
    fn wait(&mut self) -> (u64, Result<usize, Errno>) {
        if self.ring.completion().is_empty() {
            self.ring.submit_and_wait(1).expect("io_uring_enter");
        }
        let done = self.ring.completion().next().expect("one is complete");
        let result = usize::try_from(done.result());
        let result = result.map_err(|_| Errno::from_raw(-done.result()));
        (done.user_data(), result)
    }

    /// The result of an entry.
    fn run(&mut self, entry: squeue::Entry) -> Result<usize, Errno> {
        // SAFETY: the callers give pointers to what they have alone, and it is complete when this
        // returns.
        unsafe { self.push(entry, 0) };
        self.wait().1
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel ends a ring some time after it was closed, and so long the module has a user.
        let _ = self.ring.submitter().unregister_files();
    }
}

fn transfers(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let mut ring = Ring::new(&buffer);
    for way in WAYS {
        let pattern = fresh();
        store_all(&mapping, 0, pattern);
        let mut bytes = vec![0; env.size() - 5];
        let (to, length) = (bytes.as_mut_ptr(), bytes.len());
        let read = entry!(ring, way, Read(to, length as u32).offset(5));
        assert_eq!(ring.run(read), Ok(length));
        assert_pattern(pattern, 5, &bytes, "read");

        let other = fresh();
        other.fill(3, &mut bytes);
        let write = entry!(ring, way, Write(bytes.as_ptr(), length as u32).offset(3));
        assert_eq!(ring.run(write), Ok(length));
        let mut expected = pattern.bytes(0, env.size());
        other.fill(3, &mut expected[3..][..length]);
        assert!(load_all(&mapping) == expected, "mapping");
        // The same, into memory of the program that is not there yet.
        let memory = Region::anonymous(env.size());
        let read = entry!(ring, way, Read(memory.start(), memory.len() as u32));
        assert_eq!(ring.run(read), Ok(memory.len()));
        assert!(contents(&memory) == expected, "untouched memory");
    }
}

/// What is in memory that nobody writes to now.
fn contents(memory: &Region) -> Vec<u8> {
    // SAFETY: it is mapped, and nobody writes to it.
    unsafe { std::slice::from_raw_parts(memory.start(), memory.len()) }.to_vec()
}

fn vectors(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let mut ring = Ring::new(&buffer);
    for way in WAYS {
        let pattern = fresh();
        store_all(&mapping, 0, pattern);
        let mut bytes = [vec![0; 3], vec![0; 5000], vec![0; 1]];
        let iovecs = bytes.each_mut().map(|part| libc::iovec {
            iov_base: part.as_mut_ptr().cast(),
            iov_len: part.len(),
        });
        let read = entry!(ring, way, Readv(iovecs.as_ptr(), 3).offset(7));
        assert_eq!(ring.run(read), Ok(5004));
        assert_pattern(pattern, 7, &bytes.concat(), "readv");
        let write = entry!(ring, way, Writev(iovecs.as_ptr(), 3).offset(8));
        assert_eq!(ring.run(write), Ok(5004));
        let mut expected = pattern.bytes(0, env.size());
        expected.copy_within(7..7 + 5004, 8);
        assert!(load_all(&mapping) == expected, "mapping");
    }
}

/// Memory of the program that was registered.
fn fixed_buffers(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let mut ring = Ring::new(&buffer);
    let memory = Region::anonymous(16 * page());
    let iovec = libc::iovec {
        iov_base: memory.start().cast(),
        iov_len: memory.len(),
    };
    // SAFETY: nothing has a reference to it, and it stays longer than the ring.
    let registered = unsafe { ring.ring.submitter().register_buffers(&[iovec]) };
    registered.expect("IORING_REGISTER_BUFFERS");
    for way in WAYS {
        let pattern = fresh();
        store_all(&mapping, 0, pattern);
        let length = memory.len() - 9;
        let at = memory.at(5);
        let read = entry!(ring, way, ReadFixed(at, length as u32, 0).offset(11));
        assert_eq!(ring.run(read), Ok(length));
        assert_pattern(pattern, 11, &contents(&memory)[5..][..length], "the memory");
        let write = entry!(ring, way, WriteFixed(at, length as u32, 0).offset(12));
        assert_eq!(ring.run(write), Ok(length));
        let mut expected = pattern.bytes(0, env.size());
        expected.copy_within(11..11 + length, 12);
        assert!(load_all(&mapping) == expected, "mapping");
    }
}

fn end(env: &Env) {
    let buffer = env.open();
    let pattern = fresh();
    write_all(&buffer, pattern);
    let mut ring = Ring::new(&buffer);
    let size = env.size() as u64;
    for way in WAYS {
        let mut bytes = [0; 100];
        let to = bytes.as_mut_ptr();
        let read = entry!(ring, way, Read(to, 100).offset(size - 33));
        assert_eq!(ring.run(read), Ok(33));
        assert_pattern(pattern, env.size() - 33, &bytes[..33], "short read");
        let read = entry!(ring, way, Read(to, 100).offset(size));
        assert_eq!(ring.run(read), Ok(0));
        let write = entry!(ring, way, Write(to, 100).offset(size - 33));
        assert_eq!(ring.run(write), Ok(33));
        let write = entry!(ring, way, Write(to, 100).offset(size));
        refused(ring.run(write), Errno::ENOSPC);
        let read = entry!(ring, way, Read(std::ptr::null_mut(), 100));
        refused(ring.run(read), Errno::EFAULT);
    }
    assert_pattern(pattern, 0, &read_all(&buffer), "read(2)");
    let mut ring = Ring::new(&env.open_read_only());
    for way in WAYS {
        let write = entry!(ring, way, Write([0; 8].as_ptr(), 8));
        refused(ring.run(write), Errno::EBADF);
    }
}

fn syncs(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let pattern = fresh();
    store_all(&mapping, 0, pattern);
    let mut ring = Ring::new(&buffer);
    let size = env.size() as u32;
    for way in WAYS {
        let data_alone = types::FsyncFlags::DATASYNC;
        for fsync in [
            entry!(ring, way, Fsync()),
            entry!(ring, way, Fsync().flags(data_alone)),
            entry!(ring, way, Fsync().offset(5).len(100)),
            entry!(ring, way, Fsync().offset(u64::from(size)).len(size)),
        ] {
            assert_eq!(ring.run(fsync), Ok(0));
        }
        let write = entry!(
            ring,
            way,
            Write([7; 8].as_ptr(), 8).rw_flags(libc::RWF_DSYNC)
        );
        assert_eq!(ring.run(write), Ok(8));
        assert_eq!(load_all(&mapping)[..8], [7; 8]);
    }
    assert_pattern(pattern, 8, &load_all(&mapping)[8..], "mapping");
}

fn splices(env: &Env) {
    let buffer = env.open();
    let pattern = fresh();
    write_all(&buffer, pattern);
    let mut ring = Ring::new(&buffer);
    let (from, to) = pipe().expect("pipe");
    let handle = types::Fd(ring.handle);
    let (to, from) = (types::Fd(to.as_raw_fd()), (from.as_raw_fd(), from));
    let splice = opcode::Splice::new(handle, 5, to, -1, 1000).build();
    assert_eq!(ring.run(splice), Ok(1000));
    let splice = opcode::Splice::new(types::Fd(from.0), -1, handle, 6, 900).build();
    assert_eq!(ring.run(splice), Ok(900));
    let mut rest = [0; 100];
    assert_eq!(unistd::read(&from.1, &mut rest), Ok(100));
    assert_pattern(pattern, 905, &rest, "the pipe");
    let mut expected = pattern.bytes(0, env.size());
    expected.copy_within(5..905, 6);
    assert!(read_all(&buffer) == expected, "read(2)");
}

/// A handle is ready, as a regular file is.
fn polls(env: &Env) {
    let buffer = env.open();
    let mut ring = Ring::new(&buffer);
    let both = (libc::POLLIN | libc::POLLOUT) as u32;
    for way in WAYS {
        for events in [libc::POLLIN as u32, libc::POLLOUT as u32, both] {
            let poll = entry!(ring, way, PollAdd(events));
            assert_eq!(ring.run(poll), Ok(events as usize));
        }
    }
}

fn lent(env: &Env) {
    let buffer = env.open();
    let pattern = fresh();
    write_all(&buffer, pattern);
    let mut ring = Ring::new(&buffer);
    let mut bytes = [0; 100];
    let to = bytes.as_mut_ptr();
    let page = page() as u64;
    let sync = |phase| {
        let synced = buffer.sync(page..2 * page, Access::ReadWrite, phase);
        synced.expect("SYNC");
    };
    sync(Phase::End);
    for way in WAYS {
        let read = entry!(ring, way, Read(to, 100).offset(page));
        refused(ring.run(read), Errno::EBUSY);
        let write = entry!(ring, way, Write(to, 100).offset(page));
        refused(ring.run(write), Errno::EBUSY);
        let read = entry!(ring, way, Read(to, 100).offset(page - 5));
        assert_eq!(ring.run(read), Ok(5));
    }
    sync(Phase::Begin);
    let read = entry!(ring, WAYS[0], Read(to, 100).offset(page));
    assert_eq!(ring.run(read), Ok(100));
    assert_pattern(pattern, page as usize, &bytes, "read");
}

/// The kernel has work for the program, as one request completes, while others find that memory is
/// not there. No signal has come.
fn untouched(env: &Env) {
    const READS: usize = 32;
    let buffer = env.open();
    let pattern = fresh();
    write_all(&buffer, pattern);
    let mut ring = Ring::new(&buffer);
    let at_once = types::Timespec::new().nsec(1);
    for _ in 0..8 {
        let memory = Region::anonymous(READS * page());
        // SAFETY: nobody has a reference to the memory, and the time and it stay until all is complete.
        unsafe { ring.push(opcode::Timeout::new(&at_once).build(), 0) };
        for n in 0..READS {
            let (to, length) = (memory.at(n * page()), page() as u32);
            let at = (n * page()) as u64;
            let way = if n % 2 == 0 { WAYS[0] } else { WAYS[2] };
            let read = entry!(ring, way, Read(to, length).offset(at));
            // SAFETY: as above.
            unsafe { ring.push(read, 1) };
        }
        for _ in 0..=READS {
            match ring.wait() {
                (0, result) => refused(result, Errno::ETIME),
                (_, result) => assert_eq!(result, Ok(page())),
            }
        }
        let got = contents(&memory);
        assert_pattern(pattern, 0, &got, "untouched memory");
    }
}

fn waits(env: &Env) {
    with_slow_engine(env, FOREVER, || {
        let used = Used::new(env, SIZE);
        let mut bytes = [1; 64];
        let to = bytes.as_mut_ptr();
        for way in WAYS {
            let mut ring = Ring::new(&used.to);
            let nowait = libc::RWF_NOWAIT;
            let read = entry!(ring, way, Read(to, 64).rw_flags(nowait));
            refused(ring.run(read), Errno::EAGAIN);
            let write = entry!(ring, way, Write(to, 64).rw_flags(nowait));
            refused(ring.run(write), Errno::EAGAIN);
            // Beside it others go on.
            let mut ring = Ring::new(&used.other);
            let read = entry!(ring, way, Read(to, 64).rw_flags(nowait));
            assert_eq!(ring.run(read), Ok(64));
        }
    });
    // It waits, and is done when it can be.
    with_slow_engine(env, "1000", || {
        for way in WAYS {
            let used = Used::new(env, SIZE);
            let mut ring = Ring::new(&used.to);
            let mut bytes = [1; 64];
            let to = bytes.as_mut_ptr();
            // SAFETY: it stays until both are complete.
            unsafe {
                ring.push(entry!(ring, way, Read(to, 64)), 1);
            }
            let other = types::Fd(used.other.as_fd().as_raw_fd());
            let mut beside = [1; 64];
            let read = opcode::Read::new(other, beside.as_mut_ptr(), 64).build();
            // SAFETY: as above.
            unsafe { ring.push(read, 2) };
            assert_eq!(ring.wait(), (2, Ok(64)));
            assert_eq!(ring.wait(), (1, Ok(64)));
            assert_eq!((bytes, beside), ([0; 64], [0; 64]));
            set_nonblocking(&used.to);
            let read = entry!(ring, way, Read(to, 64));
            assert_eq!(ring.run(read), Ok(64));
        }
    });
}
