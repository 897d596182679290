// SPDX-License-Identifier: MIT OR Apache-2.0
//! One cache line and all that real caches could do with it, with real values.
//! Slow and simple: the model is compared with it.

use std::collections::BTreeSet;

use coherence_model::events::{MemoryType, Operation};

/// Words of the line that are followed.
pub const WORDS: usize = 2;

/// What a word holds: the number of the store that wrote it.
type Value = u8;
type Words = [Value; WORDS];

/// A copy of the line in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Copied {
    dirty: bool,
    words: Words,
}

/// One of the things that can be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    memory: Words,
    outer: Option<Copied>,
    inner: Vec<Option<Copied>>,
    /// The owning device has written its words at least once.
    device_wrote: bool,
}

/// The core.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// There is an outer cache.
    pub outer: bool,
    /// A store that misses may bring the line in.
    pub write_allocates: bool,
    /// Write-through is honoured.
    pub write_through: bool,
    /// Lines come by themselves.
    pub speculates: bool,
    /// A deliberate coarseness of the model: a line that is dirty in the inner
    /// cache counts as one that may be dirty in the outer one too.
    pub dirty_twice: bool,
}

/// All that can be, and what should be.
pub struct Reference {
    rules: Rules,
    worlds: BTreeSet<World>,
    newest: Words,
    next: Value,
    /// Copies with a live cacheable mapping.
    pub fillable: Vec<bool>,
    /// Words that a device owns and may write, with what.
    owned: [Option<Value>; WORDS],
    /// Words that a device was to write, and did not.
    unwritten: [bool; WORDS],
}

impl Reference {
    /// Memory holds zeroes, caches nothing.
    pub fn new(rules: Rules, copies: usize) -> Self {
        let world = World {
            memory: [0; WORDS],
            outer: None,
            inner: vec![None; copies],
            device_wrote: false,
        };
        Self {
            rules,
            worlds: [world].into(),
            newest: [0; WORDS],
            next: 1,
            fillable: vec![false; copies],
            owned: [None; WORDS],
            unwritten: [false; WORDS],
        }
    }

    /// Replaces each world by those that `step` makes of it, and lets caches
    /// and devices do whatever they like then.
    fn step(&mut self, step: impl Fn(World, &mut dyn FnMut(World))) {
        let mut todo = Vec::new();
        for world in std::mem::take(&mut self.worlds) {
            step(world, &mut |next| todo.push(next));
        }
        while let Some(world) = todo.pop() {
            if self.worlds.insert(world.clone()) {
                self.alone(&world, &mut |next| todo.push(next));
            }
        }
    }

    /// What may happen at any time.
    fn alone(&self, world: &World, then: &mut dyn FnMut(World)) {
        for i in 0..world.inner.len() {
            match world.inner[i] {
                Some(copy) if copy.dirty => {
                    let mut rest = world.clone();
                    rest.inner[i] = Some(Copied {
                        dirty: false,
                        ..copy
                    });
                    self.write_on(rest, copy.words, then);
                }
                Some(_) => {
                    let mut rest = world.clone();
                    rest.inner[i] = None;
                    then(rest);
                }
                None if self.rules.speculates && self.fillable[i] => {
                    self.fill(world.clone(), i, then);
                }
                None => {}
            }
        }
        match world.outer {
            Some(copy) => {
                let mut rest = world.clone();
                if copy.dirty {
                    rest.memory = copy.words;
                    rest.outer = Some(Copied {
                        dirty: false,
                        ..copy
                    });
                } else {
                    rest.outer = None;
                }
                then(rest);
            }
            None if self.rules.outer && self.rules.speculates && self.fillable.contains(&true) => {
                let mut rest = world.clone();
                rest.outer = Some(Copied {
                    dirty: false,
                    words: rest.memory,
                });
                then(rest);
            }
            None => {}
        }
        let dirty = world.inner.iter().flatten().any(|copy| copy.dirty);
        if self.rules.dirty_twice && self.rules.outer && dirty {
            for words in [world.behind(), world.memory] {
                let mut rest = world.clone();
                rest.outer = Some(Copied { dirty: true, words });
                then(rest);
            }
        }
        if self.owned.iter().any(Option::is_some) {
            then(self.device_write(world.clone()));
        }
    }

