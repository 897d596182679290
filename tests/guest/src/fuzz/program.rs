// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs of system calls as data: their text, how they are made up and changed.

use std::{fmt, iter, str::FromStr};

use fastrand::Rng;

use super::calls::{Arg, Call, What, CALLS};

/// More steps than this no program has.
pub const MOST_STEPS: usize = 24;

/// The threads that run a program. The first waits for each of its own steps; the others
/// get theirs when the first has come so far.
pub const LANES: usize = 3;

/// A call with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which thread makes it.
    pub lane: usize,
    /// Which call it is, by its place in [`CALLS`].
    pub number: usize,
    /// As many as the call has.
    pub arguments: Vec<u64>,
}

impl Step {
    /// The call.
    pub fn call(&self) -> &'static Call {
        &CALLS[self.number]
    }

    /// The arguments that say which descriptor is meant.
    fn descriptors(&mut self) -> impl Iterator<Item = &mut u64> {
        let kinds = self.call().arguments.iter();
        let both = self.arguments.iter_mut().zip(kinds);
        both.filter(|(_, kind)| matches!(kind, Arg::Fd(_)))
            .map(|(value, _)| value)
    }
}

/// Steps in their order. A descriptor is named by how many calls before the one that makes it
/// make one too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Program {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Program {
    /// How many steps before the one at `at` make a descriptor.
    pub fn made_before(&self, at: usize) -> usize {
        let makes = |step: &&Step| step.call().makes.is_some();
        self.steps[..at].iter().filter(makes).count()
    }

    /// Whether all steps are made by one thread of one process, so that nothing changes beside it.
    pub fn is_alone(&self) -> bool {
        let beside = |step: &Step| step.lane != 0 || ["fork", "alarm"].contains(&step.call().name);
        !self.steps.iter().any(beside)
    }

    /// Whether a call of that name is in it.
    pub fn has(&self, name: &str) -> bool {
        self.steps.iter().any(|step| step.call().name == name)
    }

    /// Puts a step in; what others refer to stays the same.
    fn insert(&mut self, at: usize, step: Step) {
        if step.call().makes.is_some() {
            let own = self.made_before(at) as u64;
            let later = self.steps[at..].iter_mut().flat_map(Step::descriptors);
            later.filter(|fd| **fd >= own).for_each(|fd| *fd += 1);
        }
        self.steps.insert(at, step);
    }

    /// Takes a step out; what others refer to stays the same, unless it was this.
    pub fn remove(&mut self, at: usize) {
        let own = self.made_before(at) as u64;
        let step = self.steps.remove(at);
        if step.call().makes.is_some() {
            let later = self.steps[at..].iter_mut().flat_map(Step::descriptors);
            later.filter(|fd| **fd > own).for_each(|fd| *fd -= 1);
        }
    }

    /// A program that is made up.
    pub fn generate(rng: &mut Rng) -> Self {
        let mut program = Self::default();
        for _ in 0..rng.usize(2..MOST_STEPS / 2) {
            let at = program.steps.len();
            let step = program.make_up(rng, at);
            program.insert(at, step);
        }
        program
    }

    /// The program, changed a little; perhaps with the end of another.
    pub fn mutate(&self, rng: &mut Rng, other: &Self) -> Self {
        let mut program = self.clone();
        for _ in 0..rng.usize(1..=4) {
            let steps = program.steps.len();
            if steps == 0 {
                return Self::generate(rng);
            }
            let at = rng.usize(..steps);
            match rng.u32(..12) {
                0..=4 if steps < MOST_STEPS => {
                    let at = rng.usize(..=steps);
                    let step = program.make_up(rng, at);
                    program.insert(at, step);
                }
                5 => program.remove(at),
                6 => program.steps[at].lane = rng.usize(..LANES),
                7 if steps < MOST_STEPS => {
                    let step = program.steps[at].clone();
                    program.insert(rng.usize(at..=steps), step);
                }
                8 => {
                    let from = rng.usize(..=other.steps.len());
                    let before = other.made_before(from) as u64;
                    let made = program.made_before(steps) as u64;
                    let room = MOST_STEPS - steps;
                    for step in other.steps[from..].iter().take(room) {
                        let mut step = step.clone();
                        step.descriptors()
                            .filter(|fd| **fd >= before)
                            .for_each(|fd| *fd = *fd - before + made);
                        program.steps.push(step);
                    }
                }
                _ => program.change_argument(rng, at),
            }
        }
        program
    }

    fn change_argument(&mut self, rng: &mut Rng, at: usize) {
        let kinds = self.steps[at].call().arguments;
        if kinds.is_empty() {
            return;
        }
        let which = rng.usize(..kinds.len());
        let old = self.steps[at].arguments[which];
        self.steps[at].arguments[which] = match (kinds[which], rng.u32(..4)) {
            (Arg::Fd(_) | Arg::Slot, _) | (_, 0 | 1) => self.value(rng, at, kinds[which]),
            (_, 2) => old ^ (1 << rng.u32(..33)),
            _ => old.wrapping_add(*pick(rng, &[1, 4096, u64::MAX, 4096_u64.wrapping_neg()])),
        };
    }

    /// A step that could be the one at `at`.
    fn make_up(&self, rng: &mut Rng, at: usize) -> Step {
        let total: u32 = CALLS.iter().map(|call| call.weight).sum();
        let mut left = rng.u32(..total);
        let number = CALLS.iter().position(|call| {
            let is_it = left < call.weight;
            left = left.wrapping_sub(call.weight);
            is_it
        });
        // Without a buffer there is little to do.
        let number = match at {
            0 => 0,
            _ => number.expect("the weights have this sum"),
        };
        let value = |kind: &Arg| self.value(rng, at, *kind);
        let arguments = CALLS[number].arguments.iter().map(value).collect();
        let lane = match rng.u32(..8) {
            0 => rng.usize(..LANES),
            _ => 0,
        };
        Step {
            lane,
            number,
            arguments,
        }
    }

    /// A value of a kind for a step at `at`.
    fn value(&self, rng: &mut Rng, at: usize, kind: Arg) -> u64 {
        match kind {
            Arg::Fd(what) => {
                let made = self.steps[..at].iter().filter_map(|step| step.call().makes);
                let fits = |made: &What| what == What::Any || *made == what || *made == What::Any;
                let fitting = made.clone().enumerate().filter(|(_, made)| fits(made));
                let list: Vec<_> = match rng.u32(..16) {
                    0 => made.enumerate().map(|(i, _)| i).collect(),
                    _ => fitting.map(|(i, _)| i).collect(),
                };
                let last = list.len().saturating_sub(1);
                let which = if rng.bool() { last } else { rng.usize(..=last) };
                list.get(which).map_or(0, |fd| *fd as u64)
            }
            Arg::Slot => rng.u64(..4),
            Arg::Memory => *pick(rng, &[0, 0, 0, 1, 2, 3, 8, 9, 10, 0x8_0008, 0xff0_0009]),
            Arg::Bytes => match rng.u32(..16) {
                0..=6 => 4096 * rng.u64(..5),
                7 | 8 => 64 * rng.u64(..130),
                9 => rng.u64(..20_000),
                10 => 4096 * rng.u64(..600),
                11 => *pick(rng, &[1 << 20, (1 << 20) - 1, (1 << 20) - 4096, 4095, 4097]),
                12 => 1 << rng.u32(..64),
                13 => u64::MAX - rng.u64(..10_000),
                14 => *pick(
                    rng,
                    &[
                        u64::MAX,
                        i64::MAX as u64,
                        1 << 32,
                        (1 << 32) - 4096,
                        1 << 31,
                    ],
                ),
                _ => 0,
            },
            Arg::Of(list) => match rng.u32(..24) {
                0 => rng.u64(..40),
                1 => rng.u64(..),
                _ => *pick(rng, list),
            },
        }
    }

    /// Smaller programs that may do the same, the smallest first.
    pub fn smaller(&self) -> impl Iterator<Item = Self> + '_ {
        let count = self.steps.len();
        let sizes = iter::successors(Some(count / 2), |size| Some(size / 2));
        let cuts = sizes.take_while(|size| *size > 0).flat_map(move |size| {
            (0..count).step_by(size).map(move |start| {
                let mut program = self.clone();
                for at in (start..(start + size).min(count)).rev() {
                    program.remove(at);
                }
                program
            })
        });
        let simpler = (0..count).flat_map(move |at| {
            let step = &self.steps[at];
            let arguments = (0..step.arguments.len()).filter_map(move |which| {
                let mut program = self.clone();
                let value = std::mem::take(&mut program.steps[at].arguments[which]);
                (value != 0).then_some(program)
            });
            let lane = (step.lane != 0).then(|| {
                let mut program = self.clone();
                program.steps[at].lane = 0;
                program
            });
            lane.into_iter().chain(arguments)
        });
        cuts.chain(simpler)
    }
}

