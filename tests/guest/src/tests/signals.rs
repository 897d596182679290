// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kill ends whatever a program waits for or is busy with, a stop ends nothing, and with O_NONBLOCK
//! nothing is waited for.

use std::{
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{fcntl, FcntlArg, OFlag},
    libc,
    sys::signal::{kill, Signal},
};
use shmbuf::{abi, Access, Alloc, Buffer, Kind, MappingKind, Phase, Policy};

use super::{
    alloc::{make, map, memory, SIZE},
    claim,
    copy::raw_copy,
    copy_async::{with_slow_engine, without_slow_engine, FOREVER},
    export::{export_all, open, without_display, DISPLAY},
    Claim, Scope,
};
use crate::{
    cgroup::Cgroup,
    ktap::diagnose,
    process::{Child, Turn},
    runner::Env,
    sys::{page, preadv2, pwritev2, refused},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Own, "kill_ends_each_call", calls).seconds(300),
    claim(Scope::Own, "kill_ends_each_wait", waits).unless(without_slow_engine),
    claim(Scope::Own, "stop_ends_no_wait", stops).unless(without_slow_engine),
    claim(Scope::Own, "nonblocking_calls_do_not_wait", nonblocking).unless(without_slow_engine),
    claim(Scope::Own, "freezer_ends_no_wait", freezes).unless(|machine, config| {
        let cgroups = (!Cgroup::is_possible()).then_some("no cgroup2");
        cgroups.or_else(|| without_slow_engine(machine, config))
    }),
];

/// A process is gone within so long after it was killed.
const SOON: Duration = Duration::from_secs(1);

/// How long a call is given to begin, or to wait.
const MOMENT: Duration = Duration::from_millis(300);

/// How often a call is killed. The quickest end counts: on an emulator, and a machine that others use
/// too, whatever is short is long now and then.
const KILLS: usize = 3;

/// Bytes of the buffers that calls are made with: those of the default limit, or what fits a small
/// board.
fn large() -> u64 {
    (64 << 20).min(memory() / 8).next_multiple_of(1 << 20)
}

/// Kills processes that make a call, some time after they began, and asserts that one is gone soon.
#[track_caller]
fn assert_killed(what: &str, mut call: impl FnMut()) {
    let took = [(); KILLS].map(|()| end_of_killed(&mut call));
    diagnose(format_args!("{what}: gone after {took:.2?}"));
    assert!(took.iter().min() < Some(&SOON), "{what}");
}

/// How long it takes that a process that makes a call is gone after a kill.
#[track_caller]
fn end_of_killed(call: impl FnOnce()) -> Duration {
    let begun = Turn::new();
    let child = Child::run(|| {
        begun.give();
        call();
    });
    begun.take();
    thread::sleep(MOMENT * fastrand::u32(50..150) / 100);
    let begin = Instant::now();
    // Had the call ended, the child would have too, before the kill.
    child.kill();
    begin.elapsed()
}

/// Makes a call again and again.
fn again(mut call: impl FnMut()) -> impl FnMut() {
    move || loop {
        call();
    }
}

fn all_of(kind: Kind, policy: Policy) -> Alloc {
    Alloc {
        policy: Some(policy),
        ..Alloc::new(large(), kind)
    }
}

