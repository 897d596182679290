// SPDX-License-Identifier: GPL-2.0

//! Who may touch the contents of a buffer. Pure logic, driven under the
//! buffer's lock.

use crate::range::Range;
use kernel::prelude::*;

/// Who may touch the contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Programs and the kernel.
    Cpu,
    /// A device, by DMA; only cached buffers that one reaches. `handed` is what it was given: all
    /// ranges since the CPU owned, and what lies between them.
    Device { handed: Range },
}

impl Owner {
    /// What the device has when it is given `range` too.
    pub(crate) fn handed_with(self, range: Range) -> Range {
        match self {
            Self::Cpu => range,
            Self::Device { handed } => handed.hull(range),
        }
    }

    /// The owner when the device is given `range` too.
    pub(crate) fn and_device(self, range: Range) -> Self {
        Self::Device {
            handed: self.handed_with(range),
        }
    }
}

/// What a SYNC does to the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// All that devices were given comes back.
    TakeBack,
    /// Devices are given the range.
    HandOver(Range),
    /// Nothing; for the CPU's own buffer.
    Keep,
}

/// What is going on with the contents.
#[derive(Debug, PartialEq, Eq)]
enum Activity {
    /// That many reads and writes are running.
    Io { in_flight: usize },
    /// A SYNC is running; meanwhile an importer's device was given `arrived`.
    Syncing {
        change: Change,
        arrived: Option<Range>,
    },
}

