// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rings: which slots are lent, when one comes back, and a buffer that is mapped twice, side by
//! side.

use std::{
    ops::Range,
    os::fd::AsFd,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{poll, PollFd, PollFlags, PollTimeout},
    sys::{signal::Signal, wait::WaitStatus},
};
use shmbuf::{abi, Access, Alloc, Buffer, Kind, MappingKind, Phase, Policy, Protection};
use shmbuf_verify::Pattern;

use super::{
    alloc::make,
    claim,
    data::{assert_pattern, fresh, read_all},
    export::{export, open, without_display, DISPLAY},
    Claim, Scope,
};
use crate::{
    machine::Machine,
    module::Config,
    process::Child,
    runner::Env,
    sys::{self, page, refused},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Owned, "poll_tells_what_has_come_back", comes_back),
    claim(Scope::Owned, "poll_waits_for_what_comes_back", waits),
    claim(
        Scope::Once,
        "poll_tells_that_an_importer_has_gone",
        unmapped,
    )
    .unless(without_display),
    claim(Scope::Each, "mapped_twice_side_by_side", twice),
    claim(Scope::Once, "strict_withdraws_both_of_a_ring", strict).unless(with_vivt),
];

/// A slot of a ring that has come back is waited for no longer than this.
const SOON: Duration = Duration::from_secs(20);

fn with_vivt(machine: &Machine, _: &Config) -> Option<&'static str> {
    machine
        .is_vivt()
        .then_some("a VIVT cache has no two mappings of the same bytes")
}

/// Whether poll(2) says within a time that something has come back.
fn has_news(file: &impl AsFd, patience: Duration) -> bool {
    let mut list = [PollFd::new(file.as_fd(), PollFlags::POLLPRI)];
    let timeout = PollTimeout::try_from(patience).expect("a timeout");
    let count = poll(&mut list, timeout).expect("poll");
    let found = list[0].revents().expect("known flags");
    assert_eq!(found.contains(PollFlags::POLLPRI), count == 1, "{found:?}");
    count == 1
}

/// The range of a slot of a page.
fn slot(number: u64) -> Range<u64> {
    let page = page() as u64;
    number * page..(number + 1) * page
}

#[track_caller]
fn sync(buffer: &Buffer, number: u64, phase: Phase) {
    let synced = buffer.sync(slot(number), Access::ReadWrite, phase);
    synced.expect("SYNC");
}

fn comes_back(env: &Env) {
    let (buffer, other) = (env.open(), env.open_read_only());
    let is_told = |told: bool| {
        for handle in [&buffer, &other] {
            assert_eq!(has_news(handle, Duration::ZERO), told);
        }
    };
    is_told(false);
    sync(&buffer, 0, Phase::End);
    sync(&buffer, 2, Phase::End);
    is_told(false);
    // Nothing of it was lent.
    sync(&buffer, 1, Phase::Begin);
    is_told(false);
    sync(&buffer, 2, Phase::Begin);
    is_told(true);
    // It is told until it has been looked for, by each handle for itself.
    is_told(true);
    assert_eq!(buffer.lent().expect("LENT"), [slot(0)]);
    assert!(!has_news(&buffer, Duration::ZERO));
    assert!(has_news(&other, Duration::ZERO));
    // What is opened now has seen all.
    assert!(!has_news(&env.open(), Duration::ZERO));
    // A look at the rest of the buffer does not count.
    let mut raw = abi::shmbuf_lent {
        offset: page() as u64,
        length: page() as u64,
    };
    // SAFETY: the call reads and writes one such structure.
    let looked = unsafe { sys::ioctl(&other, abi::SHMBUF_IOC_LENT, (&raw mut raw).cast()) };
    assert_eq!(looked, Ok(()));
    assert!(has_news(&other, Duration::ZERO));
    assert_eq!(other.lent().expect("LENT"), [slot(0)]);
    is_told(false);
    sync(&buffer, 0, Phase::Begin);
    is_told(true);
}

