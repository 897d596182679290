// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf advise`: says which memory is for a device of the machine.

mod advice;
mod device;
mod tree;
mod trial;

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use nix::sys::utsname::uname;
use serde_json::{json, Value};

use self::{
    advice::{Advice, Answer, Machine, Use},
    device::Device,
    tree::Range,
    trial::{Attempt, Trial},
};

/// Say which memory is for a device of the machine
///
/// What the device needs is read from sysfs and the device tree. Where root
/// asks, and configfs is mounted, a dry run makes a named buffer of a page for
/// it, kind by kind, looks at that and removes it. The lines that are printed
/// make a buffer NAME.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// A device as in /sys/bus/platform/devices, /sys/bus/pci/devices or
    /// /sys/bus/amba/devices, alone or with its bus: amba/NAME
    #[arg(value_name = "DEVICE")]
    device: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

const SYSFS: &str = "/sys";
const CONFIGFS: &str = "/sys/kernel/config/shmbuf";

impl Options {
    pub fn run(self) -> Result<ExitCode> {
        let device = Device::find(Path::new(SYSFS), &self.device)?;
        let name = uname().context("uname")?;
        let machine = Machine::of(&name.machine().to_string_lossy());
        let trial = match device.name.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Trial::run(Path::new(CONFIGFS), &device.asked)?,
            false => Trial::Skipped("the attribute device takes no name like this".into()),
        };
        let advice = Advice::of(&device, machine, &trial);
        if self.json {
            println!("{:#}", as_json(&device, &trial, &advice));
        } else {
            print!("{}", as_text(&device, &trial, &advice));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Columns of the text before what is said.
const LABEL: usize = 14;

/// A label, and what is said of it in lines of 80 columns.
fn paragraph(label: &str, text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is one");
        match last.is_empty() {
            true => last.push_str(word),
            false if LABEL + last.len() + 1 + word.len() <= crate::WIDTH => {
                last.push(' ');
                last.push_str(word);
            }
            false => lines.push(word.into()),
        }
    }
    block(label, &lines)
}

/// A label, and lines as they are.
fn block(label: &str, lines: &[String]) -> String {
    let labels = [label].into_iter().chain(std::iter::repeat(""));
    let lines = labels.zip(lines);
    let lines = lines.map(|(label, line)| format!("{label:<LABEL$}{line}\n"));
    lines.collect::<Vec<_>>().concat()
}

/// "yes", "no", or that it cannot be known; and why.
fn answer<T>(answer: &Answer<T>, show: impl FnOnce(&T) -> String) -> String {
    match &answer.value {
        Some(value) => format!("{}: {}", show(value), answer.why),
        None => format!("cannot be known from here: {}", answer.why),
    }
}

fn yes_or_no(value: &bool) -> String {
    if *value { "yes" } else { "no" }.into()
}

fn as_text(device: &Device, trial: &Trial, advice: &Advice) -> String {
    let driver = match &device.driver {
        Some(driver) => format!("with the driver {driver}"),
        None => "without a driver".into(),
    };
    let mut text = paragraph(
        "device:",
        &format!("{}, on the bus {}, {driver}", device.name, device.bus),
    );
    let mut say = |label: &str, said: &str| text.push_str(&paragraph(label, said));
    say("snoops:", &answer(&advice.snoops, yes_or_no));
    say(
        "bus offset:",
        &answer(&advice.ranges, |ranges| offset(ranges)),
    );
    say("IOMMU:", &answer(&advice.iommu, yes_or_no));
    say(
        "DMA mask:",
        &answer(&advice.mask_bits, |bits| format!("{bits} bits")),
    );
    match trial {
        Trial::Skipped(why) => say("dry run:", &format!("none: {why}")),
        Trial::Done(attempts) => {
            for (at, attempt) in attempts.iter().enumerate() {
                say(if at == 0 { "dry run:" } else { "" }, &outcome(attempt));
            }
        }
    }
    match &advice.uses {
        Ok(uses) => {
            for (at, it) in uses.iter().enumerate() {
                let policy = it.policy.map_or("default", |policy| policy.name());
                let said = format!("kind {}, policy {policy}: {}", it.kind, it.why);
                say(if at == 0 { "fits:" } else { "or:" }, &said);
            }
        }
        Err(why) => say("fits:", &format!("nothing: {why}")),
    }
    text.push_str(&block("configfs:", &advice.configfs));
    match &advice.device_tree {
        Ok(lines) => text.push_str(&block("device tree:", lines)),
        Err(why) => text.push_str(&paragraph("device tree:", &format!("none: {why}"))),
    }
    text
}

/// How addresses of a bus differ from physical ones.
fn offset(ranges: &[Range]) -> String {
    if ranges.is_empty() {
        return "none".into();
    }
    let shown = ranges.iter().map(|range| {
        let Range { dma, physical, .. } = range;
        let last = range.physical.wrapping_add(range.size).wrapping_sub(1);
        match dma == physical {
            true => format!("none, but it reaches {physical:#x} to {last:#x} alone"),
            false => format!("physical {physical:#x} to {last:#x} begins at {dma:#x} there"),
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn outcome(attempt: &Attempt) -> String {
    match &attempt.outcome {
        Ok(made) => {
            let addresses = made.addresses.map(|(physical, dma)| {
                let is = if physical == dma { "also " } else { "" };
                format!("; {physical:#x} is {is}{dma:#x} for it")
            });
            format!(
                "{}: {}, \"{}\"{}",
                attempt.kind,
                made.policy,
                made.memory_type,
                addresses.unwrap_or_default()
            )
        }
        Err(why) => format!("{}: refused: {why}", attempt.kind),
    }
}

fn as_json(device: &Device, trial: &Trial, advice: &Advice) -> Value {
    let ranges = advice.ranges.value.as_ref().map(|ranges| {
        let range = |it: &Range| json!({ "dma": it.dma, "physical": it.physical, "size": it.size });
        ranges.iter().map(range).collect::<Value>()
    });
    let attempt = |it: &Attempt| {
        let made = it.outcome.as_ref().ok();
        let addresses = made.and_then(|made| made.addresses);
        json!({
            "kind": it.kind.name(),
            "policy": made.map(|made| made.policy.name()),
            "memory_type": made.map(|made| &made.memory_type),
            "snoops": made.map(|made| made.snoops),
            "phys_addr": addresses.map(|(physical, _)| physical),
            "dma_addr": addresses.map(|(_, dma)| dma),
            "refused": it.outcome.as_ref().err(),
        })
    };
    let fits = |it: &Use| {
        let policy = it.policy.map(|policy| policy.name());
        json!({ "kind": it.kind.name(), "policy": policy, "why": it.why })
    };
    json!({
        "device": device.name,
        "bus": device.bus,
        "driver": device.driver,
        "node": device.node.as_ref().map(ToString::to_string),
        "snoops": { "value": advice.snoops.value, "why": advice.snoops.why },
        "dma_ranges": { "value": ranges, "why": advice.ranges.why },
        "iommu": { "value": advice.iommu.value, "why": advice.iommu.why },
        "dma_mask_bits": { "value": advice.mask_bits.value, "why": advice.mask_bits.why },
        "dry_run": trial.attempts().iter().map(attempt).collect::<Value>(),
        "no_dry_run": match trial {
            Trial::Skipped(why) => Some(why),
            Trial::Done(_) => None,
        },
        "fits": advice.uses.iter().flatten().map(fits).collect::<Value>(),
        "fits_not": advice.uses.as_ref().err(),
        "configfs": advice.configfs,
        "device_tree": advice.device_tree.as_ref().ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::symlink,
        path::PathBuf,
        process,
        sync::atomic::{AtomicU32, Ordering::Relaxed},
    };

    use shmbuf::{Kind, Policy};

    use super::{
        tree::Node,
        trial::tests::{done, made},
    };

    /// A sysfs with a device tree, in a folder that goes with it.
    pub struct Sysfs(PathBuf);

    impl Drop for Sysfs {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    impl Sysfs {
        pub fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Relaxed);
            let name = format!("shmbuf-sysfs-{}-{number}", process::id());
            let folder = std::env::temp_dir().join(name);
            fs::create_dir(&folder).unwrap();
            let sysfs = Self(fs::canonicalize(folder).unwrap());
            sysfs.folder("firmware/devicetree/base");
            sysfs.folder("bus");
            sysfs
        }

        pub fn folder(&self, path: &str) -> PathBuf {
            let path = self.0.join(path);
            fs::create_dir_all(&path).unwrap();
            path
        }

        pub fn link(&self, at: &Path, target: &str) {
            symlink(self.0.join(target), at).unwrap();
        }

        pub fn text(&self, at: &Path, text: &str) {
            fs::write(at, text).unwrap();
        }

        /// A device below devices, and its place on its bus.
        pub fn device(&self, bus: &str, name: &str, path: &str) -> PathBuf {
            let path = format!("devices/{path}");
            let folder = self.folder(&path);
            let devices = self.folder(&format!("bus/{bus}/devices"));
            self.link(&devices.join(name), &path);
            folder
        }

        /// A device with a node.
        fn described(&self, bus: &str, name: &str, path: &str, node: &str) -> PathBuf {
            let folder = self.device(bus, name, path);
            let node = format!("firmware/devicetree/base/{node}");
            self.folder(&node);
            self.link(&folder.join("of_node"), &node);
            folder
        }

        /// A property of the device tree.
        pub fn bytes(&self, path: &str, value: &[u8]) {
            let file = self.0.join("firmware/devicetree/base").join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, value).unwrap();
        }

        pub fn property(&self, path: &str, cells: &[u32]) {
            let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
            self.bytes(path, &bytes);
        }

        pub fn node(&self, path: &str) -> Node {
            let root = tree::root(&self.0).unwrap();
            // Without the "/" at the end that joining nothing leaves.
            let folder = root.join(path).components().collect();
            Node::new(root, folder).unwrap()
        }

        pub fn find(&self, name: &str) -> Result<Device> {
            Device::find(&self.0, name)
        }
    }

    fn skipped() -> Trial {
        Trial::Skipped("none was tried".into())
    }

    /// A sysfs with an FPGA on a bus with an offset.
    fn fpga() -> Sysfs {
        let sysfs = Sysfs::new();
        sysfs.described(
            "platform",
            "40000000.fpga",
            "platform/40000000.fpga",
            "soc/fpga@40000000",
        );
        sysfs.property("soc/#address-cells", &[1]);
        sysfs.property("soc/#size-cells", &[1]);
        sysfs.property("soc/dma-ranges", &[0xc000_0000, 0, 0x4000_0000]);
        sysfs
    }

    #[test]
    fn the_text_has_all_of_it() {
        let sysfs = fpga();
        let device = sysfs.find("40000000.fpga").unwrap();
        let trial = done(
            Ok(made(Policy::WriteCombine, false, 0xc000_0000)),
            Err("device kind=streaming: no".into()),
        );
        let advice = Advice::of(&device, Machine::DeviceTree, &trial);
        let expected = r#"
device:       40000000.fpga, on the bus platform, without a driver
snoops:       no: no dma-coherent in /soc/fpga@40000000 or above it
bus offset:   physical 0x0 to 0x3fffffff begins at 0xc0000000 there: dma-ranges
              of /soc
IOMMU:        no: it is in no IOMMU group
DMA mask:     32 bits: until a driver sets another
dry run:      coherent: writecombine, "Normal, write-back"; 0x10000000 is
              0xd0000000 for it
              streaming: refused: device kind=streaming: no
fits:         kind coherent, policy writecombine: for what the CPU and the
              device use at the same time, or in many small accesses; it is not
              cached, so loads are slow, and SYNC drains what is buffered
configfs:     mkdir /sys/kernel/config/shmbuf/NAME
              cd /sys/kernel/config/shmbuf/NAME
              echo 1M >size
              echo coherent >kind
              echo 40000000.fpga >device
              echo 1 >enable
device tree:  &{/soc} {
              	NAME-buffer {
              		compatible = "shmbuf,buffer";
              		label = "NAME";
              		shmbuf,kind = "coherent";
              		shmbuf,size = /bits/ 64 <0x100000>;
              		shmbuf,dma-mask-bits = <32>;
              	};
              };
"#;
        assert_eq!(as_text(&device, &trial, &advice), expected[1..]);
        let value = as_json(&device, &trial, &advice);
        assert_eq!(value["node"], "/soc/fpga@40000000");
        assert_eq!(value["snoops"]["value"], false);
        let range = json!({ "dma": 0xc000_0000_u32, "physical": 0, "size": 0x4000_0000 });
        assert_eq!(value["dma_ranges"]["value"], json!([range]));
        assert_eq!(value["dry_run"][0]["dma_addr"], 0xd000_0000_u32);
        assert_eq!(value["dry_run"][1]["refused"], "device kind=streaming: no");
        assert_eq!(value["fits"].as_array().unwrap().len(), 1);
        assert_eq!(value["no_dry_run"], Value::Null);
        assert_eq!(value["configfs"][4], "echo 40000000.fpga >device");
    }

    /// What fits, with the policies.
    fn fits(advice: &Advice) -> Vec<(Kind, Option<Policy>)> {
        let uses = advice.uses.iter().flatten();
        uses.map(|it| (it.kind, it.policy)).collect()
    }

    #[test]
    fn what_fits_follows_from_who_snoops() {
        let sysfs = fpga();
        let plain = sysfs.find("40000000.fpga").unwrap();
        sysfs.described("platform", "acp", "platform/acp", "soc/acp");
        sysfs.property("soc/acp/dma-coherent", &[]);
        let snooping = sysfs.find("acp").unwrap();
        let streaming = (Kind::Streaming, Some(Policy::WriteBack));
        for (machine, device, coherent) in [
            (Machine::DeviceTree, &plain, Some(Policy::WriteCombine)),
            (Machine::DeviceTree, &snooping, Some(Policy::WriteBack)),
            (Machine::Virtual, &plain, Some(Policy::NonCached)),
            (Machine::Snooped, &plain, Some(Policy::WriteBack)),
            (Machine::Other, &plain, None),
        ] {
            let advice = Advice::of(device, machine, &skipped());
            assert_eq!(
                fits(&advice),
                [(Kind::Coherent, coherent), streaming],
                "{machine:?}"
            );
        }
        let advice = Advice::of(&snooping, Machine::DeviceTree, &skipped());
        assert!(advice
            .device_tree
            .unwrap()
            .contains(&"\t\tdma-coherent;".into()));
        let advice = Advice::of(&snooping, Machine::Virtual, &skipped());
        assert!(advice.uses.unwrap_err().contains("remove dma-coherent"));
        assert!(advice.configfs.is_empty() && advice.device_tree.is_err());
        // It cannot be known, and so cannot be written into a node.
        let advice = Advice::of(&plain, Machine::Other, &skipped());
        assert_eq!(advice.snoops.value, None);
        assert!(advice.device_tree.is_err());
    }

    #[test]
    fn the_dry_run_knows_what_nothing_says() {
        let sysfs = fpga();
        sysfs.device("platform", "made-by-a-module", "platform/made-by-a-module");
        let device = sysfs.find("made-by-a-module").unwrap();
        let advice = Advice::of(&device, Machine::DeviceTree, &skipped());
        let text = as_text(&device, &skipped(), &advice);
        for label in ["snoops:    ", "bus offset:", "DMA mask:  "] {
            let line = format!("{label}   cannot be known from here: ");
            assert!(text.contains(&line), "{text}");
        }
        assert!(
            text.contains("device tree:  none: it is not in the device tree"),
            "{text}"
        );
        assert!(
            text.contains("dry run:      none: none was tried"),
            "{text}"
        );
        assert_eq!(fits(&advice)[0], (Kind::Coherent, None));

        let made = made(Policy::WriteBack, true, 0);
        let trial = done(Ok(made.clone()), Ok(made));
        let advice = Advice::of(&device, Machine::DeviceTree, &trial);
        assert_eq!(advice.snoops.value, Some(true));
        assert_eq!(fits(&advice)[0], (Kind::Coherent, Some(Policy::WriteBack)));
        assert!(as_text(&device, &trial, &advice).contains("0x10000000 is also"));
        // What it found goes before what the device tree says.
        let device = sysfs.find("40000000.fpga").unwrap();
        let advice = Advice::of(&device, Machine::DeviceTree, &trial);
        assert_eq!(advice.snoops.value, Some(true));
        assert!(advice
            .snoops
            .why
            .contains("goes before this: no dma-coherent"));
        assert!(advice
            .device_tree
            .unwrap()
            .contains(&"\t\tdma-coherent;".into()));
    }

    #[test]
    fn what_the_dry_run_was_refused_is_not_advised() {
        let sysfs = fpga();
        let device = sysfs.find("40000000.fpga").unwrap();
        let no = || Err("no".into());
        let advice = Advice::of(&device, Machine::DeviceTree, &done(no(), no()));
        assert_eq!(advice.uses.unwrap_err(), "the dry run was refused");
        assert!(advice.configfs.is_empty());
        let streaming = Ok(made(Policy::WriteBack, false, 0));
        let advice = Advice::of(&device, Machine::DeviceTree, &done(no(), streaming));
        assert_eq!(fits(&advice), [(Kind::Streaming, Some(Policy::WriteBack))]);
        assert!(advice.configfs.contains(&"echo streaming >kind".into()));
    }

    #[test]
    fn behind_an_iommu_a_buffer_is_imported() {
        let sysfs = fpga();
        let folder = sysfs.device("platform", "gpu", "platform/gpu");
        sysfs.folder("kernel/iommu_groups/7");
        sysfs.link(&folder.join("iommu_group"), "kernel/iommu_groups/7");
        sysfs.described("platform", "vpu", "platform/vpu", "soc/vpu");
        sysfs.property("soc/vpu/iommus", &[1]);
        for (name, why) in [("gpu", "group 7"), ("vpu", "iommus of /soc/vpu")] {
            let device = sysfs.find(name).unwrap();
            let refused = || Err("an IOMMU translates".into());
            let advice = Advice::of(&device, Machine::DeviceTree, &done(refused(), refused()));
            assert_eq!(advice.iommu.value, Some(true));
            assert!(advice.iommu.why.starts_with(why), "{}", advice.iommu.why);
            assert_eq!(fits(&advice), [(Kind::Scatter, Some(Policy::WriteBack))]);
            assert!(!advice.configfs.iter().any(|line| line.contains("device")));
            assert!(advice.device_tree.is_err());
        }
    }

    #[test]
    fn a_node_for_a_pci_device_is_beside_the_host_bridge() {
        let sysfs = Sysfs::new();
        let folder = "platform/pcie/pci0000:00/0000:00:01.0";
        let folder = sysfs.device("pci", "0000:00:01.0", folder);
        sysfs.text(&folder.join("dma_mask_bits"), "28");
        let driver = sysfs.folder("bus/pci/drivers/edu");
        symlink(driver, folder.join("driver")).unwrap();
        let bridge = sysfs.folder("devices/platform/pcie");
        sysfs.property("pcie@0/dma-coherent", &[]);
        sysfs.link(&bridge.join("of_node"), "firmware/devicetree/base/pcie@0");
        let device = sysfs.find("0000:00:01.0").unwrap();
        let advice = Advice::of(&device, Machine::DeviceTree, &skipped());
        let lines = advice.device_tree.unwrap();
        assert_eq!(lines[0], "/ {");
        assert!(lines.contains(&"\t\tdma-coherent;".into()));
        assert!(lines.contains(&"\t\tshmbuf,dma-mask-bits = <28>;".into()));
        assert_eq!(advice.mask_bits.why, "of the driver edu");

        // Another node cannot have the addresses of its bus.
        sysfs.property("#address-cells", &[1]);
        sysfs.property("pcie@0/#address-cells", &[3]);
        sysfs.property("pcie@0/#size-cells", &[2]);
        sysfs.property(
            "pcie@0/dma-ranges",
            &[0x4200_0000, 0, 0x1000_0000, 0, 0, 0x1000_0000],
        );
        let advice = Advice::of(&device, Machine::DeviceTree, &skipped());
        assert_eq!(
            offset(&advice.ranges.value.unwrap()),
            "physical 0x0 to 0xfffffff begins at 0x10000000 there"
        );
        assert!(advice
            .device_tree
            .unwrap_err()
            .contains("for PCI devices alone"));
    }

    #[test]
    fn a_node_has_what_its_bus_does_not_say() {
        let sysfs = fpga();
        let device = sysfs.find("40000000.fpga").unwrap();
        let lines = |sysfs: &Sysfs| {
            let device = sysfs.find("40000000.fpga").unwrap();
            Advice::of(&device, Machine::DeviceTree, &skipped()).device_tree
        };
        sysfs.property("soc/dma-coherent", &[]);
        assert!(!lines(&sysfs).unwrap().concat().contains("dma-coherent"));
        sysfs.property("soc/fpga@40000000/dma-noncoherent", &[]);
        assert!(lines(&sysfs).unwrap_err().contains("but this device"));
        // A range without an offset, and a name that a shell would take apart.
        sysfs.property("soc/dma-ranges", &[0, 0, 0x1000]);
        let advice = Advice::of(&device, Machine::DeviceTree, &skipped());
        assert_eq!(
            offset(&advice.ranges.value.unwrap()),
            "none, but it reaches 0x0 to 0xfff alone"
        );
        sysfs.device("platform", "it's;", "platform/it");
        let advice = Advice::of(&sysfs.find("it's;").unwrap(), Machine::Snooped, &skipped());
        assert!(advice.configfs.contains(&r"echo 'it'\''s;' >device".into()));
    }

    #[test]
    fn machines_are_known_by_name() {
        for (name, machine) in [
            ("x86_64", Machine::Snooped),
            ("i686", Machine::Snooped),
            ("armv5tejl", Machine::Virtual),
            ("armv7l", Machine::DeviceTree),
            ("armv8l", Machine::DeviceTree),
            ("aarch64", Machine::DeviceTree),
            ("riscv64", Machine::Other),
        ] {
            assert_eq!(Machine::of(name), machine, "{name}");
        }
    }
}
