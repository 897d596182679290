// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes and threads that do opposite things to one buffer at once.
//!
//! Every page belongs to one worker, which knows what has to be in it, and
//! checks. What is anybody's, mappings, policy, owner, is fought over.

use std::{
    ops::Range,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Args;
use fastrand::Rng;
use nix::{errno::Errno, libc};
use shmbuf::{Access, Buffer, Info, Kind, Mapping, Owner, Phase, Policies, Policy, Protection};

use crate::{
    ktap::diagnose,
    machine::Machine,
    module::{users, DEVICE},
    process::Child,
    procfs::{fdinfo, field},
    sys::{page, Region},
};

/// Options of `stress`.
#[derive(Args)]
pub struct Options {
    /// How long
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
}

/// Stresses the buffer that is loaded.
pub fn run(options: &Options) -> Result<bool> {
    let machine = Machine::detect()?;
    let policies = Buffer::open(DEVICE)?.info()?.policies;
    let duration = Duration::from_secs(options.seconds);
    stress(duration, machine.is_vivt(), policies);
    println!("{} s, and the contract was kept", options.seconds);
    Ok(true)
}

/// How often each thing happened, in all processes.
#[derive(Debug, Default)]
struct StressTally {
    maps: AtomicU32,
    reads: AtomicU32,
    writes: AtomicU32,
    syncs: AtomicU32,
    policy_set: AtomicU32,
    policy_busy: AtomicU32,
    owner_busy: AtomicU32,
    neighbours: AtomicU32,
    forks: AtomicU32,
    opens: AtomicU32,
}

fn count(counter: &AtomicU32) {
    counter.fetch_add(1, Relaxed);
}

/// What all workers know.
#[derive(Clone, Copy)]
struct Arena {
    tally: &'static StressTally,
    begin: Instant,
    end: Instant,
    vivt: bool,
    policies: Policies,
    kind: Kind,
    size: usize,
    line: u64,
}

/// How many keepers there are. They have the first shares of the buffer, then the neighbours;
/// the last belongs to nobody.
const KEEPERS: usize = 3;
const NEIGHBOURS: usize = KEEPERS;
const NOBODY: usize = KEEPERS + 1;
const SHARES: usize = KEEPERS + 2;

/// Stresses the buffer that is loaded, and panics if the contract was broken.
pub fn stress(duration: Duration, vivt: bool, policies: Policies) {
    let memory = Region::shared(page());
    assert!(size_of::<StressTally>() <= page());
    // SAFETY: the memory is zeroed, which is a tally, aligned to a page, and
    // forgotten below, so that it stays for good.
    let tally: &'static StressTally = unsafe { &*memory.start().cast::<StressTally>() };
    std::mem::forget(memory);

    let buffer = Buffer::open(DEVICE).expect("open");
    let before = buffer.info().expect("INFO");
    let arena = Arena {
        tally,
        begin: Instant::now(),
        end: Instant::now() + duration,
        vivt,
        policies,
        kind: before.kind,
        size: before.size as usize,
        line: u64::from(before.cache_line),
    };
    drop(buffer);

    let mut workers: Vec<_> = (0..KEEPERS)
        .map(|share| Child::run(|| Keeper::new(arena, share).work()))
        .collect();
    workers.push(Child::run(|| neighbours(arena)));
    workers.push(Child::run(|| chaos(arena)));
    workers.push(Child::run(|| chaos(arena)));
    // A worker that fails ends the test, and with it the others.
    workers.into_iter().for_each(Child::join);
    diagnose(format_args!("{tally:?}"));

    assert_eq!(users(), Some(0), "handles or mappings are left");
    let buffer = Buffer::open(DEVICE).expect("open");
    let after = buffer.info().expect("INFO");
    assert_eq!(after.mappings, 0);
    arena.assert_sane(&after);

    // A contest that did not take place shows nothing.
    let mut happened = vec![
        ("mappings", &tally.maps),
        ("reads", &tally.reads),
        ("writes", &tally.writes),
        ("syncs", &tally.syncs),
        ("rounds of neighbours", &tally.neighbours),
        ("forks", &tally.forks),
        ("opens", &tally.opens),
    ];
    if arena.kind == Kind::Pages {
        happened.push(("SET_CACHE refused with EBUSY", &tally.policy_busy));
        happened.push(("SET_CACHE", &tally.policy_set));
    }
    if arena.kind.has_owner() {
        happened.push(("calls refused while the device owns it", &tally.owner_busy));
    }
    for (what, counter) in happened {
        assert_ne!(counter.load(Relaxed), 0, "there were no {what}");
    }
}

impl Arena {
    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// In a lull nobody keeps a mapping for long, so that SET_CACHE has a
    /// chance among those who come and go.
    fn is_lull(&self) -> bool {
        self.begin.elapsed().as_millis() % 1000 >= 600
    }

    /// The bytes of a share.
    fn share(&self, number: usize) -> Range<usize> {
        let length = self.size / SHARES / page() * page();
        number * length..(number + 1) * length
    }

    /// Asserts what INFO has to say, whoever does what meanwhile.
    #[track_caller]
    fn assert_sane(&self, info: &Info) {
        assert_eq!((info.kind, info.size), (self.kind, self.size as u64));
        assert_eq!(info.policies, self.policies);
        assert!(self.policies.contains(info.policy));
        assert!(self.kind.has_owner() || info.owner == Owner::Cpu);
        // Each process has a few at most, and so have forked children.
        assert!(info.mappings < 64, "{} mappings", info.mappings);
    }

    /// Takes back what chaos may have lent. What else is lent comes back by itself.
    fn take_back(&self, buffer: &Buffer) {
        count(&self.tally.owner_busy);
        let nobodys = self.share(NOBODY);
        let range = nobodys.start as u64..nobodys.end as u64;
        buffer
            .sync(range, Access::ReadWrite, Phase::Begin)
            .expect("SYNC");
    }

    /// Reads or writes by a call, which is refused while a device was lent some of the range.
    #[track_caller]
    fn transfer(&self, buffer: &Buffer, mut f: impl FnMut() -> shmbuf::Result<usize>) -> usize {
        loop {
            match f() {
                Err(error) if self.is_owner_busy(&error) => self.take_back(buffer),
                other => return other.expect("a transfer"),
            }
        }
    }

    fn is_owner_busy(&self, error: &shmbuf::Error) -> bool {
        self.kind.has_owner() && error.errno() == Some(Errno::EBUSY)
    }

    #[track_caller]
    fn read(&self, buffer: &Buffer, offset: usize, length: usize) -> Vec<u8> {
        count(&self.tally.reads);
        let mut bytes = vec![0; length];
        let got = self.transfer(buffer, || buffer.read_at(&mut bytes, offset as u64));
        assert_eq!(got, length);
        bytes
    }

    #[track_caller]
    fn write(&self, buffer: &Buffer, offset: usize, bytes: &[u8]) {
        count(&self.tally.writes);
        let got = self.transfer(buffer, || buffer.write_at(bytes, offset as u64));
        assert_eq!(got, bytes.len());
    }

    #[track_caller]
    fn map(&self, buffer: &Buffer, range: &Range<usize>) -> Mapping {
        count(&self.tally.maps);
        loop {
            match buffer.map(range.start as u64, range.len(), Protection::ReadWrite) {
                // SET_CACHE is replacing the memory.
                Err(error) if error.errno() == Some(Errno::EBUSY) => thread::yield_now(),
                mapping => return mapping.expect("mmap"),
            }
        }
    }

    /// Calls SET_CACHE with any policy, which cannot succeed if this worker has a mapping.
    #[track_caller]
    fn set_any_policy(&self, buffer: &Buffer, rng: &mut Rng, mapped: bool) {
        let policy = Policy::ALL[rng.usize(..Policy::ALL.len())];
        match buffer.set_cache(policy).map_err(|e| e.errno()) {
            Ok(()) => {
                assert!(!mapped, "SET_CACHE while it is mapped");
                assert!(self.policies.contains(policy), "{policy}");
                count(&self.tally.policy_set);
            }
            Err(Some(Errno::EBUSY)) => count(&self.tally.policy_busy),
            Err(Some(Errno::EOPNOTSUPP)) => {
                let possible = self.kind == Kind::Pages && self.policies.contains(policy);
                assert!(!possible, "{policy}");
            }
            // The memory has to move, and there may be none for a moment.
            Err(Some(Errno::ENOMEM)) => {}
            Err(other) => panic!("SET_CACHE: {other:?}"),
        }
    }
}

/// A worker that knows every byte of its share, and checks.
struct Keeper {
    arena: Arena,
    buffer: Buffer,
    share: Range<usize>,
    model: Vec<u8>,
    mapping: Option<Mapping>,
    rng: Rng,
}

impl Keeper {
    fn new(arena: Arena, share: usize) -> Self {
        let buffer = Buffer::open(DEVICE).expect("open");
        let mut rng = Rng::new();
        let share = arena.share(share);
        let model: Vec<u8> = (0..share.len()).map(|_| rng.u8(..)).collect();
        arena.write(&buffer, share.start, &model);
        Self {
            arena,
            buffer,
            share,
            model,
            mapping: None,
            rng,
        }
    }

    fn work(mut self) {
        while !self.arena.is_over() {
            if self.arena.is_lull() {
                self.mapping = None;
                self.arena
                    .set_any_policy(&self.buffer, &mut self.rng, false);
            }
            match self.rng.u32(..100) {
                0..15 => self.store(),
                15..30 => self.load(),
                30..45 => self.write(),
                45..60 => self.read(),
                60..70 => self.map_or_not(),
                70..80 => {
                    self.arena
                        .set_any_policy(&self.buffer, &mut self.rng, self.mapping.is_some())
                }
                80..85 => self.sync(),
                85..87 => self.fork(),
                87..90 => {
                    count(&self.arena.tally.opens);
                    self.buffer = Buffer::open(DEVICE).expect("open");
                }
                90..95 => {
                    let info = self.buffer.info().expect("INFO");
                    self.arena.assert_sane(&info);
                    if self.mapping.is_some() {
                        assert_ne!(info.mappings, 0);
                    }
                }
                _ => thread::sleep(Duration::from_millis(self.rng.u64(..5))),
            }
        }
        self.mapping = None;
        let all = self
            .arena
            .read(&self.buffer, self.share.start, self.share.len());
        assert!(all == self.model, "at the end");
    }

    /// A range of the share, at random: of a few bytes, or many.
    fn random_range(&mut self) -> Range<usize> {
        let limit = if self.rng.bool() { 64 } else { 3 * page() };
        let start = self.rng.usize(..self.model.len());
        let length = self.rng.usize(1..=limit);
        start..(start + length).min(self.model.len())
    }

    fn change(&mut self) -> Range<usize> {
        let range = self.random_range();
        self.rng.fill(&mut self.model[range.clone()]);
        range
    }

    fn store(&mut self) {
        if self.mapping.is_some() {
            let range = self.change();
            let mapping = self.mapping.as_ref().expect("just seen");
            mapping.write(range.start, &self.model[range]);
        }
    }

    fn load(&mut self) {
        let range = self.random_range();
        if let Some(mapping) = &self.mapping {
            let mut bytes = vec![0; range.len()];
            mapping.read(range.start, &mut bytes);
            self.check(&range, &bytes, "mapping");
        }
    }

    fn write(&mut self) {
        let range = self.change();
        let at = self.share.start + range.start;
        self.arena.write(&self.buffer, at, &self.model[range]);
    }

    fn read(&mut self) {
        let range = self.random_range();
        let at = self.share.start + range.start;
        let bytes = self.arena.read(&self.buffer, at, range.len());
        self.check(&range, &bytes, "read(2)");
    }

    #[track_caller]
    fn check(&self, range: &Range<usize>, got: &[u8], by: &str) {
        let expected = &self.model[range.clone()];
        let pairs = expected.iter().zip(got);
        let wrong = pairs.clone().filter(|(a, b)| a != b).count();
        if let Some(at) = pairs.clone().position(|(a, b)| a != b) {
            panic!(
                "{by}: {wrong} of {} bytes wrong, the first at {:#x}: expected {:#04x}, got {:#04x}",
                got.len(),
                self.share.start + range.start + at,
                expected[at],
                got[at]
            );
        }
    }

    fn map_or_not(&mut self) {
        self.mapping = match self.mapping.take() {
            Some(_) => None,
            None if self.arena.is_lull() => None,
            None => Some(self.arena.map(&self.buffer, &self.share)),
        };
    }

    /// Hands the own share over and takes it back, with no access between.
    fn sync(&mut self) {
        count(&self.arena.tally.syncs);
        let range = self.share.start as u64..self.share.end as u64;
        for phase in [Phase::End, Phase::Begin] {
            self.buffer
                .sync(range.clone(), Access::ReadWrite, phase)
                .expect("SYNC");
        }
    }

    /// A child sees what its parent sees, and leaves nothing.
    fn fork(&mut self) {
        count(&self.arena.tally.forks);
        let range = self.random_range();
        let at = self.share.start + range.start;
        Child::run(|| {
            if let Some(mapping) = &self.mapping {
                let mut bytes = vec![0; range.len()];
                mapping.read(range.start, &mut bytes);
                self.check(&range, &bytes, "the child's mapping");
            }
            let bytes = self.arena.read(&self.buffer, at, range.len());
            self.check(&range, &bytes, "the child's read(2)");
        })
        .join();
    }
}

/// Two threads of which one writes every even byte through a mapping and the
/// other every odd byte with write(2), in the same cache lines: neither may
/// take away what the other wrote.
fn neighbours(arena: Arena) {
    let buffer = Buffer::open(DEVICE).expect("open");
    let share = arena.share(NEIGHBOURS);
    let bytes = 128;
    let mut round = 0u8;
    while !arena.is_over() {
        if arena.is_lull() {
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        round = round.wrapping_add(1);
        let mapping = arena.map(&buffer, &share);
        thread::scope(|scope| {
            scope.spawn(|| {
                for at in (0..bytes).step_by(2) {
                    let value = round ^ at as u8;
                    mapping.write(at, &[value]);
                    // Now and then by the other way as well.
                    if at % 64 == 0 {
                        let got = arena.read(&buffer, share.start + at, 1);
                        assert_eq!(got, [value], "by read(2), byte {at}");
                    }
                }
            });
            scope.spawn(|| {
                for at in (1..bytes).step_by(2) {
                    let value = round ^ at as u8;
                    arena.write(&buffer, share.start + at, &[value]);
                    if at % 64 == 1 {
                        let mut got = [0];
                        mapping.read(at, &mut got);
                        assert_eq!(got, [value], "in the mapping, byte {at}");
                    }
                }
            });
        });
        let expected: Vec<u8> = (0..bytes).map(|at| round ^ at as u8).collect();
        let mut got = vec![0; bytes];
        mapping.read(0, &mut got);
        assert!(got == expected, "in the mapping, at the end of a round");
        drop(mapping);
        let got = arena.read(&buffer, share.start, bytes);
        assert!(got == expected, "by read(2), at the end of a round");
        count(&arena.tally.neighbours);
    }
}

/// Two threads on one handle that do anything that must not disturb anybody.
fn chaos(arena: Arena) {
    let buffer = Buffer::open(DEVICE).expect("open");
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut rng = Rng::new();
                while !arena.is_over() {
                    disturb(&arena, &buffer, &mut rng);
                }
            });
        }
    });
}

