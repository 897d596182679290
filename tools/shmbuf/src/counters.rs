// SPDX-License-Identifier: MIT OR Apache-2.0
//! The counters that debugfs has of the buffers that have a node.

use std::{collections::BTreeMap, fs, io, path::Path};

use anyhow::{anyhow, bail, Context, Result};
use nix::sys::statfs::{statfs, DEBUGFS_MAGIC};

const DEBUGFS: &str = "/sys/kernel/debug";
const FOLDER: &str = "/sys/kernel/debug/shmbuf";

/// Buffers by name, and what each has counted, in the driver's order.
pub type Counters = BTreeMap<String, Vec<(String, u64)>>;

/// Reads the counters of all buffers.
pub fn read() -> Result<Counters> {
    read_folder(Path::new(FOLDER)).map_err(|error| advice(&error))
}

fn read_folder(folder: &Path) -> io::Result<Counters> {
    let mut all = Counters::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let text = match fs::read_to_string(entry.path().join("counters")) {
            // A buffer that is gone by now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text?,
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        all.insert(name, parse(&text)?);
    }
    Ok(all)
}

/// The counters in lines "name: number".
fn parse(text: &str) -> io::Result<Vec<(String, u64)>> {
    let counter = |line: &str| {
        let (name, number) = line.rsplit_once(": ")?;
        Some((name.into(), number.parse().ok()?))
    };
    text.lines()
        .map(|line| {
            counter(line).ok_or_else(|| {
                let what = format!("\"{line}\" is no counter: is this tool older than the driver?");
                io::Error::new(io::ErrorKind::InvalidData, what)
            })
        })
        .collect()
}

/// What to do when the counters cannot be read.
fn advice(error: &io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            anyhow!("{DEBUGFS}: {error}: debugfs is root's alone: run as root")
        }
        io::ErrorKind::NotFound => match missing(Path::new(DEBUGFS)) {
            Ok(()) => anyhow!("there is no {FOLDER}: load the module (insmod shmbuf.ko)"),
            Err(error) => error,
        },
        _ => anyhow!("{FOLDER}: {error}"),
    }
}

/// Why there is nothing of ours in debugfs, unless it is there itself.
fn missing(debugfs: &Path) -> Result<()> {
    if !debugfs.exists() {
        bail!("this kernel has no debugfs: it has to be built with CONFIG_DEBUG_FS=y");
    }
    let path = debugfs.display();
    let system = statfs(debugfs).with_context(|| path.to_string())?;
    if system.filesystem_type() != DEBUGFS_MAGIC {
        bail!("debugfs is not mounted: as root, mount -t debugfs debugfs {path}");
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Those of the default buffer.
    pub fn counters(text: &str) -> Counters {
        [("default".into(), parse(text).unwrap())].into()
    }

    #[test]
    fn names_may_have_spaces() {
        let all = parse("maps: 3\nbytes read: 18446744073709551615\n").unwrap();
        assert_eq!(all, [("maps".into(), 3), ("bytes read".into(), u64::MAX)]);
        for text in ["maps", "maps: ", "maps: -1", "maps 3", "3"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("is no counter"), "{text}");
        }
    }

    #[test]
    fn folders_are_buffers() {
        let folder = std::env::temp_dir().join(format!("shmbuf-counters-{}", std::process::id()));
        fs::create_dir_all(folder.join("default")).unwrap();
        fs::create_dir(folder.join("gone")).unwrap();
        fs::write(folder.join("default/counters"), "maps: 3\n").unwrap();
        let all = read_folder(&folder);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(all.unwrap(), counters("maps: 3\n"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = missing(Path::new("/nonexistent")).unwrap_err();
        assert!(error.to_string().contains("CONFIG_DEBUG_FS"));
        let error = missing(Path::new("/proc")).unwrap_err();
        assert!(error
            .to_string()
            .ends_with("mount -t debugfs debugfs /proc"));
    }
}