    fn device_write(&self, mut world: World) -> World {
        for (word, owned) in world.memory.iter_mut().zip(self.owned) {
            *word = owned.unwrap_or(*word);
        }
        world.device_wrote = true;
        world
    }

    /// A whole line leaves the inner cache.
    fn write_on(&self, mut world: World, words: Words, then: &mut dyn FnMut(World)) {
        if world.outer.is_none() {
            let mut past = world.clone();
            past.memory = words;
            then(past);
        }
        if self.rules.outer {
            world.outer = Some(Copied { dirty: true, words });
            then(world);
        }
    }

    /// A line comes to the inner cache, and may stay in the outer one.
    fn fill(&self, mut world: World, i: usize, then: &mut dyn FnMut(World)) {
        let clean = Some(Copied {
            dirty: false,
            words: world.behind(),
        });
        world.inner[i] = clean;
        then(world.clone());
        if self.rules.outer && world.outer.is_none() {
            world.outer = clean;
            then(world);
        }
    }

    fn cached(&self, memory: MemoryType) -> bool {
        match memory {
            MemoryType::WriteBack => true,
            MemoryType::WriteThrough => self.rules.write_through,
            _ => false,
        }
    }

    /// Loads a word. Returns whether it may not be the newest, or nobody wrote it who
    /// was to.
    pub fn load(&mut self, i: usize, word: usize, memory: MemoryType) -> bool {
        let newest = self.newest[word];
        if !self.cached(memory) {
            return self.device_reads_old(word);
        }
        let old = self.worlds.iter().any(|world| {
            let words = world.inner[i].map_or(world.behind(), |copy| copy.words);
            words[word] != newest
        });
        let mut worlds = Vec::new();
        for world in std::mem::take(&mut self.worlds) {
            if world.inner[i].is_none() {
                self.fill(world.clone(), i, &mut |next| worlds.push(next));
            }
            worlds.push(world);
        }
        self.become_all(worlds);
        old || self.unwritten[word]
    }

    fn become_all(&mut self, worlds: Vec<World>) {
        self.worlds = worlds.into_iter().collect();
        self.step(|world, then| then(world));
    }

    /// Stores a word.
    pub fn store(&mut self, i: usize, word: usize, memory: MemoryType) {
        let value = self.new_value(word);
        let mut worlds = Vec::new();
        for mut world in std::mem::take(&mut self.worlds) {
            let mut add = |world| worlds.push(world);
            if !self.cached(memory) {
                world.memory[word] = value;
                add(world);
                continue;
            }
            if memory == MemoryType::WriteThrough {
                for copy in [&mut world.inner[i], &mut world.outer]
                    .into_iter()
                    .flatten()
                {
                    copy.words[word] = value;
                }
                world.memory[word] = value;
                add(world);
                continue;
            }
            let hit = |mut world: World| {
                if let Some(copy) = &mut world.inner[i] {
                    copy.dirty = true;
                    copy.words[word] = value;
                }
                world
            };
            if world.inner[i].is_some() {
                add(hit(world));
                continue;
            }
            if self.rules.write_allocates {
                self.fill(world.clone(), i, &mut |world| add(hit(world)));
            }
            let mut words = world.behind();
            words[word] = value;
            self.write_on(world, words, &mut add);
        }
        self.become_all(worlds);
    }

    fn new_value(&mut self, word: usize) -> Value {
        let value = self.next;
        self.next += 1;
        self.newest[word] = value;
        self.unwritten[word] = false;
        value
    }

    /// Maintains an inner copy, or all of them with no fill between.
    pub fn inner(&mut self, i: Option<usize>, operation: Operation) {
        let worlds = self.after_inner(i, operation);
        self.become_all(worlds);
    }

    fn after_inner(&mut self, i: Option<usize>, operation: Operation) -> Vec<World> {
        let mut worlds: Vec<World> = std::mem::take(&mut self.worlds).into_iter().collect();
        let copies = self.fillable.len();
        for i in (0..copies).filter(|&j| i.is_none_or(|i| i == j)) {
            for world in std::mem::take(&mut worlds) {
                let Some(copy) = world.inner[i] else {
                    worlds.push(world);
                    continue;
                };
                let mut rest = world;
                rest.inner[i] = (operation == Operation::Clean).then_some(Copied {
                    dirty: false,
                    ..copy
                });
                if copy.dirty && operation != Operation::Invalidate {
                    self.write_on(rest, copy.words, &mut |world| worlds.push(world));
                } else {
                    worlds.push(rest);
                }
            }
        }
        worlds
    }

