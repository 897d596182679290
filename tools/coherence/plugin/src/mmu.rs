// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's translation of addresses: a walk of its tables in the
//! short-descriptor formats of ARMv5 (DDI 0100I, B4) and ARMv7-A (DDI 0406C,
//! B3), and a TLB in front of it.
//!
//! Permissions do not matter here: an access that is seen was allowed.

use coherence_model::cores::Architecture;
use coherence_model::events::{Access, MemoryType, PhysicalRange, Site};

/// Bytes in the smallest page that Linux uses.
pub const PAGE: u32 = 4096;

/// Bytes in a section.
pub const SECTION: u32 = 1 << 20;

/// SCTLR.M: the MMU is on.
const SCTLR_M: u32 = 1 << 0;
/// SCTLR.C: data accesses may be cached.
const SCTLR_C: u32 = 1 << 2;
/// SCTLR.TRE, ARMv7: TEX remap.
const SCTLR_TRE: u32 = 1 << 28;

/// The CP15 registers that matter, as the guest wrote them. All are 0 at reset
/// as far as they matter here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Control {
    /// Control register: c1, c0, 0.
    pub sctlr: u32,
    /// Translation table base 0: c2, c0, 0.
    pub ttbr0: u32,
    /// Translation table base 1: c2, c0, 1.
    pub ttbr1: u32,
    /// Translation table base control: c2, c0, 2.
    pub ttbcr: u32,
    /// Primary region remap: c10, c2, 0.
    pub prrr: u32,
    /// Normal memory remap: c10, c2, 1.
    pub nmrr: u32,
    /// Address space identifier: c13, c0, 1.
    pub contextidr: u32,
}

impl Control {
    /// The address space of accesses now.
    pub fn asid(&self) -> u8 {
        self.contextidr as u8
    }

    /// Whether addresses are translated.
    pub fn translates(&self) -> bool {
        self.sctlr & SCTLR_M != 0
    }

    /// Whether this CPU's data cache is on.
    pub fn caches(&self) -> bool {
        self.sctlr & SCTLR_C != 0
    }
}

/// What an address is translated to: the whole page or section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    /// First virtual address of the page or section.
    pub va: u32,
    /// First physical address of the page or section.
    pub pa: u32,
    /// Bytes of the page or section.
    pub len: u32,
    /// Memory type as it is in force, with the cache on or off.
    pub memory: MemoryType,
    /// Whether the translation is of all address spaces.
    pub global: bool,
}

impl Translation {
    /// The physical address of a virtual one within it.
    pub fn physical(&self, va: u32) -> u32 {
        self.pa | (va & (self.len - 1))
    }

    /// All that it translates to.
    pub fn range(&self) -> PhysicalRange {
        PhysicalRange {
            pa: self.pa,
            len: self.len,
        }
    }

    fn cached(&self) -> bool {
        matches!(
            self.memory,
            MemoryType::WriteBack | MemoryType::WriteThrough
        )
    }
}

/// A first- or second-level descriptor's fields, where they are.
struct Fields {
    tex: u32,
    c: bool,
    b: bool,
}

impl Fields {
    fn new(descriptor: u32, tex: u32) -> Self {
        Self {
            tex: (descriptor >> tex) & 7,
            c: descriptor & 8 != 0,
            b: descriptor & 4 != 0,
        }
    }
}

/// Walks the tables. `read` gives words of physical memory.
///
/// `None`: the address is not mapped, or beyond 32 bits.
pub fn walk(
    architecture: Architecture,
    control: &Control,
    va: u32,
    read: impl FnMut(u32) -> Option<u32>,
) -> Option<Translation> {
    if !control.translates() {
        // Section "MMU behavior" of both manuals: accesses are then
        // strongly-ordered, flat.
        let (va, pa) = (va & !(PAGE - 1), va & !(PAGE - 1));
        let memory = MemoryType::StronglyOrdered;
        return Some(Translation {
            va,
            pa,
            len: PAGE,
            memory,
            global: true,
        });
    }
    let found = match architecture {
        Architecture::V5 => walk_v5(control, va, read),
        // ARMv6 has the same tables, as Linux uses them (SCTLR.XP).
        Architecture::V6 | Architecture::V7 => walk_v7(control, va, read),
    }?;
    let memory = match found.memory {
        MemoryType::WriteThrough | MemoryType::WriteBack if !control.caches() => {
            MemoryType::WriteCombine
        }
        memory => memory,
    };
    Some(Translation { memory, ..found })
}

