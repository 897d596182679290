// SPDX-License-Identifier: GPL-2.0

//! Who may touch the contents of a buffer. Driven under the buffer's lock.

use super::range::Range;
use kernel::prelude::*;

uapi_enum! {
    /// Who may touch the contents.
    Owner {
        /// Programs and the kernel.
        Cpu = SHMBUF_OWNER_CPU "cpu",
        /// A device, by DMA; only cached buffers that one reaches.
        Device = SHMBUF_OWNER_DEVICE "device",
    }
}

/// What devices were given and have not given back: all ranges since the CPU owned the buffer, and
/// what lies between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handed(Option<Range>);

impl Handed {
    /// Nothing: the CPU owns the buffer.
    pub(crate) const NOTHING: Self = Self(None);

    /// The range that devices have, if any.
    pub(crate) fn range(self) -> Option<Range> {
        self.0
    }

    /// Who owns the buffer if devices have this.
    pub(crate) fn owner(self) -> Owner {
        match self.0 {
            None => Owner::Cpu,
            Some(_) => Owner::Device,
        }
    }

    /// The range that devices have when they are given `range` too.
    pub(crate) fn with(self, range: Range) -> Range {
        self.0.map_or(range, |handed| handed.hull(range))
    }

    /// Devices are given `range` too.
    fn give(&mut self, range: Range) {
        self.0 = Some(self.with(range));
    }
}

/// Which end of a CPU access SYNC stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// CPU access begins.
    Start,
    /// CPU access ends.
    End,
}

/// Whether who calls SYNC can move the owner: only a handle that can write. A reader could else take
/// the buffer from a running transfer, or give it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A caller that maintains the caches of what the CPU owns.
    Reads,
    /// A caller that moves the owner.
    Writes,
}

impl Caller {
    /// The caller by a handle that is `writable` or not.
    pub(crate) fn of(writable: bool) -> Self {
        match writable {
            true => Self::Writes,
            false => Self::Reads,
        }
    }
}

/// Which devices reach the contents of a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// The range around all that importers have mapped, if the buffer is cached.
    pub(crate) importers: Option<Range>,
    /// Whether a device of the buffer's own reaches it.
    pub(crate) own: bool,
    /// What devices were given already.
    pub(crate) handed: Handed,
}

/// What a SYNC does to the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// All that devices were given comes back.
    TakeBack,
    /// Devices are given the range.
    HandOver(Range),
    /// The owner stays; the buffer must be the CPU's.
    Keep,
}

impl Change {
    /// What SYNC of `range` does. Importers' devices reach all that they have mapped, at any time,
    /// so END gives them all of it.
    pub(crate) fn of_sync(phase: Phase, range: Range, caller: Caller, reach: Reach) -> Self {
        match (caller, phase, reach.importers) {
            (Caller::Reads, _, _) => Self::Keep,
            (Caller::Writes, Phase::Start, _) => Self::TakeBack,
            (Caller::Writes, Phase::End, Some(mapped)) => Self::HandOver(range.hull(mapped)),
            (Caller::Writes, Phase::End, None) => {
                if reach.own || reach.handed != Handed::NOTHING {
                    Self::HandOver(range)
                } else {
                    Self::Keep
                }
            }
        }
    }
}

/// How a SYNC ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The change has happened.
    Done,
    /// Nothing has changed.
    Failed,
}

/// What is going on with the contents.
#[derive(Debug, PartialEq, Eq)]
enum Activity {
    /// That many reads, writes and copies are running.
    Transfers { in_flight: usize },
    /// A SYNC is running; meanwhile an importer's device was given `arrived`.
    Syncing {
        change: Change,
        arrived: Option<Range>,
    },
}

/// Who owns the contents, and who uses them now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Access {
    handed: Handed,
    activity: Activity,
}

/// Why something cannot begin now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The device owns the buffer: [`EBUSY`].
    Device,
    /// Something that ends by itself is running: wait.
    Running,
}

impl Access {
    /// A new buffer belongs to the CPU.
    pub(crate) fn new() -> Self {
        Self {
            handed: Handed::NOTHING,
            activity: Activity::Transfers { in_flight: 0 },
        }
    }

    /// What devices have; during a SYNC, what they had before it.
    pub(crate) fn handed(&self) -> Handed {
        self.handed
    }

