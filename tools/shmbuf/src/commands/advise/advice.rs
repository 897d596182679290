// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a device needs, by what sysfs, the device tree and a dry run tell of it, and what follows.

use shmbuf::{Kind, Policy};

use super::{
    device::Device,
    tree::{Elsewhere, Node, Range},
    trial::Trial,
};

/// What the caches of a machine are to its devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// All devices snoop them.
    Snooped,
    /// They go by virtual addresses, and no device snoops them.
    Virtual,
    /// The device tree says who snoops them.
    DeviceTree,
    /// Another architecture.
    Other,
}

impl Machine {
    /// By the name that uname(2) has for the hardware.
    pub fn of(name: &str) -> Self {
        match name {
            "x86_64" | "i386" | "i486" | "i586" | "i686" => Self::Snooped,
            _ if name.starts_with("armv4") || name.starts_with("armv5") => Self::Virtual,
            _ if name.starts_with("arm") || name == "aarch64" => Self::DeviceTree,
            _ => Self::Other,
        }
    }
}

/// An answer, if there is one, and how it is known or why not.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<T> {
    pub value: Option<T>,
    pub why: String,
}

impl<T> Answer<T> {
    fn known(value: T, why: impl Into<String>) -> Self {
        Self {
            value: Some(value),
            why: why.into(),
        }
    }

    fn unknown(why: impl Into<String>) -> Self {
        Self {
            value: None,
            why: why.into(),
        }
    }
}

/// A kind of memory that fits.
#[derive(Debug, PartialEq, Eq)]
pub struct Use {
    pub kind: Kind,
    /// The policy that the kind has for the device; nothing if that cannot be known.
    pub policy: Option<Policy>,
    pub why: &'static str,
}

/// What a device needs.
pub struct Advice {
    pub snoops: Answer<bool>,
    pub ranges: Answer<Vec<Range>>,
    pub iommu: Answer<bool>,
    pub mask_bits: Answer<u32>,
    /// What fits, the first of which the lines below make; or why nothing does.
    pub uses: Result<Vec<Use>, String>,
    /// Commands that make a buffer.
    pub configfs: Vec<String>,
    /// A node that makes a buffer, or why there cannot be one.
    pub device_tree: Result<Vec<String>, String>,
}

const AT_ONCE_CACHED: &str = "for what the CPU and the device use at the same time, or in many \
    small accesses; it is cached, and SYNC maintains no cache line";
const AT_ONCE_UNCACHED: &str = "for what the CPU and the device use at the same time, or in many \
    small accesses; it is not cached, so loads are slow, and SYNC drains what is buffered";
const AT_ONCE: &str = "for what the CPU and the device use at the same time, or in many small \
    accesses; it is cached if the device snoops, and else not";
const IN_TURNS_SNOOPED: &str = "for what they use in turns; it is cached, and SYNC maintains no \
    cache line for this device";
const IN_TURNS_PLAIN: &str = "for what they use in turns; it is cached, and SYNC cleans and \
    invalidates cache lines";
const IN_TURNS: &str = "for what they use in turns; it is cached, and SYNC does what the device \
    needs";
const IMPORTED: &str = "if the device's driver imports dma-bufs (EXPORT): the buffer is for no \
    device, and the IOMMU translates for the one that imports it. Without such a driver no memory \
    of this driver fits";

impl Advice {
    pub fn of(device: &Device, machine: Machine, trial: &Trial) -> Self {
        let snoops = snoops(device, machine, trial);
        let ranges = ranges(device, machine);
        let iommu = iommu(device);
        let mask_bits = mask_bits(device);
        let uses = uses(machine, snoops.value, iommu.value, trial);
        let kind = uses.as_ref().ok().map(|uses| uses[0].kind);
        let with_device = iommu.value == Some(false);
        Self {
            configfs: kind
                .map(|kind| configfs(kind, with_device.then_some(device.asked.as_str())))
                .unwrap_or_default(),
            device_tree: match kind {
                Some(kind) if with_device => device_tree(device, kind, snoops.value, &mask_bits),
                _ => Err("no node can be for this device".into()),
            },
            snoops,
            ranges,
            iommu,
            mask_bits,
            uses,
        }
    }
}

