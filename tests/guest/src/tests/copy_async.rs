// SPDX-License-Identifier: MIT OR Apache-2.0
//! COPY that goes on when the call has returned, and copies that take long, fail
//! or are ended.

use std::{
    fs::{self, File},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{poll, PollFd, PollFlags, PollTimeout},
    sys::{
        eventfd::{EfdFlags, EventFd},
        signal::{kill, Signal},
    },
};
use shmbuf::{abi, Access, Alloc, Buffer, Kind, Phase, Policy};

use super::{
    alloc::{make, SIZE},
    claim,
    copy::{raw_copy, without_engine},
    data::{assert_pattern, fresh, read_all, write_all},
    fences::ready,
    rounds, Claim, Scope,
};
use crate::{
    engine::{self, set},
    ktap::diagnose,
    machine::{Arch, Machine},
    module::{users, Config},
    process::{Child, Turn},
    procfs::private_used,
    runner::Env,
    sys::{page, refused},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Once, "copy_in_the_background", background).unless(without_engine),
    claim(Scope::Once, "copy_tells_an_eventfd", eventfd).unless(without_engine),
    claim(
        Scope::Once,
        "copy_in_the_background_refuses_bad_arguments",
        bad_arguments,
    )
    .unless(without_engine),
    slow("copy_by_this_engine", as_by_others).seconds(300),
    slow("copy_goes_on_after_the_call", goes_on),
    slow("copy_has_its_turn", turns),
    slow("copy_times_out", times_out),
    slow("copy_says_that_the_engine_failed", engine_fails),
    slow("failed_copy_keeps_what_was_there", failed_keeps),
    slow("engine_that_cannot_be_stopped_is_none", unstoppable),
    slow(
        "copy_that_cannot_be_stopped_ends_before_its_buffers_do",
        stop_fails,
    ),
    slow("copies_that_end_and_begin_find_a_place", places),
    slow("copy_is_interrupted", interrupted),
    slow("copy_is_interrupted_as_it_ends", interrupted_at_the_end),
    slow("sync_that_waits_is_not_ended_by_a_stop", stopped),
    slow("set_cache_to_what_cannot_be_waits_for_nobody", impossible),
    slow("copy_is_cancelled_by_close", cancelled),
    slow("copy_is_cancelled_by_death", killed),
    slow("queued_copies_park_nobody", queued),
    slow("sync_that_waited_finds_the_result", result_after_sync),
    slow("info_takes_no_channel", unasked),
    slow("engine_is_the_named_one", named),
    slow("engine_that_snoops_copies_cached_memory_only", snooping).unless(|machine, config| {
        without_slow_engine(machine, config).or_else(|| all_snoop(machine))
    }),
    slow("engine_that_leaves_ends_its_copies", unbound),
    claim(Scope::Own, "suspend_waits_for_a_copy", suspend)
        .unless(|machine, config| without_slow_engine(machine, config).or_else(without_suspend)),
    slow("race_of_copy_and_unbind", unbind_race).seconds(180),
    slow("race_of_copy_and_close", close_race).seconds(180),
    slow("race_of_copies_with_one_handle", begin_race),
];

/// A claim that is tested with the engine of tests/engine, where it is the only one.
pub(super) const fn slow(name: &'static str, body: fn(&Env)) -> Claim {
    claim(Scope::Own, name, body).unless(without_slow_engine)
}

pub(super) fn without_slow_engine(machine: &Machine, config: &Config) -> Option<&'static str> {
    if !engine::is_here() {
        return Some("no engine.ko");
    }
    let own = without_engine(machine, config).is_none();
    own.then_some("the board has an engine of its own")
}

/// How long a transfer takes that nobody waits for.
pub(super) const FOREVER: &str = "600000";
/// How long what should be soon may take, on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(30);

