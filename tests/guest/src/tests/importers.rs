// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several importers of parts of a buffer, and the CPU in the rest: each byte has one owner, and no
//! store is lost. What is lost in a cache that QEMU does not have is seen by the coherence checker.

use std::{cell::Cell, ops::Range};

use nix::errno::Errno;
use proptest::{
    prelude::*,
    test_runner::{Config as Cases, RngAlgorithm, TestRng, TestRunner},
};
use shmbuf::{Access, Alloc, Buffer, DmaBuf, Kind, Mapping, Owner, Phase, Policy, Protection};

use super::{
    alloc::{make, map},
    claim,
    copy::without_engine,
    data::{assert_pattern, fresh, load_all, store_all},
    export::{
        card::{Card, Imported},
        export, open, without_display, DISPLAY,
    },
    Claim, Scope,
};
use crate::{ktap::diagnose, runner::Env, sys::page};

pub(super) const CLAIMS: &[Claim] = &[
    claim(
        Scope::Once,
        "start_of_one_importer_keeps_what_others_lie_between",
        between,
    )
    .unless(without_display),
    claim(
        Scope::Once,
        "start_of_a_part_keeps_what_lies_between",
        part_and_importer,
    )
    .unless(without_display),
    claim(
        Scope::Once,
        "start_of_one_importer_keeps_what_came_back_before",
        came_back,
    )
    .unless(without_display),
    claim(
        Scope::Once,
        "importer_that_goes_keeps_what_came_back_before",
        goes,
    )
    .unless(without_display),
    random_of("random_importers_of_pages", |env| random(env, Kind::Pages)),
    random_of("random_importers_of_streaming", |env| {
        random(env, Kind::Streaming)
    }),
    random_of("random_importers_of_scatter", |env| {
        random(env, Kind::Scatter)
    }),
];

const fn random_of(name: &'static str, body: fn(&Env)) -> Claim {
    claim(Scope::Once, name, body)
        .unless(without_display)
        .seconds(600)
}

const KINDS: [Kind; 3] = [Kind::Pages, Kind::Streaming, Kind::Scatter];

/// Calls a function with a cached buffer of some pages of each kind, all of it mapped and stored by the
/// CPU; what is in it must be the same afterwards.
fn each(env: &Env, pages: usize, f: impl Fn(&Buffer, &Mapping)) {
    for kind in KINDS {
        let buffer = make(env, &cached(kind, pages));
        let mapping = map(&buffer);
        let pattern = fresh();
        store_all(&mapping, 0, pattern);
        f(&buffer, &mapping);
        assert_pattern(
            pattern,
            0,
            &load_all(&mapping),
            &format!("{kind}, the mapping"),
        );
    }
}

fn cached(kind: Kind, pages: usize) -> Alloc {
    Alloc {
        policy: Some(Policy::WriteBack),
        ..Alloc::new((pages * page()) as u64, kind)
    }
}

fn part(buffer: &Buffer, at: usize) -> DmaBuf {
    export(buffer, at..at + 1, Protection::ReadWrite)
}

#[track_caller]
fn take_back(dma_buf: &DmaBuf) {
    dma_buf.sync(Access::ReadWrite, Phase::Begin).expect("SYNC");
}

/// The word that begins a page is stored again, with the same value.
fn store_again(mapping: &Mapping, at: usize) {
    mapping.write_u32(at * page(), mapping.read_u32(at * page()));
}

fn between(env: &Env) {
    let cards = [open(DISPLAY), open(DISPLAY)];
    each(env, 4, |buffer, _| {
        let [first, last] = [part(buffer, 0), part(buffer, 3)];
        let _first = cards[0].import(&first).expect("FD_TO_HANDLE");
        let _last = cards[1].import(&last).expect("FD_TO_HANDLE");
        take_back(&first);
        take_back(&last);
    });
}

fn part_and_importer(env: &Env) {
    let card = open(DISPLAY);
    each(env, 4, |buffer, _| {
        let last = part(buffer, 3);
        let _last = card.import(&last).expect("FD_TO_HANDLE");
        for phase in [Phase::End, Phase::Begin] {
            buffer.sync(0..64, Access::ReadWrite, phase).expect("SYNC");
        }
        take_back(&last);
    });
}

