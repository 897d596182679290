// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cores that there is a model of, and all in which they differ.

use std::fmt;

/// Bytes in a word.
pub const WORD: u32 = 4;

/// How the inner data cache finds its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indexing {
    /// By physical address, or as if (VIPT without aliases): one copy a line.
    Physical,
    /// By virtual address, index and tag (ARM926EJ-S): a copy for each virtual
    /// address, found by it even when it maps something else by now.
    Virtual,
    /// Virtual index, physical tag, `colours` pages large a way (ARMv6): a
    /// copy for each colour.
    Coloured {
        /// Pages in a way, a power of two.
        colours: u32,
    },
}

/// Whose page tables and system control coprocessor a core has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// ARMv5, with tiny pages.
    V5,
    /// ARMv6.
    V6,
    /// ARMv7-A without LPAE.
    V7,
}

/// The cache behind the inner ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outer {
    /// There is none.
    None,
    /// One of the core's own: what is maintained by address goes down to memory, but for
    /// what is only cleaned for instructions.
    Integrated(Geometry),
    /// A PL310: a controller by itself, which is told by its registers, with buffers for
    /// stores.
    Pl310,
}

/// How large a cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes in a line, a power of two.
    pub line: u32,
    /// Sets.
    pub sets: u32,
    /// Ways, a power of two.
    pub ways: u32,
}

impl Geometry {
    /// The geometry of a cache of so many bytes.
    pub const fn new(bytes: u32, ways: u32, line: u32) -> Self {
        Self {
            line,
            sets: bytes / line / ways,
            ways,
        }
    }

    /// Lines in the cache.
    pub fn lines(self) -> u32 {
        self.sets * self.ways
    }
}

/// A core that QEMU emulates, as the plugin has to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Emulation {
    /// What the plugin's argument `core=` calls it, and QEMU's `-cpu`.
    pub argument: &'static str,
    /// The main ID register, without variant and revision.
    pub main_id: u32,
    /// A store to a device's register waits until the write buffer is empty.
    pub device_stores_drain: bool,
}

/// A core, with what matters of its caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Core {
    /// The name in reports.
    pub name: &'static str,
    /// Which descriptors and CP15 operations it has.
    pub architecture: Architecture,
    /// The inner data cache: as QEMU's core says that it is, or as it often is.
    pub data_cache: Geometry,
    /// How lines of the inner data cache are found.
    pub indexing: Indexing,
    /// Clean lines may come by themselves through live cacheable mappings.
    pub speculates: bool,
    /// A store that misses may bring the line in. Other cores of the
    /// architecture may do it even when this one does not.
    pub write_allocates: bool,
    /// Write-through is honoured; else it is treated as not cached.
    pub write_through: bool,
    /// The outer cache.
    pub outer: Outer,
    /// How QEMU has it; without, the core is known to the model only.
    pub emulation: Option<Emulation>,
}

impl fmt::Display for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Geometry { line, ways, .. } = self.data_cache;
        let kib = (self.data_cache.lines() * line) >> 10;
        write!(
            f,
            "{}: {}, {kib} KiB of {ways} ways and lines of {line} bytes, {}",
            self.name, self.architecture, self.indexing
        )?;
        match self.outer {
            Outer::None => Ok(()),
            Outer::Integrated(Geometry { line, ways, .. }) => {
                write!(
                    f,
                    ", with an L2 cache of {ways} ways and lines of {line} bytes"
                )
            }
            Outer::Pl310 => f.write_str(", with a PL310"),
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V5 => "ARMv5",
            Self::V6 => "ARMv6",
            Self::V7 => "ARMv7",
        })
    }
}

impl fmt::Display for Indexing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Physical => f.write_str("PIPT"),
            Self::Virtual => f.write_str("VIVT"),
            Self::Coloured { colours } => write!(f, "VIPT of {colours} colours"),
        }
    }
}

