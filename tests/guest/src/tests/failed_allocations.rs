// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every allocation of every call fails once: the call says ENOMEM or does
//! without, and leaves nothing.

use std::{fmt::Debug, thread};

use nix::errno::Errno;
use shmbuf::{
    Access, Alloc, Buffer, Direction, Kind, MappingKind, Owner, Phase, Policy, Protection,
};

use super::{
    alloc::{descriptors, every, make},
    claim,
    copy::without_engine,
    data::{assert_pattern, fresh, read_all, write_all},
    without_debugfs, Claim, Scope,
};
use crate::{
    fault_injection::{self, FailureCounts, Failures},
    ktap::diagnose,
    machine::Machine,
    module::{users, Config},
    procfs::private_used,
    runner::Env,
    sys::{page, HasErrno},
};

pub(super) const CLAIMS: &[Claim] = &[
    failing("failed_allocations_in_open", open),
    failing("failed_allocations_in_info", info),
    failing("failed_allocations_in_alloc", alloc),
    failing("failed_allocations_in_export", export),
    failing("failed_allocations_in_mmap_and_touch", mmap),
    failing("failed_allocations_in_set_cache", set_cache),
    failing("failed_allocations_in_sync", sync),
    failing("failed_allocations_in_read_and_write", transfers),
    failing("failed_allocations_in_copy", copy).unless(without_failures_or_engine),
];

const fn failing(name: &'static str, body: fn(&Env)) -> Claim {
    claim(Scope::Own, name, body)
        .seconds(300)
        .unless(without_failures)
}

fn without_failures(machine: &Machine, config: &Config) -> Option<&'static str> {
    without_debugfs(machine, config).or_else(|| {
        let text = "no fault injection: CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC";
        (!fault_injection::is_possible()).then_some(text)
    })
}

fn without_failures_or_engine(machine: &Machine, config: &Config) -> Option<&'static str> {
    without_failures(machine, config).or_else(|| without_engine(machine, config))
}

/// A buffer that is larger than the kernel's window into it, in pages.
const LARGE: u64 = 8 << 20;

/// Private buffers of each sort, small, as each page is an allocation.
fn small(env: &Env) -> Vec<Alloc> {
    let mut list = every(&env.machine);
    for alloc in &mut list {
        if alloc.kind != Kind::Pool {
            alloc.size = 2 * page() as u64;
        }
    }
    list
}

/// Runs a call as [`Failures::each`] does, with what it made dropped after
/// `check` has seen it, and asserts that nothing is left each time.
#[track_caller]
fn each<T, E: HasErrno>(
    what: impl Debug,
    call: impl FnMut() -> Result<T, E>,
    mut check: impl FnMut(&Result<T, E>),
) -> FailureCounts {
    let failures = Failures::new();
    let state = || (private_used(), descriptors(), users());
    let before = state();
    let counts = failures.each(call, |result| {
        check(&result);
        drop(result);
        assert_eq!(state(), before, "left behind");
    });
    diagnose(format_args!("{what:?}: {counts}"));
    counts
}

/// Asserts that the call had so many allocations without which it cannot be.
#[track_caller]
fn assert_needs(least: u32, counts: &FailureCounts) {
    let fatal = counts.fatal();
    assert!(fatal >= least, "only {fatal} made it fail");
}

/// Asserts that nothing keeps a private buffer, the only one, but its handle.
#[track_caller]
fn assert_goes(buffer: Buffer) {
    drop(buffer);
    assert_eq!(private_used(), 0, "a buffer stays");
}

fn load(env: &Env) {
    env.module.must_load(&Config::DEFAULT.parameters());
}

fn open(env: &Env) {
    load(env);
    let counts = each("open", || Buffer::open(crate::module::DEVICE), |_| {});
    // The file, and the driver's handle.
    assert_needs(2, &counts);
}

fn info(env: &Env) {
    load(env);
    for alloc in small(env) {
        let buffer = make(env, &alloc);
        let expected = buffer.info().expect("INFO");
        let counts = each(
            &alloc,
            || buffer.info(),
            |info| assert_eq!(*info, Ok(expected.clone())),
        );
        // It needs none.
        assert_eq!(counts.fatal(), 0);
    }
}

