// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device of the machine, as sysfs has it.

use std::{fs, path::Path};

use anyhow::{bail, ensure, Result};

use super::tree::{self, Node};

/// The buses whose devices the driver finds by their names.
const BUSES: [&str; 3] = ["platform", "pci", "amba"];

/// What sysfs tells of a device.
#[derive(Debug)]
pub struct Device {
    /// As it was asked for, alone or with its bus: so the driver takes it too.
    pub asked: String,
    pub name: String,
    pub bus: &'static str,
    pub driver: Option<String>,
    /// The device-tree node that tells of its DMA: for PCI that of the host bridge.
    pub node: Option<Node>,
    /// The number and the type of its group, if there is an IOMMU in front of it.
    pub iommu: Option<(String, String)>,
    /// The DMA mask, which sysfs has for PCI devices alone.
    pub mask_bits: Option<u32>,
}

impl Device {
    /// Finds a device by its name, alone or with its bus, below the folder that sysfs is mounted at.
    pub fn find(sysfs: &Path, asked: &str) -> Result<Self> {
        let buses = sysfs.join("bus");
        ensure!(
            buses.is_dir(),
            "there is no {}: as root, mount -t sysfs sysfs {}",
            buses.display(),
            sysfs.display()
        );
        let with_bus = asked.split_once('/');
        let with_bus = with_bus.filter(|(bus, _)| BUSES.contains(bus));
        let name = with_bus.map_or(asked, |(_, name)| name);
        let may_be = |bus: &str| with_bus.is_none_or(|(asked, _)| asked == bus);
        let is_name = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
        let folder = |bus: &str| buses.join(bus).join("devices").join(name);
        let found: Vec<_> = BUSES
            .into_iter()
            .filter(|bus| is_name && may_be(bus) && folder(bus).exists())
            .collect();
        match found[..] {
            [bus] => {
                let folder = fs::canonicalize(folder(bus))?;
                Ok(Self::read(sysfs, bus, name, asked, &folder))
            }
            [] if is_name && with_bus.is_some() => {
                bail!("{asked}: this bus has no such device: see /sys/bus/*/devices")
            }
            [] if is_name => bail!("{}", unknown(&buses, name)),
            [] => bail!("{asked}: give the name of a device as it is in /sys/bus/*/devices"),
            [first, ..] => bail!(
                "{name}: the buses {} have a device of this name each: say which, as {first}/{name}",
                found.join(" and ")
            ),
        }
    }

    fn read(sysfs: &Path, bus: &'static str, name: &str, asked: &str, folder: &Path) -> Self {
        let text = |file: &str| {
            let text = fs::read_to_string(folder.join(file)).ok()?;
            Some(text.trim().to_string())
        };
        let described = match bus {
            "pci" => host_bridge(folder),
            _ => Some(folder),
        };
        let node = described.and_then(|folder| {
            let node = fs::canonicalize(folder.join("of_node")).ok()?;
            Node::new(tree::root(sysfs)?, node)
        });
        Self {
            asked: asked.into(),
            name: name.into(),
            bus,
            driver: target(&folder.join("driver")),
            node,
            iommu: target(&folder.join("iommu_group"))
                .map(|number| (number, text("iommu_group/type").unwrap_or_default())),
            mask_bits: text("dma_mask_bits").and_then(|bits| bits.parse().ok()),
        }
    }
}

/// The device that a PCI root bus belongs to.
fn host_bridge(folder: &Path) -> Option<&Path> {
    let is_root = |folder: &&Path| {
        let name = folder.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("pci") && name.contains(':'))
    };
    folder.ancestors().find(is_root)?.parent()
}

