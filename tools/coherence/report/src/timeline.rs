// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of a finding's cache line, as far as the report knows it, laid out
//! for a drawing: moments from left to right, who takes part from top to bottom.

use crate::run::{Call, Finding, Party};

/// A row of the drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// The CPU, and its write buffer.
    Cpu,
    /// The inner data cache.
    Inner,
    /// The outer cache.
    Outer,
    /// Memory.
    Memory,
    /// The device.
    Device,
}

impl Lane {
    /// From top to bottom.
    pub const ALL: [Self; 5] = [
        Self::Cpu,
        Self::Inner,
        Self::Outer,
        Self::Memory,
        Self::Device,
    ];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Inner => "inner cache",
            Self::Outer => "outer cache",
            Self::Memory => "memory",
            Self::Device => "device",
        }
    }
}

/// Who may use the memory after a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The CPU alone.
    Cpu,
    /// The device.
    Device,
}

/// Something that happened, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// What it was.
    pub what: &'static str,
    /// Who did it: code in a few words, or a device.
    pub who: String,
    /// Its number among the events about devices, if it is known.
    pub order: Option<u64>,
    /// Where it happened.
    pub lane: Lane,
    /// Who owns the memory from then on.
    pub owner: Owner,
    /// Whether it is what was found.
    pub found: bool,
}

/// What is somewhere when the fault is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy {
    /// Where.
    pub lane: Lane,
    /// What.
    pub what: &'static str,
    /// Whether it is the newest value.
    pub newest: bool,
}

const fn copy(lane: Lane, what: &'static str, newest: bool) -> Copy {
    Copy { lane, what, newest }
}

/// Where values are, by what the reason says. The reasons are those of the model;
/// one that is not known here draws nothing.
const COPIES: &[(&str, &[Copy])] = &[
    (
        "the line that the cache may have",
        &[
            copy(Lane::Inner, "may have an old line", false),
            copy(Lane::Memory, "newest value", true),
        ],
    ),
    (
        "the line that the outer cache may have",
        &[
            copy(Lane::Outer, "may have an old line", false),
            copy(Lane::Memory, "newest value", true),
        ],
    ),
    (
        "at another virtual address",
        &[
            copy(Lane::Inner, "newest value, dirty, at another address", true),
            copy(Lane::Memory, "old value", false),
        ],
    ),
    (
        "in a dirty line of the inner data cache",
        &[
            copy(Lane::Inner, "newest value, dirty", true),
            copy(Lane::Memory, "old value", false),
        ],
    ),
    (
        "in a dirty line of the outer cache",
        &[
            copy(Lane::Outer, "newest value, dirty", true),
            copy(Lane::Memory, "old value", false),
        ],
    ),
    (
        "invalidated before it was written back",
        &[
            copy(Lane::Inner, "newest value, dropped", true),
            copy(Lane::Memory, "old value", false),
        ],
    ),
    (
        "is written over it",
        &[
            copy(Lane::Inner, "dirty, without the newest value", false),
            copy(Lane::Memory, "newest value, written over", true),
        ],
    ),
    (
        "may be written over what the device writes",
        &[
            copy(Lane::Inner, "dirty line from before", false),
            copy(Lane::Memory, "what the device writes", true),
        ],
    ),
    (
        "was to write this, and did not",
        &[copy(Lane::Memory, "what was there before", false)],
    ),
    (
        "in the core's write buffer",
        &[
            copy(Lane::Cpu, "newest value, in the write buffer", true),
            copy(Lane::Memory, "old value", false),
        ],
    ),
    (
        "in the outer cache's buffers",
        &[
            copy(Lane::Outer, "newest value, in the buffers", true),
            copy(Lane::Memory, "old value", false),
        ],
    ),
];

/// The life of a line.
#[derive(Debug, PartialEq, Eq)]
pub struct Timeline {
    /// In their order; the last is what was found.
    pub moments: Vec<Moment>,
    /// What is where in the end.
    pub copies: &'static [Copy],
}

