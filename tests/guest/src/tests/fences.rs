// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fences: a copy that others wait for, and others whom COPY and SYNC wait for.

use std::{
    ops::Range,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc::{channel, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{poll, PollFd, PollFlags, PollTimeout},
    sys::eventfd::{EfdFlags, EventFd},
};
use shmbuf::{Access, Alloc, Buffer, DmaBuf, Kind, Phase, Protection};

use super::{
    alloc::make,
    claim,
    copy::without_engine,
    copy_async::{slow, with_slow_engine, without_slow_engine, Pair, SOON},
    data::{fresh, read_all, write_all},
    export::{export, export_all, open, without_display, without_vgem, DISPLAY, VGEM},
    rounds,
    signals::set_nonblocking,
    Claim, Scope,
};
use crate::{
    engine::set,
    ktap::diagnose,
    machine::Machine,
    module::Config,
    process::Child,
    runner::Env,
    sys::{page, refused},
};

pub(super) const CLAIMS: &[Claim] = &[
    slow("copy_gives_a_sync_file", sync_file),
    slow("dma_bufs_are_ready_when_the_copy_has_ended", readiness),
    slow("cancelled_copy_is_an_error_of_its_fence", cancelled),
    slow("fence_of_a_copy_delays_another_buffer", chained),
    slow("copy_in_one_slot_delays_no_other", slots),
    slow("copy_waits_for_fences_that_come_late", late),
    slow("interrupted_copy_is_cancelled_for_others", interrupted),
    slow("who_waits_for_a_copy_finds_its_result", told),
    slow("import_and_copy_do_not_wait_for_each_other", import_race)
        .unless(without_slow_engine_or_display)
        .seconds(180),
    claim(Scope::Once, "sync_waits_for_fences_of_others", sync).unless(without_vgem),
    claim(
        Scope::Once,
        "nonblocking_sync_waits_for_no_fence",
        nonblocking,
    )
    .unless(without_vgem),
    claim(Scope::Once, "readers_do_not_wait_for_readers", readers).unless(without_vgem),
    claim(Scope::Once, "copy_waits_for_fences_of_others", copy).unless(without_vgem_or_engine),
];

fn without_slow_engine_or_display(machine: &Machine, config: &Config) -> Option<&'static str> {
    without_slow_engine(machine, config).or_else(|| without_display(machine, config))
}

fn without_vgem_or_engine(machine: &Machine, config: &Config) -> Option<&'static str> {
    without_vgem(machine, config).or_else(|| without_engine(machine, config))
}

/// How long nothing may happen to call it waiting.
const A_WHILE: Duration = Duration::from_millis(500);

mod ioctl {
    #[repr(C)]
    #[derive(Debug, Default)]
    pub struct SyncFile {
        pub flags: u32,
        pub fd: i32,
    }

    #[repr(C)]
    #[derive(Debug, Default)]
    pub struct Attach {
        pub handle: u32,
        pub flags: u32,
        pub out_fence: u32,
        pub pad: u32,
    }

    #[repr(C)]
    #[derive(Debug, Default)]
    pub struct Signal {
        pub fence: u32,
        pub flags: u32,
    }

    nix::ioctl_readwrite!(export_sync_file, b'b', 2, SyncFile);
    nix::ioctl_write_ptr!(import_sync_file, b'b', 3, SyncFile);
    nix::ioctl_readwrite!(attach, b'd', 0x41, Attach);
    nix::ioctl_write_ptr!(signal, b'd', 0x42, Signal);
    nix::ioctl_readwrite!(status, b'>', 4, Info);

    /// `struct sync_file_info` without its fences.
    #[repr(C)]
    #[derive(Debug, Default)]
    pub struct Info {
        pub name: [u8; 32],
        pub status: i32,
        pub flags: u32,
        pub num_fences: u32,
        pub pad: u32,
        pub fences: u64,
    }
}

/// `DMA_BUF_SYNC_READ` and `DMA_BUF_SYNC_RW`.
const READ: u32 = 1;
const WRITE: u32 = 3;

/// What of `events` is said of a file within a time.
/// Which of some events a file has within a time.
pub(super) fn ready(file: &impl AsFd, events: PollFlags, patience: Duration) -> PollFlags {
    let mut list = [PollFd::new(file.as_fd(), events)];
    let timeout = PollTimeout::try_from(patience).expect("a timeout");
    poll(&mut list, timeout).expect("poll");
    list[0].revents().expect("known flags")
}

#[track_caller]
fn assert_ready(file: &impl AsFd, events: PollFlags) {
    for event in events {
        assert_eq!(ready(file, event, SOON), event);
    }
}

