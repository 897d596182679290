// SPDX-License-Identifier: MIT OR Apache-2.0
//! Buffers for a device of the machine, one of tests/importer: which it is, whether it snoops, and what
//! follows.

use std::{ffi::CString, fs, path::Path};

use nix::errno::Errno;
use shmbuf::{Access, Alloc, Buffer, Info, Kind, Phase, Policy};

use super::{
    claim,
    configfs::Folder,
    export::export_all,
    named::{assert_data, assert_logged, info, open},
    snooping::{add_importers, add_importers_with, remove_importers, without_importers, Importer},
    Claim, Scope,
};
use crate::{
    kmsg::Log,
    machine::{mount_configfs, Arch, Machine},
    module::Config,
    runner::Env,
    sys::page,
};

pub(super) const CLAIMS: &[Claim] = &[
    with_devices("memory_for_a_device_that_snoops_is_cached", snooping).unless(without_snooping),
    with_devices("memory_for_a_device_that_does_not_is_as_ever", plain),
    with_devices("vivt_caches_are_not_snooped", vivt)
        .unless(|machine, _| (machine.arch != Arch::Armv5).then_some("no VIVT caches")),
    with_devices(
        "coherent_memory_that_is_snooped_is_for_who_snoops",
        importers,
    )
    .unless(without_snooping),
    with_devices("device_has_to_exist_and_to_suit_the_kind", refused),
    with_devices("device_name_of_two_buses_wants_the_bus", two_buses).unless(|_, _| {
        devices_below_a_bus()
            .next()
            .is_none()
            .then_some("no such device")
    }),
    with_devices("alloc_is_for_the_device_of_the_handle", private),
    with_devices("device_goes_and_its_memory_stays", goes),
    with_devices("default_buffer_is_for_a_device", parameter),
];

/// A claim that is tested with the devices of tests/importer.
const fn with_devices(name: &'static str, body: fn(&Env)) -> Claim {
    claim(Scope::Own, name, body).unless(without_devices)
}

fn without_devices(machine: &Machine, config: &Config) -> Option<&'static str> {
    without_importers(machine, config)
        .or_else(|| (!mount_configfs()).then_some("no configfs: CONFIG_CONFIGFS_FS"))
}

/// Where some devices snoop and others do not.
fn without_snooping(machine: &Machine, config: &Config) -> Option<&'static str> {
    without_devices(machine, config).or(match machine.arch {
        Arch::Armv5 => Some("no device snoops a VIVT cache"),
        Arch::Snooping => Some("all devices snoop"),
        _ => None,
    })
}

/// Kinds whose memory is for a device.
const KINDS: [Kind; 4] = [Kind::Coherent, Kind::Pool, Kind::Streaming, Kind::Scatter];

/// The name of the folders here.
const NAME: &str = "for-a-device";

/// A folder of a buffer for a device, which is not enabled.
fn folder(kind: Kind, device: &str) -> Folder {
    let folder = Folder::new(NAME);
    let size = if kind == Kind::Pool { 512 } else { 4 * page() };
    folder.set("size", &size.to_string());
    folder.set("kind", kind.name());
    folder.set("device", device);
    folder
}

/// Calls `body` with the module loaded, and the devices there.
fn with(env: &Env, body: impl FnOnce()) {
    add_importers();
    env.module.must_load(&env.config.parameters());
    body();
    env.module.must_unload();
    remove_importers();
}

fn of(kind: Kind, device: &str) -> Info {
    let folder = folder(kind, device);
    folder.enable();
    let info = info(&open(NAME));
    folder.disable();
    info
}

fn name_of_device(info: &Info) -> &str {
    let address = info.dma_addr.as_ref().expect("root sees addresses");
    &address.device
}

fn snooping(env: &Env) {
    with(env, || {
        for kind in KINDS {
            let folder = folder(kind, "importer-snooping");
            folder.enable();
            let info = info(&open(NAME));
            assert_eq!(info.policy, Policy::WriteBack, "{kind}");
            assert_eq!(name_of_device(&info), "importer-snooping");
            assert!(info.snoops && !info.aliased, "{kind}");
            assert_data(NAME);
            folder.disable();
            if matches!(kind, Kind::Coherent | Kind::Pool) {
                let mut log = Log::from_now();
                folder.set("policy", "writecombine");
                folder.assert_refused("enable", "1", Errno::EOPNOTSUPP);
                let reason = format!("policy=writecombine kind={kind}: the device that it is for");
                assert_logged(&mut log, NAME, &reason);
            }
        }
    });
}

