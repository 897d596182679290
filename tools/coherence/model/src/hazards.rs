// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the model finds. The list of hazards is here, and nowhere else.

use crate::events::{MemoryType, Site};

/// An enum whose variants have names in reports, each beside its variant.
macro_rules! named {
    (
        $(#[$about:meta])*
        pub enum $name:ident {
            $($(#[$meaning:meta])* $variant:ident = $text:literal,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$meaning])* $variant,)+
        }

        impl $name {
            /// All variants, in their order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in reports and in documentation.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

named! {
    /// What can go wrong.
    pub enum Hazard {
        /// A load, or a device that reads, may get an old value.
        StaleRead = "stale-read",
        /// A value may be lost: another view's dirty line may be written over it,
        /// or it was invalidated before it was written back.
        LostWrite = "lost-write",
        /// A dirty line may be written over what a device wrote.
        DirtyOverDevice = "dirty-over-device",
        /// A page is used through two mappings of different memory types at once.
        TwoTypes = "two-types",
        /// The CPU touches what a device owns.
        OwnedTouch = "owned-touch",
        /// An instruction may be an old one.
        StaleInstruction = "stale-instruction",
        /// A buffered store may not have reached memory when a device reads it, or may reach it
        /// after one by which the device goes.
        NotDrained = "not-drained",
        /// A sync or unmap that does not fit the mapping: its range, its direction, how
        /// many entries its list has, or who has the memory.
        WrongSync = "wrong-sync",
        /// What a device was to write, and did not, is read.
        UnwrittenRead = "unwritten-read",
        /// A device reads or writes what no live mapping gives it.
        StrayDma = "stray-dma",
        /// A mapping by which a device may write shares bytes or a line with another.
        TwoMappings = "two-mappings",
        /// A mapping is still there when its memory is freed, or its driver goes.
        NeverUnmapped = "never-unmapped",
        /// A line of which a device may write some bytes has other data.
        SharedLine = "shared-line",
    }
}

impl Hazard {
    /// Whether it is in what the kernel calls, and not in what is loaded or stored.
    pub fn is_of_a_call(self) -> bool {
        matches!(
            self,
            Self::WrongSync | Self::TwoMappings | Self::NeverUnmapped
        )
    }
}

named! {
    /// Who would see a hazard.
    pub enum Shown {
        /// The emulated core.
        ThisCore = "this-core",
        /// Some core that the architecture allows, but not the emulated one.
        SomeCore = "some-core",
    }
}

/// Who accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Party {
    /// The CPU, by this virtual address and instruction.
    Cpu {
        /// Virtual address; 0 where it is no longer known.
        va: u32,
        /// Instruction.
        site: Site,
    },
    /// A device accessed.
    Device,
    /// Nobody yet: as at power-on.
    Nobody,
}

/// One of the events about devices, such as a call of the DMA API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Call {
    /// The instruction that caused it, if one is known.
    pub site: Option<Site>,
    /// Its number among all events about devices, from 1.
    pub order: u64,
}

/// Who may use memory that was mapped for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// The device, since this map or sync gave it the memory.
    Device(Call),
    /// The CPU, and the mapping is still there.
    Cpu,
    /// No device any more, since this unmap ended the mapping.
    Unmapped(Call),
}

/// How a device came by the memory that a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lent {
    /// Where the memory was mapped.
    pub mapped: Call,
    /// Who may use it when something is found.
    pub holder: Holder,
}

/// A finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// What goes wrong.
    pub hazard: Hazard,
    /// Where it would be seen.
    pub shown: Shown,
    /// First byte concerned.
    pub pa: u32,
    /// Who runs into it.
    pub victim: Party,
    /// Who wrote the byte last.
    pub writer: Party,
    /// Where a device was set off, or was given the memory, if it takes part
    /// and that is known.
    pub by_way_of: Option<Site>,
    /// How a device came by the memory, if it was mapped for one.
    pub lent: Option<Lent>,
    /// How many events about devices there were before.
    pub order: u64,
    /// The reason, a sentence's end in the field's words, such as "the newest
    /// value is in a dirty line at another virtual address".
    pub reason: &'static str,
}

/// Takes findings. Called in the middle of an access, often.
pub trait Sink {
    /// Takes one more finding.
    fn found(&mut self, finding: Finding);

    /// Whether the tables map `va` to `pa` with this memory type now, in the
    /// address space `asid` or in all; `None` if that cannot be told. The TLB
    /// may have what the tables have no more (Linux flushes it long after
    /// `vunmap()`), and may have again what they still have.
    fn maps(&mut self, _va: u32, _pa: u32, _memory: MemoryType, _asid: Option<u8>) -> Option<bool> {
        None
    }
}

impl<F: FnMut(Finding)> Sink for F {
    fn found(&mut self, finding: Finding) {
        self(finding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> usize {
        Hazard::ALL.iter().filter(|h| h.name() == name).count()
    }

    #[test]
    fn names_are_one_to_one() {
        for (i, hazard) in Hazard::ALL.iter().enumerate() {
            assert_eq!(*hazard as usize, i);
            assert_eq!(named(hazard.name()), 1, "{}", hazard.name());
        }
    }

    /// What the seeded faults say that has to be found is what can be found.
    #[test]
    fn seeded_faults_have_these_names() {
        let source = include_str!("../../seeded/main.c");
        let (_, list) = source.split_once("names[] = {").unwrap();
        let (list, _) = list.split_once('}').unwrap();
        let names: Vec<_> = list.split('"').skip(1).step_by(2).collect();
        assert!(!names.is_empty());
        for name in names {
            assert_eq!(named(name), 1, "{name}");
        }
    }

    #[test]
    fn the_readme_has_each_name() {
        let readme = include_str!("../../README.md");
        for hazard in Hazard::ALL {
            let row = format!("| {} |", hazard.name());
            assert!(readme.contains(&row), "{row}");
        }
    }

    #[test]
    fn known_findings_have_these_names() {
        let lines = include_str!("../../known").lines();
        for line in lines.filter(|line| !line.starts_with('#')) {
            let (name, _) = line.split_once(' ').unwrap();
            assert_eq!(named(name), 1, "{line}");
        }
    }
}