fn walk_v5(
    control: &Control,
    va: u32,
    mut read: impl FnMut(u32) -> Option<u32>,
) -> Option<Translation> {
    let page = |descriptor: u32, len: u32| {
        let fields = Fields::new(descriptor, 0);
        let memory = match (fields.c, fields.b) {
            (false, false) => MemoryType::StronglyOrdered,
            (false, true) => MemoryType::WriteCombine,
            (true, false) => MemoryType::WriteThrough,
            (true, true) => MemoryType::WriteBack,
        };
        let mask = !(len - 1);
        Some(Translation {
            va: va & mask,
            pa: descriptor & mask,
            len,
            memory,
            global: true,
        })
    };
    let first = read(control.ttbr0 & !0x3fff | (va >> 20 << 2))?;
    let second = match first & 3 {
        0b01 => read(first & !0x3ff | (((va >> 12) & 0xff) << 2))?,
        0b10 => return page(first, SECTION),
        0b11 => read(first & !0xfff | (((va >> 10) & 0x3ff) << 2))?,
        _ => return None,
    };
    match second & 3 {
        0b01 => page(second, 1 << 16),
        0b10 => page(second, 1 << 12),
        // Tiny pages are in fine tables only.
        0b11 if first & 3 == 0b11 => page(second, 1 << 10),
        _ => None,
    }
}

fn walk_v7(
    control: &Control,
    va: u32,
    mut read: impl FnMut(u32) -> Option<u32>,
) -> Option<Translation> {
    let first = read(first_level_v7(control, va)?)?;
    if first & 2 != 0 {
        return section_v7(control, va, first);
    }
    if first & 3 == 0 {
        return None;
    }
    let second = read(first & !0x3ff | (((va >> 12) & 0xff) << 2))?;
    let (len, tex): (u32, _) = match second & 3 {
        0b00 => return None,
        0b01 => (1 << 16, 12),
        _ => (1 << 12, 6),
    };
    let mask = !(len - 1);
    Some(Translation {
        va: va & mask,
        pa: second & mask,
        len,
        memory: memory_v7(control, &Fields::new(second, tex)),
        global: second & (1 << 11) == 0,
    })
}

/// Where the first-level descriptor of an address is, by TTBCR (B3.5.4).
fn first_level_v7(control: &Control, va: u32) -> Option<u32> {
    let n = control.ttbcr & 7;
    let (table, disabled) = if n != 0 && va >> (32 - n) != 0 {
        (control.ttbr1 & !0x3fff, control.ttbcr & (1 << 5) != 0)
    } else {
        (
            control.ttbr0 & !(0x3fff >> n),
            control.ttbcr & (1 << 4) != 0,
        )
    };
    // With N, the bits of the address above the table's reach are 0 for TTBR0.
    (!disabled).then_some(table | (va >> 20 << 2))
}

fn section_v7(control: &Control, va: u32, descriptor: u32) -> Option<Translation> {
    let supersection = descriptor & (1 << 18) != 0;
    let len: u32 = if supersection { 16 * SECTION } else { SECTION };
    if supersection && ((descriptor >> 20) & 0xf != 0 || (descriptor >> 5) & 0xf != 0) {
        return None;
    }
    let mask = !(len - 1);
    Some(Translation {
        va: va & mask,
        pa: descriptor & mask,
        len,
        memory: memory_v7(control, &Fields::new(descriptor, 12)),
        global: descriptor & (1 << 17) == 0,
    })
}

