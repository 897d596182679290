// SPDX-License-Identifier: MIT OR Apache-2.0
//! Named buffers made in configfs: mkdir, attributes, enable.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use nix::errno::Errno;
use shmbuf::{Alloc, Direction, Kind, MappingKind, Owner, Policy};

use super::{
    alloc::{each_kind, every, kinds, SIZE},
    claim,
    data::{fresh, read_all, write_all},
    named::{assert_data, assert_logged, assert_there, info, keepers, node, open, Crowd, Users},
    Claim, Scope,
};
use crate::{
    expect::Expect,
    kmsg::Log,
    ktap::diagnose,
    machine::{mount_configfs, Machine},
    module::{users, Config},
    runner::Env,
    sys::{page, refused},
};

pub(super) const CLAIMS: &[Claim] = &[
    configfs_claim("configfs_defaults", defaults),
    configfs_claim("configfs_attributes_are_kept", kept),
    configfs_claim("configfs_policy_has_two_names", two_names),
    configfs_claim(
        "configfs_refuses_bad_attributes_with_a_reason",
        bad_attributes,
    ),
    configfs_claim("configfs_is_busy_while_enabled", busy),
    configfs_claim("configfs_makes_every_buffer", every_buffer),
    configfs_claim("configfs_buffers_are_zeroed", zeroed),
    configfs_claim("configfs_says_what_it_refuses", refusals),
    configfs_claim("configfs_keeps_the_dma_mask", masks),
    configfs_claim("configfs_rmdir_waits_for_users", rmdir),
    configfs_claim("configfs_enable_of_what_is_being_removed", enable_and_rmdir),
    configfs_claim("configfs_names", names),
    configfs_claim("configfs_folders_keep_the_module", rmmod),
    configfs_claim("configfs_disable_takes_the_name_alone", contract),
    configfs_claim("configfs_100_rounds_among_users", rounds).seconds(300),
];

const fn configfs_claim(name: &'static str, body: fn(&Env)) -> Claim {
    claim(Scope::Own, name, body)
        .unless(|_, _| (!mount_configfs()).then_some("no configfs: CONFIG_CONFIGFS_FS"))
}

/// The folder that has a folder for each buffer.
pub(super) const ROOT: &str = "/sys/kernel/config/shmbuf";

/// The attributes of a folder, and what they are at first.
const DEFAULTS: [(&str, &str); 9] = [
    ("size", "1048576"),
    ("kind", "pages"),
    ("policy", "default"),
    ("cache", "default"),
    ("mapping", "pfnmap"),
    ("direction", "bidirectional"),
    ("dma_mask_bits", "default"),
    ("device", "default"),
    ("enable", "0"),
];

/// A folder of configfs, which is removed when dropped if it can be.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    fn try_new(name: &str) -> io::Result<Self> {
        let path = Path::new(ROOT).join(name);
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// Makes a folder, which has to work.
    #[track_caller]
    pub(super) fn new(name: &str) -> Self {
        Self::try_new(name).unwrap_or_else(|error| panic!("mkdir {name}: {error}"))
    }

    /// The path of an attribute.
    pub(super) fn attribute(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    #[track_caller]
    fn text(&self, attribute: &str) -> String {
        fs::read_to_string(self.attribute(attribute))
            .unwrap_or_else(|error| panic!("{attribute}: {error}"))
    }

    /// Asserts that an attribute has a value.
    #[track_caller]
    fn assert_is(&self, attribute: &str, value: &str) {
        assert_eq!(self.text(attribute), format!("{value}\n"), "{attribute}");
    }

    fn try_set(&self, attribute: &str, value: &str) -> io::Result<()> {
        fs::write(self.attribute(attribute), value)
    }

    /// Sets an attribute.
    #[track_caller]
    pub(super) fn set(&self, attribute: &str, value: &str) {
        self.try_set(attribute, value)
            .unwrap_or_else(|error| panic!("{value:?} to {attribute}: {error}"));
    }

    /// Sets all attributes that ALLOC has too.
    #[track_caller]
    pub(super) fn describe(&self, alloc: &Alloc) {
        self.set("size", &alloc.size.to_string());
        self.set("kind", alloc.kind.name());
        self.set("policy", alloc.policy.map_or("default", Policy::name));
        self.set("mapping", alloc.mapping.name());
        self.set("direction", alloc.direction.name());
    }

    /// Asserts that a value of an attribute is refused, and the attribute stays as it is.
    #[track_caller]
    pub(super) fn assert_refused(&self, attribute: &str, value: &str, errno: Errno) {
        let before = self.text(attribute);
        match self.try_set(attribute, value) {
            Err(error) if error.raw_os_error() == Some(errno as i32) => {}
            other => panic!("{value:?} to {attribute}: expected {errno}, got {other:?}"),
        }
        assert_eq!(self.text(attribute), before, "{value:?} to {attribute}");
    }

    #[track_caller]
    pub(super) fn enable(&self) {
        self.set("enable", "1");
        self.assert_is("enable", "1");
    }

    #[track_caller]
    pub(super) fn disable(&self) {
        self.set("enable", "0");
        self.assert_is("enable", "0");
    }

    fn rmdir(&self) -> io::Result<()> {
        fs::remove_dir(&self.path)
    }

    /// Removes the folder, which has to work.
    #[track_caller]
    fn remove(self) {
        self.rmdir().expect("rmdir");
        assert!(!self.path.exists());
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // So that a test that failed does not keep the module.
        let _ = self.try_set("enable", "0");
        let _ = self.rmdir();
    }
}

