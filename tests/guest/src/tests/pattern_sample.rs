// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pattern sample, in Rust and in C.

use std::{
    process::{Command, Output},
    time::{Duration, Instant},
};

use shmbuf::{Kind, Policy};

use super::{
    claim,
    copy::without_engine,
    copy_async::{slow, with_slow_engine, without_slow_engine},
    Claim, Scope,
};
use crate::{
    demo::{path, C, PROGRAMS, RUST},
    expect::Expect,
    ktap::diagnose,
    machine::Machine,
    module::Config,
    process::Child,
    runner::Env,
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Kind, "sample_classic", classic).unless(without_samples),
    claim(Scope::Each, "sample_with_ioctls", with_ioctls).unless(without_samples),
    claim(Scope::Once, "sample_tells_what_was_refused", refused).unless(without_samples),
    claim(Scope::Once, "sample_info", info).unless(without_samples),
    claim(Scope::Once, "sample_finds_wrong_bytes", finds).unless(without_samples),
    claim(Scope::Once, "sample_ring_of_the_engine", ring)
        .unless(|machine, config| {
            without_engine(machine, config).or_else(|| without_samples(machine, config))
        })
        .seconds(300),
    slow("sample_ring_of_this_engine", slow_ring)
        .unless(|machine, config| {
            without_slow_engine(machine, config).or_else(|| without_samples(machine, config))
        })
        .seconds(300),
];

fn without_samples(_: &Machine, _: &Config) -> Option<&'static str> {
    let there = PROGRAMS.iter().all(|program| path(program).exists());
    (!there).then_some("the sample programs are not beside this one")
}

pub(super) fn run(program: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, .. } = Command::new(path(program))
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&stdout).into_owned();
    (status.code(), text)
}

#[track_caller]
fn last_line(text: &str) -> &str {
    text.lines().last().expect("output")
}

fn classic(env: &Env) {
    for program in PROGRAMS {
        let (code, text) = run(program, &[]);
        assert_eq!(code, Some(0), "{program}:\n{text}");
        let expected = format!(
            "result: kind=- policy=- type=\"-\" bytes={} mapping-to-read=ok write-to-mapping=ok",
            env.size()
        );
        assert_eq!(last_line(&text), expected);
        let line = text.lines().find(|line| line.starts_with("mapping:"));
        assert!(
            line.is_some_and(|line| line.ends_with("/dev/shmbuf")),
            "{text}"
        );
    }
}

/// Takes so many frames by shmbuf-ring in a buffer of each of some kinds.
pub(super) fn take_frames(kinds: &[Kind], frames: u32, more: &[&str]) {
    let number = frames.to_string();
    for kind in kinds {
        let mut arguments = vec!["--kind", kind.name(), "--frames", &number];
        arguments.extend(more);
        let (code, text) = run("shmbuf-ring", &arguments);
        assert_eq!(code, Some(0), "{arguments:?}:\n{text}");
        // How many of them were read while another was filled is a matter of luck.
        let words = format!("{frames} frames through 4 slots, ");
        assert!(
            last_line(&text).starts_with(&words),
            "{arguments:?}:\n{text}"
        );
    }
}

fn ring(_: &Env) {
    take_frames(&[Kind::Streaming], 1000, &[]);
    take_frames(&[Kind::Pages, Kind::Scatter, Kind::Coherent], 200, &[]);
}

/// The engine takes so long that frames are read beside it.
fn slow_ring(env: &Env) {
    with_slow_engine(env, "1", || {
        take_frames(&[Kind::Streaming], 1000, &[]);
    });
}

fn with_ioctls(env: &Env) {
    let Config { kind, policy, .. } = env.config;
    for program in PROGRAMS {
        let mut ways = vec![vec!["--sync"]];
        if kind == Kind::Pages {
            ways.push(vec!["--policy", policy.name()]);
        }
        for arguments in ways {
            let (code, text) = run(program, &arguments);
            assert_eq!(code, Some(0), "{program}:\n{text}");
            let expected = format!(
                "result: kind={kind} policy={policy} type=\"{}\" bytes={} mapping-to-read=ok \
                 write-to-mapping=ok",
                env.memory_type(),
                env.size()
            );
            assert_eq!(last_line(&text), expected);
        }
    }
    // A seed gives the same run in both.
    let seeded = |program| run(program, &["--sync", "--seed", "7"]).1;
    let without_addresses = |text: String| {
        let lines = text.lines().filter(|line| !line.starts_with("mapping:"));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(
        without_addresses(seeded(RUST)),
        without_addresses(seeded(C)),
        "the twins differ"
    );
}

/// Each program with each option.
fn each<'a>(
    programs: [&'a str; 2],
    options: [&'a str; 2],
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let with_all = move |program| options.map(|option| (program, option));
    programs.into_iter().flat_map(with_all)
}

fn refused(env: &Env) {
    let mut any = false;
    for policy in Policy::ALL {
        if env.machine.expect(Kind::Pages, *policy, false) != Expect::Refused {
            continue;
        }
        any = true;
        // The second is the option's former name.
        for (program, option) in each(PROGRAMS, ["--policy", "--set-cache"]) {
            let (code, text) = run(program, &[option, policy.name()]);
            assert_eq!(code, Some(2));
            let expected = format!("result: policy={policy} refused=EOPNOTSUPP");
            assert_eq!(last_line(&text), expected);
        }
    }
    if !any {
        diagnose("every policy works here");
    }
    for (program, option) in each(PROGRAMS, ["--buffer", "--device"]) {
        let (code, text) = run(program, &[option, "/dev/nonexistent"]);
        assert_eq!(code, Some(2));
        assert_eq!(last_line(&text), "result: policy=- refused=ENOENT");
    }
    for program in PROGRAMS {
        let (code, _) = run(program, &["--nonsense"]);
        assert_eq!(code, Some(64));
    }
}

fn info(env: &Env) {
    let [rust, c] = PROGRAMS.map(|program| {
        let (code, text) = run(program, &["--info"]);
        assert_eq!(code, Some(0), "{program}:\n{text}");
        assert!(text.contains(env.memory_type()), "{text}");
        assert!(!text.contains("result:"));
        text
    });
    assert_eq!(rust, c);
}

/// The samples find wrong bytes in a buffer that somebody else scribbles into.
fn finds(env: &Env) {
    let buffer = env.open();
    let scribbler = Child::run(|| loop {
        let at = fastrand::u64(..buffer.size() - 64);
        let _ = buffer.write_at(&[0; 64], at);
    });
    for program in PROGRAMS {
        let begin = Instant::now();
        let (code, text) = loop {
            let (code, text) = run(program, &[]);
            // On one CPU the scribbler may not have had a turn.
            if code != Some(0) || begin.elapsed() > Duration::from_secs(30) {
                break (code, text);
            }
        };
        assert_eq!(code, Some(1), "{program} noticed nothing");
        assert!(text.contains(": WRONG at byte 0x"), "{text}");
        assert!(last_line(&text).contains("=failed"), "{text}");
    }
    scribbler.kill();
}