impl Core {
    /// ARM926EJ-S (DDI 0198E, chapter 4; of stores to devices table 4-4).
    pub const ARM926: Self = Self {
        name: "ARM926EJ-S",
        architecture: Architecture::V5,
        data_cache: Geometry::new(64 << 10, 4, 32),
        indexing: Indexing::Virtual,
        speculates: false,
        write_allocates: false,
        write_through: true,
        outer: Outer::None,
        emulation: Some(Emulation {
            argument: "arm926",
            main_id: 0x4100_9260,
            device_stores_drain: true,
        }),
    };
    /// ARM1136JF-S with a data cache of 32 KiB: two colours. Only loads allocate (DDI 0211H,
    /// chapters 6 and 7).
    pub const ARM1136: Self = Self {
        name: "ARM1136JF-S",
        architecture: Architecture::V6,
        data_cache: Geometry::new(32 << 10, 4, 32),
        indexing: Indexing::Coloured { colours: 2 },
        speculates: true,
        write_allocates: false,
        write_through: true,
        outer: Outer::None,
        emulation: None,
    };
    /// ARM1176JZF-S with the largest data cache, of 64 KiB: four colours (DDI 0301H, 7.2).
    pub const ARM1176: Self = Self {
        name: "ARM1176JZF-S",
        data_cache: Geometry::new(64 << 10, 4, 32),
        indexing: Indexing::Coloured { colours: 4 },
        ..Self::ARM1136
    };
    /// Cortex-A9 (DDI 0388I, chapters 6 and 7) with a PL310 (DDI 0246H).
    pub const CORTEX_A9: Self = Self {
        name: "Cortex-A9",
        architecture: Architecture::V7,
        data_cache: Geometry::new(16 << 10, 4, 32),
        indexing: Indexing::Physical,
        speculates: true,
        write_allocates: true,
        write_through: false,
        outer: Outer::Pl310,
        emulation: Some(Emulation {
            argument: "cortex-a9",
            main_id: 0x4100_c090,
            device_stores_drain: false,
        }),
    };
    /// Cortex-A5 (DDI 0433C, chapter 7), which may have a PL310 too.
    pub const CORTEX_A5: Self = Self {
        name: "Cortex-A5",
        emulation: None,
        ..Self::CORTEX_A9
    };
    /// Cortex-A15, with the L2 cache that QEMU's has (DDI 0438I, chapters 6 and 7).
    pub const CORTEX_A15: Self = Self {
        name: "Cortex-A15",
        data_cache: Geometry::new(32 << 10, 2, 64),
        outer: Outer::Integrated(Geometry {
            line: 64,
            sets: 2304,
            ways: 16,
        }),
        emulation: Some(Emulation {
            argument: "cortex-a15",
            main_id: 0x4100_c0f0,
            device_stores_drain: false,
        }),
        ..Self::CORTEX_A9
    };
    /// Cortex-A7 (DDI 0464F, chapters 6 and 7), of which QEMU's has the caches of its
    /// Cortex-A15.
    pub const CORTEX_A7: Self = Self {
        name: "Cortex-A7",
        emulation: Some(Emulation {
            argument: "cortex-a7",
            main_id: 0x4100_c070,
            device_stores_drain: false,
        }),
        ..Self::CORTEX_A15
    };
    /// Cortex-A8 without an L2 cache, as QEMU has it (DDI 0344K, chapters 7 and 8).
    pub const CORTEX_A8: Self = Self {
        name: "Cortex-A8",
        data_cache: Geometry::new(16 << 10, 4, 64),
        write_through: true,
        outer: Outer::None,
        emulation: Some(Emulation {
            argument: "cortex-a8",
            main_id: 0x4100_c080,
            device_stores_drain: false,
        }),
        ..Self::CORTEX_A9
    };
}

/// All cores that there is a model of.
pub const CORES: [Core; 8] = [
    Core::ARM926,
    Core::ARM1136,
    Core::ARM1176,
    Core::CORTEX_A5,
    Core::CORTEX_A7,
    Core::CORTEX_A8,
    Core::CORTEX_A9,
    Core::CORTEX_A15,
];

/// The cores that QEMU emulates.
pub fn emulated() -> impl Iterator<Item = (Core, Emulation)> {
    CORES
        .into_iter()
        .filter_map(|core| Some((core, core.emulation?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Model;

    #[test]
    fn lines_are_those_that_there_is_a_model_of() {
        for core in CORES {
            if let Outer::Integrated(outer) = core.outer {
                assert_eq!(outer.line, core.data_cache.line, "{}", core.name);
            }
            assert!(
                Model::LINES.contains(&core.data_cache.line),
                "{}",
                core.name
            );
        }
    }

    /// A way of more than a page has more than one colour, unless the index is physical.
    #[test]
    fn colours_are_pages_of_a_way() {
        for core in CORES {
            let Geometry { line, sets, .. } = core.data_cache;
            if let Indexing::Coloured { colours } = core.indexing {
                assert_eq!(colours, (line * sets) >> 12, "{}", core.name);
            }
        }
    }

    #[test]
    fn names_are_one_to_one() {
        for core in CORES {
            let same = CORES.iter().filter(|other| other.name == core.name);
            assert_eq!(same.count(), 1, "{}", core.name);
        }
        for (_, emulation) in emulated() {
            let argument = emulation.argument;
            let same = emulated().filter(|(_, other)| other.argument == argument);
            assert_eq!(same.count(), 1, "{argument}");
        }
    }
}