fn plain(env: &Env) {
    with(env, || {
        for kind in KINDS {
            let (got, own) = (of(kind, "importer-plain"), of(kind, "default"));
            assert_eq!(name_of_device(&got), "importer-plain");
            assert_ne!(name_of_device(&own), "importer-plain");
            let what = |info: &Info| (info.policy, info.memory_type.clone(), info.snoops);
            assert_eq!(what(&got), what(&own), "{kind}");
            assert_eq!(got.snoops, env.machine.arch == Arch::Snooping, "{kind}");
        }
    });
}

fn vivt(env: &Env) {
    with(env, || {
        for kind in KINDS {
            let mut log = Log::from_now();
            folder(kind, "importer-snooping").assert_refused("enable", "1", Errno::EOPNOTSUPP);
            assert_logged(&mut log, NAME, "policy=writeback ");
        }
    });
}

fn importers(env: &Env) {
    with(env, || {
        let folder = folder(Kind::Coherent, "importer-snooping");
        folder.enable();
        let buffer = open(NAME);
        let dma_buf = export_all(&buffer);
        let mut log = Log::from_now();
        let refused = Importer::try_new("plain", &dma_buf).err();
        let errno = refused.and_then(|error| error.raw_os_error());
        assert_eq!(errno, Some(Errno::EOPNOTSUPP as i32));
        let reason = "it does not snoop the CPU's caches";
        assert!(log.lines().iter().any(|line| line.text.contains(reason)));

        let mut importer = Importer::try_new("snooping", &dma_buf).expect("map");
        importer.tell("fill 90");
        sync(&buffer, Phase::Begin);
        let mut got = vec![0; buffer.size() as usize];
        assert_eq!(buffer.read_at(&mut got, 0), Ok(got.len()));
        assert!(got.iter().all(|&byte| byte == 90));
        drop((importer, dma_buf, buffer));
        folder.disable();
    });
}

#[track_caller]
fn sync(buffer: &Buffer, phase: Phase) {
    buffer.sync(.., Access::ReadWrite, phase).expect("SYNC");
}

fn refused(env: &Env) {
    with(env, || {
        for (kind, device, errno, reason) in [
            (
                Kind::Streaming,
                "nobody",
                Errno::ENODEV,
                "no device has this name",
            ),
            (
                Kind::Streaming,
                "importer-narrow",
                Errno::EIO,
                "device: this kernel serves no device with so small a DMA mask",
            ),
            (
                Kind::Pages,
                "importer-plain",
                Errno::EINVAL,
                "device kind=pages: only memory of",
            ),
        ] {
            let mut log = Log::from_now();
            folder(kind, device).assert_refused("enable", "1", errno);
            assert_logged(&mut log, NAME, reason);
        }
        let folder = Folder::new(NAME);
        for bad in [" ", "a/b", "two words", "\u{7f}", "pci/", "pci/a/b"] {
            folder.assert_refused("device", bad, Errno::EINVAL);
        }
        folder.set("device", "importer-plain");
        folder.set("device", "default");
        folder.enable();
        folder.assert_refused("device", "importer-plain", Errno::EBUSY);
        folder.disable();
    });
}

/// Names and buses of the devices of other buses whose folders are not where sysfs has a platform
/// device of the same name.
fn devices_below_a_bus() -> impl Iterator<Item = (&'static str, String)> {
    let devices = |bus| {
        let folder = fs::read_dir(format!("/sys/bus/{bus}/devices"));
        let entries = folder.into_iter().flatten().flatten();
        entries.filter_map(move |entry| {
            let path = fs::canonicalize(entry.path()).ok()?;
            let name = entry.file_name().into_string().ok()?;
            (path.parent() != Some(Path::new("/sys/devices/platform"))).then_some((bus, name))
        })
    };
    ["amba", "pci"].into_iter().flat_map(devices)
}

