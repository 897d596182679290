// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dma-bufs in a PCI device with a DMA mask: QEMU's edu, by the sample driver.

use std::{
    ffi::CString,
    fs::{self, File},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    kmod::{delete_module, finit_module, DeleteModuleFlags, ModuleInitFlags},
};
use shmbuf::{
    Access, Alloc, Buffer, Direction, Kind, MappingKind, Owner, Phase, Policy, Protection,
};
use shmbuf_edu::{abi, Direction as Way, Edu, MEMORY};
use shmbuf_verify::Pattern;

use super::{
    alloc::{every, limit_file, make, map},
    claim,
    configfs::Folder,
    data::{fresh, load_all},
    export::video::Camera,
    named::open,
    pattern_sample::take_frames,
    Claim, Scope,
};
use crate::{
    kmsg::Log,
    ktap::diagnose,
    machine::{mount_configfs, Machine},
    module::{Config, KINDS},
    runner::Env,
    sys::{page, refused},
};

pub(super) const CLAIMS: &[Claim] = &[
    with_device("edu_copies_every_buffer", every_buffer).seconds(300),
    with_device("edu_copies_any_range", any_range).seconds(300),
    with_device("edu_is_within_its_mask", within_mask),
    with_device("edu_keeps_to_the_direction", directions),
    with_device("edu_owns_what_it_has_mapped", owned),
    claim(
        Scope::Own,
        "edu_that_snoops_takes_cached_memory_only",
        snooping,
    )
    .unless(without_snooping),
    with_device("edu_that_only_reads_takes_nothing", reader),
    with_device("edu_fills_a_ring_of_slots", ring),
    with_device("edu_refuses_bad_arguments", bad_arguments),
    with_device("edu_goes_while_it_has_a_buffer", goes),
    with_device("race_of_edu_and_unbind", unbind_race),
    with_device("edu_unplugged_100_rounds_among_users", unplugged)
        .unless(|machine, config| {
            without_device(machine, config)
                .or_else(|| has_iommu().then_some("no buffer is for a device behind an IOMMU"))
                .or_else(|| (!mount_configfs()).then_some("no configfs"))
        })
        .seconds(600),
    claim(Scope::Own, "edu_gets_memory_inside_its_mask", inside)
        .unless(without_memory_on_both_sides)
        .seconds(300),
    claim(Scope::Own, "edu_without_memory_for_it", beyond).unless(without_memory_beyond_alone),
    claim(Scope::Own, "edu_sees_a_forgotten_sync", forgotten).unless(without_bounces),
    claim(Scope::Own, "edu_gets_no_copy_without_sync", unsynced).unless(without_bounces),
    claim(Scope::Own, "edu_gets_copies_of_large_buffers", large).unless(without_bounces),
    claim(Scope::Own, "edu_gets_no_second_copy", second).unless(without_two_that_bounce),
];

/// A claim that is tested with the DMA mask that the machine's device has.
const fn with_device(name: &'static str, body: fn(&Env)) -> Claim {
    claim(Scope::Own, name, body).unless(without_device)
}

const MODULE: &str = "/lib/modules/edu.ko";
const NODE: &str = "/dev/edu";
/// Bytes of a buffer, of which each half is more than the device holds.
const SIZE: u64 = 16 << 10;
/// Bits of an address that QEMU's device drives, unless it is told otherwise.
const BITS: u32 = 28;

/// The folder of the PCI device in sysfs.
fn device() -> Option<PathBuf> {
    let devices = fs::read_dir("/sys/bus/pci/devices").into_iter().flatten();
    let mut devices = devices.filter_map(|entry| Some(entry.ok()?.path()));
    devices.find(|path| {
        let is = |file, id| fs::read_to_string(path.join(file)).is_ok_and(|text| text.trim() == id);
        is("vendor", "0x1234") && is("device", "0x11e8")
    })
}

fn without_device(_: &Machine, _: &Config) -> Option<&'static str> {
    if !Path::new(MODULE).exists() {
        return Some("no edu.ko");
    }
    device().is_none().then_some("no PCI device edu")
}

/// The first and the last address of memory.
fn memory() -> (u64, u64) {
    let text = fs::read_to_string("/proc/iomem").expect("/proc/iomem");
    let mut ranges = text.lines().filter_map(|line| {
        let range = line.strip_suffix(" : System RAM")?;
        let (first, last) = range.split_once('-')?;
        let parse = |text| u64::from_str_radix(text, 16).ok();
        Some((parse(first)?, parse(last)?))
    });
    let first = ranges.next().expect("memory");
    // x86 has some below 1 MiB that says nothing.
    (first.0, ranges.next_back().unwrap_or(first).1)
}