fn pick<'a, T>(rng: &mut Rng, list: &'a [T]) -> &'a T {
    &list[rng.usize(..list.len())]
}

/// Steps have semicolons between them. `@1 sync 0 0x1000 64 7 0 0 0` is a SYNC by the second thread.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.steps.iter().enumerate() {
            f.write_str(if n > 0 { "; " } else { "" })?;
            if step.lane != 0 {
                write!(f, "@{} ", step.lane)?;
            }
            f.write_str(step.call().name)?;
            for value in &step.arguments {
                match value {
                    0..=9 => write!(f, " {value}")?,
                    _ => write!(f, " {value:#x}")?,
                }
            }
        }
        Ok(())
    }
}

impl FromStr for Program {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let steps = text.split([';', '\n']).map(str::trim);
        let steps = steps.filter(|step| !step.is_empty()).map(|step| {
            let mut words = step.split_whitespace().peekable();
            let lane = words.next_if(|word| word.starts_with('@'));
            let lane = lane.map_or(Some(0), |word| word[1..].parse().ok());
            let lane = lane.filter(|lane| *lane < LANES);
            let name = words.next().unwrap_or_default();
            let number = CALLS.iter().position(|call| call.name == name);
            let number = number.ok_or_else(|| format!("{step}: there is no such call"))?;
            let arguments: Option<Vec<_>> = words.map(number_of).collect();
            let arguments = arguments.filter(|list| list.len() == CALLS[number].arguments.len());
            match (lane, arguments) {
                (Some(lane), Some(arguments)) => Ok(Step {
                    lane,
                    number,
                    arguments,
                }),
                _ => Err(format!("{step}: wrong arguments")),
            }
        });
        let steps = steps.collect::<Result<Vec<_>, _>>()?;
        if steps.len() > MOST_STEPS {
            return Err(format!("more than {MOST_STEPS} steps"));
        }
        Ok(Self { steps })
    }
}

