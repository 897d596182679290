// SPDX-License-Identifier: MIT OR Apache-2.0
//! Allocations that fail: the kernel's fault injection.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread,
};

use nix::{
    errno::Errno,
    sched::{sched_getcpu, sched_setaffinity, CpuSet},
    unistd::Pid,
};

use crate::sys::HasErrno;

/// The n-th allocation of this process fails.
const NTH: &str = "/proc/self/fail-nth";

/// Where the settings of fault injection are.
const SETTINGS: &str = "/sys/kernel/debug";

/// Whether this kernel can make allocations fail. debugfs must be mounted.
pub fn is_possible() -> bool {
    let settings = |folder: &str| Path::new(SETTINGS).join(folder).exists();
    Path::new(NTH).exists() && settings("failslab") && settings("fail_page_alloc")
}

/// Settings with which any allocation of this process can be made to fail, not
/// only those that may fail at any time. The old ones come back when dropped.
#[derive(Debug)]
pub struct Failures {
    nth: File,
    before: Vec<(PathBuf, String)>,
}

impl Failures {
    /// Makes the settings. From now on this process has one CPU.
    pub fn new() -> Self {
        let mut cpus = CpuSet::new();
        let cpu = sched_getcpu().expect("getcpu");
        cpus.set(cpu).expect("a CPU");
        sched_setaffinity(Pid::from_raw(0), &cpus).expect("sched_setaffinity");
        Self::of_each()
    }

    /// Makes the settings for each process that says which allocation shall fail.
    pub fn of_each() -> Self {
        let nth = OpenOptions::new().read(true).write(true).open(NTH);
        let mut failures = Self {
            nth: nth.expect(NTH),
            before: Vec::new(),
        };
        for folder in ["failslab", "fail_page_alloc"] {
            // No other process is meant.
            failures.set(folder, "probability", "0");
            failures.set(folder, "task-filter", "Y");
            failures.set(folder, "times", "-1");
            failures.set(folder, "verbose", "0");
            failures.set(folder, "ignore-gfp-wait", "N");
        }
        failures.set("failslab", "cache-filter", "N");
        failures.set("fail_page_alloc", "ignore-gfp-highmem", "N");
        failures.set("fail_page_alloc", "min-order", "0");
        failures
    }

    fn set(&mut self, folder: &str, name: &str, value: &str) {
        let path = Path::new(SETTINGS).join(folder).join(name);
        let before = fs::read_to_string(&path).and_then(|before| {
            fs::write(&path, value)?;
            Ok(before.trim().to_string())
        });
        match before {
            Ok(before) => self.before.push((path, before)),
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }

    fn set_nth(&self, n: u32) {
        let text = n.to_string();
        self.nth.write_all_at(text.as_bytes(), 0).expect(NTH);
    }

    /// Runs `call` again and again, and lets its first allocation fail, then
    /// its second and so on, until it has no more. `check` is given each
    /// result, whose error, if any, is ENOMEM.
    #[track_caller]
    pub fn each<T, E: HasErrno>(
        &self,
        mut call: impl FnMut() -> Result<T, E>,
        mut check: impl FnMut(Result<T, E>),
    ) -> FailureCounts {
        // What is made once for all is there afterwards.
        check(Ok(call().expect("without a failure")));
        let mut counts = FailureCounts::default();
        for n in 1..MOST {
            // The kernel's debugging of DMA switches itself off for good when
            // there is no node for its radix tree. Who makes a thread leaves
            // some on the CPU, for allocations that fail.
            if n % 4 == 1 {
                thread::spawn(|| {}).join().expect("it does nothing");
            }
            self.set_nth(n);
            let result = call();
            let mut left = [0; 16];
            let count = self.nth.read_at(&mut left, 0).expect(NTH);
            self.set_nth(0);
            let injected = left[..count].starts_with(b"0\n");
            match &result {
                Ok(_) => {}
                Err(error) => {
                    assert!(injected, "{error:?}, and nothing made it fail");
                    let errno = error.errno();
                    assert_eq!(errno, Some(Errno::ENOMEM), "allocation {n}: {error:?}");
                }
            }
            if injected {
                *counts.0.entry(result.is_err()).or_default() += 1;
            }
            check(result);
            if !injected {
                return counts;
            }
        }
        panic!("more than {MOST} allocations: {counts}");
    }
}

/// More allocations than a call makes.
const MOST: u32 = 10_000;

impl Drop for Failures {
    fn drop(&mut self) {
        self.set_nth(0);
        for (path, before) in &self.before {
            let _ = fs::write(path, before);
        }
    }
}

/// How many allocations failed, by whether the call failed then.
#[derive(Debug, Default)]
pub struct FailureCounts(BTreeMap<bool, u32>);

impl FailureCounts {
    /// How many failed allocations made the call fail.
    pub fn fatal(&self) -> u32 {
        self.0.get(&true).copied().unwrap_or(0)
    }
}

impl fmt::Display for FailureCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let survived = self.0.get(&false).copied().unwrap_or(0);
        write!(
            f,
            "{} allocations failed, {survived} of them to no harm",
            self.fatal() + survived
        )
    }
}