/// Whether an IOMMU translates for the device.
fn has_iommu() -> bool {
    let domain = device().map(|path| fs::read_to_string(path.join("iommu_group/type")));
    matches!(domain, Some(Ok(text)) if text.trim() != "identity")
}

/// Whether the kernel copies for all devices (swiotlb=force).
pub(super) fn bounces() -> bool {
    let line = fs::read_to_string("/proc/cmdline").expect("/proc/cmdline");
    line.split_whitespace().any(|word| word == "swiotlb=force")
}

/// Whether the device snoops the CPU's caches though not all devices do: its host bridge says so in
/// the device tree.
fn snoops() -> bool {
    let path = device().and_then(|path| fs::canonicalize(path).ok());
    path.is_some_and(|path| {
        let mut folders = path.ancestors();
        folders.any(|folder| folder.join("of_node/dma-coherent").exists())
    })
}

/// The kinds that a device takes. Where the kernel copies, that is kind pages alone: it has a
/// SYNC, and no address for a device of ours. Where the device snoops, those that are cached.
fn kinds() -> &'static [Kind] {
    match (bounces(), snoops()) {
        (true, _) => &[Kind::Pages],
        (false, true) => &[Kind::Pages, Kind::Streaming, Kind::Scatter],
        (false, false) => &KINDS,
    }
}

/// A cached kind that a device takes: scatter, or pages where the kernel copies.
fn cached() -> Kind {
    kinds()[kinds().len() - 1]
}

fn without_snooping(machine: &Machine, config: &Config) -> Option<&'static str> {
    without_device(machine, config)
        .or_else(|| (!snoops()).then_some("the device does not snoop caches that others do not"))
        .or_else(|| bounces().then_some("it is the kernel that copies from the caches"))
}

fn without_bounces(machine: &Machine, config: &Config) -> Option<&'static str> {
    without_device(machine, config)
        .or_else(|| (!bounces()).then_some("the kernel does not copy for devices"))
}

fn without_two_that_bounce(machine: &Machine, config: &Config) -> Option<&'static str> {
    without_bounces(machine, config)
        .or_else(|| Camera::open().is_none().then_some("no second importer"))
}

fn without_memory_on_both_sides(machine: &Machine, config: &Config) -> Option<&'static str> {
    without_device(machine, config).or_else(|| {
        let (first, last) = memory();
        let both = first >> BITS == 0 && last >> BITS != 0;
        (!both || has_iommu() || bounces() || !mount_configfs())
            .then_some("not with memory inside and outside of 28 bits, and nothing in between")
    })
}

fn without_memory_beyond_alone(machine: &Machine, config: &Config) -> Option<&'static str> {
    without_device(machine, config).or_else(|| {
        let is_beyond = memory().0 >> BITS != 0 && !has_iommu();
        (!is_beyond).then_some("there is memory that 28 bits reach")
    })
}

/// The driver of the device, which is unloaded when dropped.
struct Driver {
    bits: u32,
}

impl Driver {
    fn load(bits: u32) -> Self {
        let file = File::open(MODULE).expect(MODULE);
        let parameters = CString::new(format!("dma_bits={bits}")).expect("no NUL");
        finit_module(file, &parameters, ModuleInitFlags::empty()).expect("insmod edu.ko");
        Self { bits }
    }

    /// Loads the driver with as many bits as reach all memory, or an IOMMU.
    fn fitting() -> Self {
        let all = memory().1 >> BITS == 0 || has_iommu();
        Self::load(if all { BITS } else { 32 })
    }

    fn bind(&self, to: bool) {
        let device = device().expect("edu");
        let address = device.file_name().expect("a name");
        let file = if to { "bind" } else { "unbind" };
        let path = Path::new("/sys/bus/pci/drivers/edu").join(file);
        fs::write(&path, address.as_encoded_bytes())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let result = delete_module(c"edu", DeleteModuleFlags::O_NONBLOCK);
        assert!(
            result.is_ok() || thread::panicking(),
            "rmmod edu: {result:?}"
        );
    }
}

/// Calls `body` with shmbuf and the driver of the device loaded.
fn with(env: &Env, driver: impl FnOnce() -> Driver, body: impl FnOnce(&Driver)) {
    env.module.must_load(&env.config.parameters());
    let driver = driver();
    body(&driver);
    drop(driver);
    env.module.must_unload();
}

#[track_caller]
fn edu() -> Edu {
    Edu::open(NODE).expect(NODE)
}