#[track_caller]
fn assert_not_ready(file: &impl AsFd, events: PollFlags) {
    for event in events {
        assert_eq!(ready(file, event, Duration::ZERO), PollFlags::empty());
    }
}

/// The fence that a dma-buf has for those who read it.
fn exported_fence(dma_buf: &DmaBuf) -> OwnedFd {
    let mut exported = ioctl::SyncFile {
        flags: READ,
        fd: -1,
    };
    // SAFETY: The call reads and writes one such structure.
    unsafe { ioctl::export_sync_file(dma_buf.as_fd().as_raw_fd(), &mut exported) }
        .expect("EXPORT_SYNC_FILE");
    // SAFETY: The call has made it, for us alone.
    unsafe { OwnedFd::from_raw_fd(exported.fd) }
}

/// How what a sync_file stands for is: 1 ended well, 0 goes on, else a negative errno.
fn status(file: &OwnedFd) -> i32 {
    let mut info = ioctl::Info::default();
    // SAFETY: The call writes one such structure.
    unsafe { ioctl::status(file.as_raw_fd(), &mut info) }.expect("SYNC_IOC_FILE_INFO");
    info.status
}

/// All pages of a buffer, or some.
fn part(buffer: &Buffer, pages: Range<usize>) -> DmaBuf {
    export(buffer, pages, Protection::ReadWrite)
}

fn sync_file(env: &Env) {
    with_slow_engine(env, "1000", || {
        let pair = Pair::new(env);
        let fence = pair.to.begin_copy_with_fence(0, &pair.from, ..);
        let fence = fence.expect("COPY");
        assert_not_ready(&fence, PollFlags::POLLIN);
        assert_eq!(status(&fence), 0);
        assert_ready(&fence, PollFlags::POLLIN);
        assert_eq!(status(&fence), 1);
        // The range is free at once, also for who does not ask for the result.
        pair.assert_copied();
        pair.to.copy_result().expect("COPY_RESULT");
        // It outlives all that it was made of.
        let Pair { from, to, .. } = pair;
        drop((from, to));
        assert_eq!(status(&fence), 1);
    });
}

fn readiness(env: &Env) {
    const ALL: PollFlags = PollFlags::POLLIN.union(PollFlags::POLLOUT);
    with_slow_engine(env, "4000", || {
        let [from, to] = [0, 1].map(|_| make(env, &Alloc::new(4 * page() as u64, Kind::Pages)));
        let half = 2 * page() as u64;
        let (source, target) = (part(&from, 0..1), part(&to, 2..4));
        let elsewhere = [part(&from, 2..4), part(&to, 0..2)];
        to.begin_copy_from(half, &from, ..half, None).expect("COPY");
        // Who writes waits for those who read.
        assert_not_ready(&target, ALL);
        assert_not_ready(&source, PollFlags::POLLOUT);
        assert_ready(&source, PollFlags::POLLIN);
        for other in &elsewhere {
            assert_ready(other, ALL);
        }
        // Also one that comes to be meanwhile.
        let late = part(&to, 3..4);
        assert_not_ready(&late, ALL);
        let fence = exported_fence(&target);
        assert_eq!(status(&fence), 0);
        for dma_buf in [&target, &source, &late] {
            assert_ready(dma_buf, ALL);
        }
        assert_eq!(status(&fence), 1);
        to.copy_result().expect("COPY_RESULT");
    });
}

fn cancelled(env: &Env) {
    with_slow_engine(env, "60000", || {
        let (first, second) = (Pair::new(env), Pair::new(env));
        let fences = [&first, &second].map(|pair| {
            let fence = pair.to.begin_copy_with_fence(0, &pair.from, ..);
            fence.expect("COPY")
        });
        drop((first, second));
        for fence in &fences {
            assert_ready(fence, PollFlags::POLLIN);
            assert_eq!(status(fence), -(Errno::ECANCELED as i32));
        }
    });
}

/// A sync_file of one copy, imported to a dma-buf of another buffer.
fn chained(env: &Env) {
    with_slow_engine(env, "2000", || {
        let pair = Pair::new(env);
        let other = make(env, &Alloc::new(page() as u64, Kind::Pages));
        let exported = export_all(&other);
        let fence = pair.to.begin_copy_with_fence(0, &pair.from, ..);
        let fence = fence.expect("COPY");
        import(&exported, &fence, WRITE);
        other
            .sync(.., Access::ReadWrite, Phase::Begin)
            .expect("SYNC");
        assert_eq!(status(&fence), 1, "SYNC did not wait");
        pair.to.copy_result().expect("COPY_RESULT");
    });
}

