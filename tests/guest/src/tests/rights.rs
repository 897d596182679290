// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may do what: root, a user in the node's group, a stranger.

use std::{
    fs::{self, OpenOptions, Permissions},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{chown, MetadataExt, PermissionsExt},
    },
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{open, OFlag},
    libc,
    sys::stat::Mode,
    unistd::{setgid, setgroups, setuid, Gid, Uid},
};
use shmbuf::{abi, Access, Alloc, Buffer, DmaBuf, Info, Kind, Phase, Policy, Protection};

use super::{
    alloc::every,
    claim,
    configfs::{Folder, ROOT},
    copy::raw_copy,
    data::{assert_both, fresh, load_all, read_all, store_all, write_all},
    info::raw,
    named::{info, node},
    without_debugfs, Claim, Scope,
};
use crate::{
    kmsg::Log,
    machine::mount_configfs,
    module::{Config, DEVICE, SYSFS},
    process::Child,
    runner::Env,
    sys::{refused, Region},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Own, "nodes_are_for_root_at_first", strangers),
    claim(Scope::Own, "udev_is_told_of_nodes", udev),
    claim(Scope::Own, "member_of_the_group_does_everything", member).seconds(300),
    claim(Scope::Own, "member_who_may_read_only_reads", reader),
    claim(Scope::Own, "writer_gets_nothing_to_read", writer),
    claim(Scope::Own, "addresses_are_not_for_members", addresses),
    claim(Scope::Own, "debugfs_is_not_for_members", debugfs).unless(without_debugfs),
    claim(Scope::Own, "nobody_silences_others_in_the_log", silence),
    claim(Scope::Own, "parameters_are_roots_to_change", parameters),
    claim(Scope::Own, "configfs_is_roots_to_change", configfs)
        .unless(|_, _| (!mount_configfs()).then_some("no configfs: CONFIG_CONFIGFS_FS")),
];

/// The group that a node is given to.
const GROUP: u32 = 1000;

/// Makes this process one of an ordinary user, with groups.
fn become_user(groups: &[u32]) {
    become_another(2000, groups);
}

/// Makes this process one of a user, with groups.
fn become_another(user: u32, groups: &[u32]) {
    let groups: Vec<_> = groups.iter().map(|group| Gid::from_raw(*group)).collect();
    setgroups(&groups).expect("setgroups");
    setgid(Gid::from_raw(user)).expect("setgid");
    setuid(Uid::from_raw(user)).expect("setuid");
}

/// Runs a function as a user of the group.
#[track_caller]
fn as_member(f: impl FnOnce()) {
    Child::run(|| {
        become_user(&[GROUP]);
        f();
    })
    .join();
}

/// Runs a function as a user who is not in the group.
#[track_caller]
fn as_stranger(f: impl FnOnce()) {
    Child::run(|| {
        become_user(&[GROUP + 1]);
        f();
    })
    .join();
}

/// Gives a node to the group, as the udev rule does.
#[track_caller]
fn give_to_group(node: &Path, mode: u32) {
    chown(node, Some(0), Some(GROUP)).expect("chown");
    fs::set_permissions(node, Permissions::from_mode(mode)).expect("chmod");
}

#[track_caller]
fn load(env: &Env) {
    env.module.must_load(&Config::DEFAULT.parameters());
}

#[track_caller]
fn assert_no_entry(node: &Path) {
    refused(Buffer::open(node), Errno::EACCES);
    refused(Buffer::open_read_only(node), Errno::EACCES);
    refused(
        OpenOptions::new().write(true).open(node).map(drop),
        Errno::EACCES,
    );
}

/// Calls a function with the default buffer's node and, where it can be made, one with a name.
fn nodes(f: impl FnOnce(&[&Path])) {
    let default = Path::new(DEVICE);
    if mount_configfs() {
        let folder = Folder::new("named");
        folder.enable();
        f(&[default, &node("named")]);
    } else {
        f(&[default]);
    }
}

fn strangers(env: &Env) {
    load(env);
    nodes(|nodes| {
        for node in nodes {
            let metadata = fs::metadata(node).expect("stat");
            assert_eq!((metadata.uid(), metadata.gid()), (0, 0));
            assert_eq!(metadata.mode() & 0o7777, 0o600);
            as_member(|| assert_no_entry(node));
            give_to_group(node, 0o660);
            as_member(|| drop(Buffer::open(node).expect("open")));
            as_stranger(|| assert_no_entry(node));
        }
    });
}