    /// Maintains the outer copy.
    pub fn outer(&mut self, operation: Operation) {
        self.step(|world, then| then(world.after_outer(operation)));
    }

    /// Maintains an inner copy, and then the outer one, with nothing between.
    pub fn through(&mut self, i: usize, operation: Operation) {
        let worlds = self.after_inner(Some(i), operation).into_iter();
        let worlds = worlds.map(|world| world.after_outer(operation)).collect();
        self.become_all(worlds);
    }

    /// Copies gain or lose their live mapping.
    pub fn set_fillable(&mut self, i: usize, is: bool) {
        self.fillable[i] = is;
        self.step(|world, then| then(world));
    }

    /// Nobody cares any more what is where: it may as well be the newest.
    pub fn new_owner(&mut self) {
        self.unwritten = [false; WORDS];
        let newest = self.newest;
        self.step(|mut world, then| {
            world.memory = newest;
            let copies = world.inner.iter_mut().chain([&mut world.outer]);
            for copy in copies.flatten() {
                copy.words = newest;
            }
            then(world);
        });
    }

    /// Whether an instruction fetch of a word may not get the newest.
    pub fn fetch_is_old(&self, word: usize) -> bool {
        let newest = self.newest[word];
        self.worlds
            .iter()
            .any(|world| world.behind()[word] != newest)
    }

    /// Whether a device may not read the newest, or nobody wrote it who was to.
    pub fn device_reads_old(&self, word: usize) -> bool {
        let newest = self.newest[word];
        self.unwritten[word] || self.worlds.iter().any(|world| world.memory[word] != newest)
    }

    /// Whether a device that looks into the caches may not read the newest: it finds what a load
    /// by this copy would, and leaves nothing there.
    pub fn snooping_device_reads_old(&self, i: usize, word: usize) -> bool {
        let newest = self.newest[word];
        self.unwritten[word]
            || self.worlds.iter().any(|world| {
                let words = world.inner[i].map_or(world.behind(), |copy| copy.words);
                words[word] != newest
            })
    }

    /// Whether the line may be dirty anywhere.
    pub fn is_dirty(&self) -> bool {
        self.worlds.iter().any(|world| {
            let mut copies = world.inner.iter().chain([&world.outer]).flatten();
            copies.any(|copy| copy.dirty)
        })
    }

    /// A device writes a word now.
    pub fn device_writes(&mut self, word: usize) {
        let value = self.new_value(word);
        self.step(|mut world, then| {
            world.memory[word] = value;
            then(world);
        });
    }

    /// From now on a device may write a word at any moment.
    pub fn device_owns(&mut self, word: usize) {
        let value = self.new_value(word);
        self.owned[word] = Some(value);
        self.step(|mut world, then| {
            world.device_wrote = false;
            then(world);
        });
    }

    /// A device that was to write a word, and that is seen whenever it does, did not.
    pub fn device_did_not_write(&mut self, word: usize) {
        self.unwritten[word] = true;
    }

    /// It has written it, and writes no more.
    pub fn device_returns(&mut self) {
        let worlds = std::mem::take(&mut self.worlds);
        let worlds = worlds.into_iter().map(|world| {
            let wrote = world.device_wrote;
            let mut world = if wrote {
                world
            } else {
                self.device_write(world)
            };
            world.device_wrote = false;
            world
        });
        let worlds = worlds.collect();
        self.owned = [None; WORDS];
        self.become_all(worlds);
    }
}

impl World {
    /// The outer copy is maintained.
    fn after_outer(mut self, operation: Operation) -> Self {
        if let Some(copy) = self.outer {
            self.outer = (operation == Operation::Clean).then_some(Copied {
                dirty: false,
                ..copy
            });
            if copy.dirty && operation != Operation::Invalidate {
                self.memory = copy.words;
            }
        }
        self
    }

    /// What a miss of the inner cache finds.
    fn behind(&self) -> Words {
        self.outer.map_or(self.memory, |copy| copy.words)
    }
}
