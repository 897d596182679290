// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two threads that do opposite things to private buffers, while lockdep
//! looks.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
        mpsc::sync_channel,
        Barrier,
    },
    thread,
    time::{Duration, Instant},
};

use nix::errno::Errno;
use shmbuf::{abi, Access, Alloc, DmaBuf, Kind, MappingKind, Owner, Phase, Policy, Protection};

use super::{
    alloc::{descriptors, every, make, map, SIZE},
    claim,
    data::{assert_pattern, fresh, load_all, read_all, write_all},
    rounds, without_debugfs, Claim, Scope,
};
use crate::{
    ktap::diagnose,
    procfs::private_used,
    runner::Env,
    sys::{self, HasErrno},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Own, "race_of_alloc_and_close", alloc_close).unless(without_debugfs),
    claim(Scope::Once, "race_of_mmap_and_sync", mmap_sync),
    claim(Scope::Once, "race_of_export_and_close", export_close).unless(without_debugfs),
    claim(Scope::Once, "race_of_set_cache_and_mmap", set_cache_mmap),
    claim(
        Scope::Once,
        "race_of_set_cache_and_export",
        set_cache_export,
    ),
];

/// How long each race lasts; up to [`at_most`] if something has not happened by then.
const SECONDS: Duration = Duration::from_secs(3);

/// A minute, or half a second for each round that is wanted.
fn at_most() -> Duration {
    let all = Duration::from_millis(500) * rounds(0) as u32;
    all.max(Duration::from_secs(60))
}

/// How often something worked, and how often it was refused as it may be.
#[derive(Debug, Default)]
struct RaceTally {
    worked: AtomicU32,
    refused: AtomicU32,
}

impl RaceTally {
    /// Counts a result, of which only one error may come.
    #[track_caller]
    fn note<T, E: HasErrno>(&self, result: Result<T, E>, may_be: Errno) -> Option<T> {
        match result {
            Ok(value) => {
                self.worked.fetch_add(1, SeqCst);
                Some(value)
            }
            Err(error) => {
                assert_eq!(error.errno(), Some(may_be), "{error:?}");
                self.refused.fetch_add(1, SeqCst);
                None
            }
        }
    }

    fn both_happened(&self) -> bool {
        let counts = [&self.worked, &self.refused].map(|count| count.load(SeqCst));
        counts.iter().all(|&count| count > 0) && counts.iter().sum::<u32>() as usize >= rounds(2)
    }

    /// Whether a race that began at a time has lasted long enough.
    fn is_over(&self, begin: Instant) -> bool {
        let lasted = begin.elapsed();
        lasted
            >= if self.both_happened() {
                SECONDS
            } else {
                at_most()
            }
    }

    #[track_caller]
    fn assert_both_happened(&self, what: &str) {
        diagnose(format_args!("{what}: {self:?}"));
        assert!(self.both_happened(), "{what}");
    }
}

/// Runs two functions again and again, each in a thread of its own, until time is up.
fn against(tally: &RaceTally, mut one: impl FnMut() + Send, mut other: impl FnMut() + Send) {
    let over = AtomicBool::new(false);
    let until_over = |f: &mut (dyn FnMut() + Send)| {
        while !over.load(SeqCst) {
            f();
        }
    };
    thread::scope(|scope| {
        let threads = [
            scope.spawn(|| until_over(&mut one)),
            scope.spawn(|| until_over(&mut other)),
        ];
        let begin = Instant::now();
        // One that failed need not be waited for.
        while !tally.is_over(begin) && !threads.iter().any(|t| t.is_finished()) {
            thread::sleep(Duration::from_millis(20));
        }
        over.store(true, SeqCst);
    });
}

/// ALLOC races with close. There is room for a few buffers only, so that one side lives on
/// what the other frees, who now and then keeps all there are.
fn alloc_close(env: &Env) {
    env.module.must_load(&format!("limit={}", 3 * SIZE));
    let kinds = every(&env.machine);
    let before = descriptors();
    let tally = RaceTally::default();
    {
        let source = env.open();
        let (send, receive) = sync_channel(8);
        let (tally, kinds) = (&tally, &kinds);
        let mut kept = Vec::new();
        against(
            tally,
            move || {
                let alloc = &kinds[fastrand::usize(..kinds.len())];
                if let Some(buffer) = tally.note(source.alloc(alloc), Errno::EDQUOT) {
                    // The other side may be gone.
                    let _ = send.try_send(buffer);
                }
            },
            move || {
                kept.extend(receive.recv_timeout(Duration::from_millis(10)));
                if kept.len() > fastrand::usize(..5) {
                    kept.clear();
                }
            },
        );
    }
    tally.assert_both_happened("ALLOC");
    assert_eq!((private_used(), descriptors()), (0, before));
}