/// Each call, with a large buffer, in whatever of its parts the kill comes.
fn calls(env: &Env) {
    let most = memory() / 2 / page() as u64 * page() as u64;
    env.module.must_load(&format!("limit={}", memory()));
    // It can be had, so that a kill has something to end.
    for kind in [Kind::Scatter, Kind::Pages] {
        drop(make(env, &Alloc::new(large(), kind)));
    }
    let buffer = make(env, &all_of(Kind::Streaming, Policy::WriteBack));
    let mut bytes = vec![0; buffer.size() as usize];

    for kind in [Kind::Scatter, Kind::Pages] {
        let alloc = || drop(env.open().alloc(&Alloc::new(most, kind)));
        assert_killed(&format!("ALLOC of {most} bytes, kind {kind}"), again(alloc));
        // Memory in one piece may be missing for a moment.
        let alloc = || match env.open().alloc(&Alloc::new(large(), kind)) {
            Err(error) if error.errno() == Some(Errno::ENOMEM) => {}
            made => drop(made.expect("ALLOC")),
        };
        assert_killed(&format!("ALLOC and close, kind {kind}"), again(alloc));
    }
    let sync = || {
        for phase in [Phase::End, Phase::Begin] {
            buffer.sync(.., Access::ReadWrite, phase).expect("SYNC");
        }
    };
    assert_killed("SYNC", again(sync));
    buffer
        .sync(.., Access::ReadWrite, Phase::Begin)
        .expect("SYNC");
    assert_killed("fsync", again(|| buffer.fsync().expect("fsync")));
    let info = || drop(buffer.info().expect("INFO"));
    assert_killed("INFO", again(info));
    let export = || drop(export_all(&buffer));
    assert_killed("EXPORT", again(export));
    assert_killed("mmap and munmap", again(|| drop(map(&buffer))));
    assert_killed("end with a mapping", || {
        let _mapping = map(&buffer);
        thread::sleep(Duration::MAX);
    });
    assert_killed("read", again(|| drop(buffer.read_at(&mut bytes, 0))));
    let zeroes = vec![0; buffer.size() as usize];
    assert_killed("write", again(|| drop(buffer.write_at(&zeroes, 0))));
    drop(buffer);

    let strict = make(
        env,
        &Alloc {
            mapping: MappingKind::Strict,
            ..all_of(Kind::Scatter, Policy::WriteBack)
        },
    );
    let touch = || {
        let mapping = map(&strict);
        for at in (0..mapping.len()).step_by(page()) {
            mapping.read_u32(at);
        }
    };
    assert_killed("faults of a strict mapping", again(touch));
    drop(strict);

    // The kernel's search for contiguous memory goes on for a while, the more the longer.
    let pages = make(
        env,
        &Alloc {
            size: large() / 4,
            ..all_of(Kind::Pages, Policy::WriteBack)
        },
    );
    let policies = pages.info().expect("INFO").policies;
    let set_cache = || {
        for policy in policies.iter() {
            // There may be no memory that fits.
            let _ = pages.set_cache(policy);
        }
    };
    assert_killed("SET_CACHE", again(set_cache));
}

