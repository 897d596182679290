// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots of one buffer that go to and fro by themselves, in any order: while the DMA engine fills
//! one, or a device has it, the program reads and writes the others.

use nix::errno::Errno;
use shmbuf::{Access, Alloc, Buffer, Kind, Mapping, Phase};
use shmbuf_verify::Pattern;

use super::{
    alloc::{make, map},
    claim,
    copy::without_engine,
    copy_async::{is_ready, SOON},
    data::{assert_pattern, fresh},
    Claim, Scope,
};
use crate::{
    ktap::diagnose,
    runner::Env,
    sys::{page, refused},
};

pub(super) const CLAIMS: &[Claim] = &[
    slots_of("copy_and_slots_in_any_order_of_pages", |env| {
        any_order(env, Kind::Pages)
    }),
    slots_of("copy_and_slots_in_any_order_of_streaming", |env| {
        any_order(env, Kind::Streaming)
    }),
    slots_of("copy_and_slots_in_any_order_of_scatter", |env| {
        any_order(env, Kind::Scatter)
    }),
    slots_of("copy_and_slots_in_any_order_of_coherent", |env| {
        any_order(env, Kind::Coherent)
    }),
];

const fn slots_of(name: &'static str, body: fn(&Env)) -> Claim {
    claim(Scope::Once, name, body)
        .unless(without_engine)
        .seconds(300)
}

const SLOTS: usize = 4;
const ROUNDS: usize = 1000;

/// Who has a slot, with what in it.
enum Slot {
    Cpus(Pattern),
    /// The engine copies to it.
    Filled(Pattern),
    /// It was lent.
    Devices(Pattern),
}

/// The ring, and where the engine copies from.
struct Ring {
    kind: Kind,
    ring: Buffer,
    view: Mapping,
    scene: Buffer,
    scene_view: Mapping,
    /// Whether the engine is filling a slot.
    is_filling: bool,
    /// How often each of what can happen has.
    counts: [usize; 5],
}

impl Ring {
    fn new(env: &Env, kind: Kind) -> Self {
        let ring = make(env, &Alloc::new((SLOTS * page()) as u64, kind));
        let scene = make(env, &Alloc::new(page() as u64, kind));
        Self {
            kind,
            view: map(&ring),
            ring,
            scene_view: map(&scene),
            scene,
            is_filling: false,
            counts: [0; 5],
        }
    }

    /// What follows for a slot, by luck among what is possible.
    fn step(&mut self, at: usize, slot: Slot) -> Slot {
        let start = at * page();
        match slot {
            Slot::Cpus(pattern) => match fastrand::u32(..4) {
                0 if !self.is_filling => self.fill(at),
                1 if self.kind.has_owner() => {
                    self.counts[1] += 1;
                    self.sync(at, Phase::End);
                    Slot::Devices(pattern)
                }
                2 => {
                    self.counts[2] += 1;
                    let pattern = fresh();
                    self.view.write(start, &pattern.bytes(start, page()));
                    Slot::Cpus(pattern)
                }
                _ => {
                    self.counts[3] += 1;
                    self.assert_there(at, pattern, fastrand::bool());
                    Slot::Cpus(pattern)
                }
            },
            Slot::Filled(pattern) => {
                assert!(is_ready(&self.ring, SOON));
                self.ring.copy_result().expect("COPY_RESULT");
                self.is_filling = false;
                self.assert_there(at, pattern, fastrand::bool());
                Slot::Cpus(pattern)
            }
            Slot::Devices(pattern) => {
                self.counts[4] += 1;
                refused(self.ring.read_at(&mut [0], start as u64), Errno::EBUSY);
                self.sync(at, Phase::Begin);
                self.assert_there(at, pattern, fastrand::bool());
                Slot::Cpus(pattern)
            }
        }
    }

    /// Lets the engine copy something new to a slot.
    fn fill(&mut self, at: usize) -> Slot {
        self.counts[0] += 1;
        let start = at * page();
        let pattern = fresh();
        self.scene_view.write(0, &pattern.bytes(start, page()));
        let all = 0..page() as u64;
        let begun = self
            .ring
            .begin_copy_from(start as u64, &self.scene, all, None);
        begun.expect("COPY");
        self.is_filling = true;
        Slot::Filled(pattern)
    }

    fn sync(&self, at: usize, phase: Phase) {
        let range = (at * page()) as u64..((at + 1) * page()) as u64;
        let synced = self.ring.sync(range, Access::ReadWrite, phase);
        synced.expect("SYNC");
    }

    fn assert_there(&self, at: usize, pattern: Pattern, by_read: bool) {
        let start = at * page();
        let mut bytes = vec![0; page()];
        match by_read {
            true => assert_eq!(self.ring.read_at(&mut bytes, start as u64), Ok(page())),
            false => self.view.read(start, &mut bytes),
        }
        assert_pattern(pattern, start, &bytes, "a slot");
    }
}

fn any_order(env: &Env, kind: Kind) {
    let mut ring = Ring::new(env, kind);
    let mut slots = [(); SLOTS].map(|()| None);
    for _ in 0..ROUNDS {
        let at = fastrand::usize(..SLOTS);
        let next = match slots[at].take() {
            Some(slot) => ring.step(at, slot),
            None => ring.step(at, {
                let pattern = fresh();
                let start = at * page();
                ring.view.write(start, &pattern.bytes(start, page()));
                Slot::Cpus(pattern)
            }),
        };
        slots[at] = Some(next);
    }
    let [filled, lent, written, read, back] = ring.counts;
    diagnose(format_args!(
        "{filled} filled, {lent} lent, {back} taken back, {written} written, {read} read"
    ));
    assert!(filled.min(written).min(read) > ROUNDS / 20);
    assert!(!kind.has_owner() || back > ROUNDS / 20);
    for (at, slot) in slots.into_iter().enumerate() {
        let mut slot = slot;
        while let Some(now) = slot {
            slot = match now {
                Slot::Cpus(_) => None,
                other => Some(ring.step(at, other)),
            };
        }
    }
}
