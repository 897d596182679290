// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tests, by subject, and which of them run for which buffer.

mod alloc;
mod bad_input;
mod blocks;
mod configfs;
mod copy;
mod copy_async;
mod data;
mod device;
mod devicetree;
mod edu;
mod export;
mod failed_allocations;
mod fences;
mod files;
mod fuzz;
mod helpers;
mod imported;
mod importers;
mod info;
mod leaks;
mod limits;
mod load_unload;
mod mapping;
mod named;
mod observe;
mod pattern_sample;
mod policy;
mod races;
mod refcounted;
mod rights;
mod rings;
mod signals;
mod slots;
mod snooping;
mod stress;
mod strict;
mod sync;
mod uring;
mod waits;

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use shmbuf::{Kind, Policy};

use crate::{
    expect::Expect,
    machine::{mount_debugfs, Arch, Machine},
    module::{Config, KINDS},
    runner::{Env, Test},
};

/// For which buffers a claim is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Every combination of kind and policy that works here.
    Each,
    /// Every policy of kind pages.
    EachPages,
    /// Every kind, with its first policy.
    Kind,
    /// Kinds that CPU and device own in turns.
    Owned,
    /// The default buffer.
    Once,
    /// Every combination of kind and policy that works here; the test loads the module.
    OwnEach,
    /// Every combination that is refused here; the test loads the module.
    OwnRefused,
    /// The test loads the module as it likes.
    Own,
}

/// What is claimed, and the test of it.
#[derive(Clone, Copy)]
struct Claim {
    scope: Scope,
    name: &'static str,
    body: fn(&Env),
    timeout: u32,
    unless: fn(&Machine, &Config) -> Option<&'static str>,
}

const fn claim(scope: Scope, name: &'static str, body: fn(&Env)) -> Claim {
    Claim {
        scope,
        name,
        body,
        // Emulated boards with debug kernels are slow.
        timeout: 120,
        unless: |_, _| None,
    }
}

impl Claim {
    /// Gives the test up to that many seconds.
    const fn seconds(self, timeout: u32) -> Self {
        Self { timeout, ..self }
    }

    /// Skips the test where the function gives a reason.
    const fn unless(self, unless: fn(&Machine, &Config) -> Option<&'static str>) -> Self {
        Self { unless, ..self }
    }

    fn test(self, machine: &Machine, config: Config, prefix: &str) -> Test {
        Test {
            name: format!("{prefix}.{}", self.name),
            config,
            own_module: matches!(self.scope, Scope::OwnEach | Scope::OwnRefused | Scope::Own),
            timeout: self.timeout,
            skip: (self.unless)(machine, &config).map(str::to_string),
            body: self.body,
        }
    }
}

/// What [`set_rounds`] was called with.
static ROUNDS: AtomicUsize = AtomicUsize::new(0);

/// Makes each race go on for at least `count` rounds.
pub fn set_rounds(count: usize) {
    ROUNDS.store(count, Relaxed);
}

/// How many rounds a race goes on that is content with `count`.
fn rounds(count: usize) -> usize {
    count.max(ROUNDS.load(Relaxed))
}

fn without_debugfs(_: &Machine, _: &Config) -> Option<&'static str> {
    (!mount_debugfs()).then_some("no debugfs")
}

fn without_page_owner(machine: &Machine, config: &Config) -> Option<&'static str> {
    without_debugfs(machine, config).or_else(|| {
        let there = Path::new("/sys/kernel/debug/page_owner_stacks/show_stacks").exists();
        (!there).then_some("no page_owner: CONFIG_PAGE_OWNER and page_owner=on")
    })
}

fn without_kmemleak(machine: &Machine, config: &Config) -> Option<&'static str> {
    without_debugfs(machine, config).or_else(|| {
        let node = Path::new("/sys/kernel/debug/kmemleak");
        // What is so already; it takes nothing where it is off (kmemleak=off).
        let takes = || fs::write(node, "stack=on").is_ok();
        (!node.exists() || !takes()).then_some("no kmemleak")
    })
}

fn with_one_policy(machine: &Machine, config: &Config) -> Option<&'static str> {
    let policies = machine.policies(config.kind, config.accept_alias);
    (policies.iter().count() < 2).then_some("there is no other policy here")
}

