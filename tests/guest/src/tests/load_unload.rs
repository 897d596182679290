// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loading and unloading.

use std::path::Path;

use nix::errno::Errno;
use shmbuf::{Kind, Policy};

use super::{
    claim,
    data::{assert_both, fresh, store_all},
    Claim, Scope,
};
use crate::{
    expect::Expect,
    kmsg::Line,
    machine::Arch,
    module::{is_loaded, parameter, users, Config, DEVICE, KINDS},
    process::{Child, Turn},
    runner::Env,
    sys::refused,
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::OwnRefused, "insmod_refused", combination),
    claim(Scope::Own, "defaults", defaults),
    claim(Scope::Own, "sizes", sizes).seconds(300),
    claim(Scope::Own, "bad_parameters_are_refused_with_a_reason", bad),
    claim(Scope::Own, "cache_is_another_name_of_policy", two_names),
    claim(Scope::Own, "more_memory_than_there_is", too_large),
    claim(Scope::Own, "node_comes_and_goes", node),
    claim(
        Scope::Own,
        "rmmod_is_refused_while_a_handle_is_open",
        handle,
    ),
    claim(
        Scope::Own,
        "rmmod_is_refused_while_a_mapping_lives",
        mapping,
    ),
    claim(
        Scope::Own,
        "rmmod_is_refused_while_a_child_has_a_mapping",
        child,
    ),
    claim(Scope::Own, "no_alias_where_none_is_needed", no_alias).unless(|machine, _| {
        let highmem = matches!(machine.arch, Arch::Armv7 { highmem: true, .. });
        (!highmem).then_some("there is no highmem")
    }),
];

/// delete_module(2) with O_NONBLOCK, as rmmod calls it, says EWOULDBLOCK; what
/// rmmod says of it is "in use".
const IN_USE: Errno = Errno::EWOULDBLOCK;

fn combination(env: &Env) {
    let Config { kind, policy, .. } = env.config;
    let reasons = env
        .module
        .must_not_load(&env.config.parameters(), Errno::EOPNOTSUPP);
    let says = |word: &str| reasons.iter().any(|line| line.text.contains(word));
    assert!(says(policy.name()), "which policy? {reasons:?}");
    // What administrators can do about it.
    if env.machine.expect(kind, policy, true) != Expect::Refused {
        assert!(says("accept_alias"), "what would help? {reasons:?}");
        assert!(says("coherent"), "what would help? {reasons:?}");
    }
    // Nothing is left in the way.
    env.module.must_load(&Config::DEFAULT.parameters());
}

fn defaults(env: &Env) {
    env.module.must_load("");
    let info = env.open().info().expect("INFO");
    assert_eq!((info.kind, info.policy), (Kind::Pages, Policy::WriteBack));
    assert_eq!(info.size, 1 << 20);
    assert!(!info.aliased);
    env.module.must_unload();

    // A kind alone gets a policy that suits it.
    for kind in &KINDS {
        env.module.must_load(&format!("kind={kind}"));
        let info = env.open().info().expect("INFO");
        assert_eq!((info.kind, info.size), (*kind, 1 << 20));
        if env.machine.knows(*kind) {
            let works = env.machine.policies(*kind, false);
            assert!(works.contains(info.policy), "{}", info.policy);
        }
        env.module.must_unload();
    }
}

fn sizes(env: &Env) {
    let sizes: [(&str, u64); 9] = [
        ("4096", 4096),
        ("4K", 4096),
        ("12K", 12 << 10),
        ("64K", 64 << 10),
        ("1M", 1 << 20),
        // No power of two, the largest block of the page allocator, beyond it.
        ("3M", 3 << 20),
        ("4M", 4 << 20),
        ("5M", 5 << 20),
        ("8M", 8 << 20),
    ];
    for kind in KINDS {
        let works = env.machine.policies(kind, false);
        let Some(policy) = works.iter().next() else {
            continue;
        };
        for (text, bytes) in sizes {
            let parameters = format!("kind={kind} policy={policy} size={text}");
            env.module.must_load(&parameters);
            {
                let buffer = env.open();
                assert_eq!(buffer.size(), bytes, "{parameters}");
                assert_eq!(buffer.info().expect("INFO").size, bytes);
                let mapping = buffer
                    .map(0, bytes as usize, shmbuf::Protection::ReadWrite)
                    .expect("mmap");
                let pattern = fresh();
                store_all(&mapping, 0, pattern);
                assert_both(&buffer, &mapping, pattern);
            }
            env.module.must_unload();
        }
    }
}