fn elsewhere(Elsewhere(node): Elsewhere) -> String {
    format!("the interconnects of {node} lead elsewhere for DMA")
}

const NO_NODE: &str = "it is not in the device tree";

fn snoops(device: &Device, machine: Machine, trial: &Trial) -> Answer<bool> {
    let said = match (machine, &device.node) {
        (Machine::Snooped, _) => Answer::known(true, "as all devices of this machine"),
        (_, None) => Answer::unknown(NO_NODE),
        (_, Some(node)) => match node.snoops() {
            Ok(Some((true, at))) => Answer::known(true, format!("dma-coherent in {at}")),
            Ok(Some((false, at))) => Answer::known(false, format!("dma-noncoherent in {at}")),
            Ok(None) if machine == Machine::Other => Answer::unknown(
                "the device tree says nothing, and the default is the architecture's own",
            ),
            Ok(None) => Answer::known(false, format!("no dma-coherent in {node} or above it")),
            Err(error) => Answer::unknown(elsewhere(error)),
        },
    };
    let made = trial
        .attempts()
        .iter()
        .find_map(|it| it.outcome.as_ref().ok());
    match made.map(|made| made.snoops) {
        None => said,
        Some(snoops) if said.value == Some(snoops) => said,
        Some(snoops) if said.value.is_none() => Answer::known(snoops, "by the dry run"),
        Some(snoops) => {
            let why = format!("by the dry run, which goes before this: {}", said.why);
            Answer::known(snoops, why)
        }
    }
}

/// The node of the bus that a device is on: for PCI that of the host bridge.
fn bus(device: &Device) -> Option<Result<Node, Elsewhere>> {
    let node = device.node.as_ref()?;
    match device.bus {
        "pci" => Some(Ok(node.clone())),
        _ => node.dma_parent().transpose(),
    }
}

fn ranges(device: &Device, machine: Machine) -> Answer<Vec<Range>> {
    let found = match (bus(device), machine) {
        (None, Machine::Snooped) => {
            return Answer::known(Vec::new(), "as for all devices of this machine")
        }
        (None, _) => return Answer::unknown(NO_NODE),
        (Some(bus), _) => bus.and_then(|bus| bus.ranges()),
    };
    match found {
        Ok(Some((ranges, at))) => Answer::known(ranges, format!("dma-ranges of {at}")),
        Ok(None) => Answer::known(Vec::new(), "no dma-ranges of its bus"),
        Err(error) => Answer::unknown(elsewhere(error)),
    }
}

fn iommu(device: &Device) -> Answer<bool> {
    if let Some((number, kind)) = &device.iommu {
        return Answer::known(true, format!("group {number}, type {kind}"));
    }
    match &device.node {
        Some(node) if node.has("iommus") => Answer::known(true, format!("iommus of {node}")),
        _ => Answer::known(false, "it is in no IOMMU group"),
    }
}

fn mask_bits(device: &Device) -> Answer<u32> {
    match (device.mask_bits, &device.driver, &device.node) {
        (Some(bits), Some(driver), _) => Answer::known(bits, format!("of the driver {driver}")),
        (Some(bits), None, _) => Answer::known(bits, "until a driver sets another"),
        // What the kernel begins with where it makes devices of the device tree's nodes.
        (None, None, Some(_)) => Answer::known(32, "until a driver sets another"),
        (None, None, None) => Answer::unknown("sysfs has that of PCI devices alone"),
        (None, Some(driver), _) => Answer::unknown(format!(
            "sysfs has that of PCI devices alone, and the driver {driver} may have set one"
        )),
    }
}