fn slots(env: &Env) {
    with_slow_engine(env, "60000", || {
        let (to, other) = (env.open(), env.open());
        let size = page() as u64;
        let from = make(env, &Alloc::new(4 * size, Kind::Pages));
        let whole = export_all(&to);
        to.begin_copy_from(0, &from, ..size, None).expect("COPY");
        assert_not_ready(&whole, PollFlags::POLLIN);
        // The dma-buf has other pages too, of which the copy has none.
        for phase in [Phase::End, Phase::Begin] {
            let rest = size..to.size();
            to.sync(rest, Access::ReadWrite, phase).expect("SYNC");
        }
        // One to another page waits for its turn alone.
        other
            .begin_copy_from(size, &from, size..2 * size, None)
            .expect("COPY");
    });
}

/// Others begin to use what a COPY waits for.
fn late(env: &Env) {
    with_slow_engine(env, "2000", || {
        let (to, other) = (env.open(), env.open());
        let from = make(env, &Alloc::new(page() as u64, Kind::Pages));
        let target = export_all(&to);
        let elsewhere = export_all(&make(env, &Alloc::new(page() as u64, Kind::Pages)));
        to.begin_copy_from(0, &from, .., None).expect("COPY");
        thread::scope(|scope| {
            let mut waits = None;
            let is_done = begin(scope, || other.copy_from(0, &from, ..).expect("COPY"));
            // It waits for the range.
            assert_waits(&is_done);
            // vgem puts no fence beside another, but its fence can be imported.
            while_used(&elsewhere, true, || {
                import(&target, &exported_fence(&elsewhere), WRITE);
                set("delay_ms", "0");
                assert_ready(&to, PollFlags::POLLIN);
                // The range is free, but not the memory.
                assert_waits(&is_done);
                waits = Some(is_done);
            });
            let waits = waits.expect("it was begun");
            waits.recv_timeout(SOON).expect("it goes on");
        });
    });
}

fn interrupted(env: &Env) {
    with_slow_engine(env, "60000", || {
        let pair = Pair::new(env);
        let target = export_all(&pair.to);
        let child = Child::run(|| {
            let _ = pair.to.copy_from(0, &pair.from, ..);
        });
        while ready(&target, PollFlags::POLLIN, Duration::ZERO) != PollFlags::empty() {
            thread::sleep(Duration::from_millis(10));
        }
        let fence = exported_fence(&target);
        assert_eq!(status(&fence), 0);
        child.kill();
        assert_ready(&fence, PollFlags::POLLIN);
        assert_eq!(status(&fence), -(Errno::ECANCELED as i32));
    });
}

fn told(env: &Env) {
    with_slow_engine(env, "0", || {
        let pair = Pair::new(env);
        let counter = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).expect("eventfd");
        let by_eventfd = || {
            assert_eq!(counter.read(), Ok(1));
            pair.to.copy_result().expect("COPY_RESULT");
        };
        let by_poll = || loop {
            assert_ready(&pair.to, PollFlags::POLLIN);
            match pair.to.copy_result() {
                Ok(()) => break,
                // It had not begun when poll(2) was called.
                Err(error) => {
                    let errno = error.errno().expect("an errno");
                    assert!([Errno::ENODATA, Errno::EAGAIN].contains(&errno));
                }
            }
        };
        for round in 0..rounds(200) {
            thread::scope(|scope| {
                let counted = (round % 2 == 0).then(|| counter.as_fd());
                match counted {
                    Some(_) => scope.spawn(by_eventfd),
                    None => scope.spawn(by_poll),
                };
                let begun = pair.to.begin_copy_from(0, &pair.from, .., counted);
                begun.expect("COPY");
            });
        }
    });
}

/// An importer maps with the reservation lock held, and waits for the range that a copy has.
fn import_race(env: &Env) {
    with_slow_engine(env, "0", || {
        let pair = Pair::new(env);
        let target = export_all(&pair.to);
        let over = AtomicBool::new(false);
        let imports = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                let display = open(DISPLAY);
                while !over.load(SeqCst) {
                    drop(display.import(&target).expect("import"));
                    imports.fetch_add(1, SeqCst);
                }
            });
            let begin = Instant::now();
            let mut copies = 0;
            // Most of the time the display has it.
            while begin.elapsed() < Duration::from_secs(20)
                || imports.load(SeqCst) < rounds(100)
                || copies < 10
            {
                match pair.to.copy_from(0, &pair.from, ..) {
                    Ok(()) => copies += 1,
                    Err(error) => assert_eq!(error.errno(), Some(Errno::EBUSY)),
                }
            }
            over.store(true, SeqCst);
            diagnose(format_args!("{copies} copies"));
        });
    });
}