#[track_caller]
fn export(buffer: &Buffer) -> OwnedFd {
    buffer
        .export(.., Protection::ReadWrite)
        .unwrap_or_else(|error| panic!("EXPORT: {error}"))
}

/// All private buffers that the device can import, of [`SIZE`] bytes.
fn exported(env: &Env) -> Vec<Alloc> {
    let mut list = importable(env);
    list.retain(|alloc| kinds().contains(&alloc.kind));
    if snoops() {
        list.retain(|alloc| is_cached(&make(env, alloc)));
    }
    list
}

/// All private buffers that have pages of their own, of [`SIZE`] bytes.
fn importable(env: &Env) -> Vec<Alloc> {
    let mut list = every(&env.machine);
    list.retain(|alloc| KINDS.contains(&alloc.kind));
    for alloc in &mut list {
        alloc.size = SIZE;
    }
    list
}

fn is_cached(buffer: &Buffer) -> bool {
    let policy = buffer.info().expect("INFO").policy;
    matches!(policy, Policy::WriteBack | Policy::WriteThrough)
}

/// Asserts that the device copies the first half of a buffer to the second. Returns the
/// addresses at which it found them.
#[track_caller]
fn assert_copies(edu: &Edu, buffer: &Buffer, what: &str) -> (u64, u64) {
    let (pattern, half) = (fresh(), buffer.size() / 2);
    let mapping = map(buffer);
    buffer
        .with_cpu_access(.., Access::ReadWrite, || {
            mapping.write(0, &pattern.bytes(0, half as usize));
            mapping.write(half as usize, &vec![0; half as usize]);
        })
        .expect("SYNC");
    let found = edu
        .copy(0, half, half)
        .unwrap_or_else(|errno| panic!("{what}: {errno}"));
    buffer
        .with_cpu_access(.., Access::Read, || {
            let mut got = vec![0; half as usize];
            for (at, which) in [(0, "the source"), (half, "the copy")] {
                mapping.read(at as usize, &mut got);
                assert_is(&got, &pattern.bytes(0, half as usize), what, which);
            }
        })
        .expect("SYNC");
    found
}

#[track_caller]
fn assert_is(got: &[u8], expected: &[u8], what: &str, which: &str) {
    if let Some(at) = (0..got.len()).find(|&at| got[at] != expected[at]) {
        panic!(
            "{what}: byte {at} of {which} is {:#x}, not {:#x}",
            got[at], expected[at]
        );
    }
}

fn every_buffer(env: &Env) {
    with(env, Driver::fitting, |_| {
        let edu = edu();
        for alloc in exported(env) {
            let what = format!("{alloc:?}");
            let buffer = make(env, &alloc);
            edu.attach(export(&buffer), Way::Bidirectional)
                .unwrap_or_else(|errno| panic!("{what}: {errno}"));
            // Mapping did the first SYNC; the second time it is up to us.
            for _ in 0..2 {
                assert_copies(&edu, &buffer, &what);
            }
        }
    });
}

/// Odd offsets and lengths, across pages of kind scatter; the bytes around stay.
fn any_range(env: &Env) {
    with(env, Driver::fitting, |_| {
        let edu = edu();
        for &kind in kinds() {
            let buffer = make(env, &Alloc::new(SIZE, kind));
            edu.attach(export(&buffer), Way::Bidirectional)
                .expect("ATTACH");
            let mapping = map(&buffer);
            let mut expected = fresh().bytes(0, SIZE as usize);
            buffer
                .with_cpu_access(.., Access::Write, || mapping.write(0, &expected))
                .expect("SYNC");
            for length in [1, 3, 31, 33, page() as u32 - 1, MEMORY] {
                let [from, to] = [0, 1].map(|_| fastrand::u64(..=SIZE - u64::from(length)));
                edu.transfer(Way::ToDevice, from, length).expect("there");
                edu.transfer(Way::FromDevice, to, length).expect("back");
                let range = from as usize..from as usize + length as usize;
                expected.copy_within(range, to as usize);
                let got = buffer
                    .with_cpu_access(.., Access::Read, || load_all(&mapping))
                    .expect("SYNC");
                let what = format!("{kind}, {length} bytes from {from} to {to}");
                assert_is(&got, &expected, &what, "the buffer");
            }
        }
    });
}