    /// A read, write or copy begins; [`Self::end_transfer`] ends it.
    pub(crate) fn begin_transfer(&mut self) -> Result<(), Denied> {
        match (self.handed.owner(), &mut self.activity) {
            (_, Activity::Syncing { .. }) => Err(Denied::Running),
            (Owner::Device, _) => Err(Denied::Device),
            (Owner::Cpu, Activity::Transfers { in_flight }) => {
                *in_flight += 1;
                Ok(())
            }
        }
    }

    /// A read, write or copy that began has ended.
    pub(crate) fn end_transfer(&mut self) {
        match &mut self.activity {
            Activity::Transfers { in_flight } if *in_flight > 0 => *in_flight -= 1,
            _ => debug_assert!(false, "no read, write or copy is running"),
        }
    }

    /// A SYNC begins; [`Self::end_sync`] ends it. Returns what devices had before it.
    pub(crate) fn begin_sync(&mut self, change: Change) -> Result<Handed, Denied> {
        let Activity::Transfers { in_flight: 0 } = self.activity else {
            return Err(Denied::Running);
        };
        if change == Change::Keep && self.handed != Handed::NOTHING {
            return Err(Denied::Device);
        }
        self.activity = Activity::Syncing {
            change,
            arrived: None,
        };
        Ok(self.handed)
    }

    /// A SYNC that began has ended. What arrived meanwhile has come back with the rest if that is
    /// its change, and else is the devices' from now on.
    pub(crate) fn end_sync(&mut self, outcome: Outcome) {
        let Activity::Syncing { change, arrived } = self.activity else {
            debug_assert!(false, "no SYNC is running");
            return;
        };
        self.activity = Activity::Transfers { in_flight: 0 };
        let given = match (outcome, change) {
            (Outcome::Done, Change::TakeBack) => {
                self.handed = Handed::NOTHING;
                return;
            }
            (Outcome::Done, Change::HandOver(range)) => Some(range),
            (Outcome::Done, Change::Keep) | (Outcome::Failed, _) => None,
        };
        for range in [given, arrived].into_iter().flatten() {
            self.handed.give(range);
        }
    }

    /// An importer's device is given `range`, whatever is running.
    pub(crate) fn hand_over(&mut self, range: Range) {
        match &mut self.activity {
            Activity::Transfers { .. } => self.handed.give(range),
            Activity::Syncing { arrived, .. } => {
                *arrived = Some(arrived.map_or(range, |before| before.hull(range)));
            }
        }
    }

    /// Whether devices were given something that has not come back.
    pub(crate) fn is_given(&self) -> bool {
        let arrived = matches!(
            self.activity,
            Activity::Syncing {
                arrived: Some(_),
                ..
            }
        );
        arrived || self.handed != Handed::NOTHING
    }

    /// Whether a program may touch the contents by a mapping that is withdrawn while it may not.
    pub(crate) fn may_touch(&self) -> bool {
        let stays = match self.activity {
            Activity::Transfers { .. } => true,
            Activity::Syncing { change, arrived } => {
                !matches!(change, Change::HandOver(_)) && arrived.is_none()
            }
        };
        self.handed == Handed::NOTHING && stays
    }

    /// Whether the memory may be replaced now.
    pub(crate) fn check_idle(&self) -> Result<(), Denied> {
        match (self.handed.owner(), &self.activity) {
            (Owner::Device, Activity::Transfers { .. }) => Err(Denied::Device),
            (Owner::Cpu, Activity::Transfers { in_flight: 0 }) => Ok(()),
            _ => Err(Denied::Running),
        }
    }
}

#[kunit_tests(shmbuf_ownership)]
mod tests {
    use super::*;

    fn range(offset: u64, length: u64) -> Range {
        Range::new(offset, length, 4096).unwrap()
    }

    fn handed(offset: u64, length: u64) -> Handed {
        Handed(Some(range(offset, length)))
    }

    #[test]
    fn names_and_numbers_are_one_to_one() {
        for owner in Owner::ALL {
            assert_eq!(Owner::try_from(owner.name().as_bytes()), Ok(owner));
            assert_eq!(Owner::try_from(owner.to_uapi()), Ok(owner));
        }
        assert_eq!(Owner::try_from(2u32), Err(EINVAL));
    }

    #[test]
    fn the_cpu_owns_at_first() {
        let access = Access::new();
        assert_eq!(access.handed().owner(), Owner::Cpu);
        assert_eq!(access.check_idle(), Ok(()));
        assert!(access.may_touch());
    }