fn import(dma_buf: &DmaBuf, fence: &OwnedFd, flags: u32) {
    let request = ioctl::SyncFile {
        flags,
        fd: fence.as_raw_fd(),
    };
    // SAFETY: The call reads one such structure.
    unsafe { ioctl::import_sync_file(dma_buf.as_fd().as_raw_fd(), &request) }
        .expect("IMPORT_SYNC_FILE");
}

/// A fence of vgem on a dma-buf, until `f` has returned.
fn while_used<R>(dma_buf: &DmaBuf, writes: bool, f: impl FnOnce() -> R) -> R {
    let card = open(VGEM);
    let imported = card.import(dma_buf).expect("import");
    let mut attach = ioctl::Attach {
        handle: imported.raw_handle(),
        flags: writes.into(),
        ..ioctl::Attach::default()
    };
    // SAFETY: The call reads and writes one such structure.
    unsafe { ioctl::attach(card.as_fd().as_raw_fd(), &mut attach) }.expect("FENCE_ATTACH");
    let result = f();
    let signal = ioctl::Signal {
        fence: attach.out_fence,
        flags: 0,
    };
    // SAFETY: The call reads one such structure.
    unsafe { ioctl::signal(card.as_fd().as_raw_fd(), &signal) }.expect("FENCE_SIGNAL");
    result
}

/// What a thread does that may have to wait, and is told of when it is done.
fn begin<'a>(scope: &'a thread::Scope<'a, '_>, f: impl FnOnce() + Send + 'a) -> Receiver<()> {
    let (done, is_done) = channel();
    scope.spawn(move || {
        f();
        let _ = done.send(());
    });
    is_done
}

#[track_caller]
fn assert_waits(is_done: &Receiver<()>) {
    let got = is_done.recv_timeout(A_WHILE);
    assert_eq!(got, Err(RecvTimeoutError::Timeout), "it did not wait");
}

/// Asserts that `f` waits for a fence on a dma-buf, and goes on behind it.
#[track_caller]
fn assert_waits_for(
    dma_buf: &DmaBuf,
    writes: bool,
    f: impl FnOnce() + Send,
    meanwhile: impl FnOnce(),
) {
    thread::scope(|scope| {
        let is_done = while_used(dma_buf, writes, || {
            let is_done = begin(scope, f);
            assert_waits(&is_done);
            meanwhile();
            is_done
        });
        is_done.recv_timeout(SOON).expect("it goes on");
    });
}

/// A reader waits for who writes, and not for who reads.
fn readers(env: &Env) {
    let (buffer, reader) = (env.open(), env.open_read_only());
    let exported = export_all(&buffer);
    let start = || reader.sync(.., Access::Read, Phase::Begin).expect("SYNC");
    while_used(&exported, false, start);
    assert_waits_for(&exported, true, start, || {});
}

fn sync(env: &Env) {
    let buffer = make(env, &Alloc::new(4 * page() as u64, Kind::Pages));
    let first = part(&buffer, 0..1);
    let start = |pages: Range<usize>| {
        let bytes = (pages.start * page()) as u64..(pages.end * page()) as u64;
        let started = buffer.sync(bytes, Access::ReadWrite, Phase::Begin);
        started.expect("SYNC");
    };
    for writes in [true, false] {
        // Other pages have nothing to do with it.
        assert_waits_for(&first, writes, || start(0..2), || start(1..4));
    }
    // And the same by the dma-buf.
    let by_dma_buf = || first.sync(Access::ReadWrite, Phase::Begin).expect("SYNC");
    assert_waits_for(&first, true, by_dma_buf, || {});
}

fn nonblocking(env: &Env) {
    let size = page() as u64;
    let buffer = make(env, &Alloc::new(2 * size, Kind::Pages));
    let exported = part(&buffer, 0..1);
    let start = |bytes: Range<u64>| buffer.sync(bytes, Access::ReadWrite, Phase::Begin);
    set_nonblocking(&buffer);
    while_used(&exported, true, || {
        refused(start(0..size), Errno::EAGAIN);
        assert_eq!(start(size..2 * size), Ok(()));
    });
    assert_eq!(start(0..size), Ok(()));
}

fn copy(env: &Env) {
    let [from, to] = [0, 1].map(|_| make(env, &Alloc::new(page() as u64, Kind::Pages)));
    let [source, target] = [&from, &to].map(export_all);
    let pattern = fresh();
    let do_copy = || to.copy_from(0, &from, ..).expect("COPY");
    // Who reads the source is in nobody's way.
    while_used(&source, false, do_copy);
    for (dma_buf, writes) in [(&source, true), (&target, true), (&target, false)] {
        // What its device would have written, as it ends.
        assert_waits_for(dma_buf, writes, do_copy, || write_all(&from, pattern));
        assert!(read_all(&to) == pattern.bytes(0, page()), "another content");
    }
}