/// The memory type of TEX, C and B, with and without remap (B3.8).
///
/// One word has to do for the inner and the outer caches: that of the one that
/// caches more.
fn memory_v7(control: &Control, fields: &Fields) -> MemoryType {
    let cb = (u32::from(fields.c) << 1) | u32::from(fields.b);
    if control.sctlr & SCTLR_TRE != 0 {
        let n = ((fields.tex & 1) << 2) | cb;
        return match (control.prrr >> (2 * n)) & 3 {
            0b01 => MemoryType::Device,
            0b10 => normal(
                (control.nmrr >> (2 * n)) & 3,
                (control.nmrr >> (2 * n + 16)) & 3,
            ),
            // 0b11 is reserved.
            _ => MemoryType::StronglyOrdered,
        };
    }
    match (fields.tex, cb) {
        (0b000, 0b01) | (0b010, 0b00) => MemoryType::Device,
        (0b000, 0b10) => MemoryType::WriteThrough,
        (0b000 | 0b001, 0b11) => MemoryType::WriteBack,
        (0b001, 0b00) => MemoryType::WriteCombine,
        (0b100.., _) => normal(cb, fields.tex & 3),
        // The rest but 0b000, 0b00 is reserved.
        _ => MemoryType::StronglyOrdered,
    }
}

/// Normal memory by the inner and outer caches' fields (table B3-10).
fn normal(inner: u32, outer: u32) -> MemoryType {
    match (inner, outer) {
        (0b00, 0b00) => MemoryType::WriteCombine,
        (0b01 | 0b11, _) | (_, 0b01 | 0b11) => MemoryType::WriteBack,
        _ => MemoryType::WriteThrough,
    }
}

/// All cached sections of the table in use that are global: what a core may
/// walk and fill lines from by itself at any moment, as of the kernel's linear
/// map.
pub fn cached_sections(
    control: &Control,
    mut read: impl FnMut(u32) -> Option<u32>,
) -> Vec<Translation> {
    if !control.translates() {
        return Vec::new();
    }
    let mut sections = Vec::new();
    for number in 0..1 << 12 {
        let section = section_at(control, number << 20, &mut read);
        // A supersection is sixteen equal descriptors.
        sections.extend(section.filter(|s| s.va == number << 20));
    }
    sections
}

/// The cached global section that an address is in, if it is in one. ARMv7.
pub fn section_at(
    control: &Control,
    va: u32,
    mut read: impl FnMut(u32) -> Option<u32>,
) -> Option<Translation> {
    let descriptor = read(first_level_v7(control, va)?)?;
    let section = (descriptor & 2 != 0).then(|| section_v7(control, va, descriptor))??;
    (section.cached() && section.global && control.caches()).then_some(section)
}

/// All pages that the kernel maps and does not cache, among them coherent
/// memory. ARMv7, where Linux has the kernel's own table in TTBR1.
pub fn uncached_pages(
    control: &Control,
    mut read: impl FnMut(u32) -> Option<u32>,
) -> Vec<Translation> {
    let kernel = Control {
        ttbr0: control.ttbr1,
        ttbcr: 0,
        ..*control
    };
    let mut pages = Vec::new();
    for section in (0..1 << 12).map(|number| number << 20) {
        let descriptor = first_level_v7(&kernel, section).and_then(&mut read);
        if descriptor.is_none_or(|descriptor| descriptor & 3 != 1) {
            continue;
        }
        for va in (section..=section | (SECTION - PAGE)).step_by(PAGE as usize) {
            let page = walk(Architecture::V7, &kernel, va, &mut read);
            pages.extend(page.filter(|page| !page.cached()));
        }
    }
    pages
}

/// What is at a physical address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// Nobody looked yet.
    Unknown,
    /// Memory.
    Memory,
    /// A device's registers.
    Device,
    /// Memory, where the CPU plays a device.
    Played,
}