fn came_back(env: &Env) {
    let cards = [open(DISPLAY), open(DISPLAY)];
    each(env, 4, |buffer, mapping| {
        let [first, last] = [part(buffer, 0), part(buffer, 3)];
        let _first = cards[0].import(&first).expect("FD_TO_HANDLE");
        take_back(&first);
        store_again(mapping, 0);
        let _last = cards[1].import(&last).expect("FD_TO_HANDLE");
        take_back(&last);
    });
}

fn goes(env: &Env) {
    let cards = [open(DISPLAY), open(DISPLAY)];
    each(env, 4, |buffer, mapping| {
        let [first, last] = [part(buffer, 0), part(buffer, 3)];
        let importer = cards[0].import(&first).expect("FD_TO_HANDLE");
        take_back(&first);
        store_again(mapping, 0);
        let _last = cards[1].import(&last).expect("FD_TO_HANDLE");
        drop(importer);
        take_back(&last);
    });
}

/// The bytes that a test works with, and who has them: one owner for each line.
struct World<'a> {
    buffer: Buffer,
    kind: Kind,
    cards: &'a [Card],
    mapping: Option<Mapping>,
    importers: Vec<Option<Importer<'a>>>,
    bytes: Vec<u8>,
    /// Whether the buffer's own device has a line.
    own: Vec<bool>,
    line: usize,
    engine: bool,
}

struct Importer<'a> {
    // It goes before its dma-buf.
    _imported: Imported<'a>,
    dma_buf: DmaBuf,
    lines: Range<usize>,
    lent: bool,
}

/// Pages of the buffer.
const PAGES: usize = 6;

/// What happens. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Import(usize, usize, usize),
    Drop(usize),
    Sync(bool, usize, usize),
    SyncImporter(bool, usize),
    Store(usize, u8),
    Load(usize),
    Write(usize, usize, u8),
    Read(usize, usize),
    Copy(usize, usize, usize),
    Map,
    Unmap,
    SetCache(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let n = any::<usize>;
    prop_oneof![
        3 => (n(), n(), n()).prop_map(|(i, from, count)| Step::Import(i, from, count)),
        2 => n().prop_map(Step::Drop),
        4 => (any::<bool>(), n(), n()).prop_map(|(end, at, count)| Step::Sync(end, at, count)),
        3 => (any::<bool>(), n()).prop_map(|(end, i)| Step::SyncImporter(end, i)),
        4 => (n(), any::<u8>()).prop_map(|(at, value)| Step::Store(at, value)),
        2 => n().prop_map(Step::Load),
        2 => (n(), n(), any::<u8>()).prop_map(|(at, count, value)| Step::Write(at, count, value)),
        2 => (n(), n()).prop_map(|(at, count)| Step::Read(at, count)),
        1 => (n(), n(), n()).prop_map(|(from, to, count)| Step::Copy(from, to, count)),
        1 => Just(Step::Map),
        1 => Just(Step::Unmap),
        1 => n().prop_map(Step::SetCache),
    ]
}

impl<'a> World<'a> {
    fn new(env: &Env, kind: Kind, cards: &'a [Card]) -> Self {
        let buffer = make(env, &cached(kind, PAGES));
        let line = buffer.info().expect("INFO").cache_line as usize;
        Self {
            kind,
            cards,
            mapping: None,
            importers: cards.iter().map(|_| None).collect(),
            bytes: vec![0; PAGES * page()],
            own: vec![false; PAGES * page() / line],
            line,
            engine: without_engine(&env.machine, &env.config).is_none(),
            buffer,
        }
    }

    fn is_cached(&self) -> bool {
        let policy = self.buffer.info().expect("INFO").policy;
        matches!(policy, Policy::WriteBack | Policy::WriteThrough)
    }

    /// Whether a device has any of the lines.
    fn is_lent(&self, lines: &Range<usize>) -> bool {
        let importers = self.importers.iter().flatten();
        let met = |it: &Importer<'_>| it.lent && meets(&it.lines, lines);
        self.own[lines.clone()].contains(&true) || importers.into_iter().any(met)
    }

    /// The lines that have some bytes.
    fn lines(&self, bytes: &Range<usize>) -> Range<usize> {
        bytes.start / self.line..bytes.end.div_ceil(self.line)
    }