/// Calls `body` with shmbuf and the slow engine loaded.
pub(super) fn with_slow_engine(env: &Env, delay_ms: &str, body: impl FnOnce()) {
    with_engine(env, &format!("delay_ms={delay_ms}"), body);
}

fn with_engine(env: &Env, parameters: &str, body: impl FnOnce()) {
    // Of a test that failed.
    let _ = engine::unload();
    engine::load(parameters);
    env.module.must_load(&env.config.parameters());
    body();
    // poll(2) of a dma-buf keeps it until the fence is signalled, and the kernel lets go of it a
    // little later.
    let begin = Instant::now();
    while users().is_some_and(|count| count > 0) && begin.elapsed() < SOON {
        thread::sleep(Duration::from_millis(10));
    }
    env.module.must_unload();
    engine::unload().expect("rmmod engine");
}

/// Two buffers to copy between, and what is in the first.
pub(super) struct Pair {
    pub(super) from: Buffer,
    pub(super) to: Buffer,
    bytes: Vec<u8>,
}

impl Pair {
    pub(super) fn new(env: &Env) -> Self {
        Self::of(env, Kind::Streaming)
    }

    fn of(env: &Env, kind: Kind) -> Self {
        let [from, to] = [0, 1].map(|_| make(env, &Alloc::new(SIZE, kind)));
        let pattern = fresh();
        write_all(&from, pattern);
        let bytes = pattern.bytes(0, SIZE as usize);
        Self { from, to, bytes }
    }

    #[track_caller]
    fn begin(&self) {
        self.to
            .begin_copy_from(0, &self.from, .., None)
            .expect("COPY");
    }

    /// Begins a copy that may take longer than anybody here waits for it.
    #[track_caller]
    fn begin_patiently(&self) {
        let begun = raw_copy(&self.to, &self.from, |it| {
            (it.flags, it.length) = (abi::SHMBUF_COPY_ASYNC, SIZE);
            it.timeout_ms = 60_000;
        });
        assert_eq!(begun, Ok(0));
    }

    #[track_caller]
    pub(super) fn assert_copied(&self) {
        assert!(read_all(&self.to) == self.bytes, "another content");
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert!(read_all(&self.to).iter().all(|&byte| byte == 0), "content");
    }
}

/// Whether poll(2) says within a time that the file is ready.
pub(super) fn is_ready(file: &impl AsFd, patience: Duration) -> bool {
    let events = PollFlags::POLLIN | PollFlags::POLLOUT;
    let mut list = [PollFd::new(file.as_fd(), events)];
    let timeout = PollTimeout::try_from(patience).expect("a timeout");
    let count = poll(&mut list, timeout).expect("poll");
    let found = list[0].revents().expect("known flags");
    assert!(
        found
            == if count == 1 {
                events
            } else {
                PollFlags::empty()
            }
    );
    count == 1
}

fn background(env: &Env) {
    let pair = Pair::new(env);
    assert!(is_ready(&pair.to, Duration::ZERO), "a file like others");
    refused(pair.to.copy_result(), Errno::ENODATA);
    for _ in 0..3 {
        pair.begin();
        assert!(is_ready(&pair.to, SOON));
        // An end is not lost: the result waits to be taken.
        refused(
            pair.to.begin_copy_from(0, &pair.from, .., None),
            Errno::EINPROGRESS,
        );
        pair.to.copy_result().expect("COPY_RESULT");
        refused(pair.to.copy_result(), Errno::ENODATA);
        pair.assert_copied();
        write_all(&pair.to, fresh());
    }
    // Only bytes that the CPU copies, those of one line.
    pair.to
        .begin_copy_from(1, &pair.from, 5..8, None)
        .expect("COPY");
    assert!(is_ready(&pair.to, SOON));
    pair.to.copy_result().expect("COPY_RESULT");
    assert_eq!(read_all(&pair.to)[1..4], pair.bytes[5..8]);
}