fn waits(env: &Env) {
    let buffer = env.open();
    for round in 0..20 {
        sync(&buffer, round % 4, Phase::End);
        assert_eq!(buffer.lent().expect("LENT"), [slot(round % 4)]);
        let child = Child::run(|| {
            thread::sleep(Duration::from_millis(10 * (round % 3)));
            sync(&env.open(), round % 4, Phase::Begin);
        });
        let begin = Instant::now();
        assert!(has_news(&buffer, SOON), "round {round}");
        assert!(begin.elapsed() < SOON / 2, "round {round}");
        assert_eq!(buffer.lent().expect("LENT"), []);
        child.join();
    }
}

fn unmapped(env: &Env) {
    let card = open(DISPLAY);
    let buffer = make(env, &Alloc::new(4 * page() as u64, Kind::Streaming));
    let dma_buf = export(&buffer, 1..2, Protection::ReadWrite);
    let importer = card.import(&dma_buf).expect("FD_TO_HANDLE");
    assert_eq!(buffer.lent().expect("LENT"), [slot(1)]);
    assert!(!has_news(&buffer, Duration::ZERO));
    drop(importer);
    assert!(has_news(&buffer, SOON));
    assert_eq!(buffer.lent().expect("LENT"), []);
    assert!(!has_news(&buffer, Duration::ZERO));
}

fn twice(env: &Env) {
    let buffer = env.open();
    let size = env.size().min(64 << 10);
    let mapped = buffer.map_twice(0, size, Protection::ReadWrite);
    let cached = matches!(env.config.policy, Policy::WriteBack | Policy::WriteThrough);
    if env.machine.is_vivt() && cached {
        refused(mapped, Errno::EBUSY);
        assert_eq!(buffer.info().expect("INFO").mappings, 0);
        return;
    }
    let ring = mapped.expect("mmap");
    assert_eq!(ring.len(), 2 * size);
    assert_eq!(buffer.info().expect("INFO").mappings, 2);
    // A frame that wraps around is in one piece.
    for (at, length) in [(size - 100, 200), (size / 2, size)] {
        let pattern = fresh();
        ring.write(at, &pattern.bytes(0, length));
        let all = read_all(&buffer);
        let first = length.min(size - at);
        let (head, tail) = (&all[at..at + first], &all[..length - first]);
        assert_pattern(pattern, 0, &[head, tail].concat(), "what wraps around");
        let mut back = vec![0; length];
        ring.read(at, &mut back);
        assert_pattern(pattern, 0, &back, "the ring");
    }
    // Each half is the whole.
    for at in [0, size - 4] {
        ring.write_u32(at, 1);
        ring.write_u32(size + at, 2);
        assert_eq!(ring.read_u32(at), 2);
        ring.write_u32(at, 3);
        assert_eq!(ring.read_u32(size + at), 3);
    }
    drop(ring);
    assert_eq!(buffer.info().expect("INFO").mappings, 0);
}

fn strict(env: &Env) {
    for kind in [Kind::Streaming, Kind::Scatter] {
        let pages = 4;
        let buffer = make(
            env,
            &Alloc {
                mapping: MappingKind::Strict,
                ..Alloc::new((pages * page()) as u64, kind)
            },
        );
        let size = pages * page();
        let ring = buffer
            .map_twice(0, size, Protection::ReadWrite)
            .expect("mmap");
        let pattern = Pattern::new(7);
        ring.write(0, &pattern.bytes(0, 2 * size)[..size]);
        // Both halves are there, and filled.
        let all = |at: usize| {
            let mut bytes = vec![0; size];
            ring.read(at, &mut bytes);
            bytes
        };
        assert_eq!(all(0), all(size));
        sync(&buffer, 1, Phase::End);
        for half in [0, size] {
            for number in 0..pages {
                let at = half + number * page();
                let status = Child::run(|| _ = ring.read_u32(at)).wait();
                let is_withdrawn = matches!(status, WaitStatus::Signaled(_, Signal::SIGBUS, _));
                assert_eq!(is_withdrawn, number == 1, "{kind}, offset {at}: {status:?}");
            }
        }
        sync(&buffer, 1, Phase::Begin);
        assert_eq!(all(0), all(size));
        assert_pattern(pattern, 0, &all(size), "what came back");
    }
}