/// A call that waits, with its name.
type Wait = (&'static str, fn(&Used) -> shmbuf::Result<()>);

/// Buffers of which ranges are in use for as long as a copy goes on.
pub(super) struct Used {
    from: Buffer,
    pub(super) to: Buffer,
    pub(super) other: Buffer,
}

impl Used {
    /// A copy begins.
    pub(super) fn new(env: &Env, size: u64) -> Self {
        let [from, to, other] = [0, 1, 2].map(|_| make(env, &Alloc::new(size, Kind::Pages)));
        let copy = raw_copy(&to, &from, |it| {
            (it.flags, it.length) = (abi::SHMBUF_COPY_ASYNC, size);
            it.timeout_ms = 60_000;
        });
        assert_eq!(copy, Ok(0));
        Self { from, to, other }
    }

    /// Each call that waits for the end of the copy.
    fn calls(&self) -> Vec<Wait> {
        let mut calls: Vec<Wait> = vec![
            ("SYNC", |it| it.to.sync(.., Access::ReadWrite, Phase::End)),
            ("SYNC of the source", |it| {
                it.from.sync(.., Access::ReadWrite, Phase::Begin)
            }),
            ("SYNC of a dma-buf", |it| {
                export_all(&it.to).sync(Access::Read, Phase::Begin)
            }),
            ("fsync", |it| it.to.fsync()),
            ("read", |it| it.to.read_at(&mut [0; 64], 0).map(drop)),
            ("write", |it| it.to.write_at(&[0; 64], 0).map(drop)),
            ("write to the source", |it| {
                it.from.write_at(&[0; 64], 0).map(drop)
            }),
            ("COPY to its target", |it| {
                it.to.copy_from(0, &it.other, ..64).map(drop)
            }),
            ("COPY by the engine", |it| {
                it.other.copy_from(4096, &it.from, 4096..8192).map(drop)
            }),
            ("asynchronous COPY and close", |it| {
                it.other.begin_copy_from(0, &it.to, ..64, None)
            }),
        ];
        if self.another_policy().is_some() {
            calls.push(("SET_CACHE", |it| {
                it.to.set_cache(it.another_policy().expect("it is there"))
            }));
        }
        calls
    }

    fn another_policy(&self) -> Option<Policy> {
        let info = self.to.info().expect("INFO");
        info.policies.iter().find(|&policy| policy != info.policy)
    }
}

fn waits(env: &Env) {
    with_slow_engine(env, FOREVER, || {
        let used = Used::new(env, large() / 4);
        for (what, call) in used.calls() {
            assert_killed(what, || {
                call(&used).expect("whoever waits for long waits on");
            });
        }
        if without_display(&env.machine, &env.config).is_none() {
            assert_killed("an importer", || {
                drop(open(DISPLAY).import(&export_all(&used.to)));
            });
        }
    });
}

/// How long a copy takes that is waited for.
const COPY_MS: &str = "1000";

/// Interrupts each call that waits, but without a handler, and asserts that it is done in the end.
fn assert_uninterrupted(env: &Env, interrupt: impl Fn(&Child)) {
    with_slow_engine(env, COPY_MS, || {
        let count = Used::new(env, SIZE).calls().len();
        for n in 0..count {
            let used = Used::new(env, SIZE);
            let (what, call) = used.calls()[n];
            let begun = Turn::new();
            let child = Child::run(|| {
                begun.give();
                call(&used).unwrap_or_else(|error| panic!("{what}: {error}"));
            });
            begun.take();
            thread::sleep(MOMENT);
            interrupt(&child);
            child.join();
        }
    });
}

fn stops(env: &Env) {
    assert_uninterrupted(env, |child| {
        for signal in [Signal::SIGSTOP, Signal::SIGCONT] {
            kill(child.pid(), signal).expect("kill");
            thread::sleep(MOMENT / 3);
        }
    });
}

fn freezes(env: &Env) {
    let group = Cgroup::new("frozen");
    assert_uninterrupted(env, |child| {
        group.add(child.pid());
        group.freeze();
        thread::sleep(MOMENT / 3);
        group.thaw();
    });
}

/// Makes a handle one with O_NONBLOCK.
pub(super) fn set_nonblocking(buffer: &Buffer) {
    fcntl(buffer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("F_SETFL");
}

fn nonblocking(env: &Env) {
    with_slow_engine(env, FOREVER, || {
        let used = Used::new(env, SIZE);
        let half = SIZE / 2;
        let of_target: [fn(&Buffer) -> shmbuf::Result<()>; 4] = [
            |it| it.sync(.., Access::ReadWrite, Phase::Begin),
            |it| it.sync(.., Access::ReadWrite, Phase::End),
            |it| it.read_at(&mut [0; 64], 0).map(drop),
            |it| it.write_at(&[0; 64], 0).map(drop),
        ];
        // That a call does not wait can also be said of the call.
        let mut bytes = [0; 64];
        refused(
            preadv2(&used.to, &mut bytes, 0, libc::RWF_NOWAIT),
            Errno::EAGAIN,
        );
        refused(
            pwritev2(&used.to, &bytes, 0, libc::RWF_NOWAIT),
            Errno::EAGAIN,
        );
        refused(
            pwritev2(&used.from, &bytes, 0, libc::RWF_NOWAIT),
            Errno::EAGAIN,
        );
        assert_eq!(preadv2(&used.from, &mut bytes, 0, libc::RWF_NOWAIT), Ok(64));
        assert_eq!(pwritev2(&used.other, &bytes, 0, libc::RWF_NOWAIT), Ok(64));
        for buffer in [&used.to, &used.from, &used.other] {
            set_nonblocking(buffer);
        }
        for call in of_target {
            refused(call(&used.to), Errno::EAGAIN);
            assert_eq!(call(&used.other), Ok(()));
        }
        if let Some(policy) = used.another_policy() {
            refused(used.to.set_cache(policy), Errno::EAGAIN);
            assert_eq!(used.other.set_cache(policy), Ok(()));
        }
        // The source is read beside the copy, and not written.
        assert_eq!(used.from.read_at(&mut [0; 64], half), Ok(64));
        refused(used.from.write_at(&[0; 64], half), Errno::EAGAIN);
    });
}