/// The combinations that work here, those that are refused, and those of which nothing is
/// known.
fn combinations(machine: &Machine) -> (Vec<Config>, Vec<Config>, Vec<Config>) {
    let (mut work, mut refused, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for kind in &KINDS {
        for policy in Policy::ALL {
            let config = Config::new(*kind, *policy);
            match machine.expect(*kind, *policy, false) {
                Expect::Works(_) => work.push(config),
                Expect::Refused => refused.push(config),
                Expect::Unknown => unknown.push(config),
            }
        }
    }
    // What the administrator can have by consent, and not without it.
    if matches!(machine.arch, Arch::Armv7 { .. }) {
        let consent = |config: &Config| Config {
            accept_alias: true,
            ..*config
        };
        let more = refused.iter().map(consent);
        let works = |c: &Config| matches!(machine.expect(c.kind, c.policy, true), Expect::Works(_));
        work.extend(more.filter(works).collect::<Vec<_>>());
    }
    (work, refused, unknown)
}

/// All tests for a machine, ordered so that few need another buffer than the
/// one before.
pub fn all(machine: &Machine) -> Vec<Test> {
    let claims: Vec<Claim> = [
        data::CLAIMS,
        files::CLAIMS,
        uring::CLAIMS,
        mapping::CLAIMS,
        policy::CLAIMS,
        info::CLAIMS,
        sync::CLAIMS,
        helpers::CLAIMS,
        waits::CLAIMS,
        signals::CLAIMS,
        slots::CLAIMS,
        rings::CLAIMS,
        strict::CLAIMS,
        blocks::CLAIMS,
        refcounted::CLAIMS,
        export::CLAIMS,
        failed_allocations::CLAIMS,
        importers::CLAIMS,
        snooping::CLAIMS,
        races::CLAIMS,
        bad_input::CLAIMS,
        alloc::CLAIMS,
        limits::CLAIMS,
        observe::CLAIMS,
        pattern_sample::CLAIMS,
        stress::CLAIMS,
        leaks::CLAIMS,
        load_unload::CLAIMS,
        rights::CLAIMS,
        copy::CLAIMS,
        copy_async::CLAIMS,
        fences::CLAIMS,
        fuzz::CLAIMS,
        edu::CLAIMS,
        configfs::CLAIMS,
        device::CLAIMS,
        imported::CLAIMS,
        devicetree::CLAIMS,
    ]
    .concat();
    let (work, refused, unknown) = combinations(machine);
    let mut tests = Vec::new();

    for config in &work {
        let first = work.iter().find(|other| other.kind == config.kind) == Some(config);
        let fits = |claim: &&Claim| match claim.scope {
            Scope::Each => true,
            Scope::EachPages => config.kind == Kind::Pages,
            Scope::Kind => first,
            Scope::Owned => config.kind.has_owner(),
            Scope::Once => *config == Config::DEFAULT,
            Scope::OwnEach | Scope::OwnRefused | Scope::Own => false,
        };
        let claims = claims.iter().filter(fits);
        tests.extend(claims.map(|claim| claim.test(machine, *config, &config.to_string())));
    }
    for (scope, configs) in [(Scope::OwnEach, &work), (Scope::OwnRefused, &refused)] {
        for config in configs {
            let claims = claims.iter().filter(|claim| claim.scope == scope);
            tests.extend(claims.map(|claim| claim.test(machine, *config, &config.to_string())));
        }
    }
    let claims = claims.iter().filter(|claim| claim.scope == Scope::Own);
    tests.extend(claims.map(|claim| claim.test(machine, Config::DEFAULT, "module")));
    tests.extend(unknown.into_iter().map(|config| Test {
        name: format!("{config}.works_or_is_refused"),
        config,
        own_module: true,
        timeout: 1,
        skip: Some("what to expect of this processor is not known".into()),
        body: |_| unreachable!("it is skipped"),
    }));
    tests
}

#[cfg(test)]
mod unit {
    use super::*;
    use std::collections::HashSet;

    fn machines() -> Vec<Machine> {
        let armv7 = |highmem| Arch::Armv7 {
            highmem,
            smp: true,
            writethrough: Some(false),
        };
        [
            Arch::Armv5,
            armv7(true),
            armv7(false),
            Arch::Arm64,
            Arch::Snooping,
        ]
        .map(|arch| Machine { arch })
        .to_vec()
    }

    #[test]
    fn names_are_unique() {
        for machine in machines() {
            let tests = all(&machine);
            let names: HashSet<_> = tests.iter().map(|t| &t.name).collect();
            assert_eq!(names.len(), tests.len());
        }
    }

    #[test]
    fn every_combination_is_tested_or_named() {
        for machine in machines() {
            let tests = all(&machine);
            for kind in &KINDS {
                for policy in Policy::ALL {
                    let prefix = format!("{kind}.{policy}.");
                    assert!(tests.iter().any(|t| t.name.starts_with(&prefix)));
                }
            }
        }
    }

    #[test]
    fn without_highmem_consent_is_tested_too() {
        let tests = all(&machines()[2]);
        let named = |prefix: &str| tests.iter().any(|t| t.name.starts_with(prefix));
        assert!(named("pages.noncached_aliased.") && named("pages.noncached.insmod_refused"));
        assert!(!named("pages.writethrough_aliased."));
    }
}
