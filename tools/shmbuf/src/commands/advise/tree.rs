// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the device tree says of a device's DMA, read as the kernel does: of_dma_is_coherent() and
//! of_dma_get_range() of drivers/of/address.c.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// A node: a folder with a file for each property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    root: PathBuf,
    folder: PathBuf,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.folder.strip_prefix(&self.root).unwrap_or(&self.folder);
        write!(f, "/{}", path.display())
    }
}

/// A node whose interconnects name another parent for DMA (`dma-mem`), which is not looked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Elsewhere(pub Node);

/// Physical memory that devices of a bus reach, and its address there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub dma: u64,
    pub physical: u64,
    pub size: u64,
}

impl Node {
    /// The node that is a folder below the root of the device tree; both without links.
    pub fn new(root: PathBuf, folder: PathBuf) -> Option<Self> {
        folder.starts_with(&root).then_some(Self { root, folder })
    }

    fn property(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.folder.join(name)).ok()
    }

    /// Whether the node itself has a property.
    pub fn has(&self, name: &str) -> bool {
        self.folder.join(name).is_file()
    }

    /// The node that this one is in.
    pub fn parent(&self) -> Option<Self> {
        let folder = self.folder.parent()?;
        Self::new(self.root.clone(), folder.into())
    }

    /// The next one up as DMA goes.
    pub fn dma_parent(&self) -> Result<Option<Self>, Elsewhere> {
        let names = self.property("interconnect-names").unwrap_or_default();
        if names
            .split(|byte| *byte == 0)
            .any(|name| name == b"dma-mem")
        {
            return Err(Elsewhere(self.clone()));
        }
        Ok(self.parent())
    }

    /// Whether what the node stands for snoops the CPU's caches, and the node that says so. Nothing
    /// if none does.
    pub fn snoops(&self) -> Result<Option<(bool, Self)>, Elsewhere> {
        let mut node = self.clone();
        loop {
            for (name, snoops) in [("dma-coherent", true), ("dma-noncoherent", false)] {
                if node.has(name) {
                    return Ok(Some((snoops, node)));
                }
            }
            match node.dma_parent()? {
                Some(parent) => node = parent,
                None => return Ok(None),
            }
        }
    }

    /// What devices on the bus that the node is reach, and the node that says so. Nothing if memory
    /// has its physical addresses there.
    pub fn ranges(&self) -> Result<Option<(Vec<Range>, Self)>, Elsewhere> {
        let mut node = self.clone();
        let mut is_first = true;
        let ranges = loop {
            match node.property("dma-ranges") {
                // Without ranges in it, it only says that there is no offset.
                Some(ranges) if !ranges.is_empty() => break ranges,
                // Only the first may lack it.
                None if !is_first => return Ok(None),
                _ => {}
            }
            is_first = false;
            match node.dma_parent()? {
                Some(parent) => node = parent,
                None => return Ok(None),
            }
        };
        let mut found: Vec<Range> = Vec::new();
        for (dma, above, size) in node.entries(&ranges) {
            let Some(physical) = node.physical(above)? else {
                continue;
            };
            match found.last_mut() {
                Some(last)
                    if dma == last.dma.wrapping_add(last.size)
                        && physical == last.physical.wrapping_add(last.size) =>
                {
                    last.size += size;
                }
                _ => found.push(Range {
                    dma,
                    physical,
                    size,
                }),
            }
        }
        Ok((!found.is_empty()).then_some((found, node)))
    }

    /// The physical address of what has an address on the bus that the node is on.
    fn physical(&self, mut address: u64) -> Result<Option<u64>, Elsewhere> {
        let Some(mut bus) = self.dma_parent()? else {
            return Ok(None);
        };
        while let Some(parent) = bus.dma_parent()? {
            // Without any, or with none in it, addresses stay as they are.
            if let Some(ranges) = bus.property("dma-ranges").filter(|it| !it.is_empty()) {
                let above = bus.entries(&ranges).into_iter().find_map(|it| {
                    let (here, above, size) = it;
                    let offset = address.checked_sub(here).filter(|offset| *offset < size)?;
                    Some(above.wrapping_add(offset))
                });
                match above {
                    Some(above) => address = above,
                    None => return Ok(None),
                }
            }
            bus = parent;
        }
        Ok(Some(address))
    }

    /// The entries of the node's `dma-ranges`: an address on its bus, that on the bus above, and the
    /// size.
    fn entries(&self, ranges: &[u8]) -> Vec<(u64, u64, u64)> {
        let (here, size) = (self.count("#address-cells"), self.count("#size-cells"));
        let above = self
            .parent()
            .map_or(0, |parent| parent.count("#address-cells"));
        let cells: Vec<u32> = ranges
            .chunks_exact(4)
            .map(|cell| u32::from_be_bytes([cell[0], cell[1], cell[2], cell[3]]))
            .collect();
        cells
            .chunks_exact((here + above + size).max(1))
            .map(|entry| {
                let (address, rest) = entry.split_at(here);
                let (above, size) = rest.split_at(above);
                (number(address), number(above), number(size))
            })
            .collect()
    }

    /// A number of cells, which is that of a node above where the node has none.
    fn count(&self, name: &str) -> usize {
        match self.property(name) {
            // No more are allowed.
            Some(bytes) => bytes
                .try_into()
                .map_or(0, |cell| u32::from_be_bytes(cell).min(4) as usize),
            None => self.parent().map_or(1, |parent| parent.count(name)),
        }
    }
}