fn eventfd(env: &Env) {
    let pair = Pair::new(env);
    let counter = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).expect("eventfd");
    for _ in 0..3 {
        pair.to
            .begin_copy_from(0, &pair.from, .., Some(counter.as_fd()))
            .expect("COPY");
        assert_eq!(counter.read(), Ok(1));
        pair.to.copy_result().expect("COPY_RESULT");
    }
    pair.assert_copied();
}

fn bad_arguments(env: &Env) {
    let pair = Pair::new(env);
    let null = File::open("/dev/null").expect("/dev/null");
    let start = |eventfd| pair.to.begin_copy_from(0, &pair.from, .., Some(eventfd));
    refused(start(null.as_fd()), Errno::EINVAL);
    refused(start(pair.to.as_fd()), Errno::EINVAL);
    let counted = abi::SHMBUF_COPY_ASYNC | abi::SHMBUF_COPY_EVENTFD;
    let raw = |flags, eventfd| {
        raw_copy(&pair.to, &pair.from, |it| {
            (it.flags, it.eventfd) = (flags, eventfd)
        })
    };
    refused(raw(counted, -1), Errno::EBADF);
    refused(raw(counted, 1_000_000), Errno::EBADF);
    refused(raw(abi::SHMBUF_COPY_EVENTFD, 0), Errno::EINVAL);
    refused(raw(abi::SHMBUF_COPY_ASYNC, 1), Errno::EINVAL);
    refused(raw(0, 1), Errno::EINVAL);
    refused(raw(abi::SHMBUF_COPY_SYNC_FILE, 0), Errno::EINVAL);
    refused(raw(abi::SHMBUF_COPY_ASYNC | 8, 0), Errno::EINVAL);
    // What is refused has begun nothing, and what is known is said at once.
    let later = |range: std::ops::Range<u64>| pair.to.begin_copy_from(0, &pair.from, range, None);
    refused(later(0..SIZE + 1), Errno::ERANGE);
    refused(later(0..0), Errno::EINVAL);
    pair.from
        .sync(.., Access::ReadWrite, Phase::End)
        .expect("SYNC");
    refused(later(0..SIZE), Errno::EBUSY);
    pair.from
        .sync(.., Access::ReadWrite, Phase::Begin)
        .expect("SYNC");
    assert!(is_ready(&pair.to, Duration::ZERO));
    refused(pair.to.copy_result(), Errno::ENODATA);
    pair.assert_untouched();
}

fn as_by_others(env: &Env) {
    with_slow_engine(env, "0", || {
        let copies = super::copy::CLAIMS.iter().chain(super::slots::CLAIMS);
        for claim in copies.chain(CLAIMS) {
            if claim.scope == Scope::Once && claim.name != "copy_without_an_engine_is_refused" {
                diagnose(claim.name);
                (claim.body)(env);
            }
        }
    });
}

fn goes_on(env: &Env) {
    with_slow_engine(env, "3000", || {
        let pair = Pair::new(env);
        let begin = Instant::now();
        pair.begin();
        assert!(!is_ready(&pair.to, Duration::ZERO));
        refused(pair.to.copy_result(), Errno::EAGAIN);
        refused(
            pair.to.begin_copy_from(0, &pair.from, .., None),
            Errno::EINPROGRESS,
        );
        // INFO does not wait for it, and knows the engine.
        let info = pair.to.info().expect("INFO");
        assert_eq!(info.engine.as_deref(), Some("test-engine"));
        refused(pair.to.copy_result(), Errno::EAGAIN);
        // Neither buffer goes to a device until it has ended.
        for buffer in [&pair.from, &pair.to] {
            buffer
                .sync(.., Access::ReadWrite, Phase::End)
                .expect("SYNC");
            assert!(
                begin.elapsed() >= Duration::from_secs(3),
                "SYNC did not wait"
            );
            buffer
                .sync(.., Access::ReadWrite, Phase::Begin)
                .expect("SYNC");
        }
        assert!(is_ready(&pair.to, SOON));
        pair.to.copy_result().expect("COPY_RESULT");
        pair.assert_copied();
    });
}