fn within_mask(env: &Env) {
    with(env, Driver::fitting, |driver| {
        let edu = edu();
        for alloc in exported(env) {
            let buffer = make(env, &alloc);
            edu.attach(export(&buffer), Way::Bidirectional)
                .expect("ATTACH");
            let (read, written) = assert_copies(&edu, &buffer, &format!("{alloc:?}"));
            let end = written + SIZE / 2 - 1;
            assert!((read | end) >> driver.bits == 0, "{read:#x}, {end:#x}");
            let physical = buffer.info().expect("INFO").phys_addr;
            if has_iommu() || bounces() {
                assert_ne!(Some(read), physical, "{alloc:?}");
            } else {
                assert_eq!(Some(read), physical, "{alloc:?}");
            }
        }
    });
}

fn directions(env: &Env) {
    with(env, Driver::fitting, |_| {
        let edu = edu();
        let there = |length| edu.transfer(Way::ToDevice, 0, length);
        let back = |offset| edu.transfer(Way::FromDevice, offset, MEMORY);

        let buffer = make(env, &Alloc::new(SIZE, cached()));
        let read_only = buffer.export(.., Protection::Read).expect("EXPORT");
        for way in [Way::Bidirectional, Way::FromDevice] {
            refused(edu.attach(&read_only, way), Errno::EACCES);
            refused(there(1), Errno::ENODATA);
        }
        let pattern = fresh();
        let mapping = map(&buffer);
        let write = || mapping.write(0, &pattern.bytes(0, MEMORY as usize));
        buffer
            .with_cpu_access(.., Access::Write, write)
            .expect("SYNC");
        edu.attach(&read_only, Way::ToDevice).expect("ATTACH");
        there(MEMORY).expect("there");
        refused(back(0), Errno::EACCES);

        // The device's memory outlasts the attachment.
        for &kind in kinds() {
            let buffer = make(env, &Alloc::new(SIZE, kind));
            edu.attach(export(&buffer), Way::FromDevice)
                .expect("ATTACH");
            refused(there(1), Errno::EACCES);
            back(4096).expect("back");
            let mapping = map(&buffer);
            let got = buffer
                .with_cpu_access(.., Access::Read, || load_all(&mapping))
                .expect("SYNC");
            let mut expected = vec![0; SIZE as usize];
            expected[4096..8192].copy_from_slice(&pattern.bytes(0, MEMORY as usize));
            assert_is(&got, &expected, kind.name(), "the buffer");
        }

        if bounces() {
            return;
        }
        // Devices do not write to this one.
        let alloc = Alloc {
            direction: Direction::ToDevice,
            ..Alloc::new(SIZE, Kind::Streaming)
        };
        let buffer = make(env, &alloc);
        refused(edu.attach(export(&buffer), Way::FromDevice), Errno::EACCES);
        edu.attach(export(&buffer), Way::ToDevice).expect("ATTACH");
        there(MEMORY).expect("there");
    });
}

fn owned(env: &Env) {
    with(env, Driver::fitting, |_| {
        let edu = edu();
        for alloc in exported(env) {
            let buffer = make(env, &alloc);
            let owner = || buffer.info().expect("INFO").owner;
            edu.attach(export(&buffer), Way::Bidirectional)
                .expect("ATTACH");
            let handed = match is_cached(&buffer) {
                true => Owner::Device,
                false => Owner::Cpu,
            };
            assert_eq!(owner(), handed, "{alloc:?}");
            if alloc.mapping == MappingKind::Strict {
                refused(buffer.read_at(&mut [0; 1], 0), Errno::EBUSY);
            }
            buffer
                .sync(.., Access::ReadWrite, Phase::Begin)
                .expect("SYNC");
            assert_eq!(owner(), Owner::Cpu, "{alloc:?}");
            buffer
                .sync(.., Access::ReadWrite, Phase::End)
                .expect("SYNC");
        }
    });
}

/// What the device writes may stay in the caches, past which the CPU reads non-cached memory.
fn snooping(env: &Env) {
    with(env, Driver::fitting, |_| {
        let (edu, mut log) = (edu(), Log::from_now());
        let mut refusals = 0;
        for alloc in importable(env) {
            let buffer = make(env, &alloc);
            if is_cached(&buffer) {
                continue;
            }
            for way in [Way::ToDevice, Way::Bidirectional] {
                refused(edu.attach(export(&buffer), way), Errno::EOPNOTSUPP);
            }
            refusals += 1;
            assert_eq!(buffer.info().expect("INFO").exports, 0, "{alloc:?}");
        }
        let reason = "it snoops the CPU's caches (dma-coherent)";
        let lines = log.lines();
        let said = lines.iter().filter(|line| line.text.contains(reason));
        assert!(refusals > 0 && said.count() > 0, "{refusals}: {lines:?}");
    });
}

