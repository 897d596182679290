// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be seen from outside: the node, sysfs, fdinfo, debugfs.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt},
};

use nix::{errno::Errno, libc};
use shmbuf::{abi, Access, Buffer, Owner, Phase};

use super::{
    claim,
    data::{assert_pattern, fresh, read_all, write_all},
    without_debugfs, Claim, Scope,
};
use crate::{
    machine::Machine,
    module::{parameter, parse_size, Config, DEVICE, SYSFS},
    process::{Child, Turn},
    procfs::{counter, debugfs, fdinfo, field, Fields},
    runner::Env,
    sys::{self, page, refused, resized, Region},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Kind, "node_is_root_s_alone", node),
    claim(Scope::Each, "parameters_in_sysfs", parameters),
    claim(Scope::Each, "fdinfo", in_fdinfo),
    claim(Scope::Each, "debugfs_buffer", in_debugfs).unless(without_debugfs),
    claim(Scope::Once, "debugfs_hides_kernel_addresses", hashed).unless(with_addresses),
    claim(Scope::Kind, "debugfs_is_root_s_alone", private).unless(without_debugfs),
    claim(Scope::Each, "debugger", debugger),
    claim(Scope::Kind, "counters_count", counters).unless(without_debugfs),
    claim(Scope::Kind, "refusals_are_counted", refusals).unless(without_debugfs),
];

fn node(_: &Env) {
    let node = fs::metadata(DEVICE).expect(DEVICE);
    assert!(node.file_type().is_char_device());
    assert_eq!(node.mode() & 0o7777, 0o600);
    assert_eq!((node.uid(), node.gid()), (0, 0));
}

fn parameters(env: &Env) {
    assert_eq!(parse_size(&parameter("size")), Some(env.config.size));
    assert_eq!(parameter("kind"), env.config.kind.name());
    for name in ["policy", "cache"] {
        assert_eq!(parameter(name), env.config.policy.name());
    }
    let alias = if env.config.accept_alias { "Y" } else { "N" };
    assert_eq!(parameter("accept_alias"), alias);
    for name in ["size", "kind", "policy", "cache", "accept_alias"] {
        let path = format!("{SYSFS}/parameters/{name}");
        let mode = fs::metadata(&path).expect(&path).mode();
        assert_eq!(mode & 0o222, 0, "{name} can be written");
    }
}

/// Asserts that lines tell what INFO tells.
#[track_caller]
fn assert_like_info(env: &Env, buffer: &Buffer, lines: &Fields, memory_type: &str) {
    let info = buffer.info().expect("INFO");
    assert_eq!(field(lines, "kind"), env.config.kind.name());
    assert_eq!(field(lines, "policy"), env.config.policy.name());
    assert_eq!(field(lines, memory_type), env.memory_type());
    assert_eq!(field(lines, "size"), info.size.to_string());
    assert_eq!(field(lines, "owner"), info.owner.name());
    assert_eq!(field(lines, "mappings"), info.mappings.to_string());
}

fn in_fdinfo(env: &Env) {
    let buffer = env.open();
    let show = || assert_like_info(env, &buffer, &fdinfo(&buffer), "memory-type");
    show();
    let mapping = env.map(&buffer);
    assert_eq!(field(&fdinfo(&buffer), "mappings"), "1");
    show();
    drop(mapping);
    show();
    if env.config.kind.has_owner() {
        buffer.sync(.., Access::Write, Phase::End).expect("SYNC");
        assert_eq!(field(&fdinfo(&buffer), "owner"), Owner::Device.name());
        show();
    }
}

fn in_debugfs(env: &Env) {
    let buffer = env.open();
    let show = || assert_like_info(env, &buffer, &debugfs("buffer"), "memory type");
    show();
    let mapping = env.map(&buffer);
    assert_eq!(field(&debugfs("buffer"), "mappings"), "1");
    show();

    // Those of other processes too.
    let (mapped, never) = (Turn::new(), Turn::new());
    drop(mapping);
    let child = Child::run(|| {
        let own = env.open();
        let _mapping = env.map(&own);
        mapped.give();
        never.take();
    });
    mapped.take();
    let mapping = env.map(&buffer);
    assert_eq!(field(&debugfs("buffer"), "mappings"), "2");
    child.kill();
    show();
    drop(mapping);
    show();

    let lines = debugfs("buffer");
    let physical = buffer.info().expect("INFO").phys_addr.expect("privileged");
    let shown = field(&lines, "physical address");
    let digits = shown.trim_start_matches("0x");
    assert_eq!(u64::from_str_radix(digits, 16), Ok(physical), "{shown}");
    assert!(!field(&lines, "kernel view").is_empty());
}

/// Kernel addresses are addresses of pages, and what stands for them is not. One may be so by luck.
fn hashed(env: &Env) {
    let buffer = env.open();
    let policies = buffer.info().expect("INFO").policies;
    let mut shown = Vec::new();
    for policy in policies.iter() {
        buffer.set_cache(policy).expect("SET_CACHE");
        // The view is made when it is needed.
        read_all(&buffer);
        let lines = debugfs("buffer");
        let view = field(&lines, "kernel view");
        shown.push(view.split(' ').nth(1).expect("an address").to_string());
    }
    let is_address = |text: &String| {
        let number = u64::from_str_radix(text.trim_start_matches("0x"), 16);
        number.is_ok_and(|number| number % page() as u64 == 0)
    };
    assert!(!shown.iter().all(is_address), "{shown:?}");
}

