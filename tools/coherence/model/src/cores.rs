// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cores that there is a model of, and all in which they differ.

/// Bytes in a cache line of all cores here, inner and outer.
pub const LINE: u32 = 32;
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
    /// ARMv7-A without LPAE.
    V7,
}

/// How many sets and ways a data cache has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Sets, a power of two.
    pub sets: u32,
    /// Ways, a power of two.
    pub ways: u32,
}

impl Geometry {
    /// The geometry of a cache of so many bytes.
    pub const fn new(bytes: u32, ways: u32) -> Self {
        Self {
            sets: bytes / LINE / ways,
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
    /// What the plugin's argument `core=` calls it.
    pub argument: &'static str,
    /// Which descriptors and CP15 operations it has.
    pub architecture: Architecture,
    /// The data cache that QEMU's core says it has.
    pub data_cache: Geometry,
    /// A store to a device's register waits until the write buffer is empty.
    pub device_stores_drain: bool,
}

/// A core, with what matters of its caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Core {
    /// The name in reports.
    pub name: &'static str,
    /// How lines of the inner data cache are found.
    pub indexing: Indexing,
    /// Clean lines may come by themselves through live cacheable mappings.
    pub speculates: bool,
    /// A store that misses brings the line in. Other cores of the
    /// architecture may do it even when this one does not.
    pub write_allocates: bool,
    /// Write-through is honoured; else it is treated as not cached.
    pub write_through: bool,
    /// There is an outer cache (PL310) behind the inner one.
    pub outer: bool,
    /// How QEMU has it; without, the core is known to the model only.
    pub emulation: Option<Emulation>,
}

impl Core {
    /// ARM926EJ-S (DDI 0198E, chapter 4; of stores to devices table 4-4).
    pub const ARM926: Self = Self {
        name: "ARM926EJ-S",
        indexing: Indexing::Virtual,
        speculates: false,
        write_allocates: false,
        write_through: true,
        outer: false,
        emulation: Some(Emulation {
            argument: "arm926",
            architecture: Architecture::V5,
            data_cache: Geometry::new(64 << 10, 4),
            device_stores_drain: true,
        }),
    };
    /// Cortex-A9 (DDI 0388I, chapters 6 and 7) with a PL310 (DDI 0246H).
    pub const CORTEX_A9: Self = Self {
        name: "Cortex-A9",
        indexing: Indexing::Physical,
        speculates: true,
        write_allocates: true,
        write_through: false,
        outer: true,
        emulation: Some(Emulation {
            argument: "cortex-a9",
            architecture: Architecture::V7,
            data_cache: Geometry::new(16 << 10, 4),
            device_stores_drain: false,
        }),
    };
    /// ARM1136 with a 32 KiB data cache of four ways: two colours.
    pub const ARM1136: Self = Self {
        name: "ARM1136JF-S",
        indexing: Indexing::Coloured { colours: 2 },
        speculates: true,
        write_allocates: false,
        write_through: true,
        outer: false,
        emulation: None,
    };
}

/// All cores that there is a model of.
pub const CORES: [Core; 3] = [Core::ARM926, Core::CORTEX_A9, Core::ARM1136];

/// The cores that QEMU emulates.
pub fn emulated() -> impl Iterator<Item = (Core, Emulation)> {
    CORES
        .into_iter()
        .filter_map(|core| Some((core, core.emulation?)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