/// What the rule of packaging/udev asks for, the kernel tells udev.
fn udev(env: &Env) {
    load(env);
    nodes(|nodes| {
        for node in nodes {
            let name = node.file_name().and_then(|name| name.to_str());
            let device = Path::new("/sys/class/misc").join(name.expect("UTF-8"));
            let subsystem = fs::canonicalize(device.join("subsystem")).expect("subsystem");
            assert_eq!(subsystem.file_name().expect("a name"), "misc");
            let uevent = fs::read_to_string(device.join("uevent")).expect("uevent");
            let line = format!("DEVNAME={}", name.expect("UTF-8"));
            assert!(uevent.lines().any(|found| found == line), "{uevent}");
        }
    });
}

fn member(env: &Env) {
    load(env);
    give_to_group(Path::new(DEVICE), 0o660);
    let policies = env.machine.policies(env.config.kind, false);
    let list = every(&env.machine);
    as_member(|| {
        let buffer = Buffer::open(DEVICE).expect("open");
        use_all(&buffer);
        for policy in policies.iter() {
            buffer.set_cache(policy).expect("SET_CACHE");
            use_all(&buffer);
        }
        for alloc in &list {
            use_all(
                &buffer
                    .alloc(alloc)
                    .unwrap_or_else(|e| panic!("{alloc:?}: {e}")),
            );
        }
    });
}

/// Makes all calls that a user of a buffer may: INFO, read, write, mmap, SYNC, EXPORT, and
/// mmap of the dma-buf.
#[track_caller]
fn use_all(buffer: &Buffer) {
    let before = info(buffer);
    assert_eq!((before.phys_addr, &before.dma_addr), (None, &None));
    write_all(buffer, fresh());
    let mapped = buffer.map(0, buffer.size() as usize, Protection::ReadWrite);
    let Ok(mapping) = mapped else {
        refused(mapped, Errno::EOPNOTSUPP);
        assert_eq!(before.kind, Kind::Pool);
        return;
    };
    let pattern = fresh();
    let store = || store_all(&mapping, 0, pattern);
    buffer
        .with_cpu_access(.., Access::ReadWrite, store)
        .expect("SYNC");
    buffer
        .sync(.., Access::ReadWrite, Phase::Begin)
        .expect("SYNC");
    assert_both(buffer, &mapping, pattern);
    drop(mapping);

    let exported = buffer.export(.., Protection::ReadWrite);
    if before.kind == Kind::Coherent && exported.is_err() {
        refused(exported, Errno::EOPNOTSUPP);
        return;
    }
    let dma_buf = DmaBuf::from_fd(exported.expect("EXPORT")).expect("a dma-buf");
    let mapping = dma_buf
        .map(0, dma_buf.size() as usize, Protection::ReadWrite)
        .expect("mmap of the dma-buf");
    let pattern = fresh();
    let store = || store_all(&mapping, 0, pattern);
    dma_buf
        .with_cpu_access(Access::ReadWrite, store)
        .expect("DMA_BUF_IOCTL_SYNC");
    dma_buf
        .sync(Access::ReadWrite, Phase::Begin)
        .expect("DMA_BUF_IOCTL_SYNC");
    assert!(load_all(&mapping) == pattern.bytes(0, mapping.len()));
    assert!(read_all(buffer) == pattern.bytes(0, mapping.len()));
}

const READ: i32 = libc::PROT_READ;
const WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

fn reader(env: &Env) {
    load(env);
    give_to_group(Path::new(DEVICE), 0o640);
    let owner = env.open();
    let pattern = fresh();
    write_all(&owner, pattern);
    let alloc = &every(&env.machine)[0];
    as_member(|| {
        refused(Buffer::open(DEVICE), Errno::EACCES);
        let buffer = Buffer::open_read_only(DEVICE).expect("open for reading");
        let bytes = pattern.bytes(0, buffer.size() as usize);
        assert!(read_all(&buffer) == bytes);
        refused(buffer.write_at(&[0], 0), Errno::EBADF);
        let length = buffer.size() as usize;
        let map = |protection| Region::map(&buffer, length, protection, libc::MAP_SHARED, 0);
        refused(map(WRITE), Errno::EACCES);
        refused(map(libc::PROT_WRITE), Errno::EACCES);
        let region = map(READ).expect("mmap");
        refused(region.protect(WRITE), Errno::EACCES);
        refused(region.protect(libc::PROT_WRITE), Errno::EACCES);
        drop(region);

        refused(buffer.sync(.., Access::Write, Phase::Begin), Errno::EBADF);
        refused(buffer.sync(.., Access::ReadWrite, Phase::End), Errno::EBADF);
        buffer.sync(.., Access::Read, Phase::Begin).expect("SYNC");
        refused(buffer.alloc(alloc), Errno::EBADF);
        for policy in Policy::ALL {
            refused(buffer.set_cache(*policy), Errno::EBADF);
        }

        // Whatever it asks for.
        for rights in [Protection::Read, Protection::ReadWrite] {
            let fd = buffer.export(.., rights).expect("EXPORT");
            let map = |protection| Region::map(&fd, length, protection, libc::MAP_SHARED, 0);
            refused(map(WRITE), Errno::EACCES);
            let region = map(READ).expect("mmap of the dma-buf");
            refused(region.protect(WRITE), Errno::EACCES);
            assert_eq!(
                region.read(0),
                u32::from_ne_bytes(bytes[..4].try_into().expect("4"))
            );
        }
        // Nor through /proc, which opens the file anew.
        let path = format!("/proc/self/fd/{}", buffer.as_fd().as_raw_fd());
        refused(
            OpenOptions::new().write(true).open(path).map(drop),
            Errno::EACCES,
        );
    });
    assert!(
        read_all(&owner) == pattern.bytes(0, owner.size() as usize),
        "it has changed"
    );
}