/// A page in the TLB.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Number of the virtual page; [`NO_PAGE`] if there is none.
    page: u32,
    /// Its address space, or [`GLOBAL`].
    asid: u16,
    /// Memory type of all of the page.
    pub memory: MemoryType,
    /// What is in the page.
    pub backing: Backing,
    /// First physical address of the page.
    pub pa: u32,
}

impl Entry {
    /// The physical address of a virtual one in the page.
    #[inline(always)]
    pub fn physical(&self, va: u32) -> u32 {
        self.pa | (va % PAGE)
    }

    /// An access to the page.
    #[inline(always)]
    pub fn access(&self, va: u32, len: u32, site: Site) -> Access {
        Access {
            va,
            pa: self.physical(va),
            len,
            memory: self.memory,
            site,
        }
    }
}

const NO_PAGE: u32 = u32::MAX;
const GLOBAL: u16 = u16::MAX;
const EMPTY: Entry = Entry {
    page: NO_PAGE,
    asid: GLOBAL,
    memory: MemoryType::StronglyOrdered,
    backing: Backing::Unknown,
    pa: 0,
};

/// Entries; a power of two.
const ENTRIES: usize = 1024;

/// A CPU's TLB: direct-mapped, by page.
pub struct Tlb {
    entries: Box<[Entry; ENTRIES]>,
    asid: u16,
}

impl Tlb {
    /// A TLB without entries.
    pub fn new() -> Self {
        Self {
            entries: Box::new([EMPTY; ENTRIES]),
            asid: 0,
        }
    }

    #[inline(always)]
    fn index(page: u32) -> usize {
        page as usize % ENTRIES
    }

    /// The entry of an address.
    #[inline(always)]
    pub fn find(&self, va: u32) -> Option<&Entry> {
        let page = va / PAGE;
        let entry = &self.entries[Self::index(page)];
        (entry.page == page && (entry.asid == GLOBAL || entry.asid == self.asid)).then_some(entry)
    }

    /// Puts in the page of an address. Pages smaller than [`PAGE`] are not kept.
    pub fn insert(&mut self, va: u32, translation: &Translation, backing: Backing) -> Entry {
        let page = va / PAGE;
        let entry = Entry {
            page,
            asid: if translation.global {
                GLOBAL
            } else {
                self.asid
            },
            memory: translation.memory,
            backing,
            pa: translation.physical(va & !(PAGE - 1)),
        };
        if translation.len >= PAGE {
            self.entries[Self::index(page)] = entry;
        }
        entry
    }

    /// Uses the entries of this address space from now on.
    pub fn set_asid(&mut self, asid: u8) {
        self.asid = asid.into();
    }

    /// Drops the page of an address, of all address spaces.
    pub fn drop_page(&mut self, va: u32) {
        let entry = &mut self.entries[Self::index(va / PAGE)];
        if entry.page == va / PAGE {
            *entry = EMPTY;
        }
    }

    /// Drops an address space.
    pub fn drop_asid(&mut self, asid: u8) {
        for entry in self
            .entries
            .iter_mut()
            .filter(|e| e.asid == u16::from(asid))
        {
            *entry = EMPTY;
        }
    }