/// What cells are, the first of which does not count in three: PCI has flags there.
fn number(cells: &[u32]) -> u64 {
    let append = |number: u64, cell: &u32| (number << 32) | u64::from(*cell);
    cells.iter().fold(0, append)
}

/// Where the device tree is, below the folder that sysfs is mounted at.
pub fn root(sysfs: &Path) -> Option<PathBuf> {
    fs::canonicalize(sysfs.join("firmware/devicetree/base")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::advise::tests::Sysfs;

    const GIB: u64 = 1 << 30;

    fn range(dma: u64, physical: u64, size: u64) -> Range {
        Range {
            dma,
            physical,
            size,
        }
    }

    fn ranges(node: &Node) -> Option<(Vec<Range>, String)> {
        let found = node.ranges().unwrap();
        found.map(|(ranges, node)| (ranges, node.to_string()))
    }

    #[test]
    fn snooping_is_said_by_the_nearest() {
        let sysfs = Sysfs::new();
        let says = |path: &str| {
            let said = sysfs.node(path).snoops().unwrap();
            said.map(|(snoops, node)| (snoops, node.to_string()))
        };
        sysfs.property("soc/fpga@0/dma-coherent", &[]);
        sysfs.property("soc/uart@1/reg", &[]);
        assert_eq!(says("soc/fpga@0"), Some((true, "/soc/fpga@0".into())));
        assert_eq!(says("soc/uart@1"), None);
        sysfs.property("dma-coherent", &[]);
        assert_eq!(says("soc/uart@1"), Some((true, "/".into())));
        sysfs.property("soc/dma-noncoherent", &[]);
        assert_eq!(says("soc/uart@1"), Some((false, "/soc".into())));
        assert_eq!(says("soc/fpga@0"), Some((true, "/soc/fpga@0".into())));
    }

    #[test]
    fn one_range_is_an_offset() {
        // As of a Raspberry Pi 2.
        let sysfs = Sysfs::new();
        sysfs.property("soc/#address-cells", &[1]);
        sysfs.property("soc/#size-cells", &[1]);
        sysfs.property("soc/dma-ranges", &[0xc000_0000, 0, 0x3f00_0000]);
        let expected = vec![range(0xc000_0000, 0, 0x3f00_0000)];
        assert_eq!(ranges(&sysfs.node("soc")), Some((expected, "/soc".into())));
    }

    #[test]
    fn ranges_of_pci_have_flags_and_64_bits_and_are_joined() {
        let sysfs = Sysfs::new();
        sysfs.property("#address-cells", &[2]);
        sysfs.property("#size-cells", &[2]);
        sysfs.property("pcie@4/#address-cells", &[3]);
        sysfs.property("pcie@4/#size-cells", &[2]);
        let flags = 0x4200_0000;
        let whole: [u32; 14] = [
            flags, 4, 0, 0, 0, 1, 0, // 1 << 34 is 0, for 4 GiB
            flags, 5, 0, 1, 0, 1, 0, // and goes on
        ];
        sysfs.property("pcie@4/dma-ranges", &whole);
        let (found, _) = ranges(&sysfs.node("pcie@4")).unwrap();
        assert_eq!(found, [range(16 * GIB, 0, 8 * GIB)]);
    }

    #[test]
    fn ranges_go_through_the_buses_above() {
        let sysfs = Sysfs::new();
        for bus in ["", "outer/", "outer/inner/"] {
            sysfs.property(&format!("{bus}#address-cells"), &[1]);
            sysfs.property(&format!("{bus}#size-cells"), &[1]);
        }
        let inner = [0, 0x1000_0000, 0x1000_0000, 0x8000_0000, 0x4000_0000, 0x10];
        sysfs.property("outer/inner/dma-ranges", &inner);
        sysfs.property("outer/dma-ranges", &[0x1000_0000, 0x6000_0000, 0x1000_0000]);
        // The second is nowhere.
        let expected = vec![range(0, 0x6000_0000, 0x1000_0000)];
        let of_inner = Some((expected, "/outer/inner".into()));
        assert_eq!(ranges(&sysfs.node("outer/inner")), of_inner);
        // Through one that has no offset.
        sysfs.property("outer/dma-ranges", &[]);
        let (found, _) = ranges(&sysfs.node("outer/inner")).unwrap();
        assert_eq!(found[0], range(0, 0x1000_0000, 0x1000_0000));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn only_the_nearest_bus_may_lack_ranges() {
        let sysfs = Sysfs::new();
        let some = [0x8000_0000, 0, 0x4000_0000];
        sysfs.property("a/#address-cells", &[1]);
        sysfs.property("a/#size-cells", &[1]);
        sysfs.property("a/dma-ranges", &some);
        sysfs.property("a/b/c/reg", &[]);
        assert!(ranges(&sysfs.node("a/b")).is_some());
        assert_eq!(ranges(&sysfs.node("a/b/c")), None);
        sysfs.property("a/b/dma-ranges", &[]);
        assert!(ranges(&sysfs.node("a/b/c")).is_some());
        // The root's are of no bus.
        sysfs.property("dma-ranges", &some);
        assert_eq!(ranges(&sysfs.node("")), None);
    }

    #[test]
    fn interconnects_lead_elsewhere() {
        let sysfs = Sysfs::new();
        sysfs.bytes("soc/gpu/interconnect-names", b"other\0dma-mem\0");
        let gpu = sysfs.node("soc/gpu");
        assert_eq!(gpu.snoops(), Err(Elsewhere(gpu.clone())));
        assert_eq!(gpu.ranges(), Err(Elsewhere(gpu.clone())));
    }
}