#[track_caller]
fn load(env: &Env) {
    env.module.must_load(&Config::DEFAULT.parameters());
}

fn defaults(env: &Env) {
    load(env);
    let folder = Folder::new("new");
    let entries = fs::read_dir(&folder.path).expect("readdir");
    let found: BTreeMap<_, _> = entries
        .map(|entry| entry.expect("readdir").file_name())
        .map(|name| name.into_string().expect("UTF-8"))
        .map(|name| (name.clone(), folder.text(&name)))
        .collect();
    let expected = DEFAULTS.map(|(name, value)| (name.to_string(), format!("{value}\n")));
    assert_eq!(found, BTreeMap::from(expected));
    assert_there("new", false);
}

fn kept(env: &Env) {
    load(env);
    let folder = Folder::new("new");
    let mut values: Vec<(&str, String, String)> = [
        ("4096", "4096"),
        ("64K", "65536"),
        ("3M", "3145728"),
        ("2G", "2147483648"),
        ("18446744073709551615", "18446744073709551615"),
    ]
    .map(|(written, read)| ("size", written.into(), read.into()))
    .into();
    let mut add = |attribute, value: &str| values.push((attribute, value.into(), value.into()));
    Kind::ALL
        .iter()
        .filter(|kind| **kind != Kind::Imported)
        .for_each(|kind| add("kind", kind.name()));
    Policy::ALL
        .iter()
        .for_each(|policy| add("policy", policy.name()));
    MappingKind::ALL
        .iter()
        .for_each(|mapping| add("mapping", mapping.name()));
    Direction::ALL
        .iter()
        .for_each(|direction| add("direction", direction.name()));
    (1..=64).for_each(|bits: u32| add("dma_mask_bits", &bits.to_string()));
    add("policy", "default");
    add("dma_mask_bits", "default");

    for (attribute, written, read) in &values {
        // As echo writes it, and as a program does.
        for text in [format!("{written}\n"), written.clone()] {
            folder.set(
                attribute,
                DEFAULTS.iter().find(|d| d.0 == *attribute).expect("one").1,
            );
            folder.set(attribute, &text);
            folder.assert_is(attribute, read);
        }
    }
    assert_there("new", false);
}

/// `cache` is what older scripts call it.
fn two_names(env: &Env) {
    load(env);
    let folder = Folder::new("names");
    for (written, other) in [("policy", "cache"), ("cache", "policy")] {
        for policy in ["noncached", "default"] {
            folder.set(written, policy);
            folder.assert_is(other, policy);
        }
    }
}