    /// Drops all pages.
    pub fn drop_all(&mut self) {
        self.entries.fill(EMPTY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux's values (arch/arm/mm/proc-v7-2level.S).
    const PRRR: u32 = 0xff0a_81a8;
    const NMRR: u32 = 0x40e0_40e0;
    const TABLE: u32 = 0x4000;
    const SECOND: u32 = 0x8000;

    /// Sparse memory of words.
    struct Words(Vec<(u32, u32)>);

    impl Words {
        fn read(&self) -> impl FnMut(u32) -> Option<u32> + '_ {
            |pa| {
                Some(
                    self.0
                        .iter()
                        .find(|(at, _)| *at == pa)
                        .map_or(0, |(_, word)| *word),
                )
            }
        }
    }

    fn v5() -> Control {
        Control {
            sctlr: SCTLR_M | SCTLR_C,
            ttbr0: TABLE,
            ..Control::default()
        }
    }

    fn v7() -> Control {
        let sctlr = SCTLR_M | SCTLR_C | SCTLR_TRE;
        Control {
            sctlr,
            ttbr0: TABLE | 0x6a,
            prrr: PRRR,
            nmrr: NMRR,
            ..Control::default()
        }
    }

    fn translation(
        va: u32,
        pa: u32,
        len: u32,
        memory: MemoryType,
        global: bool,
    ) -> Option<Translation> {
        Some(Translation {
            va,
            pa,
            len,
            memory,
            global,
        })
    }

    #[test]
    fn flat_without_mmu() {
        let control = Control::default();
        for architecture in [Architecture::V5, Architecture::V7] {
            let found = walk(architecture, &control, 0x1234_5678, |_| panic!("no walk"));
            let memory = MemoryType::StronglyOrdered;
            assert_eq!(
                found,
                translation(0x1234_5000, 0x1234_5000, PAGE, memory, true)
            );
            assert_eq!(found.unwrap().physical(0x1234_5678), 0x1234_5678);
        }
    }

    #[test]
    fn v5_pages() {
        // Section, C=1 B=1; coarse table with a large and a small page; fine
        // table with a tiny one; an invalid descriptor.
        let words = Words(vec![
            (TABLE + 0xc00 * 4, 0x0010_0c1e),
            (TABLE + 4, SECOND | 0x11),
            (SECOND + 0x10 * 4, 0x0023_0ff1 | 8),
            (SECOND + 0x20 * 4, 0x0034_5ff2 | 4),
            (SECOND + 0x21 * 4, 0x0034_6ff3),
            (TABLE + 2 * 4, 0x9000 | 0x13),
            (0x9000 + 3 * 4, 0x0077_4c03 | 0xc),
        ]);
        let at = |va| walk(Architecture::V5, &v5(), va, words.read());
        assert_eq!(
            at(0xc004_5678),
            translation(0xc000_0000, 0x10_0000, 1 << 20, MemoryType::WriteBack, true)
        );
        assert_eq!(
            at(0x0011_0004),
            translation(
                0x11_0000,
                0x23_0000,
                1 << 16,
                MemoryType::WriteThrough,
                true
            )
        );
        assert_eq!(
            at(0x0012_0004),
            translation(
                0x12_0000,
                0x34_5000,
                1 << 12,
                MemoryType::WriteCombine,
                true
            )
        );
        // An extended small page is ARMv6's.
        assert_eq!(at(0x0012_1000), None);
        assert_eq!(
            at(0x0020_0c10),
            translation(0x20_0c00, 0x77_4c00, 1 << 10, MemoryType::WriteBack, true)
        );
        assert_eq!(at(0x0030_0000), None);
    }

    #[test]
    fn v7_pages() {
        let words = Words(vec![
            // nG=1 section, TEX=1 C=1 B=1.
            (TABLE + 0x600 * 4, 0x6002_1c0e),
            // Supersection, TEX=0 C=1 B=0; sixteen times.
            (TABLE + 0x715 * 4, 0x4204_000a),
            // Supersection beyond 32 bits.
            (TABLE + 0x800 * 4, 0x4214_000a),
            (TABLE + 4, SECOND | 0x1),
            // Large page, TEX=0 C=0 B=1; small page, TEX=0 C=0 B=0, nG.
            (SECOND + 0x10 * 4, 0x0123_0005),
            (SECOND + 0x20 * 4, 0x0345_6803),
        ]);
        let at = |va| walk(Architecture::V7, &v7(), va, words.read());
        assert_eq!(
            at(0x6004_5678),
            translation(
                0x6000_0000,
                0x6000_0000,
                1 << 20,
                MemoryType::WriteBack,
                false
            )
        );
        assert_eq!(
            at(0x7154_0000),
            translation(
                0x7100_0000,
                0x4200_0000,
                1 << 24,
                MemoryType::WriteThrough,
                true
            )
        );
        assert_eq!(at(0x8000_0000), None);
        assert_eq!(
            at(0x0011_0004),
            translation(
                0x11_0000,
                0x123_0000,
                1 << 16,
                MemoryType::WriteCombine,
                true
            )
        );
        assert_eq!(
            at(0x0012_0ffc),
            translation(
                0x12_0000,
                0x345_6000,
                1 << 12,
                MemoryType::StronglyOrdered,
                false
            )
        );
        assert_eq!(at(0x0013_0000), None);
    }

    #[test]
    fn v7_split_tables() {
        let words = Words(vec![
            (0x1000 + 4, 0x0010_0002),
            (TABLE + 0xc00 * 4, 0x0020_0002),
        ]);
        // N=2: TTBR0 maps the first gigabyte with a table of 4 KiB.
        let control = Control {
            ttbr0: 0x1000,
            ttbr1: TABLE,
            ttbcr: 2,
            ..v7()
        };
        let at =
            |control: &Control, va| walk(Architecture::V7, control, va, words.read()).map(|t| t.pa);
        assert_eq!(at(&control, 0x0010_0000), Some(0x10_0000));
        assert_eq!(at(&control, 0xc000_0000), Some(0x20_0000));
        // PD0 and PD1 stop the walks.
        assert_eq!(
            at(
                &Control {
                    ttbcr: 2 | (1 << 4),
                    ..control
                },
                0x0010_0000
            ),
            None
        );
        assert_eq!(
            at(
                &Control {
                    ttbcr: 2 | (1 << 5),
                    ..control
                },
                0xc000_0000
            ),
            None
        );
    }

    #[test]
    fn remapped_types() {
        let types = |prrr: u32, nmrr: u32| -> Vec<_> {
            let control = Control { prrr, nmrr, ..v7() };
            (0..8u32)
                .map(|n| Fields {
                    tex: n >> 2,
                    c: n & 2 != 0,
                    b: n & 1 != 0,
                })
                .map(|fields| memory_v7(&control, &fields))
                .collect()
        };
        use MemoryType::*;
        let linux = types(PRRR, NMRR);
        assert_eq!(
            linux[..4],
            [StronglyOrdered, WriteCombine, WriteThrough, WriteBack]
        );
        assert_eq!(linux[4], Device);
        assert_eq!(linux[7], WriteBack);
        // All the same.
        assert_eq!(types(0x5555, 0), [Device; 8]);
        assert_eq!(types(0xaaaa, 0), [WriteCombine; 8]);
        // Inner not cached, outer write-back.
        assert_eq!(types(0xaaaa, 0xffff_0000), [WriteBack; 8]);
    }

    #[test]
    fn types_without_remap() {
        let control = Control {
            sctlr: SCTLR_M | SCTLR_C,
            ..v7()
        };
        let of = |tex, cb: u32| {
            memory_v7(
                &control,
                &Fields {
                    tex,
                    c: cb & 2 != 0,
                    b: cb & 1 != 0,
                },
            )
        };
        use MemoryType::*;
        assert_eq!(
            [of(0, 0), of(0, 1), of(0, 2), of(0, 3)],
            [StronglyOrdered, Device, WriteThrough, WriteBack]
        );
        assert_eq!(
            [of(1, 0), of(1, 3), of(2, 0)],
            [WriteCombine, WriteBack, Device]
        );
        assert_eq!(
            [of(4, 0), of(5, 1), of(6, 2), of(7, 3)],
            [WriteCombine, WriteBack, WriteThrough, WriteBack]
        );
    }

    #[test]
    fn nothing_is_cached_with_the_cache_off() {
        let words = Words(vec![(TABLE, 0x0000_000e)]);
        let control = Control {
            sctlr: SCTLR_M,
            ttbr0: TABLE,
            ..Control::default()
        };
        let found = walk(Architecture::V5, &control, 0, words.read()).unwrap();
        assert_eq!(found.memory, MemoryType::WriteCombine);
    }

    #[test]
    fn linear_map() {
        let words = Words(vec![
            (TABLE + 0xc00 * 4, 0x6001_1c0e),
            (TABLE + 0xc01 * 4, 0x6011_1c0e),
            // Not global; not cached; a table.
            (TABLE + 0xc02 * 4, 0x6023_1c0e),
            (TABLE + 0xc03 * 4, 0x6030_0002),
            (TABLE + 0xc04 * 4, SECOND | 1),
        ]);
        let found = cached_sections(&v7(), words.read());
        let pas: Vec<_> = found.iter().map(|s| (s.va, s.pa, s.len)).collect();
        assert_eq!(
            pas,
            [
                (0xc000_0000, 0x6000_0000, 1 << 20),
                (0xc010_0000, 0x6010_0000, 1 << 20),
            ]
        );
        assert_eq!(cached_sections(&Control::default(), words.read()), []);
    }

    #[test]
    fn pages_that_are_not_cached() {
        let words = Words(vec![
            (TABLE + 0xc00 * 4, 0x6001_1c0e),
            (TABLE + 0xf08 * 4, SECOND | 1),
            // TEX=0 C=1 B=1; C=0 B=1; C=0 B=0.
            (SECOND + 0x10 * 4, 0x6030_000e),
            (SECOND + 0x11 * 4, 0x6030_1006),
            (SECOND + 0x12 * 4, 0x6030_2002),
        ]);
        let control = Control {
            ttbr0: 0,
            ttbr1: TABLE | 0x6a,
            ..v7()
        };
        let found = uncached_pages(&control, words.read());
        let ranges: Vec<_> = found.iter().map(Translation::range).collect();
        assert_eq!(
            ranges,
            [0x6030_1000, 0x6030_2000].map(|pa| PhysicalRange { pa, len: PAGE })
        );
    }

    #[test]
    fn tlb_knows_address_spaces() {
        let mut tlb = Tlb::new();
        let mut page = Translation {
            va: 0x1000,
            pa: 0x8000_1000,
            len: PAGE,
            memory: MemoryType::WriteBack,
            global: false,
        };
        tlb.set_asid(1);
        tlb.insert(0x1234, &page, Backing::Memory);
        assert_eq!(tlb.find(0x1ffc).map(|e| e.pa), Some(0x8000_1000));
        tlb.set_asid(2);
        assert!(tlb.find(0x1ffc).is_none());
        tlb.set_asid(1);
        tlb.drop_asid(2);
        assert!(tlb.find(0x1ffc).is_some());
        tlb.drop_asid(1);
        assert!(tlb.find(0x1ffc).is_none());

        page.global = true;
        tlb.insert(0x1234, &page, Backing::Memory);
        tlb.set_asid(3);
        assert!(tlb.find(0x1000).is_some());
        // Another page in the same place.
        tlb.drop_page(0x1000 + ENTRIES as u32 * PAGE);
        assert!(tlb.find(0x1000).is_some());
        tlb.drop_page(0x1fff);
        assert!(tlb.find(0x1000).is_none());

        tlb.insert(0x1234, &page, Backing::Memory);
        tlb.drop_all();
        assert!(tlb.find(0x1000).is_none());

        page.len = 1024;
        tlb.insert(0x1234, &page, Backing::Memory);
        assert!(
            tlb.find(0x1234).is_none(),
            "tiny pages are walked each time"
        );
    }

    #[test]
    fn tlb_takes_a_page_of_a_section() {
        let mut tlb = Tlb::new();
        let section = Translation {
            va: 0xc000_0000,
            pa: 0x6000_0000,
            len: 1 << 20,
            memory: MemoryType::WriteBack,
            global: true,
        };
        assert_eq!(
            tlb.insert(0xc004_5678, &section, Backing::Unknown).pa,
            0x6004_5000
        );
        assert!(tlb.find(0xc004_4ffc).is_none());
    }
}
