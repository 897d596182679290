// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which kind has which policy on which machine, and what the driver calls it:
//! the table of the design, written down a second time, so that the driver's
//! own can be wrong.

use shmbuf::{Kind, Policies, Policy};

use crate::{
    machine::{Arch, Machine},
    module::Config,
};

/// What is expected of a combination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// It works, and this is the memory type.
    Works(&'static str),
    /// It is refused with EOPNOTSUPP.
    Refused,
    /// It depends on something that we do not know of this machine.
    Unknown,
}

use Expect::{Refused, Unknown, Works};

impl Machine {
    /// What is expected of a combination of kind and policy, given the module
    /// parameter `accept_alias`.
    pub fn expect(&self, kind: Kind, policy: Policy, accept_alias: bool) -> Expect {
        match self.arch {
            Arch::Armv5 => armv5(kind, policy),
            Arch::Armv7 {
                highmem,
                smp,
                writethrough,
            } => armv7(kind, policy, highmem || accept_alias, smp, writethrough),
            Arch::Arm64 => arm64(kind, policy),
            Arch::Snooping => snooping(kind, policy),
        }
    }

    /// The policies that a kind can have.
    pub fn policies(&self, kind: Kind, accept_alias: bool) -> Policies {
        let works = |p: &Policy| matches!(self.expect(kind, *p, accept_alias), Works(_));
        Policy::ALL.iter().copied().filter(works).collect()
    }

    /// The policies that SET_CACHE takes on a buffer: those of its kind for
    /// pages, what it was made with for the others.
    pub fn settable(&self, config: &Config) -> Policies {
        match config.kind {
            Kind::Pages => self.policies(config.kind, config.accept_alias),
            _ => [config.policy].into_iter().collect(),
        }
    }

    /// Whether the policies of a kind are all known.
    pub fn knows(&self, kind: Kind) -> bool {
        let unknown = |p: &Policy| self.expect(kind, *p, false) == Unknown;
        !Policy::ALL.iter().any(unknown)
    }
}

fn armv5(kind: Kind, policy: Policy) -> Expect {
    match (kind, policy) {
        (Kind::Coherent, Policy::WriteBack | Policy::WriteThrough) => Refused,
        (Kind::Streaming | Kind::Scatter, policy) if policy != Policy::WriteBack => Refused,
        (Kind::Pool, policy) if policy != Policy::NonCached => Refused,
        (Kind::Region | Kind::Imported, _) => Unknown,
        (_, Policy::WriteBack) => Works("cached, write-back (C=1 B=1)"),
        (_, Policy::WriteThrough) => Works("cached, write-through (C=1 B=0)"),
        (_, Policy::WriteCombine) => Works("bufferable (C=0 B=1)"),
        (_, Policy::NonCached) => Works("uncached (C=0 B=0)"),
        _ => Unknown,
    }
}

/// What ARMv7 gives. `unaliased`: there is memory without a cacheable alias, or the
/// administrator accepts the alias.
fn armv7(
    kind: Kind,
    policy: Policy,
    unaliased: bool,
    smp: bool,
    writethrough: Option<bool>,
) -> Expect {
    match (kind, policy) {
        (Kind::Pages | Kind::Streaming | Kind::Scatter, Policy::WriteBack) if smp => {
            Works("Normal, write-back write-allocate")
        }
        (Kind::Pages | Kind::Streaming | Kind::Scatter, Policy::WriteBack) => {
            Works("Normal, write-back")
        }
        (Kind::Streaming | Kind::Scatter, _) => Refused,

        (Kind::Coherent | Kind::Pool, Policy::WriteCombine) => Works("Normal, non-cacheable"),
        (Kind::Coherent | Kind::Pool, _) => Refused,

        (Kind::Pages, Policy::WriteThrough) => match writethrough {
            Some(true) if unaliased => Works("Normal, write-through"),
            Some(false) => Refused,
            _ => Unknown,
        },
        (Kind::Pages, _) if !unaliased => Refused,
        (Kind::Pages, Policy::WriteCombine) => Works("Normal, non-cacheable"),
        (Kind::Pages, Policy::NonCached) => Works("Strongly-ordered"),

        _ => Unknown,
    }
}

fn arm64(kind: Kind, policy: Policy) -> Expect {
    match (kind, policy) {
        (Kind::Pages | Kind::Streaming | Kind::Scatter, Policy::WriteBack) => {
            Works("Normal, write-back write-allocate")
        }
        (Kind::Coherent | Kind::Pool, Policy::WriteCombine) => Works("Normal, non-cacheable"),
        (Kind::Region | Kind::Imported, _) => Unknown,
        _ => Refused,
    }
}

fn snooping(kind: Kind, policy: Policy) -> Expect {
    match (kind, policy) {
        (Kind::Region | Kind::Imported, _) => Unknown,
        (_, Policy::WriteBack) => Works("write-back, snooped by devices"),
        _ => Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armv7(highmem: bool) -> Machine {
        let arch = Arch::Armv7 {
            highmem,
            smp: true,
            writethrough: Some(false),
        };
        Machine { arch }
    }

    fn names(machine: &Machine, kind: Kind, accept_alias: bool) -> String {
        machine.policies(kind, accept_alias).to_string()
    }

    #[test]
    fn armv5_pages_have_all_four() {
        let machine = Machine { arch: Arch::Armv5 };
        let all = "writeback writethrough writecombine noncached";
        assert_eq!(names(&machine, Kind::Pages, false), all);
        assert_eq!(
            names(&machine, Kind::Coherent, false),
            "writecombine noncached"
        );
        assert_eq!(names(&machine, Kind::Streaming, false), "writeback");
    }

    #[test]
    fn only_pages_change_their_policy() {
        let machine = Machine { arch: Arch::Armv5 };
        let settable = |kind| {
            let config = Config::new(kind, Policy::NonCached);
            machine.settable(&config).to_string()
        };
        assert_eq!(settable(Kind::Coherent), "noncached");
        assert!(settable(Kind::Pages).starts_with("writeback writethrough"));
    }

    #[test]
    fn armv7_needs_highmem_or_consent() {
        let both = "writeback writecombine noncached";
        assert_eq!(names(&armv7(true), Kind::Pages, false), both);
        assert_eq!(names(&armv7(false), Kind::Pages, false), "writeback");
        assert_eq!(names(&armv7(false), Kind::Pages, true), both);
        assert_eq!(names(&armv7(true), Kind::Coherent, false), "writecombine");
        assert_eq!(names(&armv7(true), Kind::Streaming, false), "writeback");
    }

    #[test]
    fn consent_changes_nothing_with_64_bits() {
        for (arch, coherent) in [(Arch::Arm64, "writecombine"), (Arch::Snooping, "writeback")] {
            let machine = Machine { arch };
            for accept_alias in [false, true] {
                assert_eq!(names(&machine, Kind::Pages, accept_alias), "writeback");
                assert_eq!(names(&machine, Kind::Streaming, accept_alias), "writeback");
                assert_eq!(names(&machine, Kind::Coherent, accept_alias), coherent);
            }
        }
    }

    #[test]
    fn what_is_not_known_is_not_claimed() {
        assert!(armv7(true).knows(Kind::Pages));
        let arch = Arch::Armv7 {
            highmem: true,
            smp: false,
            writethrough: None,
        };
        let other = Machine { arch };
        assert!(!other.knows(Kind::Pages) && other.knows(Kind::Streaming));
    }
}