fn turns(env: &Env) {
    with_slow_engine(env, "300", || {
        let several = [(); 4].map(|()| Pair::new(env));
        for pair in &several {
            pair.begin();
        }
        // And who waits for his own.
        let here = Pair::new(env);
        here.to.copy_from(0, &here.from, ..).expect("COPY");
        here.assert_copied();
        for pair in &several {
            assert!(is_ready(&pair.to, SOON));
            pair.to.copy_result().expect("COPY_RESULT");
            pair.assert_copied();
        }
    });
}

fn times_out(env: &Env) {
    with_slow_engine(env, FOREVER, || {
        let pair = Pair::new(env);
        let quick = |flags| {
            raw_copy(&pair.to, &pair.from, |it| {
                (it.timeout_ms, it.flags, it.length) = (100, flags, SIZE)
            })
        };
        refused(quick(0), Errno::ETIMEDOUT);
        assert_eq!(quick(abi::SHMBUF_COPY_ASYNC), Ok(0));
        assert!(is_ready(&pair.to, SOON));
        refused(pair.to.copy_result(), Errno::ETIMEDOUT);
        pair.assert_untouched();
        // The engine was stopped, and is as good as before.
        set("delay_ms", "0");
        pair.to.copy_from(0, &pair.from, ..).expect("COPY");
        pair.assert_copied();
    });
}

fn engine_fails(env: &Env) {
    with_slow_engine(env, "0", || {
        let pair = Pair::new(env);
        set("fail", "1");
        refused(pair.to.copy_from(0, &pair.from, ..), Errno::EIO);
        pair.begin();
        assert!(is_ready(&pair.to, SOON));
        refused(pair.to.copy_result(), Errno::EIO);
        pair.assert_untouched();
        set("fail", "0");
        pair.to.copy_from(0, &pair.from, ..).expect("COPY");
        pair.assert_copied();
    });
}

/// Pages, which each machine maps for the engine, if need be by copies of the kernel's own.
fn failed_keeps(env: &Env) {
    with_slow_engine(env, "0", || {
        let pair = Pair::of(env, Kind::Pages);
        let pattern = fresh();
        write_all(&pair.to, pattern);
        set("fail", "1");
        refused(pair.to.copy_from(0, &pair.from, ..), Errno::EIO);
        assert_pattern(pattern, 0, &read_all(&pair.to), "after a copy that failed");
        set("fail", "0");
        pair.to.copy_from(0, &pair.from, ..).expect("COPY");
        pair.assert_copied();
    });
}

fn unstoppable(env: &Env) {
    with_engine(env, "unstoppable=1", || {
        let pair = Pair::new(env);
        refused(pair.to.copy_from(0, &pair.from, ..), Errno::EOPNOTSUPP);
    });
}

fn stop_fails(env: &Env) {
    with_engine(env, "stop_fails=1 delay_ms=3000", || {
        let pair = Pair::new(env);
        let begun = Turn::new();
        let child = Child::run(|| {
            begun.give();
            let _ = pair.to.copy_from(0, &pair.from, ..);
        });
        begun.take();
        thread::sleep(Duration::from_millis(500));
        child.kill();
        // The engine has written all that it would ever write.
        pair.assert_copied();
    });
}

