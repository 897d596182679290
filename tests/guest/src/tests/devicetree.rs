// SPDX-License-Identifier: MIT OR Apache-2.0
//! Named buffers of device-tree nodes: those of tests/boards/buffers.dtsi.

use std::{
    fs::{self, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::{errno::Errno, libc};
use shmbuf::{
    Access, Alloc, Buffer, Direction, Kind, MappingKind, Owner, Phase, Policy, Protection,
};

use super::{
    claim,
    configfs::Folder,
    data::{assert_pattern, fresh, load_all, read_all, store_all, write_all},
    named::{
        assert_data, assert_logged, assert_there, info, map, node, open, Crowd, Users, ID_REGISTERS,
    },
    snooping::{add_importers, remove_importers, without_importers},
    Claim, Scope,
};
use crate::{
    kmsg::Log,
    ktap::diagnose,
    machine::{mount_configfs, Arch},
    module::{users, Config},
    runner::Env,
    sys::{page, refused, Probe, Region},
};

pub(super) const CLAIMS: &[Claim] = &[
    devicetree_claim("devicetree_nodes_appear_or_say_why", appear),
    devicetree_claim("devicetree_buffers_are_as_described", described),
    devicetree_claim("devicetree_memory_is_the_nodes", memory),
    devicetree_claim("devicetree_bus_has_other_addresses", offset),
    devicetree_claim("devicetree_node_refers_to_the_device_of_another", referring),
    devicetree_claim("devicetree_node_waits_for_the_device", waiting)
        .unless(|machine, config| without_nodes().or(without_importers(machine, config))),
    devicetree_claim("devicetree_node_snoops", snooped),
    devicetree_claim("devicetree_data", data),
    devicetree_claim("devicetree_registers", registers),
    devicetree_claim("devicetree_cached_region_has_an_owner", cached_regions),
    devicetree_claim("devicetree_range_has_one_owner", exclusive),
    devicetree_claim("devicetree_exports_what_has_pages", exports),
    devicetree_claim("devicetree_reserved_memory_is_used_up", used_up),
    devicetree_claim("devicetree_unbind_takes_the_name_alone", unbind_in_use),
    devicetree_claim("devicetree_names_are_for_all_buffers", taken)
        .unless(|_, _| without_nodes().or((!mount_configfs()).then_some("no configfs"))),
    devicetree_claim("devicetree_100_rounds_among_users", rounds).seconds(600),
];

const fn devicetree_claim(name: &'static str, body: fn(&Env)) -> Claim {
    claim(Scope::Own, name, body).unless(|_, _| without_nodes())
}

fn without_nodes() -> Option<&'static str> {
    (!Path::new(TREE).join("shmbuf-plain").exists())
        .then_some("the device tree is not that of tests/boards/buffers.dtsi")
}

const TREE: &str = "/proc/device-tree";
const DEVICES: &str = "/sys/bus/platform/devices";
const DRIVER: &str = "/sys/bus/platform/drivers/shmbuf";

/// Nodes that become buffers of memory.
const MEMORY: [&str; 7] = [
    "plain", "strict", "cma", "nomap", "carveout", "cached", "bank",
];

/// Those of them that are device memory, and cached.
const CACHED_REGIONS: [&str; 2] = ["cached", "bank"];

/// Nodes of one range of registers, of which one gets it.
const RIVALS: [&str; 2] = ["registers", "again"];

/// Nodes that are refused, with errno and reason.
const REFUSED: [(&str, Errno, &str); 11] = [
    (
        "unknown",
        Errno::EINVAL,
        "shmbuf,mapping=default: choose pfnmap, strict or refcounted",
    ),
    (
        "refused",
        Errno::EOPNOTSUPP,
        "policy=noncached kind=streaming: ",
    ),
    (
        "cached-registers",
        Errno::EOPNOTSUPP,
        "policy=writeback kind=region: registers are not cached",
    ),
    (
        "cached-words",
        Errno::EINVAL,
        "reg-io-width: what is cached is not accessed by so many bytes",
    ),
    (
        "strict-registers",
        Errno::EOPNOTSUPP,
        "mapping=strict kind=region: no device ever owns a buffer of this kind and policy",
    ),
    (
        "unreachable",
        Errno::EIO,
        "dma_mask_bits=12: this kernel serves no device with so small a DMA mask",
    ),
    (
        "out-of-reach",
        Errno::ENOMEM,
        "size=4K: not enough of the memory is free that the device's bus passes",
    ),
    (
        "for-disabled",
        Errno::ENODEV,
        "shmbuf,device: the node that it refers to is disabled",
    ),
    (
        "for-nobody",
        Errno::ENOENT,
        "shmbuf,device: it refers to no node",
    ),
    (
        "pages-for-a-device",
        Errno::EINVAL,
        "device kind=pages: only memory of kinds",
    ),
    (
        "contradiction",
        Errno::EINVAL,
        "dma-coherent: the node of shmbuf,device tells",
    ),
];

const IN_USE: &str = "somebody else has some of the region: see /proc/iomem";

/// A node of the device tree that has a label.
struct Device {
    name: String,
    of_node: PathBuf,
}

impl Device {
    #[track_caller]
    fn of(label: &str) -> Self {
        let found = fs::read_dir(DEVICES)
            .expect(DEVICES)
            .map(|entry| entry.expect(DEVICES))
            .find(|entry| {
                let text = fs::read(entry.path().join("of_node/label"));
                text.is_ok_and(|text| text == [label.as_bytes(), b"\0"].concat())
            });
        let entry = found.unwrap_or_else(|| panic!("no device has the label {label}"));
        Self {
            name: entry.file_name().into_string().expect("UTF-8"),
            of_node: entry.path().join("of_node"),
        }
    }

    fn is_bound(&self) -> bool {
        Path::new(DRIVER).join(&self.name).exists()
    }

    fn try_bind(&self) -> io::Result<()> {
        fs::write(Path::new(DRIVER).join("bind"), &self.name)
    }

    #[track_caller]
    fn bind(&self) {
        if let Err(error) = self.try_bind() {
            panic!("bind {}: {error}", self.name);
        }
    }

    #[track_caller]
    fn unbind(&self) {
        if let Err(error) = fs::write(Path::new(DRIVER).join("unbind"), &self.name) {
            panic!("unbind {}: {error}", self.name);
        }
    }

    /// First address and bytes of the reserved memory that the node names.
    #[track_caller]
    fn reserved(&self) -> (u64, u64) {
        let phandle = fs::read(self.of_node.join("memory-region")).expect("memory-region");
        let parent = Path::new(TREE).join("reserved-memory");
        let number = |name: &str| cells(&fs::read(parent.join(name)).expect(name));
        assert_eq!(
            (number("#address-cells"), number("#size-cells")),
            (vec![1], vec![1])
        );
        let reg = fs::read_dir(&parent)
            .expect("reserved-memory")
            .map(|entry| entry.expect("reserved-memory").path())
            .find(|path| fs::read(path.join("phandle")).is_ok_and(|found| found == phandle))
            .map(|path| fs::read(path.join("reg")).expect("reg"));
        match cells(&reg.expect("the node that is named"))[..] {
            [start, size] => (start.into(), size.into()),
            ref other => panic!("reg = {other:x?}"),
        }
    }
}

/// The cells of a property.
fn cells(property: &[u8]) -> Vec<u32> {
    property
        .chunks(4)
        .map(|cell| u32::from_be_bytes(cell.try_into().expect("whole cells")))
        .collect()
}

/// Ranges of /proc/iomem that are the driver's, without their indentation.
fn ranges() -> Vec<String> {
    fs::read_to_string("/proc/iomem")
        .expect("/proc/iomem")
        .lines()
        .filter_map(|line| line.trim_start().strip_suffix(" : shmbuf"))
        .map(str::to_string)
        .collect()
}

#[track_caller]
fn load(env: &Env) {
    env.module.must_load(&Config::DEFAULT.parameters());
}

/// Which of [`RIVALS`] has the range, and which has not.
#[track_caller]
fn rivals() -> (&'static str, &'static str) {
    let [first, second] = RIVALS;
    match RIVALS.map(|name| node(name).exists()) {
        [true, false] => (first, second),
        [false, true] => (second, first),
        both => panic!("{RIVALS:?} are there: {both:?}"),
    }
}

fn appear(env: &Env) {
    let mut log = Log::from_now();
    load(env);
    for name in MEMORY {
        assert!(Device::of(name).is_bound(), "{name}");
        assert_there(name, true);
    }
    let (winner, loser) = rivals();
    assert!(Device::of(winner).is_bound());
    assert_there(winner, true);

    let lines = log.lines();
    let reasons = [(loser, Errno::EBUSY, IN_USE)];
    for (name, errno, words) in reasons.into_iter().chain(REFUSED) {
        let device = Device::of(name);
        assert!(!device.is_bound(), "{name}");
        assert_there(name, false);
        let reason = format!("shmbuf {}: {words}", device.name);
        let said = lines.iter().any(|line| line.text.starts_with(&reason));
        assert!(said, "no \"{reason}\" among {lines:?}");
        // The same for who asks again.
        refused(device.try_bind(), errno);
        assert_logged(&mut log, &device.name, words);
    }
    env.module.must_unload();
    for name in MEMORY.into_iter().chain(RIVALS) {
        assert!(!node(name).exists(), "{name}");
    }
    assert_eq!(ranges(), Vec::<String>::new());
}

fn described(env: &Env) {
    load(env);
    let buffer = |size, kind| Alloc::new(size, kind);
    let (registers, _) = rivals();
    for (name, expected) in [
        ("plain", buffer(0x10_0000, Kind::Pages)),
        (
            "strict",
            Alloc {
                mapping: MappingKind::Strict,
                direction: Direction::FromDevice,
                ..buffer(0x4_0000, Kind::Streaming)
            },
        ),
        ("cma", buffer(0x20_0000, Kind::Coherent)),
        ("nomap", buffer(0x10_0000, Kind::Coherent)),
        ("carveout", buffer(0x10_0000, Kind::Region)),
        (registers, buffer(0x1000, Kind::Region)),
        ("cached", buffer(0x1_0000, Kind::Region)),
        (
            "bank",
            Alloc {
                mapping: MappingKind::Strict,
                ..buffer(0x1_0000, Kind::Region)
            },
        ),
    ] {
        let info = info(&open(name));
        let got = Alloc {
            mapping: info.mapping,
            direction: info.direction,
            ..Alloc::new(info.size, info.kind)
        };
        assert_eq!(got, expected, "{name}");
        assert_eq!(info.name.as_deref(), Some(name));
        assert_eq!(
            (info.owner, info.mappings, info.exports),
            (Owner::Cpu, 0, 0)
        );
        assert!(!info.aliased, "{name}");
        let has_words = info.kind == Kind::Region && !CACHED_REGIONS.contains(&name);
        let width = if has_words { 4 } else { 1 };
        assert_eq!(info.access_width, width, "{name}");
        // What the kernel maps such memory as.
        let (policy, memory_type) = match (name, env.machine.arch) {
            ("plain" | "strict" | "cached" | "bank", Arch::Armv5) => {
                (Policy::WriteBack, "cached, write-back (C=1 B=1)")
            }
            ("plain" | "strict" | "cached" | "bank", _) => {
                (Policy::WriteBack, "Normal, write-back write-allocate")
            }
            ("cma", Arch::Armv5) => (Policy::NonCached, "uncached (C=0 B=0)"),
            ("cma" | "nomap" | "carveout", Arch::Armv7 { .. }) => {
                (Policy::WriteCombine, "Normal, non-cacheable")
            }
            ("nomap" | "carveout", _) => (Policy::WriteCombine, "bufferable (C=0 B=1)"),
            (_, Arch::Armv5) => (Policy::NonCached, "uncached (C=0 B=0)"),
            (_, _) => (Policy::NonCached, "Device"),
        };
        assert_eq!(
            (info.policy, info.memory_type.as_str()),
            (policy, memory_type),
            "{name}"
        );
    }
}

fn memory(env: &Env) {
    load(env);
    for name in ["cma", "nomap", "carveout", "cached"] {
        let info = info(&open(name));
        let (start, size) = Device::of(name).reserved();
        let first = info.phys_addr.expect("root sees addresses");
        let end = first + info.size;
        assert!(start <= first && end <= start + size, "{name}: {first:#x}");
        let address = info.dma_addr.map(|dma| dma.address);
        // These boards' buses have the CPU's addresses.
        let expected = (info.kind == Kind::Coherent).then_some(first);
        assert_eq!(address, expected, "{name}");
    }
    let (registers, _) = rivals();
    for name in [registers, "bank"] {
        let reg = fs::read(Device::of(name).of_node.join("reg")).expect("reg");
        let [start, size] = cells(&reg)[..] else {
            panic!("reg = {reg:x?}");
        };
        let info = info(&open(name));
        assert_eq!(
            (info.phys_addr, info.size),
            (Some(start.into()), size.into()),
            "{name}"
        );
    }
}

/// The device of `offset` is on a bus where memory has other addresses.
fn offset(env: &Env) {
    load(env);
    assert_has_offset("offset");
}

/// `referring` and `reserved-referring` are for the device of `offset`.
fn referring(env: &Env) {
    load(env);
    for name in ["referring", "reserved-referring"] {
        assert_has_offset(name);
        let device = info(&open(name)).dma_addr.map(|dma| dma.device);
        assert_eq!(device, Some(Device::of("offset").name), "{name}");
    }
    let (start, size) = Device::of("reserved-referring").reserved();
    let info = info(&open("reserved-referring"));
    let first = info.phys_addr.expect("root sees addresses");
    assert!((start..start + size).contains(&first), "{first:#x}");
}

/// `waiting` is for a device that is not there before tests/importer is.
fn waiting(env: &Env) {
    #[track_caller]
    fn assert_soon(what: &str, is_so: impl Fn() -> bool) {
        let mut tries = 0..200;
        while !is_so() {
            assert!(tries.next().is_some(), "{what}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    load(env);
    let device = Device::of("waiting");
    // Others that come make it try again.
    assert_soon("no reason", || {
        let text = fs::read_to_string("/sys/kernel/debug/devices_deferred");
        let reason = format!(
            "{}\tshmbuf: waits for the device of shmbuf,device",
            device.name
        );
        text.expect("devices_deferred").contains(&reason)
    });
    assert!(!device.is_bound());
    add_importers();
    // The driver is there before its probe has ended.
    assert_soon("not bound", || {
        device.is_bound() && node("waiting").exists()
    });
    assert_has_offset("waiting");
    let buffer = open("waiting");
    let found = info(&buffer).dma_addr.map(|dma| dma.device);
    assert_eq!(found.as_deref(), Some("importer-late"));

    // The device goes, and the buffer stays. Another waits.
    remove_importers();
    assert_data("waiting");
    device.unbind();
    refused(device.try_bind(), Errno::EAGAIN);
    add_importers();
    device.bind();
    assert_has_offset("waiting");
    drop(buffer);
    env.module.must_unload();
    remove_importers();
}

#[track_caller]
fn assert_has_offset(name: &str) {
    let ranges = fs::read(Path::new(TREE).join("shmbuf-bus/dma-ranges")).expect("dma-ranges");
    let [on_bus, ram, _] = cells(&ranges)[..] else {
        panic!("dma-ranges = {ranges:x?}");
    };
    let assert_on_bus = |buffer: &Buffer| {
        let info = info(buffer);
        let phys = info.phys_addr.expect("root sees addresses");
        let expected = phys - u64::from(ram) + u64::from(on_bus);
        assert_eq!(info.dma_addr.map(|dma| dma.address), Some(expected));
    };
    assert_on_bus(&open(name));
    assert_data(name);
    // ALLOC makes another for that device.
    let alloc = Alloc::new(0x1000, Kind::Streaming);
    let private = open(name).alloc(&alloc).expect("ALLOC");
    assert_on_bus(&private);
}

/// The node `snooped` says so, which is nonsense on VIVT caches.
fn snooped(env: &Env) {
    let mut log = Log::from_now();
    load(env);
    let device = Device::of("snooped");
    if env.machine.arch == Arch::Armv5 {
        assert!(!device.is_bound());
        assert_logged(&mut log, &device.name, "policy=writeback kind=coherent: ");
        return;
    }
    let found = info(&open("snooped"));
    assert!(found.snoops && !found.aliased);
    assert_eq!(
        (found.policy, found.memory_type.as_str()),
        (Policy::WriteBack, "Normal, write-back write-allocate")
    );
    assert_data("snooped");
    for other in ["cma", "offset"] {
        assert!(!info(&open(other)).snoops, "{other}");
    }
}

fn data(env: &Env) {
    load(env);
    for name in MEMORY {
        assert_data(name);
        Users::of(name).assert_data();
    }
}

fn registers(env: &Env) {
    load(env);
    let (name, _) = rivals();
    let buffer = open(name);
    let mapping = map(&buffer);

    // A PL031, in the low byte of each word; the third has the revision.
    let mut id = [0; 0x1000 - ID_REGISTERS];
    assert_eq!(buffer.read_at(&mut id, ID_REGISTERS as u64), Ok(id.len()));
    let words = id
        .chunks(4)
        .map(|word| u32::from_le_bytes(word.try_into().expect("a word")));
    let words: Vec<_> = words.collect();
    assert_eq!(words[..2], [0x31, 0x10], "part number");
    assert!(words[2] & !0xf0 == 0x04 && words[3] == 0, "{words:x?}");
    assert_eq!(words[4..], [0x0d, 0xf0, 0x05, 0xb1], "a PrimeCell");
    for (i, word) in words.iter().enumerate() {
        assert_eq!(mapping.read_u32(ID_REGISTERS + 4 * i), *word, "word {i}");
    }

    // The match register keeps what is written.
    const MATCH: usize = 4;
    let before = mapping.read_u32(MATCH);
    for value in [0xffff_fff0, 0xf0f1_f2f3u32] {
        assert_eq!(buffer.write_at(&value.to_le_bytes(), MATCH as u64), Ok(4));
        assert_eq!(mapping.read_u32(MATCH), value);
        mapping.write_u32(MATCH, !value | 0x8000_0000);
        let mut bytes = [0; 4];
        assert_eq!(buffer.read_at(&mut bytes, MATCH as u64), Ok(4));
        assert_eq!(u32::from_le_bytes(bytes), !value | 0x8000_0000);
    }
    mapping.write_u32(MATCH, before);

    for (offset, length) in [
        (0, 1),
        (0, 2),
        (0, 6),
        (1, 4),
        (2, 4),
        (0xfff, 1),
        (0xffe, 4),
    ] {
        let mut bytes = vec![0; length];
        refused(buffer.read_at(&mut bytes, offset), Errno::EINVAL);
        refused(buffer.write_at(&bytes, offset), Errno::EINVAL);
    }
    assert_eq!(
        mapping.read_u32(MATCH),
        before,
        "a refused write did something"
    );
    assert_eq!(buffer.read_at(&mut [0; 8], 0x1000), Ok(0));
    assert_eq!(
        buffer.read_at(&mut [0; 8], 0xffc),
        Ok(4),
        "short at the end"
    );
    refused(buffer.write_at(&[0; 8], 0x1000), Errno::ENOSPC);
}

/// Memory of a device that the CPU caches: the two own it in turns, as memory of kind streaming.
fn cached_regions(env: &Env) {
    load(env);
    for name in CACHED_REGIONS {
        let buffer = open(name);
        let (size, half) = (buffer.size(), buffer.size() / 2);
        let mapping = map(&buffer);
        let pattern = fresh();
        store_all(&mapping, 0, pattern);
        let sync = |range: Range<u64>, phase| {
            let result = buffer.sync(range, Access::ReadWrite, phase);
            result.unwrap_or_else(|error| panic!("{name}: SYNC: {error}"));
        };
        let owner = || info(&buffer).owner;
        assert!(info(&buffer).has_owner(), "{name}");
        let mut word = [0; 4];

        // Who only reads moves no owner.
        let reader = Buffer::open_read_only(node(name)).expect("a handle for reading");
        let looked = reader.sync(.., Access::Read, Phase::End);
        assert_eq!((looked, owner()), (Ok(()), Owner::Cpu), "{name}");

        // The first half is the device's, and the second stays the CPU's.
        sync(0..half, Phase::End);
        assert_eq!(owner(), Owner::Device, "{name}");
        for at in [0, half - 4] {
            refused(buffer.read_at(&mut word, at), Errno::EBUSY);
            refused(buffer.write_at(&word, at), Errno::EBUSY);
        }
        assert_eq!(
            buffer.lent(),
            Ok(std::iter::once(0..half).collect()),
            "{name}"
        );
        let probe = Probe::new();
        for offset in (0..size as usize).step_by(page()) {
            let is_withdrawn = name == "bank" && offset < half as usize;
            let address = mapping.as_ptr().wrapping_add(offset);
            assert_eq!(
                probe.can_read(address),
                !is_withdrawn,
                "{name}: {offset:#x}"
            );
        }
        let there = fresh();
        let bytes = there.bytes(half as usize, half as usize);
        assert_eq!(buffer.write_at(&bytes, half), Ok(bytes.len()));
        refused(reader.sync(.., Access::Read, Phase::Begin), Errno::EBUSY);

        sync(0..size, Phase::Begin);
        assert_eq!(owner(), Owner::Cpu, "{name}");
        let all = load_all(&mapping);
        assert_pattern(pattern, 0, &all[..half as usize], "what was lent");
        assert_pattern(there, half as usize, &all[half as usize..], "what was not");

        // It has one policy, and needs SYNC.
        refused(buffer.set_cache(Policy::WriteCombine), Errno::EOPNOTSUPP);
        drop(mapping);
        let synchronous = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_SYNC)
            .open(node(name))
            .expect("open with O_SYNC");
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let mapped = Region::map(&synchronous, page(), protection, libc::MAP_SHARED, 0);
        refused(mapped.map(drop), Errno::EOPNOTSUPP);

        // Its next user has what this one wrote, however it was lent.
        write_all(&buffer, pattern);
        sync(0..half, Phase::End);
        drop((buffer, reader, synchronous));
        let device = Device::of(name);
        device.unbind();
        device.bind();
        assert_eq!(info(&open(name)).owner, Owner::Cpu, "{name}");
        assert_pattern(pattern, 0, &read_all(&open(name)), name);
    }
}

fn exclusive(env: &Env) {
    load(env);
    let mut log = Log::from_now();
    let (winner, loser) = rivals();
    let expected: Vec<_> = [winner, "carveout", "cached", "bank"]
        .map(|name| {
            let info = info(&open(name));
            let start = info.phys_addr.expect("root sees addresses");
            format!("{start:08x}-{:08x}", start + info.size - 1)
        })
        .into();
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    assert_eq!(sorted(ranges()), sorted(expected.clone()));

    let (winner, loser) = (Device::of(winner), Device::of(loser));
    refused(loser.try_bind(), Errno::EBUSY);
    assert_logged(&mut log, &loser.name, IN_USE);
    winner.unbind();
    assert_eq!(sorted(ranges()), sorted(expected[1..].to_vec()));
    loser.bind();
    assert_eq!(sorted(ranges()), sorted(expected));
    refused(winner.try_bind(), Errno::EBUSY);
}

fn exports(env: &Env) {
    load(env);
    let (registers, _) = rivals();
    for (name, has_pages) in [
        ("plain", true),
        ("strict", true),
        ("cma", true),
        ("nomap", false),
        ("carveout", false),
        ("cached", false),
        ("bank", false),
        (registers, false),
    ] {
        let buffer = open(name);
        let errno = buffer.export(.., Protection::ReadWrite).map(drop);
        let errno = errno.map_err(|error| error.errno());
        let expected = has_pages.then_some(()).ok_or(Some(Errno::EOPNOTSUPP));
        assert_eq!(errno, expected, "{name}");
        assert_eq!(info(&buffer).exports, 0, "{name}");
    }
}

/// How many buffers of a node can exist at once, each bound anew. Fails if they
/// share memory.
fn capacity(name: &str) -> u64 {
    let device = Device::of(name);
    let mut buffers = Vec::new();
    loop {
        if !device.is_bound() {
            match device.try_bind() {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(Errno::ENOMEM as i32), "{error}");
                    break;
                }
            }
        }
        let buffer = open(name);
        let pattern = fresh();
        write_all(&buffer, pattern);
        buffers.push((buffer, pattern));
        device.unbind();
    }
    for (buffer, pattern) in &buffers {
        assert_pattern(*pattern, 0, &read_all(buffer), name);
    }
    let count = buffers.len() as u64;
    drop(buffers);
    device.bind();
    count
}

/// All of the memory that nodes name can be had, with nothing lost.
#[track_caller]
fn assert_reserved_memory_is_free() {
    for name in ["cma", "nomap"] {
        let (_, size) = Device::of(name).reserved();
        let expected = size / info(&open(name)).size;
        assert_eq!(capacity(name), expected, "{name}: buffers that fit");
    }
}

fn used_up(env: &Env) {
    load(env);
    assert_reserved_memory_is_free();
}

fn unbind_in_use(env: &Env) {
    load(env);
    for name in MEMORY {
        let device = Device::of(name);
        let first = Users::of(name);
        first.assert_data();
        let before = info(first.handle());
        device.unbind();
        assert!(!device.is_bound());
        assert_there(name, false);
        first.assert_data();

        if before.kind == Kind::Region {
            refused(device.try_bind(), Errno::EBUSY);
            assert_there(name, false);
            first.assert_data();
        } else {
            let pattern = fresh();
            write_all(first.handle(), pattern);
            device.bind();
            let second = Users::of(name);
            let after = info(second.handle());
            assert_ne!(before.phys_addr, after.phys_addr, "{name}");
            assert_eq!((before.name, before.size), (after.name, after.size));
            second.assert_data();
            first.assert_pattern(pattern);
            write_all(second.handle(), fresh());
            first.assert_pattern(pattern);
            device.unbind();
            second.assert_data();
            first.assert_data();
        }
        // With the last user goes all that was in the way.
        drop(first);
        device.bind();
        assert_there(name, true);
        assert_data(name);
    }

    let (name, _) = rivals();
    let device = Device::of(name);
    let buffer = open(name);
    let mapping = map(&buffer);
    let words = |at: usize| {
        let mut bytes = [0; 4];
        let read = buffer.read_at(&mut bytes, at as u64);
        (read, u32::from_le_bytes(bytes))
    };
    device.unbind();
    assert_there(name, false);
    assert_eq!(words(ID_REGISTERS), (Ok(4), 0x31));
    assert_eq!(mapping.read_u32(ID_REGISTERS), 0x31);
    refused(device.try_bind(), Errno::EBUSY);
    drop(buffer);
    assert_eq!(mapping.read_u32(ID_REGISTERS), 0x31);
    refused(device.try_bind(), Errno::EBUSY);
    drop(mapping);
    device.bind();
    assert_there(name, true);
}

fn taken(env: &Env) {
    load(env);
    let mut log = Log::from_now();
    let folder = Folder::new("plain");
    folder.assert_refused("enable", "1", Errno::EEXIST);
    let words = "another buffer has that name";
    assert_logged(&mut log, "shmbuf: plain: ", words);
    assert_data("plain");

    let device = Device::of("plain");
    device.unbind();
    folder.enable();
    assert_data("plain");
    refused(device.try_bind(), Errno::EEXIST);
    assert_logged(&mut log, &device.name, words);
    assert_there("plain", true);
    folder.disable();
    device.bind();
    assert_there("plain", true);
}

fn rounds(env: &Env) {
    load(env);
    let (registers, _) = rivals();
    let names = [&MEMORY[..], &[registers]].concat();
    let devices: Vec<_> = names.iter().map(|name| Device::of(name)).collect();
    let kinds: Vec<_> = names.iter().map(|name| info(&open(name)).kind).collect();
    let mut bound = vec![0; names.len()];
    let crowd = Crowd::new(&names);
    for round in 0..100 {
        for (i, device) in devices.iter().enumerate() {
            if device.is_bound() {
                device.unbind();
            }
            match device.try_bind() {
                Ok(()) => bound[i] += 1,
                // A range is free when its last user goes; memory may be used
                // up by those who still have it.
                Err(error) => {
                    let errno = error.raw_os_error().map(Errno::from_raw);
                    let expected = match kinds[i] {
                        Kind::Region => Errno::EBUSY,
                        _ => Errno::ENOMEM,
                    };
                    assert_eq!(errno, Some(expected), "{}: {error}", names[i]);
                }
            }
        }
        if round % 4 != 0 {
            crowd.wait_for_a_visit();
        }
    }
    crowd.disperse();
    diagnose(format_args!("bound anew: {names:?} {bound:?}"));
    for (name, bound) in names.iter().zip(bound) {
        assert_ne!(bound, 0, "{name}");
    }

    for device in devices.iter().filter(|device| !device.is_bound()) {
        device.bind();
    }
    assert_reserved_memory_is_free();
    for name in MEMORY {
        assert_data(name);
    }
    assert_eq!(users(), Some(0));
    assert_eq!(ranges().len(), 4);
    env.module.must_unload();
    assert_eq!(ranges(), Vec::<String>::new());
}
