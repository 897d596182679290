// SPDX-License-Identifier: MIT OR Apache-2.0
//! COPY: a DMA engine copies between buffers.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use nix::errno::Errno;
use shmbuf::{abi, Access, Alloc, Buffer, Direction, Kind, MappingKind, Phase};
use shmbuf_verify::Pattern;

use super::{
    alloc::{every, make, map, SIZE},
    claim,
    copy_async::is_ready,
    data::{fresh, load_all, read_all, store_all, write_all},
    without_debugfs, Claim, Scope,
};
use crate::{
    machine::Machine,
    module::Config,
    procfs::counter,
    runner::Env,
    sys::{page, refused},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Once, "copy_between_all_buffers", all_pairs).unless(without_engine),
    claim(Scope::Once, "copy_any_size_at_any_alignment", alignments).unless(without_engine),
    claim(Scope::Once, "copy_within_a_buffer", within).unless(without_engine),
    claim(Scope::Once, "copy_of_4_mib", large).unless(without_engine),
    claim(Scope::Once, "copy_needs_the_cpu_to_own_both", owned).unless(without_engine),
    claim(Scope::Once, "copies_are_counted", counted).unless(without_engine_or_debugfs),
    claim(Scope::Once, "copy_refuses_bad_arguments", bad_arguments).unless(without_engine),
    claim(Scope::Once, "copy_without_an_engine_is_refused", no_engine).unless(|machine, config| {
        let there = without_engine(machine, config).is_none();
        there.then_some("there is a DMA engine")
    }),
];

/// Why there is no DMA engine to test with. That of tests/engine, which a test that failed
/// may have left, does not count.
pub(super) fn without_engine(_: &Machine, _: &Config) -> Option<&'static str> {
    let channels = fs::read_dir("/sys/class/dma").into_iter().flatten();
    let devices =
        channels.filter_map(|channel| fs::read_link(channel.ok()?.path().join("device")).ok());
    let none = devices
        .filter(|device| !device.ends_with("test-engine"))
        .count()
        == 0;
    none.then_some("no DMA engine")
}

fn without_engine_or_debugfs(machine: &Machine, config: &Config) -> Option<&'static str> {
    without_engine(machine, config).or_else(|| without_debugfs(machine, config))
}

/// Buffers of each kind and policy that devices reach.
fn reached(env: &Env) -> Vec<Alloc> {
    let mut list = every(&env.machine);
    list.retain(|alloc| alloc.mapping == MappingKind::Pfnmap && alloc.kind != Kind::Pool);
    list
}

/// Bytes and what should be in them, to be compared after a copy.
struct Expected(Vec<u8>);

impl Expected {
    /// Fills a buffer with a pattern, through a mapping.
    fn of(buffer: &Buffer, pattern: Pattern) -> Self {
        store_all(&map(buffer), 0, pattern);
        Self(pattern.bytes(0, buffer.size() as usize))
    }

    fn copied(&mut self, to: usize, source: &[u8]) {
        self.0[to..to + source.len()].copy_from_slice(source);
    }

    #[track_caller]
    fn assert(&self, buffer: &Buffer, what: &str) {
        for (by, got) in [
            ("the mapping", load_all(&map(buffer))),
            ("read(2)", read_all(buffer)),
        ] {
            if let Some(at) = (0..got.len()).find(|&at| got[at] != self.0[at]) {
                panic!(
                    "{what}: byte {at} by {by} is {:#x}, not {:#x}",
                    got[at], self.0[at]
                );
            }
        }
    }
}

#[track_caller]
fn check(what: &str, from: &Buffer, at: usize, to: &Buffer, offset: usize, length: usize) {
    let source = Expected::of(from, fresh());
    let mut target = Expected::of(to, fresh());
    let range = at as u64..(at + length) as u64;
    to.copy_from(offset as u64, from, range)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    target.copied(offset, &source.0[at..at + length]);
    let what = format!("{what}, {length} bytes from {at} to {offset}");
    target.assert(to, &what);
    source.assert(from, &what);
}

fn all_pairs(env: &Env) {
    let list = reached(env);
    for from in &list {
        for to in &list {
            let (source, target) = (make(env, from), make(env, to));
            let what = format!("{from:?} to {to:?}");
            check(&what, &source, 0, &target, 0, SIZE as usize);
            check(&what, &source, 3, &target, 5, 2 * page() + 100);
        }
    }
    let info = env.open().info().expect("INFO");
    assert!(info.engine.is_some(), "no engine in INFO");
}

fn alignments(env: &Env) {
    let kinds = [Kind::Streaming, Kind::Scatter, Kind::Coherent];
    for kind in kinds {
        let [source, target] = [0, 1].map(|_| make(env, &Alloc::new(3 * page() as u64, kind)));
        for length in [
            1,
            2,
            3,
            4,
            31,
            32,
            33,
            63,
            64,
            65,
            127,
            129,
            page() - 1,
            page() + 1,
        ] {
            for _ in 0..4 {
                let [at, offset] = [0, 1].map(|_| fastrand::usize(..=3 * page() - length));
                let what = format!("{kind}");
                check(&what, &source, at, &target, offset, length);
            }
        }
    }
}