/// A copy begins when another has told of its end, and is about to leave the list of jobs: that
/// takes some time, as it frees a buffer.
fn places(env: &Env) {
    with_slow_engine(env, "1", || {
        let length = page() as u64;
        let small = || make(env, &Alloc::new(length, Kind::Streaming));
        let [from, to_first, to_second, to_third] = [(); 4].map(|()| small());
        let copy = |to: &Buffer, from: &Buffer| {
            let fence = to.begin_copy_with_fence(0, from, 0..length);
            fence.expect("COPY")
        };
        for round in 0..rounds(5) {
            let large = make(env, &Alloc::new(16 << 20, Kind::Scatter));
            let first = copy(&to_first, &large);
            drop(large);
            let second = copy(&to_second, &from);
            assert_eq!(ready(&first, PollFlags::POLLIN, SOON), PollFlags::POLLIN);
            let third = copy(&to_third, &from);
            for fence in [&second, &third] {
                let found = ready(fence, PollFlags::POLLIN, SOON);
                assert_eq!(found, PollFlags::POLLIN, "round {round}");
            }
            for to in [&to_first, &to_second, &to_third] {
                assert!(is_ready(to, SOON));
                to.copy_result().expect("COPY_RESULT");
            }
        }
    });
}

fn interrupted(env: &Env) {
    with_slow_engine(env, FOREVER, || {
        let pair = Pair::new(env);
        let begun = Turn::new();
        // Death is a signal too; another one would need a handler.
        let child = Child::run(|| {
            begun.give();
            let _ = raw_copy(&pair.to, &pair.from, |it| {
                (it.timeout_ms, it.length) = (60_000, SIZE)
            });
        });
        begun.take();
        thread::sleep(Duration::from_millis(500));
        let begin = Instant::now();
        child.kill();
        assert!(begin.elapsed() < SOON);
        pair.assert_untouched();
        // The engine is free, and so are the buffers.
        set("delay_ms", "0");
        pair.to.copy_from(0, &pair.from, ..).expect("COPY");
        pair.assert_copied();
    });
}

/// A signal comes at about the moment when the engine says that it is done.
fn interrupted_at_the_end(env: &Env) {
    const DELAY: Duration = Duration::from_millis(30);
    with_slow_engine(env, "30", || {
        let pair = Pair::new(env);
        for _ in 0..rounds(60) {
            let begun = Turn::new();
            let child = Child::run(|| {
                begun.give();
                let _ = raw_copy(&pair.to, &pair.from, |it| it.length = SIZE);
                // If the copy was quicker than the signal.
                thread::sleep(SOON);
            });
            begun.take();
            thread::sleep(DELAY * fastrand::u32(50..150) / 100);
            child.kill();
        }
        pair.to.copy_from(0, &pair.from, ..).expect("COPY");
        pair.assert_copied();
    });
}

/// SIGSTOP and SIGCONT, without a handler: what waits goes on waiting.
fn stopped(env: &Env) {
    with_slow_engine(env, "6000", || {
        let pair = Pair::new(env);
        pair.begin_patiently();
        let begun = Turn::new();
        let child = Child::run(|| {
            begun.give();
            pair.to
                .sync(.., Access::ReadWrite, Phase::End)
                .expect("SYNC");
        });
        begun.take();
        thread::sleep(Duration::from_millis(500));
        for signal in [Signal::SIGSTOP, Signal::SIGCONT] {
            kill(child.pid(), signal).expect("kill");
        }
        child.join();
        pair.to.copy_result().expect("COPY_RESULT");
    });
}

/// A copy goes on for longer than this may take.
fn impossible(env: &Env) {
    with_slow_engine(env, FOREVER, || {
        let pair = Pair::new(env);
        pair.begin_patiently();
        let begin = Instant::now();
        refused(pair.from.set_cache(Policy::NonCached), Errno::EOPNOTSUPP);
        assert!(begin.elapsed() < SOON);
    });
}