fn with_addresses(machine: &Machine, config: &Config) -> Option<&'static str> {
    let parameters = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let told = parameters.contains("no_hash_pointers");
    without_debugfs(machine, config).or(told.then_some("the kernel hides no addresses"))
}

fn private(_: &Env) {
    for name in ["buffer", "counters"] {
        let path = format!("/sys/kernel/debug/shmbuf/default/{name}");
        let mode = fs::metadata(&path).expect(&path).mode();
        assert_eq!(mode & 0o077, 0, "{name} is open to others: {mode:o}");
    }
}

/// What a debugger sees of a mapping, by ptrace(2) or /proc/PID/mem.
fn debugger(env: &Env) {
    let buffer = env.open();
    let mut pattern = fresh();
    write_all(&buffer, pattern);
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let length = env.config.size as usize;
    let mapping = Region::map(&buffer, length, protection, libc::MAP_SHARED, 0).expect("mmap");
    let address = mapping.start().addr() as u64;
    let path = "/proc/self/mem";
    let memory = File::options().read(true).write(true).open(path);
    let memory = memory.expect(path);
    let mut bytes = vec![0; mapping.len()];
    if !env.machine.has_64bit_kernel() {
        // There the kernel asks no driver (CONFIG_HAVE_IOREMAP_PROT).
        refused(memory.read_exact_at(&mut bytes, address), Errno::EIO);
        return;
    }
    memory.read_exact_at(&mut bytes, address).expect("read");
    assert_pattern(pattern, 0, &bytes, "the debugger");
    memory
        .read_exact_at(&mut bytes[..77], address + 4091)
        .expect("read");
    assert_pattern(pattern, 4091, &bytes[..77], "the debugger, at an odd place");

    pattern = fresh();
    let count = memory.write_at(&pattern.bytes(0, mapping.len()), address);
    assert_eq!(count.expect("write"), mapping.len());
    assert_pattern(pattern, 0, &read_all(&buffer), "read(2)");
    if env.config.kind.has_owner() {
        buffer.sync(.., Access::Write, Phase::End).expect("SYNC");
        refused(memory.read_exact_at(&mut bytes, address), Errno::EIO);
        buffer.sync(.., Access::Read, Phase::Begin).expect("SYNC");
        memory.read_exact_at(&mut bytes, address).expect("read");
    }
    mapping.protect(libc::PROT_READ).expect("mprotect");
    memory.read_exact_at(&mut bytes, address).expect("read");
    assert_pattern(pattern, 0, &bytes, "the debugger");
    refused(memory.write_at(&[0], address), Errno::EIO);
}

/// The counters, by which the tests see that a call did its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    maps: u64,
    syncs: u64,
    read: u64,
    written: u64,
    refusals: u64,
}

fn counts() -> Counts {
    Counts {
        maps: counter("maps"),
        syncs: counter("syncs"),
        read: counter("bytes read"),
        written: counter("bytes written"),
        refusals: counter("refusals"),
    }
}

fn counters(env: &Env) {
    let buffer = env.open();
    let mut expected = counts();

    let mapping = env.map(&buffer);
    expected.maps += 1;
    assert_eq!(counts(), expected, "after mmap(2)");
    drop(mapping);
    assert_eq!(counts(), expected, "after munmap(2)");

    buffer.read_at(&mut [0; 777], 5).expect("pread");
    expected.read += 777;
    assert_eq!(counts(), expected, "after a read");
    buffer
        .read_at(&mut [0; 100], buffer.size() - 9)
        .expect("pread");
    expected.read += 9;
    buffer.read_at(&mut [0; 100], buffer.size()).expect("pread");
    assert_eq!(counts(), expected, "after a short read and none");

    buffer.write_at(&[0; 555], 5).expect("pwrite");
    expected.written += 555;
    assert_eq!(counts(), expected, "after a write");

    for phase in [Phase::End, Phase::Begin] {
        buffer.sync(.., Access::ReadWrite, phase).expect("SYNC");
    }
    expected.syncs += 2;
    assert_eq!(counts(), expected, "after SYNC twice");

    buffer.info().expect("INFO");
    read_all(&buffer);
    expected.read += buffer.size();
    assert_eq!(counts(), expected, "after INFO, and a read of all");
}

fn refusals(env: &Env) {
    let buffer = env.open();
    let mut expected = counts();
    let mut refused_one = |what: &str| {
        expected.refusals += 1;
        assert_eq!(counts(), expected, "after {what}");
    };

    let result = buffer.sync(0..1, Access::Read, Phase::Begin);
    refused(result, Errno::EINVAL);
    refused_one("an unaligned SYNC");

    let result = buffer.sync(buffer.size().., Access::Read, Phase::Begin);
    refused(result, Errno::EINVAL);
    refused_one("an empty SYNC");

    refused(buffer.write_at(&[0], buffer.size()), Errno::ENOSPC);
    refused_one("a write past the end");

    let result = buffer.map(buffer.size(), page(), shmbuf::Protection::Read);
    refused(result.map(drop), Errno::EINVAL);
    refused_one("a mapping past the end");

    let number = resized(abi::SHMBUF_IOC_SYNC, 8);
    // SAFETY: a null pointer is no memory of ours.
    let result = unsafe { sys::ioctl(&buffer, number, std::ptr::null_mut()) };
    refused(result, Errno::EINVAL);
    refused_one("a SYNC that is too short");
}