fn disturb(arena: &Arena, buffer: &Buffer, rng: &mut Rng) {
    let nobodys = arena.share(NOBODY);
    let line = arena.line;
    let range = nobodys.start as u64..nobodys.start as u64 + line * rng.u64(1..=64);
    match rng.u32(..10) {
        0 => {
            count(&arena.tally.opens);
            let other = Buffer::open_read_only(DEVICE).expect("open read-only");
            arena.assert_sane(&other.info().expect("INFO"));
        }
        // Rarely in a lull, or on a slow machine SET_CACHE has no chance.
        1 | 2 if !arena.is_lull() || rng.u32(..8) == 0 => cut_up(arena, buffer, rng),
        3 => arena.set_any_policy(buffer, rng, false),
        4 => {
            count(&arena.tally.syncs);
            let access = [Access::Read, Access::Write, Access::ReadWrite][rng.usize(..3)];
            let phase = [Phase::Begin, Phase::End][rng.usize(..2)];
            buffer.sync(range, access, phase).expect("SYNC");
        }
        5 => {
            let result = buffer.sync(line / 2..line, Access::Read, Phase::End);
            assert_eq!(result.map_err(|e| e.errno()), Err(Some(Errno::EINVAL)));
        }
        6 => {
            let past = arena.size as u64;
            let result = buffer.sync(past..past + line, Access::Write, Phase::End);
            assert_eq!(result.map_err(|e| e.errno()), Err(Some(Errno::ERANGE)));
        }
        7 => {
            // What others write meanwhile: nothing is sure. What is lent on the way makes it short.
            let offset = rng.usize(..arena.size);
            count(&arena.tally.reads);
            let mut bytes = vec![0; (arena.size - offset).min(9000)];
            let got = arena.transfer(buffer, || buffer.read_at(&mut bytes, offset as u64));
            assert!((1..=bytes.len()).contains(&got));
        }
        8 => {
            // What is lent on the way makes it short.
            let bytes = [rng.u8(..); 100];
            let at = (nobodys.start + rng.usize(..200)) as u64;
            count(&arena.tally.writes);
            let got = arena.transfer(buffer, || buffer.write_at(&bytes, at));
            assert!((1..=bytes.len()).contains(&got));
        }
        _ => {
            let fields = fdinfo(buffer);
            assert_eq!(field(&fields, "kind"), arena.kind.name());
            let policy: Policy = field(&fields, "policy").parse().expect("a policy");
            assert!(arena.policies.contains(policy));
            thread::sleep(Duration::from_millis(rng.u64(..10)));
        }
    }
}