fn cancelled(env: &Env) {
    with_slow_engine(env, FOREVER, || {
        let before = private_used();
        let (first, second) = (Pair::new(env), Pair::new(env));
        first.begin_patiently();
        // This one waits for the engine.
        second.begin_patiently();
        thread::sleep(Duration::from_millis(200));
        let begin = Instant::now();
        let Pair { from, to, .. } = second;
        drop(to);
        assert!(begin.elapsed() < SOON);
        // What was copied from is the CPU's again, and the first goes on.
        from.sync(.., Access::ReadWrite, Phase::End).expect("SYNC");
        drop(from);
        assert!(!is_ready(&first.to, Duration::ZERO));
        // The source's handle may go before the copy has ended.
        drop(first.from);
        assert!(!is_ready(&first.to, Duration::ZERO));
        drop(first.to);
        assert!(begin.elapsed() < SOON);
        assert_eq!(private_used(), before);
    });
}

fn killed(env: &Env) {
    with_slow_engine(env, FOREVER, || {
        let before = private_used();
        let begun = Turn::new();
        let child = Child::run(|| {
            let (first, second) = (Pair::new(env), Pair::new(env));
            first.begin_patiently();
            second.begin_patiently();
            begun.give();
            thread::sleep(SOON * 2);
        });
        begun.take();
        let begin = Instant::now();
        child.kill();
        assert!(begin.elapsed() < SOON);
        assert_eq!(private_used(), before);
    });
}

/// How many threads the kernel has for its queues.
fn kworkers() -> usize {
    let comms = glob("/proc").into_iter();
    comms
        .filter_map(|process| fs::read_to_string(process.join("comm")).ok())
        .filter(|comm| comm.starts_with("kworker/"))
        .count()
}

/// What a folder has.
fn glob(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

fn queued(env: &Env) {
    const COPIES: usize = 100;
    with_slow_engine(env, FOREVER, || {
        let size = page() as u64;
        let from = make(env, &Alloc::new(size, Kind::Pages));
        let before = kworkers();
        let mut targets: Vec<_> = (0..COPIES)
            .map(|_| {
                let to = make(env, &Alloc::new(size, Kind::Pages));
                let begun = raw_copy(&to, &from, |it| {
                    (it.flags, it.length) = (abi::SHMBUF_COPY_ASYNC, size);
                    it.timeout_ms = 60_000;
                });
                assert_eq!(begun, Ok(0));
                to
            })
            .collect();
        thread::sleep(Duration::from_millis(500));
        let more = kworkers().saturating_sub(before);
        diagnose(format_args!("{more} kworkers more for {COPIES} copies"));
        assert!(more < COPIES / 4, "{more} kworkers more");
        // Each goes at once, from the middle too, and the others stay in the queue.
        let begin = Instant::now();
        targets.remove(COPIES / 2);
        refused(targets[COPIES / 2].copy_result(), Errno::EAGAIN);
        refused(targets[0].copy_result(), Errno::EAGAIN);
        drop(targets);
        assert!(begin.elapsed() < SOON);
        from.sync(.., Access::ReadWrite, Phase::End).expect("SYNC");
    });
}

fn result_after_sync(env: &Env) {
    with_slow_engine(env, "1", || {
        let pair = Pair::new(env);
        for _ in 0..rounds(200) {
            pair.begin();
            for phase in [Phase::End, Phase::Begin] {
                pair.to.sync(.., Access::ReadWrite, phase).expect("SYNC");
            }
            pair.to.copy_result().expect("COPY_RESULT");
        }
    });
}

/// How many channels of DMA engines somebody uses.
fn channels_in_use() -> usize {
    let channels = glob("/sys/class/dma").into_iter();
    channels
        .filter_map(|channel| fs::read_to_string(channel.join("in_use")).ok())
        .filter(|count| count.trim() != "0")
        .count()
}

fn unasked(env: &Env) {
    with_slow_engine(env, "0", || {
        let pair = Pair::new(env);
        assert_eq!(pair.to.info().expect("INFO").engine, None);
        assert_eq!(channels_in_use(), 0);
        pair.to.copy_from(0, &pair.from, ..).expect("COPY");
        assert!(pair.to.info().expect("INFO").engine.is_some());
        assert_eq!(channels_in_use(), 1);
    });
}

fn named(env: &Env) {
    with_slow_engine(env, "0", || {
        env.module.must_unload();
        let channel = glob("/sys/class/dma").remove(0);
        let channel = channel.file_name().expect("a name").to_string_lossy();
        for (name, expected) in [
            ("test-engine", None),
            (&*channel, None),
            ("another", Some(Errno::EOPNOTSUPP)),
        ] {
            let parameters = format!("{} engine={name}", env.config.parameters());
            env.module.must_load(&parameters);
            let pair = Pair::new(env);
            let copied = pair.to.copy_from(0, &pair.from, ..);
            match expected {
                None => copied.expect("COPY"),
                Some(errno) => refused(copied, errno),
            }
            drop(pair);
            env.module.must_unload();
        }
        env.module.must_load(&env.config.parameters());
    });
}

fn all_snoop(machine: &Machine) -> Option<&'static str> {
    (machine.arch == Arch::Snooping).then_some("all devices snoop")
}