/// A transfer takes QEMU's device a tenth of a second.
fn ring(env: &Env) {
    with(env, Driver::fitting, |_| {
        take_frames(kinds(), 10, &["--edu", NODE])
    });
}

/// By a read-only dma-buf the device sees what END gives it, and the CPU keeps all of it.
fn reader(env: &Env) {
    with(env, Driver::fitting, |_| {
        let edu = edu();
        for alloc in exported(env) {
            let buffer = make(env, &alloc);
            let read_only = buffer.export(.., Protection::Read).expect("EXPORT");
            edu.attach(&read_only, Way::ToDevice).expect("ATTACH");
            assert_eq!(buffer.info().expect("INFO").owner, Owner::Cpu, "{alloc:?}");
            let pattern = fresh();
            let bytes = pattern.bytes(0, MEMORY as usize);
            assert_eq!(buffer.write_at(&bytes, 0), Ok(bytes.len()), "{alloc:?}");
            buffer.sync(.., Access::Write, Phase::End).expect("SYNC");
            edu.transfer(Way::ToDevice, 0, MEMORY).expect("there");
            buffer.sync(.., Access::Read, Phase::Begin).expect("SYNC");

            let other = make(env, &alloc);
            edu.attach(export(&other), Way::Bidirectional)
                .expect("ATTACH");
            edu.transfer(Way::FromDevice, 0, MEMORY).expect("back");
            other.sync(.., Access::Read, Phase::Begin).expect("SYNC");
            let mut got = vec![0; bytes.len()];
            assert_eq!(other.read_at(&mut got, 0), Ok(got.len()), "{alloc:?}");
            assert_is(&got, &bytes, "what the reader saw", "the other buffer");
        }
    });
}

fn bad_arguments(env: &Env) {
    with(env, Driver::fitting, |_| {
        let edu = edu();
        let busy = Edu::open(NODE).expect_err("a second open");
        let errno = busy
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::raw_os_error);
        assert_eq!(errno, Some(Errno::EBUSY as i32), "{busy:#}");

        let attach = |fd, direction| edu.attach_raw(&abi::edu_attach { fd, direction });
        let file = File::open("/proc/self/stat").expect("a file");
        let buffer = make(env, &Alloc::new(SIZE, cached()));
        refused(attach(-1, 0), Errno::EBADF);
        refused(attach(1000, 0), Errno::EBADF);
        refused(edu.attach(&file, Way::ToDevice), Errno::EINVAL);
        refused(edu.attach(buffer.as_fd(), Way::ToDevice), Errno::EINVAL);
        refused(attach(0, 3), Errno::EINVAL);
        refused(edu.transfer(Way::ToDevice, 0, 1), Errno::ENODATA);

        edu.attach(export(&buffer), Way::Bidirectional)
            .expect("ATTACH");
        let good = || abi::edu_transfer {
            length: 16,
            direction: abi::EDU_DIRECTION_TO_DEVICE,
            ..Default::default()
        };
        let assert_refused = |errno, change: &dyn Fn(&mut abi::edu_transfer)| {
            let mut raw = good();
            change(&mut raw);
            refused(edu.transfer_raw(&mut raw), errno);
        };
        assert_refused(Errno::EINVAL, &|it| it.direction = 0);
        assert_refused(Errno::EINVAL, &|it| it.direction = 3);
        assert_refused(Errno::EINVAL, &|it| it.length = 0);
        assert_refused(Errno::EINVAL, &|it| it.reserved = 1);
        assert_refused(Errno::ERANGE, &|it| it.length = MEMORY + 1);
        assert_refused(Errno::ERANGE, &|it| it.length = u32::MAX);
        assert_refused(Errno::ERANGE, &|it| it.device_offset = MEMORY - 15);
        assert_refused(Errno::ERANGE, &|it| it.device_offset = u32::MAX);
        assert_refused(Errno::ERANGE, &|it| it.offset = SIZE - 15);
        assert_refused(Errno::ERANGE, &|it| it.offset = SIZE);
        assert_refused(Errno::ERANGE, &|it| it.offset = u64::MAX);
        edu.transfer_raw(&mut good()).expect("a good one");
    });
}