fn bad_attributes(env: &Env) {
    const SIZE: &str = "write a decimal number of bytes, with an optional suffix K, M or G";

    load(env);
    let mut log = Log::from_now();
    let folder = Folder::new("new");
    for (attribute, good, reason, bad) in [
        (
            "size",
            "8192",
            SIZE,
            &[
                "\n",
                "-1",
                "4096 bytes",
                "0x1000",
                "1 M",
                "4T",
                "99999999999999999999",
                "18446744073709551615G",
            ][..],
        ),
        (
            "kind",
            "streaming",
            "choose pages, coherent, streaming, scatter, pool or region",
            &["\n", "page", "Pages", "pages coherent", "0"],
        ),
        (
            "policy",
            "writecombine",
            "choose writeback, writethrough, writecombine, noncached or default",
            &["\n", "cached", "write-back", "0"],
        ),
        (
            "mapping",
            "strict",
            "choose pfnmap, strict or refcounted",
            &["\n", "none", "default", "1"],
        ),
        (
            "direction",
            "to-device",
            "choose bidirectional, to-device or from-device",
            &["\n", "both", "to_device", "default"],
        ),
        (
            "dma_mask_bits",
            "30",
            "write a number from 1 to 64, or default",
            &["\n", "0", "65", "-1", "32 bits", "4294967328"],
        ),
        ("enable", "0", "write 1 or 0", &["\n", "2", "maybe", "-1"]),
    ] {
        folder.set(attribute, good);
        for value in bad {
            folder.assert_refused(attribute, value, Errno::EINVAL);
            let reason = format!("{attribute}={}: {reason}", value.trim());
            assert_logged(&mut log, "shmbuf: new: ", &reason);
        }
        folder.assert_is(attribute, good);
    }
    assert_there("new", false);
}

fn busy(env: &Env) {
    load(env);
    let mut log = Log::from_now();
    let folder = Folder::new("busy");
    folder.enable();
    let before = info(&open("busy"));
    for (attribute, default) in &DEFAULTS[..7] {
        let other = match *attribute {
            "size" => "8192",
            "kind" => "streaming",
            "policy" | "cache" => "writeback",
            "mapping" => "refcounted",
            "direction" => "to-device",
            _ => "32",
        };
        let name = attribute.replace("cache", "policy");
        for value in [other, default, "nonsense"] {
            folder.assert_refused(attribute, value, Errno::EBUSY);
            let reason = format!("{name}={value}: the buffer is enabled; write 0 to enable first");
            assert_logged(&mut log, "shmbuf: busy: ", &reason);
        }
    }
    // Once more is no news.
    folder.enable();
    assert_eq!(info(&open("busy")), before);
    folder.disable();
    folder.disable();
    folder.set("size", "8192");
    folder.enable();
    assert_eq!(info(&open("busy")).size, 8192);
}

fn every_buffer(env: &Env) {
    load(env);
    let folder = Folder::new("camera-0");
    for alloc in every(&env.machine) {
        let directions = match alloc.kind.has_owner() {
            true => Direction::ALL,
            false => &[Direction::Bidirectional],
        };
        for direction in directions {
            let alloc = Alloc {
                direction: *direction,
                ..alloc.clone()
            };
            folder.describe(&alloc);
            assert_there("camera-0", false);
            folder.enable();
            assert_there("camera-0", true);
            let info = info(&open("camera-0"));
            let got = Alloc {
                policy: alloc.policy.and(Some(info.policy)),
                mapping: info.mapping,
                direction: info.direction,
                ..Alloc::new(info.size, info.kind)
            };
            assert_eq!(got, alloc);
            assert_eq!(info.name.as_deref(), Some("camera-0"), "{alloc:?}");
            assert_eq!(
                (info.owner, info.access_width),
                (Owner::Cpu, 1),
                "{alloc:?}"
            );
            if let Some(policy) = alloc.policy {
                let expected = env.machine.expect(alloc.kind, policy, false);
                let Expect::Works(memory_type) = expected else {
                    panic!("{alloc:?} is {expected:?}");
                };
                assert_eq!(info.memory_type, memory_type, "{alloc:?}");
            }
            assert_data("camera-0");
            folder.disable();
        }
    }
    assert_there("camera-0", false);
    folder.remove();
}

