// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations on a whole cache. A kernel for ARM926 does one at each context
//! switch, so lines learn of them only when they are looked at next.

use crate::events::Operation;

/// An operation on all lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// An operation on all of the inner data cache.
    Inner(Operation),
    /// An operation on all of the outer cache.
    Outer(Operation),
}

/// What was done, in order. Like operations in a row are one run: doing one
/// twice with nothing between changes no line.
#[derive(Debug, Default)]
pub struct Log {
    epoch: u32,
    runs: Vec<(Whole, u32)>,
}

/// Runs after which all lines should be brought up to date.
const LONG: usize = 32;

impl Log {
    /// Operations so far. A line that has seen them all has this epoch.
    #[inline]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// One more operation was done.
    pub fn add(&mut self, what: Whole) {
        self.epoch += 1;
        match self.runs.last_mut() {
            Some((last, epoch)) if *last == what => *epoch = self.epoch,
            _ => self.runs.push((what, self.epoch)),
        }
    }

    /// What a line of this epoch has missed.
    pub fn missed(&self, epoch: u32) -> impl Iterator<Item = Whole> + '_ {
        let first = self.runs.partition_point(|&(_, last)| last <= epoch);
        self.runs[first..].iter().map(|&(what, _)| what)
    }

    /// Whether it pays to bring all lines up to date and [clear](Self::clear).
    pub fn is_long(&self) -> bool {
        self.runs.len() > LONG
    }

    /// All lines are up to date.
    pub fn clear(&mut self) {
        self.runs.clear();
    }
}