/// What the engine writes may stay in the caches, past which the CPU reads non-cached memory.
fn snooping(env: &Env) {
    with_engine(env, "snoops=1", || {
        let cached = Pair::new(env);
        cached.to.copy_from(0, &cached.from, ..).expect("COPY");
        assert!(read_all(&cached.to) == cached.bytes);
        let other = make(env, &Alloc::new(SIZE, Kind::Coherent));
        refused(cached.to.copy_from(0, &other, ..), Errno::EIO);
        refused(other.copy_from(0, &cached.from, ..), Errno::EIO);
        assert!(read_all(&cached.to) == cached.bytes);
    });
}

/// Lets the engine's driver leave or enter its device.
fn driver(file: &str) {
    engine::driver(file).unwrap_or_else(|error| panic!("{file}: {error}"));
}

fn unbound(env: &Env) {
    with_slow_engine(env, FOREVER, || {
        let several = [(); 3].map(|()| Pair::new(env));
        for pair in &several {
            pair.begin_patiently();
        }
        let begin = Instant::now();
        driver("unbind");
        assert!(begin.elapsed() < SOON);
        for pair in &several {
            refused(pair.to.copy_result(), Errno::ENODEV);
            pair.assert_untouched();
        }
        let pair = &several[0];
        refused(pair.to.copy_from(0, &pair.from, ..), Errno::EOPNOTSUPP);
        set("delay_ms", "0");
        driver("bind");
        pair.to.copy_from(0, &pair.from, ..).expect("COPY");
        pair.assert_copied();
    });
}

/// The system begins to sleep, up to its devices, and wakes up.
const PM_TEST: &str = "/sys/power/pm_test";

fn without_suspend() -> Option<&'static str> {
    (!Path::new(PM_TEST).exists()).then_some("no pm_test: CONFIG_PM_SLEEP_DEBUG")
}

/// The engine's driver refuses to sleep while a transfer runs. That of a thread, which is frozen, is
/// ended and done again; that of the worker ends before; and the next is not begun.
fn suspend(env: &Env) {
    const DELAY: Duration = Duration::from_millis(1500);
    with_slow_engine(env, &DELAY.as_millis().to_string(), || {
        let several = [(); 3].map(|()| Pair::new(env));
        let waits = Pair::new(env);
        let child = Child::run(|| waits.to.copy_from(0, &waits.from, ..).expect("COPY"));
        thread::sleep(DELAY / 3);
        for pair in &several {
            pair.begin_patiently();
        }
        fs::write("/sys/module/suspend/parameters/pm_test_delay", "3").expect("pm_test_delay");
        fs::write(PM_TEST, "devices").expect(PM_TEST);
        let slept = fs::write("/sys/power/state", "freeze");
        let ended = several
            .each_ref()
            .map(|pair| is_ready(&pair.to, Duration::ZERO));
        fs::write(PM_TEST, "none").expect(PM_TEST);
        slept.expect("the system does not sleep");
        // There was time enough for all of them.
        assert!(ended[0] && !ended[2], "{ended:?}");
        for pair in &several {
            assert!(is_ready(&pair.to, SOON));
            pair.to.copy_result().expect("COPY_RESULT");
            pair.assert_copied();
        }
        child.join();
        waits.assert_copied();
    });
}