impl Timeline {
    /// What is known of a finding's line.
    pub fn of(finding: &Finding) -> Self {
        let touch = finding.hazard == "owned-touch";
        let mut moments = calls(finding);
        let owner = |moments: &[Moment]| moments.last().map_or(Owner::Cpu, |last| last.owner);
        // The writer of a touch is who is found.
        if finding.writer.text != "nobody" && !touch {
            moments.push(Moment {
                what: "last written",
                who: in_short(&finding.writer),
                order: None,
                lane: lane(&finding.writer),
                owner: owner(&moments),
                found: false,
            });
        }
        let stores = touch && finding.writer.is_cpu();
        let who = if stores {
            &finding.writer
        } else {
            &finding.victim
        };
        moments.push(Moment {
            what: if stores { "stored" } else { verb(finding) },
            who: in_short(who),
            order: Some(finding.order),
            lane: lane(who),
            owner: owner(&moments),
            found: true,
        });
        let known = COPIES
            .iter()
            .find(|(words, _)| finding.reason.contains(words));
        Self {
            moments,
            copies: known.map_or(&[], |(_, copies)| copies),
        }
    }
}

/// The calls of the DMA API about the memory.
fn calls(finding: &Finding) -> Vec<Moment> {
    let Some(lent) = &finding.lent else {
        return Vec::new();
    };
    let moment = |what, call: &Call, owner| Moment {
        what,
        who: call.by.as_ref().map_or_else(String::new, in_short),
        order: Some(call.order),
        lane: Lane::Cpu,
        owner,
        found: false,
    };
    let mut moments = vec![moment("mapped", &lent.mapped, Owner::Device)];
    if let Some(call) = lent.given_again() {
        moments.push(moment("given to the device", call, Owner::Device));
    }
    if let Some(call) = &lent.unmapped {
        moments.push(moment("unmapped", call, Owner::Cpu));
    }
    if lent.given.is_none() && lent.unmapped.is_none() {
        moments.push(Moment {
            what: "back with the CPU",
            who: String::new(),
            order: None,
            lane: Lane::Cpu,
            owner: Owner::Cpu,
            found: false,
        });
    }
    moments.sort_by_key(|moment| moment.order.unwrap_or(u64::MAX));
    moments
}

fn verb(finding: &Finding) -> &'static str {
    match (finding.hazard.as_str(), finding.victim.is_cpu()) {
        ("dirty-over-device", false) => "written",
        ("stale-instruction", _) => "executed",
        ("wrong-sync", _) => "wrong call",
        ("two-mappings", _) => "mapped again",
        ("never-unmapped", _) => "memory freed",
        ("stray-dma", _) => "touched",
        ("lost-write" | "two-types" | "shared-line", true) => "found",
        (_, true) => "loaded",
        (_, false) => "read",
    }
}

fn lane(party: &Party) -> Lane {
    if party.is_cpu() {
        Lane::Cpu
    } else {
        Lane::Device
    }
}

/// A function, or what there is instead.
fn in_short(party: &Party) -> String {
    party.function.as_ref().unwrap_or(&party.text).clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::REPORT;
    use crate::run::Run;

    fn timelines() -> Vec<Timeline> {
        let run = Run::parse(REPORT).unwrap();
        run.findings.iter().map(Timeline::of).collect()
    }

    #[test]
    fn a_touch_of_what_the_device_has() {
        let found = &timelines()[0];
        let told: Vec<_> = found
            .moments
            .iter()
            .map(|it| {
                (
                    it.what,
                    it.who.as_str(),
                    it.order,
                    it.lane,
                    it.owner,
                    it.found,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (
                    "mapped",
                    "mine_init",
                    Some(1),
                    Lane::Cpu,
                    Owner::Device,
                    false
                ),
                (
                    "stored",
                    "mine_init",
                    Some(2),
                    Lane::Cpu,
                    Owner::Device,
                    true
                ),
            ]
        );
        assert_eq!(found.copies, []);
    }

    #[test]
    fn a_device_that_reads_what_is_in_a_cache() {
        let found = &timelines()[1];
        let told: Vec<_> = found.moments.iter().map(|it| (it.what, it.lane)).collect();
        assert_eq!(told, [("last written", Lane::Cpu), ("read", Lane::Device)]);
        let newest = found.copies.iter().find(|copy| copy.newest).unwrap();
        assert_eq!(newest.lane, Lane::Inner);
    }

    /// A reason of the model that has other words now would draw nothing.
    #[test]
    fn the_words_are_those_of_the_model() {
        let reasons = include_str!("../../model/src/reasons.rs");
        for (words, _) in COPIES {
            assert_eq!(reasons.matches(words).count(), 1, "{words}");
        }
    }
}