    #[test]
    fn sync_waits_for_every_read() {
        let mut access = Access::new();
        access.begin_transfer().unwrap();
        access.begin_transfer().unwrap();
        assert_eq!(access.begin_sync(Change::TakeBack), Err(Denied::Running));
        assert_eq!(access.check_idle(), Err(Denied::Running));
        access.end_transfer();
        assert_eq!(access.begin_sync(Change::TakeBack), Err(Denied::Running));
        access.end_transfer();
        assert_eq!(access.begin_sync(Change::TakeBack), Ok(Handed::NOTHING));
    }

    #[test]
    fn nothing_begins_during_a_sync() {
        let mut access = Access::new();
        access.begin_sync(Change::Keep).unwrap();
        assert_eq!(access.begin_transfer(), Err(Denied::Running));
        assert_eq!(access.begin_sync(Change::Keep), Err(Denied::Running));
        assert_eq!(access.check_idle(), Err(Denied::Running));
    }

    #[test]
    fn the_device_keeps_others_out_until_it_is_taken_back() {
        let whole = range(0, 4096);
        let device = handed(0, 4096);
        let mut access = Access::new();
        access.begin_sync(Change::HandOver(whole)).unwrap();
        assert!(!access.may_touch());
        access.end_sync(Outcome::Done);
        assert_eq!(access.handed(), device);
        assert!(!access.may_touch());
        assert_eq!(access.begin_transfer(), Err(Denied::Device));
        assert_eq!(access.check_idle(), Err(Denied::Device));
        assert_eq!(access.begin_sync(Change::Keep), Err(Denied::Device));
        assert_eq!(access.begin_sync(Change::TakeBack), Ok(device));
        assert_eq!(access.handed(), device);
        assert!(!access.may_touch());
        access.end_sync(Outcome::Done);
        assert_eq!(access, Access::new());
    }

    #[test]
    fn a_failure_moves_nothing() {
        let mut access = Access::new();
        access.begin_sync(Change::HandOver(range(0, 64))).unwrap();
        access.end_sync(Outcome::Failed);
        assert_eq!(access, Access::new());
    }

    #[test]
    fn the_device_has_all_that_it_was_given() {
        let [first, last, all] = [range(0, 64), range(128, 64), range(0, 192)];
        assert_eq!(Handed::NOTHING.with(first), first);
        assert_eq!(Handed(Some(first)).with(last), all);
    }

    #[test]
    fn an_importer_waits_for_nothing() {
        let device = handed(0, 64);
        let mut access = Access::new();
        access.begin_transfer().unwrap();
        access.hand_over(range(0, 64));
        assert_eq!(access.handed(), device);
        assert!(!access.may_touch());
        assert_eq!(access.begin_transfer(), Err(Denied::Device));
        access.end_transfer();
        assert_eq!(access.check_idle(), Err(Denied::Device));
    }

    #[test]
    fn what_arrives_during_a_sync_comes_back_only_by_taking_back() {
        for (change, after) in [
            (Change::TakeBack, Handed::NOTHING),
            (Change::Keep, handed(64, 64)),
            (Change::HandOver(range(0, 64)), handed(0, 128)),
        ] {
            let mut access = Access::new();
            access.begin_sync(change).unwrap();
            assert_eq!(access.may_touch(), !matches!(change, Change::HandOver(_)));
            access.hand_over(range(64, 64));
            assert!(!access.may_touch());
            access.end_sync(Outcome::Done);
            assert_eq!(access.handed(), after);
        }
    }

    #[test]
    fn sync_hands_over_what_devices_reach() {
        let part = range(0, 64);
        let alone = Reach {
            importers: None,
            own: false,
            handed: Handed::NOTHING,
        };
        let own = Reach { own: true, ..alone };
        let had = Reach {
            handed: handed(64, 64),
            ..alone
        };
        let imported = Reach {
            importers: Some(range(128, 64)),
            ..alone
        };
        for (reach, change) in [
            (alone, Change::Keep),
            (own, Change::HandOver(part)),
            (had, Change::HandOver(part)),
            (imported, Change::HandOver(range(0, 192))),
        ] {
            let sync = |caller, phase| Change::of_sync(phase, part, caller, reach);
            assert_eq!(sync(Caller::Writes, Phase::End), change);
            assert_eq!(sync(Caller::Writes, Phase::Start), Change::TakeBack);
            assert_eq!(sync(Caller::Reads, Phase::End), Change::Keep);
            assert_eq!(sync(Caller::Reads, Phase::Start), Change::Keep);
        }
    }
}