/// The driver is unbound from the device while it has a buffer mapped.
fn goes(env: &Env) {
    with(env, Driver::fitting, |driver| {
        let edu_before = edu();
        let buffer = make(env, &Alloc::new(SIZE, cached()));
        edu_before
            .attach(export(&buffer), Way::Bidirectional)
            .expect("ATTACH");
        refused(
            delete_module(c"edu", DeleteModuleFlags::O_NONBLOCK),
            Errno::EWOULDBLOCK,
        );
        driver.bind(false);
        assert!(!Path::new(NODE).exists());
        refused(edu_before.transfer(Way::ToDevice, 0, 1), Errno::ENODEV);
        refused(
            edu_before.attach(export(&buffer), Way::ToDevice),
            Errno::ENODEV,
        );
        // It has let go of the buffer.
        assert_eq!(buffer.info().expect("INFO").exports, 0);
        driver.bind(true);
        let edu = edu();
        edu.attach(export(&buffer), Way::Bidirectional)
            .expect("ATTACH");
        // The old one has nothing to do with the new one.
        drop(edu_before);
        assert_copies(&edu, &buffer, "after it was bound anew");
    });
}

/// One thread copies and syncs, another unbinds and binds.
fn unbind_race(env: &Env) {
    const ROUNDS: u32 = 10;

    with(env, Driver::fitting, |driver| {
        let over = AtomicBool::new(false);
        let copied = thread::scope(|scope| {
            let copying = scope.spawn(|| {
                let mut copied = 0;
                while !over.load(Relaxed) {
                    let Ok(edu) = Edu::open(NODE) else { continue };
                    let buffer = make(env, &Alloc::new(SIZE, cached()));
                    match edu.attach(export(&buffer), Way::Bidirectional) {
                        Err(Errno::ENODEV) => continue,
                        other => other.expect("ATTACH"),
                    }
                    while !over.load(Relaxed) {
                        match edu.transfer(Way::ToDevice, 0, 100) {
                            Err(Errno::ENODEV) => break,
                            other => other.expect("TRANSFER"),
                        };
                        buffer
                            .with_cpu_access(.., Access::ReadWrite, || ())
                            .expect("SYNC");
                        copied += 1;
                    }
                }
                copied
            });
            for _ in 0..ROUNDS {
                thread::sleep(Duration::from_millis(fastrand::u64(..400)));
                driver.bind(false);
                driver.bind(true);
            }
            over.store(true, Relaxed);
            copying.join().expect("the other thread")
        });
        assert!(copied > 0, "nothing was copied");
    });
}

/// The device goes, as if it were pulled out of its slot, and comes back, while programs have what
/// it uses mapped: memory that it has imported, and memory that is for it.
fn unplugged(env: &Env) {
    const ROUNDS: u32 = 100;
    const FOR_IT: &str = "for-edu";
    const LATER: &str = "for-edu-later";

    with(env, Driver::fitting, |_| {
        let path = device().expect("edu");
        let address = path.file_name().and_then(|name| name.to_str());
        let address = address.expect("a name").to_string();
        let folder = |name| {
            let folder = Folder::new(name);
            folder.set("size", &SIZE.to_string());
            folder.set("kind", "streaming");
            folder.set("device", &address);
            folder
        };
        let for_it = folder(FOR_IT);
        // Where the kernel copies, it cannot be had.
        let has_own = !bounces();
        if has_own {
            for_it.enable();
        }
        let over = AtomicBool::new(false);
        let (copied, gone, synced) = thread::scope(|scope| {
            let copying = scope.spawn(|| while_it_comes_and_goes(env, &over));
            let syncing = scope.spawn(|| {
                if has_own {
                    sync_until(FOR_IT, &over)
                } else {
                    1
                }
            });
            for _ in 0..ROUNDS {
                thread::sleep(Duration::from_millis(fastrand::u64(..150)));
                fs::write(path.join("remove"), "1").expect("remove");
                assert!(device().is_none() && !Path::new(NODE).exists());
                folder(LATER).assert_refused("enable", "1", Errno::ENODEV);
                fs::write("/sys/bus/pci/rescan", "1").expect("rescan");
                assert!(device().is_some() && Path::new(NODE).exists());
                if has_own {
                    let later = folder(LATER);
                    later.enable();
                    later.disable();
                }
            }
            over.store(true, Relaxed);
            let (copied, gone) = copying.join().expect("who copies");
            (copied, gone, syncing.join().expect("who syncs"))
        });
        diagnose(format_args!(
            "{copied} copies, {gone} times gone, {synced} SYNCs"
        ));
        assert!(copied > 0 && gone > 0 && synced > 0);
        if has_own {
            for_it.disable();
        }
        let (edu, buffer) = (edu(), make(env, &Alloc::new(SIZE, Kind::Pages)));
        edu.attach(export(&buffer), Way::Bidirectional)
            .expect("ATTACH");
        assert_copies(&edu, &buffer, "after all");
    });
}

