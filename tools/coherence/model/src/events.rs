// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the model is told.

/// Where in the guest an access came from. The model keeps and returns it;
/// what it means is the caller's business. 24 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Site(pub u32);

/// The memory type of a mapping, as far as caches care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemoryType {
    /// Neither cached nor buffered: strongly-ordered; ARMv5: C=0 B=0.
    StronglyOrdered,
    /// Device registers.
    Device,
    /// Not cached, but buffered: ARMv7 Normal non-cacheable; ARMv5: C=0 B=1.
    /// What Linux calls write-combine.
    WriteCombine,
    /// Cached, stores go through.
    WriteThrough,
    /// Cached, stores stay until the line is cleaned or evicted.
    WriteBack,
}

/// A load, a store or an instruction fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Virtual address.
    pub va: u32,
    /// Physical address.
    pub pa: u32,
    /// Bytes. The access does not cross a page (the caller splits it), but it
    /// may cross lines.
    pub len: u32,
    /// Memory type of the mapping that it went through.
    pub memory: MemoryType,
    /// The instruction that accesses.
    pub site: Site,
}

/// What maintenance does to the lines that it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Dirty bytes go to the next level.
    Clean,
    /// The line goes; dirty bytes are lost.
    Invalidate,
    /// Dirty bytes go to the next level, then the line goes.
    CleanInvalidate,
}

/// Which lines maintenance finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// The line of one address: `va`, which maps `pa`. Inner caches.
    Address {
        /// Virtual address, any byte of the line.
        va: u32,
        /// Physical address, if it is mapped.
        pa: Option<u32>,
    },
    /// All of it, also as the end of a loop over all sets and ways or of the
    /// ARM926's test-and-clean loop.
    All,
}

/// Cache maintenance and barriers by the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maintenance {
    /// Maintenance of the inner data cache; of a line by its address down to memory, if the
    /// outer cache is the core's own.
    Data(Operation, Lines),
    /// What was stored to a line is to be seen by instructions: it is cleaned, but no further
    /// than to the outer cache.
    Unify {
        /// Virtual address, any byte of the line.
        va: u32,
        /// Physical address, if it is mapped.
        pa: Option<u32>,
    },
    /// Invalidation of the instruction cache.
    Instruction(Lines),
    /// Maintenance of the outer cache's line at a physical address.
    Outer(Operation, u32),
    /// Maintenance of all of the outer cache (by way).
    OuterAll(Operation),
    /// The outer cache's sync: its buffers are empty after it.
    OuterSync,
    /// DSB, or ARMv5's drain write buffer.
    Drain,
    /// DMB: what was stored before it arrives before what is stored after it.
    Order,
    /// The outer cache is switched on or off (PL310: reg1_control). What is in
    /// it when it goes off is out of reach. Until told, it is on.
    OuterSwitch(bool),
}

/// Which way data goes, as in `enum dma_data_direction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The device reads.
    ToDevice,
    /// The device writes.
    FromDevice,
    /// The device reads and writes.
    Bidirectional,
}

impl Direction {
    /// Whether the device may read.
    pub fn device_reads(self) -> bool {
        self != Self::FromDevice
    }
    /// Whether the device may write.
    pub fn device_writes(self) -> bool {
        self != Self::ToDevice
    }
}

/// A range of physical memory. It may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PhysicalRange {
    /// First byte of the range.
    pub pa: u32,
    /// Bytes in the range.
    pub len: u32,
}

/// What a device does, or may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The device reads this now, and was started by a store to one of its registers
    /// (a transfer that was watched).
    Reads(PhysicalRange),
    /// The device reads this now (a hint). Nobody knows what started it: it may be what
    /// it finds there.
    Finds(PhysicalRange),
    /// The device writes this now.
    Writes(PhysicalRange),
    /// What follows about mappings is of this device: any number that tells it
    /// from others.
    Of(u32),
    /// A mapping for a device was made, before any of its maintenance: from
    /// `Owns` on the device may read or write at any moment.
    Map(PhysicalRange, Direction),
    /// So was one of an entry of a list: such mappings come and go together.
    MapEntry(PhysicalRange, Direction),
    /// So was one whose driver has said that it shares lines with others.
    MapSharingLines(PhysicalRange, Direction),
    /// So was one that map and unmap do not sync: the driver does
    /// (DMA_ATTR_SKIP_CPU_SYNC, and memory that the DMA API allocates). There may
    /// be others of the same memory.
    MapUnsynced(PhysicalRange, Direction),
    /// A mapping that was just made, with all entries of its list if it is of one, is of
    /// memory on the stack of who made it.
    OnStack(PhysicalRange),
    /// The maintenance of `Map` or of a sync for the device is done: the
    /// device owns it, until `Returns`. In a part of a mapping for a sync.
    Owns(PhysicalRange, Direction),
    /// A sync for the CPU begins, before any of its maintenance: the device
    /// has written all that it was free to write, and writes no more.
    Returns(PhysicalRange, Direction),
    /// The same, of an unmap that begins: the CPU may have the memory already.
    UnmapBegins(PhysicalRange, Direction),
    /// The mapping ends (after `UnmapBegins`).
    Unmap(PhysicalRange, Direction),
    /// An unmap or a sync begins of a list, of which this is an entry, with another
    /// number of entries than it was mapped with.
    WrongCount(PhysicalRange),
    /// This memory is freed.
    Freed(PhysicalRange),
    /// The driver of this device has gone, with all that it manages.
    DriverGone(u32),
    /// This device looks into the caches, and so all that is mapped for it needs
    /// no sync (`dev_is_dma_coherent()`).
    Snoops(u32),
    /// Coherent memory was allocated (non-cached on these cores): the device
    /// may access it at any moment without ever owning it.
    Coherent(PhysicalRange),
    /// So was such that is cached, for a device that looks into the caches.
    CoherentCached(PhysicalRange),
    /// Coherent memory was freed.
    CoherentFreed(PhysicalRange),
}

/// Changes of mappings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// A translation came into use: `len` bytes (a page, a large page, a
    /// section) from `va`, naturally aligned.
    Live {
        /// Virtual address.
        va: u32,
        /// Physical address.
        pa: u32,
        /// Bytes.
        len: u32,
        /// Memory type.
        memory: MemoryType,
        /// Address space identifier, or 0: entries with `None` are global.
        asid: Option<u8>,
    },
    /// TLB maintenance: no translation of this page is in use any more. Where
    /// the core speculates, one of all address spaces that the tables still
    /// have ([`Sink::maps`](crate::hazards::Sink::maps)) may be in use again at
    /// once, so it stays.
    Gone {
        /// Any byte of the page.
        va: u32,
        /// The address space whose translation is gone; `None`: of all.
        asid: Option<u8>,
    },
    /// TLB maintenance of a whole address space.
    GoneAsid(u8),
    /// TLB maintenance of all translations. What is said of [`Self::Gone`] and
    /// speculation holds here too.
    GoneAll,
}