fn bad(env: &Env) {
    const PAGES: &str = "must be a multiple of the page size (";
    const SIZE: &str = "write a decimal number of bytes, with an optional suffix K, M or G";
    const KIND: &str = "choose pages, coherent, streaming or scatter";
    const POLICY: &str = "choose writeback, writethrough, writecombine, noncached or default";
    const MAPPING: &str = "choose pfnmap, strict or refcounted";
    for (parameter, values, reason) in [
        (
            "size",
            &["0", "1", "4097", "4095", "1000", "1025K"][..],
            PAGES,
        ),
        (
            "size",
            &[
                "-4096",
                "",
                "M",
                "much",
                "4Mx",
                "4M4",
                "4KM",
                "0x100000",
                "18446744073709551616",
                "18446744073709551615G",
            ],
            SIZE,
        ),
        (
            "kind",
            &["", "page", "Pages", "pages,coherent", "pagesx"],
            KIND,
        ),
        (
            "kind",
            &["pool"],
            "this value is for ALLOC, configfs and the device tree",
        ),
        ("kind", &["region"], "this value is for the device tree"),
        ("policy", &["", "write", "uncached", "writebackx"], POLICY),
        ("mapping", &["", "pfn", "strictly"], MAPPING),
    ] {
        for value in values {
            let given = format!("{parameter}={value}");
            let reasons = env.module.must_not_load(&given, Errno::EINVAL);
            let says = |words: &str| reasons.iter().any(|line| line.text.contains(words));
            assert!(says(&format!(": {given}: {reason}")), "{reasons:?}");
        }
    }
    // The core itself refuses these, and says so.
    for parameters in ["limit=", "limit=much", "limit=4Mx", "accept_alias=maybe"] {
        refused(env.module.load(parameters), Errno::EINVAL);
        assert!(!is_loaded());
    }
}

/// Older scripts have the other one. If both are given, the last one counts.
fn two_names(env: &Env) {
    for parameters in [
        "policy=writeback",
        "cache=writeback",
        "cache=noncached policy=writeback",
        "policy=noncached cache=writeback",
    ] {
        env.module.must_load(parameters);
        let info = env.open().info().expect("INFO");
        assert_eq!(info.policy, Policy::WriteBack, "{parameters}");
        for name in ["policy", "cache"] {
            assert_eq!(parameter(name), "writeback", "{parameters}");
        }
        env.module.must_unload();
    }
    let reasons = env.module.must_not_load("cache=uncached", Errno::EINVAL);
    let says = |line: &Line| line.text.contains(": policy=uncached: choose writeback, ");
    assert!(reasons.iter().any(says), "{reasons:?}");
}

fn too_large(env: &Env) {
    for kind in KINDS {
        let works = env.machine.policies(kind, false);
        let Some(policy) = works.iter().next() else {
            continue;
        };
        // What the machine can address and does not have.
        let parameters = format!("kind={kind} policy={policy} size=2047M");
        let reasons = env.module.must_not_load(&parameters, Errno::ENOMEM);
        let says = |word: &str| reasons.iter().any(|l| l.text.contains(word));
        assert!(says(": size=2047M: "), "{reasons:?}");
        assert!(says("contiguous") || says("memory"), "{reasons:?}");
        // No board has as much, at any time and in any kind.
        assert!(!says("sooner") || kind == Kind::Coherent, "{reasons:?}");
        assert!(!says("kind=scatter"), "{reasons:?}");
        // What would be small if 32 bits held it.
        let errno = match env.machine.has_64bit_kernel() {
            false => Errno::EFBIG,
            true => Errno::ENOMEM,
        };
        for size in ["4G", "4294971392", "4097M", "16777216G"] {
            let parameters = format!("kind={kind} policy={policy} size={size}");
            let reasons = env.module.must_not_load(&parameters, errno);
            if errno == Errno::EFBIG {
                let says = |line: &Line| line.text.ends_with("must be smaller than 2G");
                assert!(reasons.iter().any(says), "{reasons:?}");
            }
        }
    }
    env.module.must_load("");
}

fn node(env: &Env) {
    for _ in 0..3 {
        assert!(!Path::new(DEVICE).exists());
        env.module.must_load("");
        assert!(Path::new(DEVICE).exists());
        assert_eq!(users(), Some(0));
        env.module.must_unload();
    }
    assert!(!Path::new(DEVICE).exists());
}

fn handle(env: &Env) {
    env.module.must_load("");
    let buffer = env.open();
    assert_eq!(env.module.unload(), Err(IN_USE));
    assert!(buffer.info().is_ok(), "it works on");
    let read_only = env.open_read_only();
    drop(buffer);
    assert_eq!(env.module.unload(), Err(IN_USE));
    drop(read_only);
    env.module.must_unload();
}

fn mapping(env: &Env) {
    env.module.must_load("");
    let buffer = env.open();
    let mapping = env.map(&buffer);
    drop(buffer);
    assert_eq!(env.module.unload(), Err(IN_USE));
    mapping.write_u32(0, 1);
    assert_eq!(mapping.read_u32(0), 1, "it works on");
    drop(mapping);
    env.module.must_unload();
}

fn child(env: &Env) {
    env.module.must_load("");
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let never = Turn::new();
    let child = Child::run(|| never.take());
    drop(mapping);
    drop(buffer);
    assert_eq!(env.module.unload(), Err(IN_USE));
    child.kill();
    env.module.must_unload();
}

/// Consent to an alias makes none where it is not needed.
fn no_alias(env: &Env) {
    for policy in [Policy::WriteBack, Policy::WriteCombine, Policy::NonCached] {
        let config = Config {
            accept_alias: true,
            ..Config::new(Kind::Pages, policy)
        };
        env.module.must_load(&config.parameters());
        assert!(!env.open().info().expect("INFO").aliased, "{policy}");
        env.module.must_unload();
    }
}