/// Has the device use a buffer as long as it is there. Whenever it has gone, the buffer is the CPU's
/// again, with what was in it. Returns how often it was used, and how often it went.
fn while_it_comes_and_goes(env: &Env, over: &AtomicBool) -> (u32, u32) {
    // Of this kind, nobody else has any.
    let buffer = make(env, &Alloc::new(SIZE, Kind::Pages));
    let mapping = map(&buffer);
    let bytes = fresh().bytes(0, SIZE as usize);
    mapping.write(0, &bytes);
    let (mut copied, mut gone) = (0, 0);
    while !over.load(Relaxed) {
        let Ok(edu) = Edu::open(NODE) else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        match edu.attach(export(&buffer), Way::Bidirectional) {
            Err(Errno::ENODEV) => continue,
            other => other.expect("ATTACH"),
        }
        while !over.load(Relaxed) {
            match edu.transfer(Way::ToDevice, 0, 100) {
                Err(Errno::ENODEV) => {
                    gone += 1;
                    assert_eq!(buffer.info().expect("INFO").owner, Owner::Cpu);
                    let mut got = vec![0; bytes.len()];
                    mapping.read(0, &mut got);
                    assert_is(&got, &bytes, "the device went", "the memory");
                    refused(edu.attach(export(&buffer), Way::ToDevice), Errno::ENODEV);
                    break;
                }
                other => {
                    other.expect("TRANSFER");
                    copied += 1;
                }
            }
            buffer
                .with_cpu_access(.., Access::ReadWrite, || ())
                .expect("SYNC");
        }
    }
    (copied, gone)
}

/// Uses a buffer that is for the device in turns, whether that is there or not. Returns how often.
fn sync_until(name: &str, over: &AtomicBool) -> u32 {
    let buffer = open(name);
    let mapping = map(&buffer);
    let address = buffer.info().expect("INFO").dma_addr;
    let mut synced = 0;
    while !over.load(Relaxed) {
        let bytes = fresh().bytes(0, SIZE as usize);
        buffer
            .with_cpu_access(.., Access::ReadWrite, || mapping.write(0, &bytes))
            .expect("SYNC");
        let mut got = vec![0; bytes.len()];
        buffer
            .with_cpu_access(.., Access::Read, || mapping.read(0, &mut got))
            .expect("SYNC");
        assert_is(&got, &bytes, name, "the memory");
        assert_eq!(buffer.info().expect("INFO").dma_addr, address);
        synced += 1;
    }
    synced
}

/// Memory on both sides of the mask, and nothing that translates or copies: what is outside is
/// refused, and a buffer with the mask is inside.
fn inside(env: &Env) {
    with(
        env,
        || Driver::load(BITS),
        |driver| {
            let edu = edu();
            let mut log = Log::from_now();

            // More than there is inside, which the allocator may give first.
            fs::write(limit_file(), "320M").expect("limit");
            let mut held = Vec::new();
            let far = loop {
                let buffer = make(env, &Alloc::new(1 << 20, Kind::Pages));
                let physical = buffer.info().expect("INFO").phys_addr.expect("root");
                if physical >> BITS != 0 {
                    break buffer;
                }
                held.push(buffer);
            };
            refused(edu.attach(export(&far), Way::ToDevice), Errno::EIO);
            let reason = "its DMA does not reach all of a dma-buf";
            let lines = log.lines();
            assert!(
                lines.iter().any(|line| line.text.contains(reason)),
                "{lines:?}"
            );
            drop((held, far));

            let folder = Folder::new("near");
            for kind in [Kind::Coherent, Kind::Streaming, Kind::Scatter] {
                for bits in [24, BITS] {
                    folder.describe(&Alloc::new(SIZE, kind));
                    folder.set("dma_mask_bits", &bits.to_string());
                    folder.enable();
                    let buffer = open("near");
                    edu.attach(export(&buffer), Way::Bidirectional)
                        .unwrap_or_else(|errno| panic!("{kind}, {bits} bits: {errno}"));
                    let (read, written) = assert_copies(&edu, &buffer, kind.name());
                    assert!((read | written) >> bits.min(driver.bits) == 0);
                    // The device lets go.
                    refused(
                        edu.attach(File::open("/").expect("/"), Way::ToDevice),
                        Errno::EINVAL,
                    );
                    drop(buffer);
                    folder.disable();
                }
            }
        },
    );
}

