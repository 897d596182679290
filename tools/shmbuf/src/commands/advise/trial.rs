// SPDX-License-Identifier: MIT OR Apache-2.0
//! The dry run: named buffers for a device are made in configfs, looked at and removed.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    path::Path,
    process, thread,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{SigSet, SigmaskHow},
    unistd::{sysconf, SysconfVar},
};
use shmbuf::{Buffer, Info, Kind, Policy};

use crate::{buffer::BufferName, kernel_log::Log};

/// Kinds whose memory shows what a device is like.
const KINDS: [Kind; 2] = [Kind::Coherent, Kind::Streaming];

/// Of the names of the buffers, what is before the ID of the process.
const PREFIX: &str = "advise-dry-run-";

/// What came of a dry run, or why there was none.
pub enum Trial {
    Skipped(String),
    Done(Vec<Attempt>),
}

/// A buffer that was made, or what the driver said instead.
pub struct Attempt {
    pub kind: Kind,
    pub outcome: Result<Made, String>,
}

/// What INFO said of a buffer.
#[derive(Clone)]
pub struct Made {
    pub policy: Policy,
    pub memory_type: String,
    pub snoops: bool,
    /// Its physical address and that for the device, where this process may see them.
    pub addresses: Option<(u64, u64)>,
}

impl Trial {
    /// What was made of a kind.
    pub fn made(&self, kind: Kind) -> Option<&Made> {
        self.attempts()
            .iter()
            .find(|attempt| attempt.kind == kind)
            .and_then(|attempt| attempt.outcome.as_ref().ok())
    }

    /// Whether a kind was refused.
    pub fn refused(&self, kind: Kind) -> bool {
        let is_it = |attempt: &Attempt| attempt.kind == kind && attempt.outcome.is_err();
        self.attempts().iter().any(is_it)
    }

    pub fn attempts(&self) -> &[Attempt] {
        match self {
            Self::Skipped(_) => &[],
            Self::Done(attempts) => attempts,
        }
    }

    /// Makes the buffers for a device, one after the other, each of a page. `root` is the folder of
    /// named buffers in configfs.
    ///
    /// # Errors
    ///
    /// If something could not be removed again.
    pub fn run(root: &Path, device: &str) -> Result<Self> {
        if !root.is_dir() {
            return Ok(Self::Skipped(format!(
                "there is no {}: load the module, and mount -t configfs none /sys/kernel/config",
                root.display()
            )));
        }
        // Nothing stays where a signal would end the program.
        let before = SigSet::all()
            .thread_swap_mask(SigmaskHow::SIG_SETMASK)
            .context("the dry run")?;
        let done = Self::attempt_all(root, device);
        before.thread_set_mask().context("the dry run")?;
        done
    }

    fn attempt_all(root: &Path, device: &str) -> Result<Self> {
        remove_left(root);
        let name = format!("{PREFIX}{}", process::id());
        let folder = root.join(&name);
        let mut attempts = Vec::new();
        for kind in KINDS {
            if let Err(error) = fs::create_dir(&folder) {
                return Ok(Self::Skipped(match error.kind() {
                    io::ErrorKind::PermissionDenied => "root alone makes named buffers".into(),
                    _ => format!("{}: {error}", folder.display()),
                }));
            }
            let log = Log::from_now();
            let outcome = attempt(&folder, &name, kind, device)
                .map_err(|error| log.sentence(&name).unwrap_or(format!("{error:#}")));
            remove(&folder)?;
            attempts.push(Attempt { kind, outcome });
        }
        Ok(Self::Done(attempts))
    }
}

/// Removes what dry runs have left that were killed. What cannot be removed is not in the way.
fn remove_left(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if id.is_some_and(|id| !goes_on(id)) {
            let _ = remove(&entry.path());
        }
    }
}

/// Whether another process like this one has the ID.
fn goes_on(id: &str) -> bool {
    let command = |id: &str| fs::read_to_string(format!("/proc/{id}/comm")).ok();
    id != process::id().to_string() && command(id).is_some_and(|it| Some(it) == command("self"))
}

/// Makes a buffer and looks at it.
fn attempt(folder: &Path, name: &str, kind: Kind, device: &str) -> Result<Made> {
    let page = sysconf(SysconfVar::PAGE_SIZE)?.context("the page size")?;
    for (attribute, value) in [
        ("size", page.to_string().as_str()),
        ("kind", kind.name()),
        ("device", device),
        ("enable", "1"),
    ] {
        set(folder, attribute, value).with_context(|| format!("{attribute}={value}"))?;
    }
    let node = BufferName::from(OsString::from(name)).path();
    Ok(Made::from(Buffer::open_read_only(node)?.info()?))
}