fn zeroed(env: &Env) {
    load(env);
    let folder = Folder::new("zeroed");
    let mut again = 0;
    for alloc in each_kind(&env.machine) {
        folder.describe(&alloc);
        let mut used_before = Vec::new();
        for round in 0..16 {
            folder.enable();
            let buffer = open("zeroed");
            let dirt = read_all(&buffer).into_iter().find(|byte| *byte != 0);
            assert_eq!(dirt, None, "{alloc:?}, round {round}");
            let address = info(&buffer).phys_addr.expect("root sees addresses");
            again += usize::from(used_before.contains(&address));
            used_before.push(address);
            write_all(&buffer, fresh());
            folder.disable();
        }
    }
    assert_ne!(again, 0, "no memory came a second time");
}

/// Buffers that are refused when their folder is enabled, with the errno and words of
/// the reason.
fn refused_here(machine: &Machine) -> Vec<(Alloc, Errno, String)> {
    let pages = || Alloc::new(SIZE, Kind::Pages);
    let mut list = Vec::new();
    for kind in kinds() {
        let size = if kind == Kind::Pool { 64 } else { SIZE };
        for policy in Policy::ALL {
            if machine.expect(kind, *policy, false) == Expect::Refused {
                let alloc = Alloc {
                    policy: Some(*policy),
                    ..Alloc::new(size, kind)
                };
                let words = format!("policy={policy} kind={kind}: ");
                list.push((alloc, Errno::EOPNOTSUPP, words));
            }
        }
        for mapping in [MappingKind::Strict, MappingKind::Refcounted] {
            let works = match mapping {
                MappingKind::Strict => kind.has_owner(),
                _ => !machine.is_vivt() && (kind.has_owner() || kind == Kind::Pages),
            };
            if !works {
                let alloc = Alloc {
                    mapping,
                    ..Alloc::new(size, kind)
                };
                let words = format!("mapping={mapping} kind={kind}: ");
                list.push((alloc, Errno::EOPNOTSUPP, words));
            }
        }
        if !kind.has_owner() {
            let alloc = Alloc {
                direction: Direction::ToDevice,
                ..Alloc::new(size, kind)
            };
            let words = format!("direction=to-device kind={kind}: ");
            list.push((alloc, Errno::EINVAL, words));
        }
    }
    let words = "must be a multiple of the page size";
    for (size, shown) in [
        (0, "0"),
        (1, "1"),
        (5 << 9, "2560"),
        (u64::MAX, "18446744073709551615"),
    ] {
        let alloc = Alloc { size, ..pages() };
        list.push((alloc, Errno::EINVAL, format!("size={shown}: {words}")));
    }
    let words = "kind=pool: must be less than a page";
    for (size, shown) in [(0, "0"), (64 << 10, "64K")] {
        let alloc = Alloc::new(size, Kind::Pool);
        list.push((alloc, Errno::EINVAL, format!("size={shown} {words}")));
    }
    let size = 1 << 63;
    let words = "size=8589934592G: buffers of this kernel must be smaller than ";
    list.push((Alloc { size, ..pages() }, Errno::EFBIG, words.into()));
    let words = "kind=region: for device-tree nodes";
    list.push((
        Alloc::new(SIZE, Kind::Region),
        Errno::EOPNOTSUPP,
        words.into(),
    ));
    list
}

fn refusals(env: &Env) {
    load(env);
    let mut log = Log::from_now();
    let folder = Folder::new("refused");
    for (alloc, errno, words) in refused_here(&env.machine) {
        folder.describe(&alloc);
        folder.assert_refused("enable", "1", errno);
        assert_logged(&mut log, "shmbuf: refused: ", &words);
        assert_there("refused", false);
    }
    folder.describe(&Alloc::new(SIZE, Kind::Pages));
    folder.set("dma_mask_bits", "12");
    folder.assert_refused("enable", "1", Errno::EIO);
    let words = "dma_mask_bits=12: this kernel serves no device with so small a DMA mask";
    assert_logged(&mut log, "shmbuf: refused: ", words);
    assert_there("refused", false);
    // None of that has left anything behind that would be in the way.
    folder.set("dma_mask_bits", "default");
    folder.enable();
    assert_there("refused", true);
    assert_data("refused");
    folder.disable();
    folder.remove();
}