/// The driver comes and goes while three threads copy.
fn unbind_race(env: &Env) {
    let rounds = rounds(30);
    with_slow_engine(env, "1", || {
        let over = AtomicBool::new(false);
        let copied = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let pair = Pair::new(env);
                    while !over.load(SeqCst) {
                        match pair.to.copy_from(0, &pair.from, ..) {
                            Ok(()) => copied.fetch_add(1, SeqCst),
                            Err(error) => {
                                let may_be = [Errno::ENODEV, Errno::EOPNOTSUPP];
                                assert!(error.errno().is_some_and(|it| may_be.contains(&it)));
                                0
                            }
                        };
                    }
                    pair.from
                        .sync(.., Access::ReadWrite, Phase::End)
                        .expect("SYNC");
                });
            }
            for _ in 0..rounds {
                let before = copied.load(SeqCst);
                let begin = Instant::now();
                while copied.load(SeqCst) == before && begin.elapsed() < SOON {
                    thread::sleep(Duration::from_millis(1));
                }
                driver("unbind");
                driver("bind");
            }
            over.store(true, SeqCst);
        });
        assert!(copied.load(SeqCst) >= rounds, "none between two rounds");
    });
}

/// Handles close at the moment when their copy ends.
fn close_race(env: &Env) {
    with_slow_engine(env, "2", || {
        let before = private_used();
        let (mut ended, mut closed) = (0, 0);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(5)
            || ended == 0
            || closed == 0
            || ended + closed < rounds(2)
        {
            let pair = Pair::new(env);
            pair.begin();
            thread::sleep(Duration::from_micros(fastrand::u64(..30_000)));
            match pair.to.copy_result() {
                Ok(()) => ended += 1,
                Err(error) => {
                    assert_eq!(error.errno(), Some(Errno::EAGAIN));
                    closed += 1;
                }
            }
        }
        assert_eq!(private_used(), before);
        let pair = Pair::new(env);
        pair.to.copy_from(0, &pair.from, ..).expect("COPY");
        pair.assert_copied();
    });
}

/// Two threads with one handle: each copy that began ends once.
fn begin_race(env: &Env) {
    with_slow_engine(env, "0", || {
        let pair = Pair::new(env);
        let end = Instant::now() + Duration::from_secs(3);
        let [one, other] = thread::scope(|scope| {
            [(); 2]
                .map(|()| scope.spawn(|| begin_and_end(&pair, end)))
                .map(|thread| thread.join().expect("a thread"))
        });
        let (began, mut ended) = (one.0 + other.0, one.1 + other.1);
        if is_ready(&pair.to, SOON) && pair.to.copy_result().is_ok() {
            ended += 1;
        }
        assert!(began > 0);
        assert_eq!(began, ended);
        pair.assert_copied();
    });
}

/// Begins copies and takes results until a time. Returns how many of each.
fn begin_and_end(pair: &Pair, end: Instant) -> (usize, usize) {
    let (mut began, mut ended) = (0, 0);
    while Instant::now() < end || began < rounds(1) {
        match pair.to.begin_copy_from(0, &pair.from, .., None) {
            Ok(()) => began += 1,
            Err(error) => assert_eq!(error.errno(), Some(Errno::EINPROGRESS)),
        }
        match pair.to.copy_result() {
            Ok(()) => ended += 1,
            Err(error) => {
                let may_be = [Errno::EAGAIN, Errno::ENODATA];
                assert!(error.errno().is_some_and(|errno| may_be.contains(&errno)));
            }
        }
    }
    (began, ended)
}