/// Who owns the contents, and who uses them now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Access {
    owner: Owner,
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
            owner: Owner::Cpu,
            activity: Activity::Io { in_flight: 0 },
        }
    }

    /// Who owns the buffer; during a SYNC, who did before it.
    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    /// A read or write begins; [`Self::end_io`] ends it.
    pub(crate) fn begin_io(&mut self) -> Result<(), Denied> {
        match (self.owner, &mut self.activity) {
            (_, Activity::Syncing { .. }) => Err(Denied::Running),
            (Owner::Device { .. }, _) => Err(Denied::Device),
            (Owner::Cpu, Activity::Io { in_flight }) => {
                *in_flight += 1;
                Ok(())
            }
        }
    }

    /// A read or write that began has ended.
    pub(crate) fn end_io(&mut self) {
        match &mut self.activity {
            Activity::Io { in_flight } if *in_flight > 0 => *in_flight -= 1,
            _ => debug_assert!(false, "no read or write is running"),
        }
    }

    /// A SYNC begins; [`Self::end_sync`] or [`Self::fail_sync`] ends it. Returns the owner before
    /// it.
    pub(crate) fn begin_sync(&mut self, change: Change) -> Result<Owner, Denied> {
        let Activity::Io { in_flight: 0 } = self.activity else {
            return Err(Denied::Running);
        };
        if change == Change::Keep && self.owner != Owner::Cpu {
            return Err(Denied::Device);
        }
        self.activity = Activity::Syncing {
            change,
            arrived: None,
        };
        Ok(self.owner)
    }

    /// A SYNC that began has ended, and its change has happened. What arrived meanwhile has come
    /// back with the rest, if that is the change.
    pub(crate) fn end_sync(&mut self) {
        match self.activity {
            Activity::Syncing {
                change: Change::TakeBack,
                ..
            } => {
                self.owner = Owner::Cpu;
                self.activity = Activity::Io { in_flight: 0 };
            }
            Activity::Syncing {
                change: Change::HandOver(range),
                ..
            } => {
                self.owner = self.owner.and_device(range);
                self.fail_sync();
            }
            _ => self.fail_sync(),
        }
    }

    /// A SYNC that began has changed nothing: the owner is the one before it.
    pub(crate) fn fail_sync(&mut self) {
        let Activity::Syncing { arrived, .. } = self.activity else {
            debug_assert!(false, "no SYNC is running");
            return;
        };
        if let Some(range) = arrived {
            self.owner = self.owner.and_device(range);
        }
        self.activity = Activity::Io { in_flight: 0 };
    }

    /// An importer's device is given `range`, whatever is running.
    pub(crate) fn hand_over(&mut self, range: Range) {
        match &mut self.activity {
            Activity::Io { .. } => self.owner = self.owner.and_device(range),
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
        arrived || self.owner != Owner::Cpu
    }

    /// Whether a program may touch the contents by a mapping that is withdrawn while it may not.
    pub(crate) fn may_touch(&self) -> bool {
        let stays = match self.activity {
            Activity::Io { .. } => true,
            Activity::Syncing { change, arrived } => {
                !matches!(change, Change::HandOver(_)) && arrived.is_none()
            }
        };
        self.owner == Owner::Cpu && stays
    }

    /// Whether the memory may be replaced now.
    pub(crate) fn check_idle(&self) -> Result<(), Denied> {
        match (self.owner, &self.activity) {
            (Owner::Device { .. }, Activity::Io { .. }) => Err(Denied::Device),
            (Owner::Cpu, Activity::Io { in_flight: 0 }) => Ok(()),
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

    #[test]
    fn the_cpu_owns_at_first() {
        let access = Access::new();
        assert_eq!(access.owner(), Owner::Cpu);
        assert_eq!(access.check_idle(), Ok(()));
        assert!(access.may_touch());
    }

    #[test]
    fn sync_waits_for_every_read() {
        let mut access = Access::new();
        access.begin_io().unwrap();
        access.begin_io().unwrap();
        assert_eq!(access.begin_sync(Change::TakeBack), Err(Denied::Running));
        assert_eq!(access.check_idle(), Err(Denied::Running));
        access.end_io();
        assert_eq!(access.begin_sync(Change::TakeBack), Err(Denied::Running));
        access.end_io();
        assert_eq!(access.begin_sync(Change::TakeBack), Ok(Owner::Cpu));
    }

    #[test]
    fn nothing_begins_during_a_sync() {
        let mut access = Access::new();
        access.begin_sync(Change::Keep).unwrap();
        assert_eq!(access.begin_io(), Err(Denied::Running));
        assert_eq!(access.begin_sync(Change::Keep), Err(Denied::Running));
        assert_eq!(access.check_idle(), Err(Denied::Running));
    }

    #[test]
    fn the_device_keeps_others_out_until_it_is_taken_back() {
        let whole = range(0, 4096);
        let device = Owner::Device { handed: whole };
        let mut access = Access::new();
        access.begin_sync(Change::HandOver(whole)).unwrap();
        assert!(!access.may_touch());
        access.end_sync();
        assert_eq!(access.owner(), device);
        assert!(!access.may_touch());
        assert_eq!(access.begin_io(), Err(Denied::Device));
        assert_eq!(access.check_idle(), Err(Denied::Device));
        assert_eq!(access.begin_sync(Change::Keep), Err(Denied::Device));
        assert_eq!(access.begin_sync(Change::TakeBack), Ok(device));
        assert_eq!(access.owner(), device);
        assert!(!access.may_touch());
        access.end_sync();
        assert_eq!(access, Access::new());
    }

    #[test]
    fn a_failure_moves_nothing() {
        let mut access = Access::new();
        access.begin_sync(Change::HandOver(range(0, 64))).unwrap();
        access.fail_sync();
        assert_eq!(access, Access::new());
    }

    #[test]
    fn the_device_has_all_that_it_was_given() {
        let [first, last, all] = [range(0, 64), range(128, 64), range(0, 192)];
        assert_eq!(Owner::Cpu.handed_with(first), first);
        assert_eq!(Owner::Device { handed: first }.handed_with(last), all);
    }

    #[test]
    fn an_importer_waits_for_nothing() {
        let device = Owner::Device {
            handed: range(0, 64),
        };
        let mut access = Access::new();
        access.begin_io().unwrap();
        access.hand_over(range(0, 64));
        assert_eq!(access.owner(), device);
        assert!(!access.may_touch());
        assert_eq!(access.begin_io(), Err(Denied::Device));
        access.end_io();
        assert_eq!(access.check_idle(), Err(Denied::Device));
    }

    #[test]
    fn what_arrives_during_a_sync_comes_back_only_by_taking_back() {
        for (change, owner) in [
            (Change::TakeBack, Owner::Cpu),
            (
                Change::Keep,
                Owner::Device {
                    handed: range(64, 64),
                },
            ),
            (
                Change::HandOver(range(0, 64)),
                Owner::Device {
                    handed: range(0, 128),
                },
            ),
        ] {
            let mut access = Access::new();
            access.begin_sync(change).unwrap();
            assert_eq!(access.may_touch(), !matches!(change, Change::HandOver(_)));
            access.hand_over(range(64, 64));
            assert!(!access.may_touch());
            access.end_sync();
            assert_eq!(access.owner(), owner);
        }
    }
}