fn uses(
    machine: Machine,
    snoops: Option<bool>,
    iommu: Option<bool>,
    trial: &Trial,
) -> Result<Vec<Use>, String> {
    if iommu == Some(true) {
        return Ok(vec![Use {
            kind: Kind::Scatter,
            policy: Some(Policy::WriteBack),
            why: IMPORTED,
        }]);
    }
    if (machine, snoops) == (Machine::Virtual, Some(true)) {
        return Err(
            "no device snoops caches that go by virtual addresses: remove dma-coherent from the \
             device tree"
                .into(),
        );
    }
    let (at_once, in_turns) = match snoops {
        Some(true) => (AT_ONCE_CACHED, IN_TURNS_SNOOPED),
        Some(false) => (AT_ONCE_UNCACHED, IN_TURNS_PLAIN),
        None => (AT_ONCE, IN_TURNS),
    };
    let by_table = match (machine, snoops) {
        (_, Some(true)) => Some(Policy::WriteBack),
        (Machine::Virtual, _) => Some(Policy::NonCached),
        (Machine::DeviceTree, Some(false)) => Some(Policy::WriteCombine),
        _ => None,
    };
    let made = trial.made(Kind::Coherent).map(|made| made.policy);
    let mut uses = vec![
        Use {
            kind: Kind::Coherent,
            policy: made.or(by_table),
            why: at_once,
        },
        Use {
            kind: Kind::Streaming,
            policy: Some(Policy::WriteBack),
            why: in_turns,
        },
    ];
    uses.retain(|it| !trial.refused(it.kind));
    if uses.is_empty() {
        return Err("the dry run was refused".into());
    }
    Ok(uses)
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "./:_-@,+".contains(letter);
    match word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn configfs(kind: Kind, device: Option<&str>) -> Vec<String> {
    let folder = "/sys/kernel/config/shmbuf/NAME";
    let mut lines = vec![
        format!("mkdir {folder}"),
        format!("cd {folder}"),
        "echo 1M >size".into(),
        format!("echo {kind} >kind"),
    ];
    lines.extend(device.map(|device| format!("echo {} >device", quoted(device))));
    lines.push("echo 1 >enable".into());
    lines
}

/// A node beside that of the device, of which the same holds then.
fn device_tree(
    device: &Device,
    kind: Kind,
    snoops: Option<bool>,
    mask_bits: &Answer<u32>,
) -> Result<Vec<String>, String> {
    let node = device.node.as_ref().ok_or(NO_NODE)?;
    let bus = bus(device).ok_or(NO_NODE)?.map_err(elsewhere)?;
    let beside = node.parent().ok_or(NO_NODE)?;
    let snoops = snoops.ok_or("whether it snoops has to be known")?;
    if bus.ranges() != beside.ranges() {
        return Err(format!(
            "the dma-ranges of {node} are for PCI devices alone"
        ));
    }
    let is_said = matches!(beside.snoops(), Ok(Some((true, _))));
    if is_said && !snoops {
        return Err(format!(
            "whatever is in {beside} is dma-coherent, but this device"
        ));
    }
    let place = match beside.to_string().as_str() {
        "/" => "/ {".into(),
        path => format!("&{{{path}}} {{"),
    };
    let mut lines: Vec<String> = vec![
        place,
        "\tNAME-buffer {".into(),
        "\t\tcompatible = \"shmbuf,buffer\";".into(),
        "\t\tlabel = \"NAME\";".into(),
        format!("\t\tshmbuf,kind = \"{kind}\";"),
        "\t\tshmbuf,size = /bits/ 64 <0x100000>;".into(),
    ];
    if snoops && !is_said {
        lines.push("\t\tdma-coherent;".into());
    }
    match mask_bits.value {
        Some(64) => {}
        Some(bits) => lines.push(format!("\t\tshmbuf,dma-mask-bits = <{bits}>;")),
        None => lines.push("\t\t/* shmbuf,dma-mask-bits = <...>; */".into()),
    }
    lines.extend(["\t};".into(), "};".into()]);
    Ok(lines)
}