/// The last part of what a link leads to.
fn target(link: &Path) -> Option<String> {
    let target = fs::read_link(link).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

/// Why no bus has the name; a device of another bus has one above it that does its DMA.
fn unknown(buses: &Path, name: &str) -> String {
    let other = fs::read_dir(buses).into_iter().flatten().find_map(|bus| {
        let bus = bus.ok()?;
        let folder = bus.path().join("devices").join(name);
        let folder = fs::canonicalize(folder).ok()?;
        Some((bus.file_name().to_string_lossy().into_owned(), folder))
    });
    let Some((bus, folder)) = other else {
        return format!(
            "{name}: no device of the buses platform, pci and amba has this name: see /sys/bus/*/devices"
        );
    };
    let is_ours = |folder: &&Path| {
        let bus = target(&folder.join("subsystem"));
        bus.is_some_and(|bus| BUSES.contains(&bus.as_str()))
    };
    let above = folder.ancestors().skip(1).find(is_ours);
    match above.and_then(Path::file_name) {
        Some(above) => format!(
            "{name}: it is on the bus {bus}: what does DMA for it is above it: ask for {}",
            above.to_string_lossy()
        ),
        None => {
            format!("{name}: it is on the bus {bus}, and the driver takes platform, pci and amba")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::advise::tests::Sysfs;

    fn refused(sysfs: &Sysfs, name: &str) -> String {
        sysfs.find(name).unwrap_err().to_string()
    }

    #[test]
    fn a_platform_device_has_a_node_of_its_own() {
        let sysfs = Sysfs::new();
        let folder = sysfs.device("platform", "40000000.fpga", "platform/soc/40000000.fpga");
        let device = sysfs.find("40000000.fpga").unwrap();
        assert_eq!((device.bus, device.driver), ("platform", None));
        assert!(device.node.is_none() && device.iommu.is_none() && device.mask_bits.is_none());

        sysfs.property("soc/fpga@40000000/reg", &[]);
        sysfs.link(
            &folder.join("of_node"),
            "firmware/devicetree/base/soc/fpga@40000000",
        );
        sysfs.folder("bus/platform/drivers/fpga");
        sysfs.link(&folder.join("driver"), "bus/platform/drivers/fpga");
        let device = sysfs.find("40000000.fpga").unwrap();
        assert_eq!(device.driver.as_deref(), Some("fpga"));
        assert_eq!(device.node.unwrap().to_string(), "/soc/fpga@40000000");
    }

    #[test]
    fn a_pci_device_is_described_by_its_host_bridge() {
        let sysfs = Sysfs::new();
        let folder = "platform/4010000000.pcie/pci0000:00/0000:00:01.0/0000:01:00.0";
        let folder = sysfs.device("pci", "0000:01:00.0", folder);
        sysfs.property("pcie@10000000/reg", &[]);
        let bridge = sysfs.folder("devices/platform/4010000000.pcie");
        sysfs.link(
            &bridge.join("of_node"),
            "firmware/devicetree/base/pcie@10000000",
        );
        sysfs.text(&folder.join("dma_mask_bits"), "28\n");
        let group = sysfs.folder("kernel/iommu_groups/3");
        sysfs.text(&group.join("type"), "DMA-FQ\n");
        sysfs.link(&folder.join("iommu_group"), "kernel/iommu_groups/3");
        let device = sysfs.find("0000:01:00.0").unwrap();
        assert_eq!(device.node.unwrap().to_string(), "/pcie@10000000");
        assert_eq!(device.mask_bits, Some(28));
        assert_eq!(device.iommu, Some(("3".into(), "DMA-FQ".into())));
    }

    #[test]
    fn what_is_no_device_is_refused_in_a_sentence() {
        let sysfs = Sysfs::new();
        sysfs.device("amba", "10020000.clcd", "platform/10020000.clcd");
        assert!(refused(&sysfs, "nobody").contains("no device of the buses"));
        for name in ["", "../amba", "a/b", "..", "amba/", "amba/..", "amba/a/b"] {
            assert!(refused(&sysfs, name).contains("give the name"), "{name}");
        }
        sysfs.device("platform", "10020000.clcd", "platform/other/10020000.clcd");
        let text = refused(&sysfs, "10020000.clcd");
        assert!(text.contains("platform and amba have a device"), "{text}");
        assert!(text.ends_with("as platform/10020000.clcd"), "{text}");
        for bus in ["platform", "amba"] {
            let asked = format!("{bus}/10020000.clcd");
            let device = sysfs.find(&asked).unwrap();
            assert_eq!((device.bus, device.asked), (bus, asked));
            assert_eq!(device.name, "10020000.clcd");
        }
        assert!(refused(&sysfs, "pci/10020000.clcd").contains("no such device"));

        let nowhere = Device::find(Path::new("/nonexistent"), "it").unwrap_err();
        assert!(nowhere.to_string().contains("mount -t sysfs"), "{nowhere}");
    }

    #[test]
    fn a_device_of_another_bus_has_one_above_it() {
        let sysfs = Sysfs::new();
        let host = sysfs.device("pci", "0000:00:02.0", "pci0000:00/0000:00:02.0");
        sysfs.folder("bus/pci");
        sysfs.link(&host.join("subsystem"), "bus/pci");
        sysfs.device("usb", "1-1", "pci0000:00/0000:00:02.0/usb1/1-1");
        sysfs.device("i2c", "0-0050", "other/i2c-0/0-0050");
        assert!(refused(&sysfs, "1-1").ends_with("ask for 0000:00:02.0"));
        assert!(refused(&sysfs, "0-0050").contains("takes platform, pci and amba"));
    }
}
