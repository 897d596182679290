// SPDX-License-Identifier: MIT OR Apache-2.0
//! A control group, which counts memory and freezes processes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::{
    mount::{mount, MsFlags},
    unistd::{getpid, Pid},
};

/// Where the hierarchy of control groups is mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// A control group, which is removed when dropped. Its processes must be gone.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Mounts the hierarchy if nobody has. Returns whether it has the memory
    /// controller.
    pub fn is_possible() -> bool {
        let controllers = Path::new(ROOT).join("cgroup.controllers");
        if !controllers.exists() {
            let none = None::<&str>;
            let _ = mount(none, ROOT, Some("cgroup2"), MsFlags::empty(), none);
        }
        let list = fs::read_to_string(controllers).unwrap_or_default();
        list.split_whitespace().any(|name| name == "memory")
    }

    /// Makes a control group.
    pub fn new(name: &str) -> Self {
        put(&Path::new(ROOT).join("cgroup.subtree_control"), "+memory");
        let path = Path::new(ROOT).join(name);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path }
    }

    /// Moves this process into the control group.
    pub fn enter(&self) {
        self.add(getpid());
    }

    /// Moves a process into the control group.
    pub fn add(&self, process: Pid) {
        put(&self.path.join("cgroup.procs"), &process.to_string());
    }

    /// Stops its processes where they are, when they come back from the kernel.
    pub fn freeze(&self) {
        put(&self.path.join("cgroup.freeze"), "1");
    }

    /// Lets its processes go on.
    pub fn thaw(&self) {
        put(&self.path.join("cgroup.freeze"), "0");
    }

    /// Bytes that are charged to the control group.
    pub fn memory(&self) -> u64 {
        let path = self.path.join("memory.current");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{error}"));
        text.trim().parse().expect("bytes")
    }

    /// Limits the bytes that may be charged to the control group.
    pub fn limit_memory(&self, bytes: u64) {
        put(&self.path.join("memory.max"), &bytes.to_string());
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

fn put(path: &Path, text: &str) {
    if let Err(error) = fs::write(path, text) {
        panic!("{text:?} to {}: {error}", path.display());
    }
}