/// Whatever mask a device has: its address is inside, or there is none.
fn masks(env: &Env) {
    const KINDS: [Kind; 3] = [Kind::Coherent, Kind::Streaming, Kind::Scatter];

    load(env);
    let mut log = Log::from_now();
    let folder = Folder::new("mask");
    let mut had = Vec::new();
    for kind in KINDS {
        folder.describe(&Alloc::new(SIZE, kind));
        for bits in [16, 24, 27, 28, 29, 30, 31, 32, 36, 63, 64] {
            folder.set("dma_mask_bits", &bits.to_string());
            if let Err(error) = folder.try_set("enable", "1") {
                let errno = error.raw_os_error().map(Errno::from_raw);
                let expected = [Some(Errno::EIO), Some(Errno::ENOMEM)];
                assert!(expected.contains(&errno), "{kind}, {bits} bits: {error}");
                if errno == Some(Errno::EIO) {
                    assert_logged(&mut log, "shmbuf: mask: ", "DMA mask; give it more bits");
                }
                continue;
            }
            let info = info(&open("mask"));
            let first = info.dma_addr.expect("root sees addresses").address;
            // What follows the first page of kind scatter may lie elsewhere.
            let length = if kind == Kind::Scatter {
                page() as u64
            } else {
                SIZE
            };
            let last = first + (length - 1);
            assert!(
                bits == 64 || last >> bits == 0,
                "{kind}, {bits} bits: {last:#x}"
            );
            folder.disable();
            had.push((kind, bits));
        }
    }
    for kind in KINDS {
        assert!(had.contains(&(kind, 64)), "{kind} has no address at all");
    }
}

#[track_caller]
fn assert_rmdir_busy(folder: &Folder, what: &str) {
    let errno = folder.rmdir().map_err(|error| error.raw_os_error());
    assert_eq!(errno, Err(Some(Errno::EBUSY as i32)), "{what}");
    assert!(folder.path.exists());
}

fn rmdir(env: &Env) {
    load(env);
    for alloc in each_kind(&env.machine) {
        let mut at = 0;
        loop {
            let folder = Folder::new("kept");
            folder.describe(&alloc);
            folder.enable();
            let mut keepers = keepers(open("kept"));
            let count = keepers.len();
            assert_rmdir_busy(&folder, "while enabled, and in use");
            let (what, keeper) = keepers.swap_remove(at);
            drop(keepers);
            let what = format!("{alloc:?} has a {what}");
            assert_rmdir_busy(&folder, &what);
            folder.disable();
            assert_there("kept", false);
            assert_rmdir_busy(&folder, &what);
            drop(keeper);
            folder.remove();
            at += 1;
            if at == count {
                break;
            }
        }
        // And while it is enabled alone.
        let folder = Folder::new("kept");
        folder.describe(&alloc);
        folder.enable();
        assert_rmdir_busy(&folder, "while enabled");
        folder.disable();
        folder.remove();
    }
}

/// A folder is enabled at the moment when it is removed: whichever is first, the other is refused, and
/// the log has the reason in words.
fn enable_and_rmdir(env: &Env) {
    load(env);
    let mut log = Log::from_now();
    let (mut enabled, mut removed, mut reasons) = (0, 0, 0);
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end && (enabled == 0 || removed == 0 || reasons == 0) {
        let folder = Folder::new("brief");
        let begin = Barrier::new(2);
        let (enable, rmdir) = thread::scope(|scope| {
            let enable = scope.spawn(|| {
                let attribute = OpenOptions::new()
                    .write(true)
                    .open(folder.attribute("enable"));
                let mut attribute = attribute.expect("enable");
                begin.wait();
                attribute.write_all(b"1")
            });
            begin.wait();
            thread::sleep(Duration::from_micros(fastrand::u64(..3_000)));
            let rmdir = folder.rmdir();
            (enable.join().expect("a thread failed"), rmdir)
        });
        match (enable, rmdir) {
            (Ok(()), Err(error)) => {
                assert_eq!(error.raw_os_error(), Some(Errno::EBUSY as i32));
                enabled += 1;
            }
            (Err(error), Ok(())) => {
                let gone = [Errno::ENOENT, Errno::ENODEV].map(|errno| Some(errno as i32));
                assert!(gone.contains(&error.raw_os_error()), "{error}");
                removed += 1;
            }
            other => panic!("{other:?}"),
        }
        for line in log.lines() {
            assert!(!line.text.contains(": error -"), "{}", line.text);
            reasons += i32::from(line.text.contains("is being removed"));
        }
    }
    diagnose(format_args!(
        "{enabled} were enabled, {removed} were removed, {reasons} had a reason in the log"
    ));
    assert!(enabled > 0 && removed > 0);
}