/// All memory is beyond the mask, and nothing translates or copies.
fn beyond(env: &Env) {
    let mut log = Log::from_now();
    with(
        env,
        || Driver::load(BITS),
        |_| {
            assert!(!Path::new(NODE).exists());
            let lines = log.lines();
            let reason = "there is no memory at such addresses";
            assert!(
                lines.iter().any(|line| line.text.contains(reason)),
                "{lines:?}"
            );
        },
    );
}

/// Where the kernel copies for the device, a SYNC that is left out shows as old data.
fn forgotten(env: &Env) {
    with(env, Driver::fitting, |_| {
        let edu = edu();
        let buffer = make(env, &Alloc::new(SIZE, Kind::Pages));
        edu.attach(export(&buffer), Way::Bidirectional)
            .expect("ATTACH");
        let what = "kind pages";
        assert_copies(&edu, &buffer, what);

        let mapping = map(&buffer);
        let half = SIZE / 2;
        let (old, new) = (fresh(), fresh());
        let write = |pattern: Pattern| mapping.write(0, &pattern.bytes(0, half as usize));
        let copied = || {
            let mut got = vec![0; half as usize];
            mapping.read(half as usize, &mut got);
            got
        };
        let start = |access| buffer.sync(.., access, Phase::Begin).expect("SYNC");
        let end = |access| buffer.sync(.., access, Phase::End).expect("SYNC");

        start(Access::ReadWrite);
        write(old);
        end(Access::ReadWrite);
        edu.copy(0, half, half).expect("copy");
        start(Access::ReadWrite);
        assert_is(&copied(), &old.bytes(0, half as usize), what, "the copy");

        // END is left out.
        write(new);
        edu.copy(0, half, half).expect("copy");
        start(Access::Read);
        assert_is(&copied(), &old.bytes(0, half as usize), what, "what is old");

        // START is left out.
        start(Access::ReadWrite);
        write(new);
        end(Access::ReadWrite);
        edu.copy(0, half, half).expect("copy");
        assert_is(&copied(), &old.bytes(0, half as usize), what, "what is old");
        start(Access::Read);
        assert_is(&copied(), &new.bytes(0, half as usize), what, "the copy");
        end(Access::Read);
    });
}

/// Where the kernel would copy for the device, and no SYNC does it, the device does not get it.
fn unsynced(env: &Env) {
    with(env, Driver::fitting, |_| {
        let mut log = Log::from_now();
        let buffer = make(env, &Alloc::new(SIZE, Kind::Coherent));
        refused(
            edu().attach(export(&buffer), Way::ToDevice),
            Errno::EOPNOTSUPP,
        );
        let reason = "the kernel would copy for it (swiotlb)";
        let lines = log.lines();
        assert!(
            lines.iter().any(|line| line.text.contains(reason)),
            "{lines:?}"
        );
        for kind in [Kind::Streaming, Kind::Scatter] {
            refused(env.open().alloc(&Alloc::new(SIZE, kind)), Errno::EOPNOTSUPP);
        }
    });
}

/// What the kernel copies for a device at a time is at most 256 KiB, so a larger buffer comes in
/// several pieces.
fn large(env: &Env) {
    const AT: u64 = 256 << 10;
    const LENGTH: usize = 8 << 10;
    with(env, Driver::fitting, |_| {
        let edu = edu();
        let buffer = make(env, &Alloc::new(4 * AT, Kind::Pages));
        edu.attach(export(&buffer), Way::Bidirectional)
            .expect("ATTACH");
        let mapping = map(&buffer);
        let bytes = fresh().bytes(0, LENGTH);
        // Across the end of a piece.
        let [from, to] = [1, 3].map(|piece| piece * AT - LENGTH as u64 / 2);
        buffer
            .with_cpu_access(.., Access::ReadWrite, || {
                mapping.write(from as usize, &bytes);
            })
            .expect("SYNC");
        edu.copy(from, to, LENGTH as u64).expect("copy");
        let mut got = vec![0; LENGTH];
        buffer
            .with_cpu_access(.., Access::Read, || mapping.read(to as usize, &mut got))
            .expect("SYNC");
        assert_is(&got, &bytes, "1 MiB", "the copy");
    });
}

/// Where the kernel copies for devices, two would each have a copy of their own.
fn second(env: &Env) {
    with(env, Driver::fitting, |_| {
        let edu = edu();
        let buffer = make(env, &Alloc::new(Camera::BYTES, Kind::Pages));
        let camera = Camera::open().expect("vivid");
        camera.import(export(&buffer)).expect("QBUF");
        refused(edu.attach(export(&buffer), Way::ToDevice), Errno::EBUSY);
        drop(camera);
        edu.attach(export(&buffer), Way::Bidirectional)
            .expect("ATTACH");
    });
}