fn alloc(env: &Env) {
    load(env);
    let buffer = env.open();
    for alloc in small(env) {
        let counts = each(
            &alloc,
            || buffer.alloc(&alloc),
            |made| {
                if let Ok(made) = made {
                    assert!(read_all(made).iter().all(|&byte| byte == 0), "{alloc:?}");
                }
            },
        );
        // The buffer, its inode, its memory, the handle, the file.
        assert_needs(5, &counts);
    }
}

fn export(env: &Env) {
    load(env);
    for alloc in small(env) {
        if matches!(alloc.kind, Kind::Pool | Kind::Coherent) {
            continue;
        }
        let buffer = make(env, &alloc);
        let export = || buffer.export(.., Protection::ReadWrite);
        let counts = each(&alloc, export, |_| {});
        // What is exported, the dma-buf, its file.
        assert_needs(3, &counts);
        assert_eq!(buffer.info().expect("INFO").exports, 0);
        assert_goes(buffer);
    }
}

fn mmap(env: &Env) {
    load(env);
    for alloc in every(&env.machine) {
        if alloc.kind == Kind::Pool {
            continue;
        }
        // More than the page tables that happen to be there have room for.
        let size = 4 << 20;
        let alloc = Alloc { size, ..alloc };
        let buffer = make(env, &alloc);
        let map = || {
            let mapping = buffer.map(0, alloc.size as usize, Protection::ReadWrite)?;
            // A fault that finds no memory is tried again.
            mapping.read_u32(0);
            Ok::<_, shmbuf::Error>(mapping)
        };
        let counts = each(&alloc, map, |_| {
            assert!(buffer.info().expect("INFO").mappings <= 1);
        });
        // The VMA, and a page table if it is filled at once.
        let at_once = alloc.mapping != MappingKind::Strict;
        assert_needs(1 + u32::from(at_once), &counts);
        assert_eq!(buffer.info().expect("INFO").mappings, 0);
        assert_goes(buffer);
    }
}

fn set_cache(env: &Env) {
    load(env);
    let first = Policy::WriteBack;
    let alloc = Alloc {
        policy: Some(first),
        ..Alloc::new(2 * page() as u64, Kind::Pages)
    };
    let buffer = make(env, &alloc);
    let pattern = fresh();
    write_all(&buffer, pattern);
    let policies = buffer.info().expect("INFO").policies;
    for policy in policies.iter().filter(|&policy| policy != first) {
        for (from, to) in [(first, policy), (policy, first)] {
            buffer.set_cache(from).expect("SET_CACHE");
            let check = |result: &shmbuf::Result<()>| {
                let now = if result.is_ok() { to } else { from };
                assert_eq!(buffer.info().expect("INFO").policy, now);
                assert_pattern(pattern, 0, &read_all(&buffer), "read(2)");
                buffer.set_cache(from).expect("SET_CACHE back");
            };
            let counts = each((from, to), || buffer.set_cache(to), check);
            assert_needs(1, &counts);
        }
    }
}

