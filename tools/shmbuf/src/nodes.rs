// SPDX-License-Identifier: MIT OR Apache-2.0
//! The buffers that have a node: /dev/shmbuf and /dev/shmbuf-*.

use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use shmbuf::{Buffer, Info};

/// What to do when there is no node.
pub const NONE: &str = "there is no /dev/shmbuf: load the module (insmod shmbuf.ko)";

/// A buffer that has a node.
pub struct Node {
    pub path: PathBuf,
    pub info: Info,
    pub lent: Vec<Range<u64>>,
}

impl Node {
    /// Asks the buffer of a node what it is and what of it is lent.
    pub fn read(path: &Path) -> shmbuf::Result<Self> {
        let buffer = Buffer::open_read_only(path)?;
        Ok(Self {
            path: path.into(),
            info: buffer.info()?,
            lent: buffer.lent()?,
        })
    }
}

/// The nodes, in the order of their names.
pub fn paths() -> Result<Vec<PathBuf>> {
    in_folder(Path::new("/dev")).context("/dev cannot be read: mount it")
}

fn in_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut nodes = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == "shmbuf" || name.as_encoded_bytes().starts_with(b"shmbuf-") {
            nodes.push(entry.path());
        }
    }
    nodes.sort();
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_found_by_name_and_sorted() {
        let folder = std::env::temp_dir().join(format!("shmbuf-nodes-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        for name in ["shmbuf-b", "shmbufx", "null", "shmbuf-a", "shmbuf"] {
            fs::File::create(folder.join(name)).unwrap();
        }
        let found = in_folder(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, ["shmbuf", "shmbuf-a", "shmbuf-b"]);
    }
}