fn names(env: &Env) {
    load(env);
    let mut log = Log::from_now();
    let long = "x".repeat(32);
    for name in [
        ".a", "-a", "_a", "a b", "a:b", "a\n", "\u{e9}", "default", "private", &long,
    ] {
        refused(Folder::try_new(name).map(drop), Errno::EINVAL);
        // The log escapes the backslash once more.
        let shown = name.as_bytes().escape_ascii().to_string();
        let shown = shown.replace('\\', r"\x5c");
        let reason = format!("name={shown}: a name is 1 to 31 letters, digits, ");
        assert_logged(&mut log, "shmbuf: mkdir: ", &reason);
    }
    for name in ["a", "0", "Camera.left-2_x", &long[1..]] {
        let folder = Folder::new(name);
        refused(Folder::try_new(name).map(drop), Errno::EEXIST);
        folder.enable();
        assert_there(name, true);
        assert_eq!(info(&open(name)).name.as_deref(), Some(name));
        refused(Folder::try_new(name).map(drop), Errno::EEXIST);
        folder.disable();
        folder.remove();
        assert_there(name, false);
    }
    // Names that begin alike are not the same.
    let folders = ["a", "ab", "a-b"].map(Folder::new);
    folders.iter().for_each(Folder::enable);
    folders[0].disable();
    for (name, there) in [("a", false), ("ab", true), ("a-b", true)] {
        assert_there(name, there);
    }
}

fn rmmod(env: &Env) {
    load(env);
    assert_eq!(users(), Some(0));
    let folder = Folder::new("folder");
    refused(env.module.unload(), Errno::EWOULDBLOCK);
    folder.enable();
    refused(env.module.unload(), Errno::EWOULDBLOCK);
    folder.disable();
    refused(env.module.unload(), Errno::EWOULDBLOCK);
    folder.remove();
    assert_eq!(users(), Some(0));
    env.module.must_unload();
    assert!(!Path::new(ROOT).exists());
}

fn contract(env: &Env) {
    load(env);
    for alloc in every(&env.machine) {
        let folder = Folder::new("twice");
        folder.describe(&alloc);
        folder.enable();
        let first = Users::of("twice");
        first.assert_data();
        let pattern = fresh();
        write_all(first.handle(), pattern);
        folder.disable();
        assert!(!node("twice").exists());
        first.assert_pattern(pattern);
        first.assert_data();

        write_all(first.handle(), pattern);
        folder.enable();
        let second = Users::of("twice");
        let [before, after] = [&first, &second].map(|users| info(users.handle()));
        assert_ne!(before.phys_addr, after.phys_addr, "{alloc:?}");
        assert_eq!(before.name, after.name, "{alloc:?}");
        second.assert_data();
        first.assert_pattern(pattern);
        let other = fresh();
        write_all(second.handle(), other);
        first.assert_data();
        second.assert_pattern(other);

        folder.disable();
        drop(first);
        second.assert_data();
        assert_rmdir_busy(&folder, &format!("{alloc:?}, the second"));
        drop(second);
        folder.remove();
    }
}

fn rounds(env: &Env) {
    load(env);
    let folder = Folder::new("crowded");
    let kinds = each_kind(&env.machine);
    let crowd = Crowd::new(&["crowded"]);
    for round in 0..100 {
        folder.describe(&kinds[round % kinds.len()]);
        folder.enable();
        if round % 4 != 0 {
            crowd.wait_for_a_visit();
        }
        folder.disable();
    }
    crowd.disperse();
    assert_there("crowded", false);
    folder.remove();
    assert_eq!(users(), Some(0));
    env.module.must_unload();
}
