// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs tests one after the other, each in a process of its own, so that none
//! can hide another: a panic, a hang or a crash fails one test, and what it
//! leaves behind is cleared away.

use std::{
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{killpg, Signal},
        wait::{waitpid, WaitStatus},
    },
    unistd::{alarm, getpid, setpgid, Pid},
};
use shmbuf::{Access, Buffer, Mapping, Owner, Phase, Protection};

use crate::{
    expect::Expect,
    kmsg::{is_trouble, Log},
    ktap::{diagnose, Outcome, Report},
    machine::Machine,
    module::{self, Config, Module, DEVICE},
    process::Child,
};

/// What a test has to work with.
#[derive(Debug, Clone)]
pub struct Env {
    /// The machine that the test runs on.
    pub machine: Machine,
    /// The module under test.
    pub module: Module,
    /// The parameters that the module is loaded with, or that the test loads it with.
    pub config: Config,
}

impl Env {
    /// Opens the default buffer.
    #[track_caller]
    pub fn open(&self) -> Buffer {
        Buffer::open(DEVICE).expect("open")
    }

    /// Opens the default buffer for reading.
    #[track_caller]
    pub fn open_read_only(&self) -> Buffer {
        Buffer::open_read_only(DEVICE).expect("open read-only")
    }

    /// Maps a whole buffer for reading and writing.
    #[track_caller]
    pub fn map(&self, buffer: &Buffer) -> Mapping {
        buffer
            .map(0, self.size(), Protection::ReadWrite)
            .expect("mmap")
    }

    /// Bytes that the buffer has.
    pub fn size(&self) -> usize {
        self.config.size as usize
    }

    /// The memory type that has to be in force.
    pub fn memory_type(&self) -> &'static str {
        let Config {
            kind,
            policy,
            accept_alias,
            ..
        } = self.config;
        match self.machine.expect(kind, policy, accept_alias) {
            Expect::Works(memory_type) => memory_type,
            other => panic!("{} is {other:?}, and yet it is loaded", self.config),
        }
    }
}

/// A test, for one machine and one configuration of the module.
pub struct Test {
    /// The name of the test, with dots.
    pub name: String,
    /// The module's parameters, and so the default buffer.
    pub config: Config,
    /// Whether the test loads and unloads the module itself.
    pub own_module: bool,
    /// Seconds after which the test has failed.
    pub timeout: u32,
    /// Why the test cannot run here, if so.
    pub skip: Option<String>,
    /// What the test does; it fails by a panic.
    pub body: fn(&Env),
}

/// Seconds from which on it is worth a remark how long a test took.
const SLOW: f32 = 5.0;

/// Runs tests, in their order, and `label` with its name before each. Returns
/// whether none failed.
pub fn run(tests: &[Test], machine: &Machine, module: &Module, label: Option<&Path>) -> bool {
    // Orphans of a test that failed come to us, to be killed.
    let _ = prctl::set_child_subreaper(true);
    let mut report = Report::begin(tests.len());
    let mut log = Log::from_now();
    for test in tests {
        let outcome = match &test.skip {
            Some(reason) => Outcome::Skipped(reason.clone()),
            None => {
                let env = Env {
                    machine: machine.clone(),
                    module: module.clone(),
                    config: test.config,
                };
                let begin = Instant::now();
                let outcome = match label.map_or(Ok(()), |program| tell(program, &test.name)) {
                    Ok(()) => run_one(test, &env, &mut log),
                    Err(fault) => {
                        diagnose(fault);
                        Outcome::Failed
                    }
                };
                let seconds = begin.elapsed().as_secs_f32();
                if seconds >= SLOW {
                    diagnose(format_args!("took {seconds:.0} s"));
                }
                outcome
            }
        };
        report.result(&test.name, &outcome);
    }
    if module::is_loaded() {
        if let Err(errno) = module.unload() {
            diagnose(format_args!("the module stays: rmmod: {errno}"));
        }
    }
    report.end()
}

/// Runs the program that tells a checker which test comes.
fn tell(program: &Path, name: &str) -> Result<(), String> {
    match Command::new(program).arg(name).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{}: {status}", program.display())),
        Err(error) => Err(format!("{}: {error}", program.display())),
    }
}