/// Who may only write gets nothing to read: there is no dma-buf that cannot be read.
fn writer(env: &Env) {
    load(env);
    let target = env.open();
    // Access mode 3 of open(2) wants both rights, and allows nothing but ioctl(2).
    for mode in [OFlag::O_WRONLY, OFlag::O_ACCMODE] {
        let fd = open(DEVICE, mode, Mode::empty()).expect("open");
        let buffer = Buffer::from_fd(fd).expect("INFO");
        refused(buffer.read_at(&mut [0], 0), Errno::EBADF);
        for rights in [Protection::Read, Protection::ReadWrite] {
            refused(buffer.export(.., rights), Errno::EBADF);
        }
        refused(
            raw_copy(&target, &buffer, |it| it.dst_offset = 4096),
            Errno::EBADF,
        );
    }
}

/// What root sees of a handle, the member to whom it is passed does not.
fn addresses(env: &Env) {
    load(env);
    let buffer = env.open();
    for alloc in every(&env.machine) {
        let buffer = buffer.alloc(&alloc).expect("ALLOC");
        let ours = info(&buffer);
        assert!(ours.phys_addr.is_some(), "{alloc:?}");
        as_member(|| {
            let expected = Info {
                phys_addr: None,
                dma_addr: None,
                ..ours.clone()
            };
            assert_eq!(info(&buffer), expected);
            let raw = raw(&buffer, abi::shmbuf_info::default()).expect("INFO");
            assert_eq!((raw.phys_addr, raw.dma_addr), (0, 0));
        });
    }
}

fn debugfs(env: &Env) {
    load(env);
    for file in ["default/buffer", "default/counters", "private/memory"] {
        let path = Path::new("/sys/kernel/debug/shmbuf").join(file);
        let metadata = fs::metadata(&path).expect(file);
        assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "{file}");
        assert_eq!(metadata.mode() & 0o077, 0, "{file}");
        as_member(|| refused(fs::read(&path).map(drop), Errno::EACCES));
    }
}

fn parameters(env: &Env) {
    load(env);
    for entry in fs::read_dir(format!("{SYSFS}/parameters")).expect("parameters") {
        let path = entry.expect("parameters").path();
        as_member(|| refused(fs::write(&path, "1"), Errno::EACCES));
    }
}

fn configfs(env: &Env) {
    load(env);
    let folder = Folder::new("roots");
    as_member(|| {
        let mine = Path::new(ROOT).join("mine");
        refused(fs::create_dir(&mine), Errno::EACCES);
        refused(fs::remove_dir(Path::new(ROOT).join("roots")), Errno::EACCES);
        for (attribute, value) in [
            ("size", "4096"),
            ("kind", "coherent"),
            ("policy", "writeback"),
            ("cache", "writeback"),
            ("mapping", "pfnmap"),
            ("direction", "bidirectional"),
            ("dma_mask_bits", "32"),
            ("enable", "1"),
        ] {
            let path = folder.attribute(attribute);
            refused(fs::write(path, value), Errno::EACCES);
        }
    });
    assert!(!node("roots").exists());
}

/// A user makes as many lines as the log takes from him; others get theirs all the same.
fn silence(env: &Env) {
    load(env);
    let buffer = env.open();
    let mut log = Log::from_now();
    let mut reasons = |user, calls| {
        Child::run(|| {
            become_another(user, &[]);
            for _ in 0..calls {
                let region = buffer.alloc(&Alloc::new(4096, Kind::Region));
                refused(region, Errno::EOPNOTSUPP);
            }
        })
        .join();
        let lines = log.lines();
        let reasons = lines.iter().filter(|line| line.text.contains("ALLOC: "));
        reasons.count()
    };
    let talkative = reasons(2000, 100);
    assert!((1..100).contains(&talkative), "{talkative}");
    for another in [2001, 0] {
        assert_eq!(reasons(another, 1), 1, "user {another}");
    }
}
