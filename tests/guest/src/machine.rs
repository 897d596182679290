// SPDX-License-Identifier: MIT OR Apache-2.0
//! What machine this is, as far as the tests' expectations depend on it.

use std::{fs, path::Path};

use anyhow::{bail, Context, Result};
use nix::sys::utsname::uname;

/// An architecture, as far as it decides which policies there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// ARMv5 with a virtually indexed, virtually tagged cache.
    Armv5,
    /// ARMv7.
    Armv7 {
        /// There is memory without a cacheable alias in the kernel.
        highmem: bool,
        /// The kernel is one for several CPUs.
        smp: bool,
        /// Whether the core implements write-through; `None` if the core is
        /// not known.
        writethrough: Option<bool>,
    },
    /// 64-bit ARM: all memory has a cacheable alias in the kernel.
    Arm64,
    /// The caches of all CPUs and devices are coherent.
    Snooping,
}

/// The machine that the tests run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its architecture, as far as it decides which policies there are.
    pub arch: Arch,
}

impl Machine {
    /// Finds out what machine this is.
    ///
    /// # Errors
    ///
    /// If it is a machine for which the tests have no expectations.
    pub fn detect() -> Result<Self> {
        let name = uname().context("uname")?;
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("/proc/cpuinfo")?;
        let meminfo = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
        Self::from_texts(
            &name.machine().to_string_lossy(),
            &name.version().to_string_lossy(),
            &cpuinfo,
            &meminfo,
        )
    }

    fn from_texts(machine: &str, version: &str, cpuinfo: &str, meminfo: &str) -> Result<Self> {
        let arch = match machine {
            "armv5tejl" | "armv5tel" => Arch::Armv5,
            "armv7l" => Arch::Armv7 {
                highmem: number(meminfo, "HighTotal").unwrap_or(0) > 0,
                smp: version.split_whitespace().any(|word| word == "SMP"),
                writethrough: match value(cpuinfo, "CPU part") {
                    // Cortex-A9 and A15 treat it as non-cacheable.
                    Some("0xc09" | "0xc0f") => Some(false),
                    _ => None,
                },
            },
            // The kernel's, whatever we are built for ourselves.
            "aarch64" => Arch::Arm64,
            "x86_64" => Arch::Snooping,
            _ => bail!("the tests do not know what to expect from an {machine} machine"),
        };
        Ok(Self { arch })
    }

    /// Whether the kernel has 64 bits, whatever the program has.
    pub fn has_64bit_kernel(&self) -> bool {
        matches!(self.arch, Arch::Arm64 | Arch::Snooping)
    }

    /// Whether one physical byte can be in the cache under several virtual
    /// addresses.
    pub fn is_vivt(&self) -> bool {
        self.arch == Arch::Armv5
    }

    /// Whether every program has READ_IMPLIES_EXEC, so that nobody can tell
    /// who asked for PROT_EXEC.
    pub fn read_implies_exec(&self) -> bool {
        self.arch == Arch::Armv5
    }
}

/// The text after a key and a colon.
pub fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

/// The number after a key and a colon, whatever unit follows.
pub fn number(text: &str, key: &str) -> Option<u64> {
    value(text, key)?.split_whitespace().next()?.parse().ok()
}

/// Mounts debugfs if nobody has. Returns whether it is there.
pub fn mount_debugfs() -> bool {
    mount_own("debugfs", "/sys/kernel/debug")
}

/// Mounts configfs if nobody has. Returns whether it is there.
pub fn mount_configfs() -> bool {
    mount_own("configfs", "/sys/kernel/config")
}

/// Mounts a file system where sysfs has a folder for it.
fn mount_own(name: &str, root: &str) -> bool {
    use nix::mount::{mount, MsFlags};
    let mounted = || {
        fs::read_to_string("/proc/mounts")
            .unwrap_or_default()
            .lines()
            .any(|line| line.split(' ').nth(1) == Some(root))
    };
    if !mounted() && Path::new(root).exists() {
        let none = None::<&str>;
        let _ = mount(Some(name), root, Some(name), MsFlags::empty(), none);
    }
    mounted()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A9: &str = "processor\t: 0\nCPU part\t: 0xc09\n";

    #[test]
    fn armv7_with_and_without_highmem() {
        let with = "MemTotal: 1000000 kB\nHighTotal:        262144 kB\n";
        let machine = Machine::from_texts("armv7l", "#1 SMP PREEMPT", A9, with).unwrap();
        let expected = Arch::Armv7 {
            highmem: true,
            smp: true,
            writethrough: Some(false),
        };
        assert_eq!(machine.arch, expected);
        let without = "MemTotal: 500000 kB\nHighTotal:             0 kB\n";
        let machine = Machine::from_texts("armv7l", "#1 PREEMPT", "", without).unwrap();
        let expected = Arch::Armv7 {
            highmem: false,
            smp: false,
            writethrough: None,
        };
        assert_eq!(machine.arch, expected);
    }

    #[test]
    fn others() {
        let machine = Machine::from_texts("armv5tejl", "#1", "", "").unwrap();
        assert!(machine.is_vivt() && machine.read_implies_exec());
        for (name, arch) in [("aarch64", Arch::Arm64), ("x86_64", Arch::Snooping)] {
            let machine = Machine::from_texts(name, "#1 SMP", "", "").unwrap();
            assert!(machine.arch == arch && !machine.is_vivt());
        }
        assert!(Machine::from_texts("armv6l", "#1", "", "").is_err());
    }

    #[test]
    fn values_and_numbers() {
        assert_eq!(value("a: b c\nd:\te\n", "d"), Some("e"));
        assert_eq!(number("MemFree:   123 kB\n", "MemFree"), Some(123));
        assert_eq!(number("MemFree:   123 kB\n", "Mem"), None);
    }
}