fn run_one(test: &Test, env: &Env, log: &mut Log) -> Outcome {
    let mut faults = Vec::new();
    log.lines();

    match prepare(test, env) {
        Ok(()) => {
            faults.extend(isolated(test, env).err());
            faults.extend(tidy(test, env).err());
        }
        Err(fault) => faults.push(fault),
    }
    let trouble = log
        .lines()
        .into_iter()
        .filter(|line| is_trouble(&line.text));
    faults.extend(trouble.map(|line| format!("kernel log: {}", line.text)));

    for fault in &faults {
        diagnose(fault);
    }
    if faults.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed
    }
}

/// The default buffer as it is now.
fn loaded() -> Option<shmbuf::Info> {
    Buffer::open(DEVICE).ok()?.info().ok()
}

/// Loads the module as the test wants it, or unloads it.
fn prepare(test: &Test, env: &Env) -> Result<(), String> {
    let Config {
        kind, policy, size, ..
    } = env.config;
    let fits = |info: shmbuf::Info| {
        let alias = module::parameter("accept_alias") == "Y";
        (info.kind, info.policy, info.size, alias) == (kind, policy, size, env.config.accept_alias)
    };
    if !test.own_module && loaded().is_some_and(fits) {
        return Ok(());
    }
    if module::is_loaded() {
        env.module
            .unload()
            .map_err(|e| format!("rmmod before the test: {e}"))?;
    }
    if !test.own_module {
        let parameters = env.config.parameters();
        env.module
            .load(&parameters)
            .map_err(|e| format!("insmod shmbuf.ko {parameters}: {e}"))?;
    }
    Ok(())
}

/// Runs the test in a process group of its own.
fn isolated(test: &Test, env: &Env) -> Result<(), String> {
    let zero = Pid::from_raw(0);
    let child = Child::run(|| {
        let _ = setpgid(zero, zero);
        alarm::set(test.timeout);
        (test.body)(env);
    });
    let pid = child.pid();
    // Whoever comes first; the child may be gone already.
    let _ = setpgid(pid, pid);
    let status = child.wait();
    let _ = killpg(pid, Signal::SIGKILL);
    while !matches!(waitpid(Pid::from_raw(-1), None), Err(Errno::ECHILD)) {}

    match status {
        WaitStatus::Exited(_, 0) => Ok(()),
        WaitStatus::Exited(_, 1) => Err("failed".into()),
        WaitStatus::Signaled(_, Signal::SIGALRM, _) => {
            Err(format!("not done after {} s", test.timeout))
        }
        other => Err(format!("ended by {other:?}")),
    }
}

/// Checks that the test left nothing, and gives the buffer back as it was.
fn tidy(test: &Test, env: &Env) -> Result<(), String> {
    if test.own_module {
        if module::is_loaded() {
            env.module
                .unload()
                .map_err(|e| format!("rmmod after the test: {e}"))?;
        }
        return Ok(());
    }
    let users = module::users();
    if users != Some(0) {
        // Give a slow end of a process a chance to show that it is slow only.
        thread::sleep(Duration::from_secs(1));
        let late = module::users();
        return Err(format!(
            "left behind: {users:?} users of the module, {late:?} after a second"
        ));
    }
    let buffer = Buffer::open(DEVICE).map_err(|e| format!("after the test: {e}"))?;
    let restore = || {
        let info = buffer.info()?;
        if info.owner == Owner::Device {
            buffer.sync(.., Access::ReadWrite, Phase::Begin)?;
        }
        if info.policy != env.config.policy {
            buffer.set_cache(env.config.policy)?;
        }
        Ok::<_, shmbuf::Error>(info.mappings)
    };
    match restore() {
        Ok(0) => Ok(()),
        Ok(mappings) => Err(format!("left behind: {mappings} mappings")),
        Err(error) => Err(format!("the buffer could not be restored: {error}")),
    }
}

/// A name for files that no other process uses.
pub fn unique(name: &str) -> String {
    format!("/tmp/{name}-{}", getpid())
}