fn mmap_sync(env: &Env) {
    for kind in [Kind::Streaming, Kind::Scatter] {
        let buffer = &make(
            env,
            &Alloc {
                mapping: MappingKind::Strict,
                ..Alloc::new(SIZE, kind)
            },
        );
        let pattern = fresh();
        write_all(buffer, pattern);
        let reads = &RaceTally::default();
        let sync = |phase| {
            let result = buffer.sync(.., Access::ReadWrite, phase);
            result.expect("SYNC");
        };
        against(
            reads,
            || {
                let mapping = map(buffer);
                let mut word = [0; 4];
                reads.note(buffer.read_at(&mut word, 0), Errno::EBUSY);
                drop(mapping);
            },
            || {
                sync(Phase::End);
                thread::yield_now();
                sync(Phase::Begin);
                thread::yield_now();
            },
        );
        reads.assert_both_happened("reads beside SYNC");
        let info = buffer.info().expect("INFO");
        assert_eq!((info.owner, info.mappings), (Owner::Cpu, 0));
        assert_pattern(pattern, 0, &load_all(&map(buffer)), "the mapping");
    }
}

/// Calls EXPORT of a descriptor that may be closed.
fn export_fd(fd: i32) -> Result<OwnedFd, Errno> {
    let mut argument = abi::shmbuf_export {
        offset: 0,
        length: SIZE,
        ..Default::default()
    };
    let pointer = std::ptr::from_mut(&mut argument).cast();
    // SAFETY: it is used for one call, which says if nothing is there.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    // SAFETY: the structure is the one that the call takes.
    let made = unsafe { sys::ioctl_value(fd, abi::SHMBUF_IOC_EXPORT, pointer) }?;
    // SAFETY: the call has made it, for us alone.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(made) })
}

/// EXPORT races with the close of the buffer's last handle.
fn export_close(env: &Env) {
    let before = (private_used(), descriptors());
    let tally = &RaceTally::default();
    let mut kinds = every(&env.machine);
    kinds.retain(|alloc| !matches!(alloc.kind, Kind::Pool | Kind::Coherent));
    let since = Instant::now();
    while !tally.is_over(since) {
        let alloc = &kinds[fastrand::usize(..kinds.len())];
        let buffer = make(env, alloc);
        let pattern = fresh();
        write_all(&buffer, pattern);
        let number = buffer.as_fd().as_raw_fd();
        let begin = &Barrier::new(2);
        let exported = thread::scope(|scope| {
            let export = scope.spawn(move || {
                begin.wait();
                spin(fastrand::u32(..500));
                tally.note(export_fd(number), Errno::EBADF)
            });
            begin.wait();
            spin(fastrand::u32(..500));
            drop(buffer);
            export.join().expect("a thread failed")
        });
        if let Some(fd) = exported {
            assert_eq!(private_used(), before.0 + SIZE, "{alloc:?}");
            let dma_buf = DmaBuf::from_fd(fd).expect("a dma-buf");
            let mapping = dma_buf.map(0, SIZE as usize, Protection::Read);
            assert_pattern(pattern, 0, &load_all(&mapping.expect("mmap")), "dma-buf");
        }
        assert_eq!((private_used(), descriptors()), before, "{alloc:?}");
    }
    tally.assert_both_happened("EXPORT");
}

/// Does nothing for a moment.
fn spin(count: u32) {
    (0..count).for_each(|_| std::hint::spin_loop());
}

/// Runs SET_CACHE with any policy against a function that makes it EBUSY, and that may be so
/// itself while SET_CACHE replaces the memory.
fn against_set_cache(env: &Env, other: impl Fn(&shmbuf::Buffer) + Send + Sync) {
    let first = Policy::WriteBack;
    let buffer = &make(
        env,
        &Alloc {
            policy: Some(first),
            ..Alloc::new(SIZE, Kind::Pages)
        },
    );
    let policies: Vec<_> = buffer.info().expect("INFO").policies.iter().collect();
    let pattern = fresh();
    write_all(buffer, pattern);
    let tally = &RaceTally::default();
    against(
        tally,
        || {
            let policy = policies[fastrand::usize(..policies.len())];
            tally.note(buffer.set_cache(policy), Errno::EBUSY);
        },
        || {
            other(buffer);
            thread::sleep(Duration::from_micros(fastrand::u64(..500)));
        },
    );
    tally.assert_both_happened("SET_CACHE");
    let info = buffer.info().expect("INFO");
    assert_eq!((info.mappings, info.exports), (0, 0));
    assert_pattern(pattern, 0, &read_all(buffer), "read(2)");
}

fn set_cache_mmap(env: &Env) {
    against_set_cache(env, |buffer| {
        let mapping = match buffer.map(0, SIZE as usize, Protection::ReadWrite) {
            Err(error) if error.errno() == Some(Errno::EBUSY) => return,
            mapping => mapping.expect("mmap"),
        };
        // It stays what it is as long as this lives.
        let before = buffer.info().expect("INFO").policy;
        let value = fastrand::u32(..);
        let kept = mapping.read_u32(64);
        mapping.write_u32(64, value);
        let mut word = [0; 4];
        buffer.read_at(&mut word, 64).expect("read");
        assert_eq!(u32::from_ne_bytes(word), value);
        mapping.write_u32(64, kept);
        assert_eq!(buffer.info().expect("INFO").policy, before);
    });
}

fn set_cache_export(env: &Env) {
    against_set_cache(env, |buffer| {
        let dma_buf = match buffer.export(.., Protection::ReadWrite) {
            Err(error) if error.errno() == Some(Errno::EBUSY) => return,
            dma_buf => dma_buf.expect("EXPORT"),
        };
        let before = buffer.info().expect("INFO").policy;
        thread::yield_now();
        assert_eq!(buffer.info().expect("INFO").policy, before);
        drop(dma_buf);
    });
}