fn sync(env: &Env) {
    load(env);
    let small = 2 * page() as u64;
    // The kernel's view is one window of it at a time.
    let windowed = env
        .machine
        .policies(Kind::Pages, false)
        .contains(Policy::WriteThrough);
    for kind in [Kind::Pages, Kind::Streaming, Kind::Scatter] {
        let policy = (windowed && kind == Kind::Pages).then_some(Policy::WriteThrough);
        for direction in Direction::ALL {
            if !kind.has_owner() && *direction != Direction::Bidirectional {
                continue;
            }
            for size in [small, LARGE] {
                let alloc = Alloc {
                    direction: *direction,
                    policy,
                    ..Alloc::new(size, kind)
                };
                let buffer = make(env, &alloc);
                let other = |phase| match phase {
                    Phase::Begin => Phase::End,
                    Phase::End => Phase::Begin,
                };
                for phase in [Phase::End, Phase::Begin] {
                    let sync = |phase| buffer.sync(.., Access::ReadWrite, phase);
                    let owner = || buffer.info().expect("INFO").owner;
                    sync(other(phase)).expect("SYNC before");
                    let before = owner();
                    let counts = each(
                        (&alloc, phase),
                        || sync(phase),
                        |result| {
                            let moved = result.is_ok() && kind.has_owner();
                            let now = match (moved, phase) {
                                (false, _) => before,
                                (true, Phase::Begin) => Owner::Cpu,
                                (true, Phase::End) => Owner::Device,
                            };
                            assert_eq!(owner(), now, "{alloc:?}, {phase:?}");
                            sync(other(phase)).expect("SYNC back");
                        },
                    );
                    // One window shows all of it, or none is needed: what is larger than a VIVT
                    // cache is flushed with all of that.
                    assert_eq!(counts.fatal(), 0, "{alloc:?}");
                }
            }
        }
    }
}

fn transfers(env: &Env) {
    load(env);
    let mut needed = 0;
    for alloc in small(env) {
        let buffer = make(env, &alloc);
        let pattern = fresh();
        write_all(&buffer, pattern);
        let mut bytes = vec![0; alloc.size as usize];
        let read = || buffer.read_at(&mut bytes, 0);
        // Reading and writing allocate nothing that they could not do without.
        let counts = each((&alloc, "read"), read, |_| {});
        assert_eq!(counts.fatal(), 0, "{alloc:?}");
        let counts = each((&alloc, "fsync"), || buffer.fsync(), |_| {});
        assert_eq!(counts.fatal(), 0, "{alloc:?}");
        let bytes = pattern.bytes(0, alloc.size as usize);
        let counts = each((&alloc, "write"), || buffer.write_at(&bytes, 0), |_| {});
        assert_eq!(counts.fatal(), 0, "{alloc:?}");
        assert_pattern(pattern, 0, &read_all(&buffer), "read(2)");
    }
    // But for windows into a large buffer.
    let buffer = make(env, &Alloc::new(LARGE, Kind::Scatter));
    let mut word = [0; 4];
    for offset in [0, LARGE - 4] {
        let away = LARGE - 4 - offset;
        let read = || buffer.read_at(&mut word, offset);
        needed += each(("read at", offset), read, |_| {
            buffer.read_at(&mut [0; 4], away).expect("read elsewhere");
        })
        .fatal();
    }
    assert_ne!(needed, 0, "no window was made");
}

fn copy(env: &Env) {
    load(env);
    let size = 3 * page() as u64;
    let [from, to] = [0, 1].map(|_| make(env, &Alloc::new(size, Kind::Scatter)));
    // Each has dma-bufs that the copy meets.
    let exports = [&from, &to].map(|buffer| {
        let export = || buffer.export(.., Protection::ReadWrite).expect("EXPORT");
        [export(), export()]
    });
    let pattern = fresh();
    write_all(&from, pattern);
    let counts = each(
        "copy",
        || to.copy_from(0, &from, ..),
        |result| {
            // Nothing stays locked, and no fence stays.
            if result.is_ok() {
                assert_pattern(pattern, 0, &read_all(&to), "read(2)");
            }
            for buffer in [&from, &to] {
                for phase in [Phase::End, Phase::Begin] {
                    buffer.sync(.., Access::ReadWrite, phase).expect("SYNC");
                }
            }
        },
    );
    // The job, the two tables, the fence.
    assert_needs(4, &counts);
    let begin = || to.begin_copy_with_fence(0, &from, ..);
    let counts = each("copy with a fence", begin, |begun| {
        if begun.is_ok() {
            while let Err(error) = to.copy_result() {
                assert_eq!(error.errno(), Some(Errno::EAGAIN));
                thread::yield_now();
            }
            assert_pattern(pattern, 0, &read_all(&to), "read(2)");
        }
    });
    assert_needs(5, &counts);
    drop(exports);
}