    /// Some bytes: at most a page, so that they are read or written at once.
    fn some(&self, at: usize, count: usize) -> Range<usize> {
        let at = at % self.bytes.len();
        at..(at + 1 + count % page()).min(self.bytes.len())
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let lines = self.own.len();
        match *step {
            Step::Import(i, from, count) => self.import(i % self.cards.len(), from, count),
            Step::Drop(i) => {
                let count = self.importers.len();
                self.importers[i % count] = None;
            }
            Step::Sync(end, at, count) => {
                let at = at % lines;
                let range = at..(at + 1 + count % 200).min(lines);
                let bytes = (range.start * self.line) as u64..(range.end * self.line) as u64;
                let phase = if end { Phase::End } else { Phase::Begin };
                let result = self.buffer.sync(bytes, Access::ReadWrite, phase);
                prop_assert!(result.is_ok(), "SYNC: {:?}", result);
                self.synced(&range, end);
            }
            Step::SyncImporter(end, i) => {
                let count = self.importers.len();
                if let Some(importer) = &self.importers[i % count] {
                    let phase = if end { Phase::End } else { Phase::Begin };
                    let result = importer.dma_buf.sync(Access::ReadWrite, phase);
                    prop_assert!(result.is_ok(), "SYNC of a dma-buf: {:?}", result);
                    let range = importer.lines.clone();
                    self.synced(&range, end);
                }
            }
            Step::Store(at, value) => {
                let at = at % self.bytes.len();
                let lent = self.is_lent(&self.lines(&(at..at + 1)));
                if let Some(mapping) = self.mapping.as_ref().filter(|_| !lent) {
                    mapping.write(at, &[value]);
                    self.bytes[at] = value;
                }
            }
            Step::Load(at) => {
                let at = at % self.bytes.len();
                let lent = self.is_lent(&self.lines(&(at..at + 1)));
                if let Some(mapping) = self.mapping.as_ref().filter(|_| !lent) {
                    let mut got = [0];
                    mapping.read(at, &mut got);
                    prop_assert_eq!(got[0], self.bytes[at], "by the mapping, at {}", at);
                }
            }
            Step::Write(at, count, value) => {
                let range = self.some(at, count);
                let bytes = vec![value; range.len()];
                let result = self.buffer.write_at(&bytes, range.start as u64);
                let done = self.transferred(&range, result)?;
                self.bytes[range.start..range.start + done].fill(value);
            }
            Step::Read(at, count) => {
                let range = self.some(at, count);
                let mut got = vec![0; range.len()];
                let result = self.buffer.read_at(&mut got, range.start as u64);
                let done = self.transferred(&range, result)?;
                let expected = &self.bytes[range.start..range.start + done];
                prop_assert!(got[..done] == *expected, "by read(2), {:?}", range);
            }
            Step::Copy(from, to, count) if self.engine => {
                let from = self.some(from, count);
                let to = self.some(to, from.len() - 1);
                let from = from.start..from.start + to.len();
                if from.end <= self.bytes.len() && !meets(&from, &to) {
                    let range = from.start as u64..from.end as u64;
                    let result = self.buffer.copy_from(to.start as u64, &self.buffer, range);
                    self.expect(&[&from, &to], &result)?;
                    if result.is_ok() {
                        self.bytes.copy_within(from, to.start);
                    }
                }
            }
            Step::Copy(..) => {}
            Step::Map => {
                if self.mapping.is_none() {
                    self.mapping = Some(map(&self.buffer));
                }
            }
            Step::Unmap => self.mapping = None,
            Step::SetCache(number) => {
                let policies: Vec<_> = self.buffer.info().expect("INFO").policies.iter().collect();
                let result = self.buffer.set_cache(policies[number % policies.len()]);
                let importers = self.importers.iter().any(Option::is_some);
                let busy = importers || self.mapping.is_some() || self.is_lent(&(0..lines));
                let expected = busy.then_some(Errno::EBUSY);
                let got = result.err().and_then(|error| error.errno());
                prop_assert_eq!(got, expected, "SET_CACHE");
            }
        }
        let owner = match self.is_lent(&(0..lines)) {
            true => Owner::Device,
            false => Owner::Cpu,
        };
        let got = self.buffer.info().expect("INFO").owner;
        prop_assert_eq!(got, owner, "after {:?}", step);
        Ok(())
    }

