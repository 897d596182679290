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
    /// A device, by DMA; only streaming buffers. `handed` is what it was given: all ranges since
    /// the CPU owned, and what lies between them.
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
}

/// What is going on with the contents.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The CPU owns, and `in_flight` reads and writes are running.
    Cpu { in_flight: usize },
    /// The device owns `handed`, and nothing is running.
    Device { handed: Range },
    /// A SYNC is running, and nothing else; `from` owned before it.
    Syncing { from: Owner },
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
        Self::Cpu { in_flight: 0 }
    }

    /// Who owns the buffer; during a SYNC, who did before it.
    pub(crate) fn owner(&self) -> Owner {
        match *self {
            Self::Cpu { .. } => Owner::Cpu,
            Self::Device { handed } => Owner::Device { handed },
            Self::Syncing { from } => from,
        }
    }

    /// A read or write begins; [`Self::end_io`] ends it.
    pub(crate) fn begin_io(&mut self) -> Result<(), Denied> {
        match self {
            Self::Cpu { in_flight } => {
                *in_flight += 1;
                Ok(())
            }
            Self::Device { .. } => Err(Denied::Device),
            Self::Syncing { .. } => Err(Denied::Running),
        }
    }

    /// A read or write that began has ended.
    pub(crate) fn end_io(&mut self) {
        match self {
            Self::Cpu { in_flight } if *in_flight > 0 => *in_flight -= 1,
            _ => debug_assert!(false, "no read or write is running"),
        }
    }

    /// A SYNC begins; [`Self::end_sync`] ends it. Returns the owner before it.
    pub(crate) fn begin_sync(&mut self) -> Result<Owner, Denied> {
        let from = match *self {
            Self::Cpu { in_flight: 0 } => Owner::Cpu,
            Self::Device { handed } => Owner::Device { handed },
            Self::Cpu { .. } | Self::Syncing { .. } => return Err(Denied::Running),
        };
        *self = Self::Syncing { from };
        Ok(from)
    }

    /// A SYNC that began has ended, and `owner` owns the buffer.
    pub(crate) fn end_sync(&mut self, owner: Owner) {
        debug_assert!(matches!(self, Self::Syncing { .. }));
        *self = match owner {
            Owner::Cpu => Self::Cpu { in_flight: 0 },
            Owner::Device { handed } => Self::Device { handed },
        };
    }

    /// Whether the memory may be replaced now.
    pub(crate) fn check_idle(&self) -> Result<(), Denied> {
        match self {
            Self::Cpu { in_flight: 0 } => Ok(()),
            Self::Device { .. } => Err(Denied::Device),
            Self::Cpu { .. } | Self::Syncing { .. } => Err(Denied::Running),
        }
    }
}

#[kunit_tests(shmbuf_ownership)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_owns_at_first() {
        let access = Access::new();
        assert_eq!(access.owner(), Owner::Cpu);
        assert_eq!(access.check_idle(), Ok(()));
    }

    #[test]
    fn sync_waits_for_every_read() {
        let mut access = Access::new();
        access.begin_io().unwrap();
        access.begin_io().unwrap();
        assert_eq!(access.begin_sync(), Err(Denied::Running));
        assert_eq!(access.check_idle(), Err(Denied::Running));
        access.end_io();
        assert_eq!(access.begin_sync(), Err(Denied::Running));
        access.end_io();
        assert_eq!(access.begin_sync(), Ok(Owner::Cpu));
    }

    #[test]
    fn nothing_begins_during_a_sync() {
        let mut access = Access::new();
        access.begin_sync().unwrap();
        assert_eq!(access.begin_io(), Err(Denied::Running));
        assert_eq!(access.begin_sync(), Err(Denied::Running));
        assert_eq!(access.check_idle(), Err(Denied::Running));
    }

    #[test]
    fn the_device_keeps_others_out_until_sync() {
        let device = Owner::Device {
            handed: Range::whole(4096),
        };
        let mut access = Access::new();
        access.begin_sync().unwrap();
        access.end_sync(device);
        assert_eq!(access.owner(), device);
        assert_eq!(access.begin_io(), Err(Denied::Device));
        assert_eq!(access.check_idle(), Err(Denied::Device));
        assert_eq!(access.begin_sync(), Ok(device));
        assert_eq!(access.owner(), device);
        access.end_sync(Owner::Cpu);
        assert_eq!(access, Access::new());
    }

    #[test]
    fn the_device_has_all_that_it_was_given() {
        let [first, last, all] = [(0, 64), (128, 64), (0, 192)]
            .map(|(offset, length)| Range::new(offset, length, 4096).unwrap());
        assert_eq!(Owner::Cpu.handed_with(first), first);
        assert_eq!(Owner::Device { handed: first }.handed_with(last), all);
    }
}