/// Maps some pages, looks at them, cuts them up, and has a child that dies
/// with the rest.
fn cut_up(arena: &Arena, buffer: &Buffer, rng: &mut Rng) {
    let pages = arena.size / page();
    let first = rng.usize(..pages);
    let length = rng.usize(1..=pages - first) * page();
    let offset = (first * page()) as i64;
    let (protection, flags) = (libc::PROT_READ, libc::MAP_SHARED);
    let mut region = match Region::map(buffer, length, protection, flags, offset) {
        Ok(region) => region,
        // On VIVT the other thread has some of these bytes mapped, or SET_CACHE replaces the memory.
        Err(Errno::EBUSY) if arena.vivt || arena.kind == Kind::Pages => return,
        Err(errno) => panic!("mmap: {errno}"),
    };
    count(&arena.tally.maps);
    region.read(length - 4);
    if length > page() && rng.bool() {
        let half = length / 2 / page() * page();
        region.remap(length, half, 0).expect("mremap");
    }
    if region.len() > 2 * page() && rng.bool() {
        region.unmap(page(), page()).expect("munmap");
    }
    region.read(0);
    if rng.u32(..8) == 0 {
        count(&arena.tally.forks);
        fork_and_touch(&region);
    }
}

/// A fork of a process that has threads: the child makes no call but the one
/// that ends it.
fn fork_and_touch(region: &Region) {
    use nix::{
        sys::wait::waitpid,
        unistd::{fork, ForkResult},
    };
    // SAFETY: the child reads memory and ends.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => {
            waitpid(child, None).expect("waitpid");
        }
        ForkResult::Child => {
            region.read(0);
            // SAFETY: it ends, without destructors.
            unsafe { libc::_exit(0) }
        }
    }
}