impl From<Info> for Made {
    fn from(info: Info) -> Self {
        let dma = info.dma_addr.map(|dma| dma.address);
        Self {
            policy: info.policy,
            memory_type: info.memory_type,
            snoops: info.snoops,
            addresses: info.phys_addr.zip(dma),
        }
    }
}

/// Writes to an attribute that is there, in one write.
fn set(folder: &Path, attribute: &str, value: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(folder.join(attribute))?;
    file.write_all(value.as_bytes())
}

/// Removes a folder. Others may have its buffer open for a moment, such as udev.
fn remove(folder: &Path) -> Result<()> {
    const TRIES: u32 = 200;
    // Nothing was made where this fails.
    let _ = set(folder, "enable", "0");
    let mut removed = fs::remove_dir(folder);
    for _ in 0..TRIES {
        match &removed {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                thread::sleep(Duration::from_millis(10));
                removed = fs::remove_dir(folder);
            }
            _ => break,
        }
    }
    let path = folder.display();
    removed.with_context(|| format!("the dry run is over, but {path} stays: rmdir it later"))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::{os::unix::fs::symlink, process::Command};

    /// What a dry run may have found.
    pub fn made(policy: Policy, snoops: bool, offset: u64) -> Made {
        Made {
            policy,
            memory_type: "Normal, write-back".into(),
            snoops,
            addresses: Some((0x1000_0000, 0x1000_0000 + offset)),
        }
    }

    /// A dry run with an outcome for each kind.
    pub fn done(coherent: Result<Made, String>, streaming: Result<Made, String>) -> Trial {
        let attempt = |kind, outcome| Attempt { kind, outcome };
        Trial::Done(vec![
            attempt(Kind::Coherent, coherent),
            attempt(Kind::Streaming, streaming),
        ])
    }

    #[test]
    fn without_configfs_there_is_no_dry_run() {
        let trial = Trial::run(Path::new("/nonexistent"), "it").unwrap();
        assert!(matches!(&trial, Trial::Skipped(why) if why.contains("load the module")));
        assert!(trial.made(Kind::Coherent).is_none() && !trial.refused(Kind::Coherent));
    }

    #[test]
    fn nothing_stays() {
        // In an ordinary folder there are no attributes.
        let root = std::env::temp_dir().join(format!("shmbuf-trial-{}", process::id()));
        fs::create_dir(&root).unwrap();
        // Of dry runs that were killed, with the ID of this process, of init, and of none.
        for id in [process::id(), 1, u32::MAX] {
            fs::create_dir(root.join(format!("{PREFIX}{id}"))).unwrap();
        }
        let trial = Trial::run(&root, "it").unwrap();
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
        fs::remove_dir(&root).unwrap();
        assert_eq!(trial.attempts().len(), KINDS.len());
        for attempt in trial.attempts() {
            let said = attempt.outcome.as_ref().err().unwrap();
            assert!(said.starts_with("size=4096: No such file"), "{said}");
        }
    }

    #[test]
    fn what_goes_on_is_left_alone() {
        let root = std::env::temp_dir().join(format!("shmbuf-trials-{}", process::id()));
        fs::create_dir(&root).unwrap();
        // A process has the name of its program.
        let command = fs::read_to_string("/proc/self/comm").unwrap();
        let program = root.join(command.trim());
        symlink("/bin/sleep", &program).unwrap();
        let mut other = Command::new(&program).arg("60").spawn().unwrap();
        let folder = root.join(format!("{PREFIX}{}", other.id()));
        fs::create_dir(&folder).unwrap();
        remove_left(&root);
        let was_left = folder.exists();
        other.kill().unwrap();
        other.wait().unwrap();
        remove_left(&root);
        let is_left = folder.exists();
        fs::remove_dir_all(&root).unwrap();
        assert!(was_left && !is_left, "{was_left} {is_left}");
    }

    #[test]
    fn what_cannot_be_removed_is_said() {
        let folder = std::env::temp_dir().join(format!("shmbuf-stays-{}", process::id()));
        fs::create_dir_all(folder.join("child")).unwrap();
        let error = remove(&folder).unwrap_err().to_string();
        fs::remove_dir_all(&folder).unwrap();
        assert!(error.contains("stays: rmdir it later"), "{error}");
    }
}