    fn import(&mut self, i: usize, from: usize, count: usize) {
        if self.importers[i].is_none() {
            let first = from % PAGES;
            let most = match self.kind {
                // The display wants contiguous memory.
                Kind::Scatter => 1,
                _ => PAGES - first,
            };
            let pages = first..first + 1 + count % most;
            let lines = self.lines(&(pages.start * page()..pages.end * page()));
            let dma_buf = export(&self.buffer, pages, Protection::ReadWrite);
            let imported = self.cards[i].import(&dma_buf).expect("FD_TO_HANDLE");
            self.importers[i] = Some(Importer {
                _imported: imported,
                dma_buf,
                lines,
                lent: self.is_cached(),
            });
        }
    }

    /// The owner of lines after SYNC.
    fn synced(&mut self, lines: &Range<usize>, lent: bool) {
        if self.kind.has_owner() {
            self.own[lines.clone()].fill(lent);
        }
        let cached = self.is_cached();
        for importer in self.importers.iter_mut().flatten() {
            if meets(&importer.lines, lines) {
                importer.lent = lent && cached;
            }
        }
    }

    /// How many bytes were read or written: those before the first that a device has; it is refused if
    /// there are none.
    fn transferred(
        &self,
        range: &Range<usize>,
        result: shmbuf::Result<usize>,
    ) -> Result<usize, TestCaseError> {
        let is_cpus = |at: &usize| !self.is_lent(&self.lines(&(*at..at + 1)));
        let count = range.clone().take_while(is_cpus).count();
        match result {
            Ok(done) => prop_assert_eq!(done, count, "{:?}", range),
            Err(error) => {
                prop_assert_eq!(
                    (error.errno(), count),
                    (Some(Errno::EBUSY), 0),
                    "{:?}",
                    range
                );
            }
        }
        Ok(count)
    }

    /// A call for some bytes is refused if a device has some of them, and only then.
    fn expect(
        &self,
        ranges: &[&Range<usize>],
        result: &shmbuf::Result<()>,
    ) -> Result<(), TestCaseError> {
        let lent = ranges.iter().any(|range| self.is_lent(&self.lines(range)));
        let got = result.as_ref().err().map(|error| error.errno());
        let expected = lent.then_some(Some(Errno::EBUSY));
        prop_assert_eq!(got, expected, "{:?}", ranges);
        Ok(())
    }

    /// All comes back, and is what was stored last.
    fn end(mut self) -> Result<(), TestCaseError> {
        let lines = self.own.len();
        self.step(&Step::Sync(false, 0, lines))?;
        for at in (0..lines).step_by(200) {
            self.step(&Step::Sync(false, at, 199))?;
        }
        self.importers.clear();
        let mut got = vec![0; self.bytes.len()];
        let count = self.buffer.read_at(&mut got, 0).expect("read");
        prop_assert_eq!(count, got.len());
        prop_assert!(got == self.bytes, "at the end");
        Ok(())
    }
}

fn meets(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end && other.start < one.end
}

fn random(env: &Env, kind: Kind) {
    /// In one sequence; half as many in the mean.
    const STEPS: usize = 200;
    const SEQUENCES: u32 = 125;
    let cards = [open(DISPLAY), open(DISPLAY), open(DISPLAY), open(DISPLAY)];
    let taken = Cell::new(0);
    let seed: [u8; 32] = std::array::from_fn(|_| fastrand::u8(..));
    diagnose(format_args!("seed {seed:02x?}"));
    let config = Cases {
        cases: SEQUENCES,
        failure_persistence: None,
        max_shrink_iters: 4000,
        ..Cases::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let steps = prop::collection::vec(step(), 1..=STEPS);
    let result = runner.run(&steps, |steps| {
        let mut world = World::new(env, kind, &cards);
        for step in &steps {
            world.step(step)?;
            taken.set(taken.get() + 1);
        }
        world.end()
    });
    if let Err(error) = result {
        panic!("with the fewest steps that fail: {error}");
    }
    diagnose(format_args!("{} steps", taken.get()));
    assert!(taken.get() >= 10_000);
}