fn within(env: &Env) {
    for alloc in reached(env) {
        let buffer = make(env, &alloc);
        let pattern = fresh();
        let mut expected = Expected::of(&buffer, pattern);
        let bytes = pattern.bytes(100, 5000);
        buffer.copy_from(20_001, &buffer, 100..5100).expect("COPY");
        expected.copied(20_001, &bytes);
        // Neighbours, in one line.
        let bytes = expected.0[..7].to_vec();
        buffer.copy_from(7, &buffer, 0..7).expect("COPY");
        expected.copied(7, &bytes);
        expected.assert(&buffer, &format!("{alloc:?}"));
        for (to, range) in [
            (0, 0..1),
            (99, 0..100),
            (0, 99..200),
            (SIZE - 1, 0..SIZE - 1),
        ] {
            if to + (range.end - range.start) <= SIZE {
                let result = buffer.copy_from(to, &buffer, range.clone());
                assert_eq!(
                    result.map_err(|error| error.errno()),
                    Err(Some(Errno::EINVAL)),
                    "{range:?} to {to}"
                );
            }
        }
    }
}

fn large(env: &Env) {
    for kind in [Kind::Streaming, Kind::Scatter] {
        let [from, to] = [0, 1].map(|_| make(env, &Alloc::new(4 << 20, kind)));
        check("4 MiB", &from, 1, &to, 2, (4 << 20) - 2);
    }
}

fn counted(env: &Env) {
    let buffer = env.open();
    let other = make(env, &Alloc::new(SIZE, Kind::Pages));
    let before = counter("bytes copied");
    let copied = || counter("bytes copied") - before;
    buffer.copy_from(5, &other, 0..777).expect("COPY");
    assert_eq!(copied(), 777, "after a COPY to the buffer");
    other.copy_from(0, &buffer, 0..100).expect("COPY");
    assert_eq!(copied(), 777, "after a COPY from it");
    refused(buffer.copy_from(0, &buffer, 0..1), Errno::EINVAL);
    assert_eq!(copied(), 777, "after one that was refused");
    let begun = buffer.begin_copy_from(1000, &buffer, 0..64, None);
    begun.expect("COPY");
    assert!(is_ready(&buffer, Duration::from_secs(10)), "it goes on");
    buffer.copy_result().expect("COPY_RESULT");
    assert_eq!(copied(), 777 + 64, "after one in the background");
}

fn owned(env: &Env) {
    for kind in [Kind::Streaming, Kind::Scatter] {
        let [one, other] = [0, 1].map(|_| make(env, &Alloc::new(SIZE, kind)));
        let pattern = fresh();
        write_all(&one, pattern);
        for (from, to) in [(&one, &other), (&other, &one)] {
            one.sync(.., Access::ReadWrite, Phase::End).expect("SYNC");
            refused(to.copy_from(0, from, 0..100), Errno::EBUSY);
            one.sync(.., Access::ReadWrite, Phase::Begin).expect("SYNC");
        }
        other.copy_from(0, &one, ..).expect("COPY");
        assert_eq!(read_all(&other), pattern.bytes(0, SIZE as usize));
        let alloc = Alloc {
            direction: Direction::ToDevice,
            ..Alloc::new(SIZE, kind)
        };
        let read_by_devices = make(env, &alloc);
        refused(read_by_devices.copy_from(0, &one, ..), Errno::EACCES);
        other.copy_from(0, &read_by_devices, ..).expect("COPY");
    }
}

nix::ioctl_write_ptr_bad!(copy, abi::SHMBUF_IOC_COPY, abi::shmbuf_copy);

/// Calls COPY for the first hundred bytes, after a change of the structure.
pub(super) fn raw_copy(
    to: &Buffer,
    from: &Buffer,
    change: impl Fn(&mut abi::shmbuf_copy),
) -> Result<i32, Errno> {
    let mut request = abi::shmbuf_copy {
        src_fd: from.as_fd().as_raw_fd(),
        length: 100,
        ..Default::default()
    };
    change(&mut request);
    // SAFETY: the call reads one such structure.
    unsafe { copy(to.as_fd().as_raw_fd(), &request) }
}

fn bad_arguments(env: &Env) {
    let [from, to] = [0, 1].map(|_| make(env, &Alloc::new(SIZE, Kind::Streaming)));
    #[track_caller]
    fn raw(to: &Buffer, from: &Buffer, change: impl Fn(&mut abi::shmbuf_copy), errno: Errno) {
        refused(raw_copy(to, from, change), errno);
    }
    raw(&to, &from, |it| it.flags = 4, Errno::EINVAL);
    raw(&to, &from, |it| it.timeout_ms = 60_001, Errno::EINVAL);
    raw(&to, &from, |it| it.length = 0, Errno::EINVAL);
    for far in [SIZE - 99, SIZE, u64::MAX, u64::MAX - 99] {
        raw(&to, &from, |it| it.src_offset = far, Errno::ERANGE);
        raw(&to, &from, |it| it.dst_offset = far, Errno::ERANGE);
    }
    raw(&to, &from, |it| it.length = SIZE + 1, Errno::ERANGE);
    raw(&to, &from, |it| it.length = u64::MAX, Errno::ERANGE);
    let null = fs::File::open("/dev/null").expect("/dev/null");
    for other in [-1, 1_000_000, null.as_raw_fd()] {
        raw(&to, &from, |it| it.src_fd = other, Errno::EBADF);
    }
    let read_only = Buffer::open_read_only(crate::module::DEVICE).expect("open");
    raw(&read_only, &from, |_| {}, Errno::EBADF);
    let pool = make(env, &Alloc::new(64, Kind::Pool));
    refused(to.copy_from(0, &pool, 0..64), Errno::EOPNOTSUPP);
    refused(pool.copy_from(0, &to, 0..64), Errno::EOPNOTSUPP);
}

fn no_engine(env: &Env) {
    assert_eq!(env.open().info().expect("INFO").engine, None);
    let [from, to] = [0, 1].map(|_| make(env, &Alloc::new(SIZE, Kind::Streaming)));
    refused(to.copy_from(0, &from, ..), Errno::EOPNOTSUPP);
    refused(to.copy_from(0, &from, 0..1), Errno::EOPNOTSUPP);
}