/// The device of the platform bus is known by its mask.
fn two_buses(env: &Env) {
    let (bus, name) = devices_below_a_bus().next().expect("a device");
    let parameter = CString::new(format!("narrow={name}")).expect("a name");
    add_importers_with(&parameter);
    env.module.must_load(&env.config.parameters());
    for (device, errno, reason) in [
        (
            name.clone(),
            Errno::EINVAL,
            "devices of several buses have this name",
        ),
        (
            format!("platform/{name}"),
            Errno::EIO,
            "device: this kernel serves no device with so small a DMA mask",
        ),
        (
            "platform/nobody".into(),
            Errno::ENODEV,
            "no device has this name",
        ),
    ] {
        let mut log = Log::from_now();
        folder(Kind::Streaming, &device).assert_refused("enable", "1", errno);
        assert_logged(&mut log, NAME, reason);
    }
    let info = of(Kind::Streaming, &format!("{bus}/{name}"));
    assert_eq!(name_of_device(&info), name);
    env.module.must_unload();
    remove_importers();
}

/// What ALLOC makes is for the same device, in each generation, and when the named buffer is gone.
fn private(env: &Env) {
    with(env, || {
        let devices = match env.machine.arch {
            Arch::Armv5 => &["importer-plain"][..],
            _ => &["importer-plain", "importer-snooping"],
        };
        for device in devices {
            let folder = folder(Kind::Streaming, device);
            folder.enable();
            let mut handle = open(NAME);
            let snoops = info(&handle).snoops;
            folder.disable();
            let own = Buffer::open("/dev/shmbuf").expect("/dev/shmbuf");
            for kind in KINDS {
                let size = if kind == Kind::Pool {
                    512
                } else {
                    page() as u64
                };
                handle = handle.alloc(&Alloc::new(size, kind)).expect("ALLOC");
                let got = info(&handle);
                assert_eq!(name_of_device(&got), *device, "{kind}");
                assert_eq!(got.snoops, snoops, "{kind}");
                let plain = info(&own.alloc(&Alloc::new(size, kind)).expect("ALLOC"));
                assert_ne!(name_of_device(&plain), *device, "{kind}");
                let policy = match snoops {
                    true => Policy::WriteBack,
                    false => plain.policy,
                };
                assert_eq!(got.policy, policy, "{kind}");
            }
            let pages = Alloc::new(page() as u64, Kind::Pages);
            let pages = info(&handle.alloc(&pages).expect("ALLOC"));
            assert!(pages.dma_addr.is_none() && !pages.snoops);
        }
    });
}

fn goes(env: &Env) {
    with(env, || {
        for kind in KINDS {
            let folder = folder(kind, "importer-plain");
            folder.enable();
            let buffer = open(NAME);
            let before = info(&buffer);
            sync(&buffer, Phase::End);
            remove_importers();
            sync(&buffer, Phase::Begin);
            let bytes = vec![0x5a; buffer.size() as usize];
            assert_eq!(buffer.write_at(&bytes, 0), Ok(bytes.len()));
            let mut got = vec![0; bytes.len()];
            assert_eq!(buffer.read_at(&mut got, 0), Ok(got.len()));
            assert!(got == bytes);
            let after = info(&buffer);
            assert_eq!(name_of_device(&after), "importer-plain");
            let address = |info: &Info| info.dma_addr.as_ref().map(|dma| dma.address);
            assert_eq!(address(&after), address(&before));
            drop(buffer);
            folder.disable();
            folder.assert_refused("enable", "1", Errno::ENODEV);
            add_importers();
        }
    });
}

fn parameter(env: &Env) {
    add_importers();
    let mut log = Log::from_now();
    let errno = env.module.load("kind=streaming device=nobody").err();
    assert_eq!(errno, Some(Errno::ENODEV));
    assert_logged(&mut log, "default buffer", "no device has this name");
    env.module.must_load("kind=streaming device=importer-plain");
    let buffer = Buffer::open("/dev/shmbuf").expect("/dev/shmbuf");
    assert_eq!(name_of_device(&info(&buffer)), "importer-plain");
    drop(buffer);
    env.module.must_unload();
    remove_importers();
}
