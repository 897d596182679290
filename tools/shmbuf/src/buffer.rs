// SPDX-License-Identifier: MIT OR Apache-2.0
//! The argument that says which buffer.

use std::{
    ffi::OsString,
    ops::Deref,
    os::{
        fd::{BorrowedFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use anyhow::{anyhow, Context, Result};
use clap::Args;
use shmbuf::Buffer;

/// The node of the default buffer.
pub const DEFAULT: &str = "/dev/shmbuf";

#[derive(Args)]
pub struct BufferArgument {
    /// A NAME for /dev/shmbuf-NAME, a path, or /dev/fd/N for what was inherited
    #[arg(value_name = "BUFFER", default_value = DEFAULT)]
    buffer: BufferName,
}

impl Deref for BufferArgument {
    type Target = BufferName;

    fn deref(&self) -> &BufferName {
        &self.buffer
    }
}

/// What a buffer is called.
#[derive(Clone)]
pub struct BufferName(OsString);

impl From<OsString> for BufferName {
    fn from(name: OsString) -> Self {
        Self(name)
    }
}

impl BufferName {
    /// Opens the buffer for reading and writing.
    pub fn open(&self) -> Result<Buffer> {
        self.open_with(|path| Buffer::open(path))
    }

    /// Opens the buffer for reading alone. A handle that was inherited keeps its
    /// rights.
    pub fn open_read_only(&self) -> Result<Buffer> {
        self.open_with(|path| Buffer::open_read_only(path))
    }

    fn open_with(&self, open: fn(&Path) -> shmbuf::Result<Buffer>) -> Result<Buffer> {
        let path = self.path();
        let buffer = match inherited(&path) {
            Some(number) => duplicate(number).and_then(|fd| Ok(Buffer::from_fd(fd)?)),
            None => open(&path).map_err(Into::into),
        };
        buffer.with_context(|| path.display().to_string())
    }

    /// The path of the buffer.
    pub fn path(&self) -> PathBuf {
        if self.0.as_bytes().contains(&b'/') {
            PathBuf::from(&self.0)
        } else {
            let mut path = OsString::from("/dev/shmbuf-");
            path.push(&self.0);
            path.into()
        }
    }
}

/// The number of an inherited file descriptor, which need not have a node that
/// can be opened.
fn inherited(path: &Path) -> Option<RawFd> {
    let number = path.strip_prefix("/dev/fd").ok()?.to_str()?;
    number.parse().ok().filter(|number| *number >= 0)
}

fn duplicate(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: not -1, and nothing here closes it meanwhile; whether it is open
    // at all is for the kernel to tell.
    unsafe { BorrowedFd::borrow_raw(number) }
        .try_clone_to_owned()
        .map_err(|error| {
            anyhow!("{error}: this program was started without that file descriptor: pass it on")
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, os::fd::AsRawFd};

    #[test]
    fn names_and_paths_are_told_apart() {
        let path = |name: &str| BufferName(name.into()).path();
        assert_eq!(path("frame"), Path::new("/dev/shmbuf-frame"));
        assert_eq!(path("./frame"), Path::new("./frame"));
        assert_eq!(path(DEFAULT), Path::new("/dev/shmbuf"));
    }

    #[test]
    fn only_numbers_are_inherited() {
        assert_eq!(inherited(Path::new("/dev/fd/3")), Some(3));
        for other in [
            "/dev/fd/-1",
            "/dev/fd/3/4",
            "/dev/fd/x",
            "/dev/fd",
            "/dev/shmbuf",
        ] {
            assert_eq!(inherited(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_refused() {
        let name = BufferName("/dev/fd/1000000".into());
        let text = format!("{:#}", name.open().unwrap_err());
        assert!(
            text.starts_with("/dev/fd/1000000: Bad file descriptor"),
            "{text}"
        );
        assert!(text.ends_with("pass it on"), "{text}");
    }

    #[test]
    fn a_descriptor_of_something_else_is_refused() {
        let null = File::open("/dev/null").unwrap();
        let name = BufferName(format!("/dev/fd/{}", null.as_raw_fd()).into());
        let text = format!("{:#}", name.open().unwrap_err());
        assert!(text.contains("not a shmbuf buffer"), "{text}");
    }
}