fn number_of(word: &str) -> Option<u64> {
    match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Program {
        text.parse().expect("a program")
    }

    #[test]
    fn text_and_back() {
        let mut rng = Rng::with_seed(1);
        let mut program = Program::generate(&mut rng);
        for _ in 0..2000 {
            let other = Program::generate(&mut rng);
            program = program.mutate(&mut rng, &other);
            assert!(program.steps.len() <= MOST_STEPS);
            assert_eq!(parsed(&program.to_string()), program);
        }
        assert!("open 0".parse::<Program>().is_err());
        assert!("@3 close 0".parse::<Program>().is_err());
        assert!("nothing".parse::<Program>().is_err());
    }

    #[test]
    fn references_follow_what_they_refer_to() {
        let text = "open 0 2; dup 0; open 0 0; close 1; close 2";
        let mut program = parsed(text);
        program.remove(1);
        assert_eq!(program.to_string(), "open 0 2; open 0 0; close 1; close 1");
        let mut program = parsed(text);
        let step = parsed("eventfd").steps.remove(0);
        program.insert(1, step);
        let expected = "open 0 2; eventfd; dup 0; open 0 0; close 2; close 3";
        assert_eq!(program.to_string(), expected);
    }

    #[test]
    fn smaller_is_smaller() {
        let program = parsed("open 0 2; @1 close 0; dup 0");
        let smaller: Vec<_> = program.smaller().map(|it| it.to_string()).collect();
        let expected = [
            "@1 close 0; dup 0",
            "open 0 2; dup 0",
            "open 0 2; @1 close 0",
            "open 0 0; @1 close 0; dup 0",
            "open 0 2; close 0; dup 0",
        ];
        assert_eq!(smaller, expected);
    }
}
