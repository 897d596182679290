// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cache policies: what is in force, what can be changed and when.

use nix::errno::Errno;
use shmbuf::{Buffer, Kind, Policy};

use super::{
    claim,
    data::{assert_both, assert_pattern, fresh, load_all, read_all, store_all},
    with_one_policy, Claim, Scope,
};
use crate::{
    expect::Expect,
    kmsg::Log,
    machine::Arch,
    process::{Child, Turn},
    runner::Env,
    sys::{page, refused, Region},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Each, "asked_for_and_in_force", in_force),
    claim(Scope::Each, "aliased_only_by_consent", aliased),
    claim(Scope::EachPages, "contents_survive_set_cache", survive).unless(with_one_policy),
    claim(Scope::EachPages, "set_cache_waits_for_munmap", munmapped).unless(with_one_policy),
    claim(Scope::EachPages, "set_cache_waits_for_last_piece", pieces).unless(with_one_policy),
    claim(Scope::EachPages, "set_cache_waits_for_forked_child", forked).unless(with_one_policy),
    claim(Scope::EachPages, "set_cache_waits_for_other_process", other).unless(with_one_policy),
    claim(Scope::Kind, "set_cache_refuses_what_cannot_be", impossible).unless(|machine, config| {
        (!machine.knows(config.kind)).then_some("not all is known of this processor")
    }),
    claim(Scope::Once, "set_cache_needs_a_writable_handle", read_only),
];

/// A policy that the default buffer can have, and does not have now.
#[track_caller]
fn another(env: &Env) -> Policy {
    let policies = env
        .machine
        .policies(env.config.kind, env.config.accept_alias);
    let mut others = policies.iter().filter(|p| *p != env.config.policy);
    others.next().expect("the test is skipped otherwise")
}

/// Asserts that SET_CACHE is refused with EBUSY and changes nothing.
#[track_caller]
fn assert_busy(env: &Env, buffer: &Buffer) {
    refused(buffer.set_cache(another(env)), Errno::EBUSY);
    let info = buffer.info().expect("INFO");
    assert_eq!(info.policy, env.config.policy);
    assert_eq!(info.memory_type, env.memory_type());
}

/// Asserts that SET_CACHE works now, and sets the policy back.
#[track_caller]
fn assert_free(env: &Env, buffer: &Buffer) {
    assert_eq!(buffer.set_cache(another(env)), Ok(()));
    assert_eq!(buffer.set_cache(env.config.policy), Ok(()));
}

fn in_force(env: &Env) {
    let info = env.open().info().expect("INFO");
    assert_eq!(info.kind, env.config.kind);
    assert_eq!(info.policy, env.config.policy);
    assert_eq!(info.memory_type, env.memory_type());
    if env.machine.knows(info.kind) {
        let policies = env.machine.settable(&env.config);
        assert_eq!(info.policies, policies, "{}", info.policies);
    }
}

fn aliased(env: &Env) {
    let info = env.open().info().expect("INFO");
    let expected = match env.machine.arch {
        // Of coherent memory the kernel's configuration decides.
        Arch::Armv7 { .. } if matches!(env.config.kind, Kind::Coherent | Kind::Pool) => return,
        // Only there do contract and architecture forbid it.
        Arch::Armv7 { highmem, .. } => {
            env.config.kind == Kind::Pages && info.policy != Policy::WriteBack && !highmem
        }
        Arch::Arm64 => info.policy != Policy::WriteBack,
        Arch::Armv5 | Arch::Snooping => false,
    };
    assert_eq!(info.aliased, expected);
}

fn survive(env: &Env) {
    let buffer = env.open();
    let (kind, alias) = (env.config.kind, env.config.accept_alias);
    for policy in env.machine.policies(kind, alias).iter() {
        for (from, to) in [(env.config.policy, policy), (policy, env.config.policy)] {
            let pattern = fresh();
            let mapping = env.map(&buffer);
            store_all(&mapping, 0, pattern);
            drop(mapping);

            buffer
                .set_cache(to)
                .unwrap_or_else(|e| panic!("{from} to {to}: {e}"));
            let info = buffer.info().expect("INFO");
            let Expect::Works(memory_type) = env.machine.expect(kind, to, alias) else {
                panic!("{to} is not to work");
            };
            assert_eq!((info.policy, &*info.memory_type), (to, memory_type));

            assert_pattern(pattern, 0, &read_all(&buffer), "read(2) afterwards");
            let mapping = env.map(&buffer);
            assert_pattern(pattern, 0, &load_all(&mapping), "mapping afterwards");
            let pattern = fresh();
            store_all(&mapping, 0, pattern);
            assert_both(&buffer, &mapping, pattern);
        }
    }
}

fn munmapped(env: &Env) {
    let buffer = env.open();
    assert_free(env, &buffer);
    let mapping = env.map(&buffer);
    assert_busy(env, &buffer);
    // Through another handle as well.
    assert_busy(env, &env.open());
    drop(mapping);
    assert_free(env, &buffer);

    // The mapping counts, not the handle that it was made from.
    let mapping = env.map(&env.open());
    assert_busy(env, &buffer);
    drop(mapping);
    assert_free(env, &buffer);
}

fn pieces(env: &Env) {
    use nix::libc::{MAP_SHARED, PROT_READ};
    let buffer = env.open();
    let mut region = Region::map(&buffer, env.size(), PROT_READ, MAP_SHARED, 0).expect("mmap");
    let middle = env.size() / page() / 2 * page();
    region.unmap(0, middle).expect("munmap of the first half");
    assert_busy(env, &buffer);
    let rest = env.size() - middle - page();
    region
        .unmap(middle + page(), rest)
        .expect("munmap of all but one page");
    assert_busy(env, &buffer);
    region
        .unmap(middle, page())
        .expect("munmap of the last page");
    assert_free(env, &buffer);
}

fn forked(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let never = Turn::new();
    let child = Child::run(|| never.take());
    drop(mapping);
    assert_busy(env, &buffer);
    child.kill();
    assert_free(env, &buffer);
}

fn other(env: &Env) {
    let buffer = env.open();
    let (mapped, unmap, unmapped, never) = (Turn::new(), Turn::new(), Turn::new(), Turn::new());
    let child = Child::run(|| {
        let own = env.open();
        let mapping = env.map(&own);
        mapped.give();
        unmap.take();
        drop(mapping);
        unmapped.give();
        never.take();
    });
    mapped.take();
    assert_busy(env, &buffer);
    unmap.give();
    unmapped.take();
    assert_free(env, &buffer);
    child.kill();
}

fn impossible(env: &Env) {
    let buffer = env.open();
    let mut log = Log::from_now();
    let possible = env.machine.settable(&env.config);
    let before = (buffer.info(), read_all(&buffer));
    for policy in Policy::ALL {
        if possible.contains(*policy) {
            continue;
        }
        refused(buffer.set_cache(*policy), Errno::EOPNOTSUPP);
        assert!((buffer.info(), read_all(&buffer)) == before);
        let lines = log.lines();
        let reason = lines.iter().any(|line| line.text.starts_with("shmbuf"));
        assert!(reason, "no reason in the log for {policy}: {lines:?}");
    }
    assert_eq!(buffer.set_cache(env.config.policy), Ok(()));
    assert!((buffer.info(), read_all(&buffer)) == before);
}

fn read_only(env: &Env) {
    let buffer = env.open_read_only();
    for policy in Policy::ALL {
        refused(buffer.set_cache(*policy), Errno::EBADF);
    }
    let info = buffer.info().expect("INFO");
    assert_eq!(info.policy, env.config.policy);
}
