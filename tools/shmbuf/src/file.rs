// SPDX-License-Identifier: MIT OR Apache-2.0
//! The other end of a copy: a file, or `-`.

use std::{fs::File, io, os::fd::AsFd, path::Path};

use anyhow::{Context, Result};

/// How many bytes are copied at once: a multiple of any access width.
pub const PIECE: usize = 65536;

/// Opens a file, where `-` is standard input or output.
pub fn open(path: &Path, standard: impl AsFd, open: fn(&Path) -> io::Result<File>) -> Result<File> {
    if path == Path::new("-") {
        let fd = standard.as_fd().try_clone_to_owned();
        let fd = fd.context("standard input or output is closed: open it, or name a file")?;
        Ok(fd.into())
    } else {
        open(path).with_context(|| format!("cannot open {}", path.display()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use shmbuf::Buffer;
    use std::{env, fs};

    /// A plain file as a buffer: it does for all calls but ioctls.
    pub fn plain(name: &str, size: u64) -> Buffer {
        let path = env::temp_dir().join(format!("shmbuf-tool-{name}-{}", std::process::id()));
        let file = File::create_new(&path).unwrap();
        fs::remove_file(path).unwrap();
        file.set_len(size).unwrap();
        Buffer::from_any_file(file).unwrap()
    }

    #[test]
    fn only_a_dash_is_standard() {
        let null = || File::open("/dev/null").unwrap();
        let none = |_: &Path| panic!("no file is to be opened");
        open(Path::new("-"), null(), none).unwrap();
        let error = open(Path::new("./-/x"), null(), |path| File::open(path)).unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.starts_with("cannot open ./-/x: No such file"),
            "{text}"
        );
    }
}
