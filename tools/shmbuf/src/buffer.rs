// SPDX-License-Identifier: MIT OR Apache-2.0
//! The argument that says which buffer.

use std::{
    env,
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
use nix::errno::Errno;
use shmbuf::Buffer;

/// The node of the default buffer.
pub const DEFAULT: &str = "/dev/shmbuf";

/// The environment variable that has the number of the file descriptor of a private buffer.
pub const VARIABLE: &str = "SHMBUF_FD";

#[derive(Args)]
pub struct BufferArgument {
    /// A NAME for /dev/shmbuf-NAME, a path, or /dev/fd/N for what was inherited
    /// [default: the buffer that "shmbuf alloc" passed on, else /dev/shmbuf]
    #[arg(value_name = "BUFFER", default_value_os_t = BufferName::default(), hide_default_value = true)]
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

impl Default for BufferName {
    fn default() -> Self {
        Self::passed_on(env::var_os(VARIABLE))
    }
}

impl From<BufferName> for OsString {
    fn from(name: BufferName) -> Self {
        name.0
    }
}

impl From<OsString> for BufferName {
    fn from(name: OsString) -> Self {
        Self(name)
    }
}

impl BufferName {
    /// The buffer with a number that was passed on; the default one without.
    fn passed_on(number: Option<OsString>) -> Self {
        Self(match number {
            Some(number) => {
                let mut path = OsString::from("/dev/fd/");
                path.push(number);
                path
            }
            None => DEFAULT.into(),
        })
    }

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
            None => open(&path).map_err(|error| match error.errno() {
                // The advice of the library is for nodes.
                Some(Errno::ENOENT) if !is_node(&path) => anyhow!("there is no such file"),
                _ => error.into(),
            }),
        };
        buffer.with_context(|| path.display().to_string())
    }

    /// Opens the buffer for reading and writing. Where it may only be read, the error says with
    /// which option that does.
    pub fn open_unless(&self, option: &str) -> Result<Buffer> {
        self.open().map_err(|error| {
            let errno = error.downcast_ref().and_then(shmbuf::Error::errno);
            match errno {
                Some(Errno::EACCES) if self.open_read_only().is_ok() => {
                    let path = self.path();
                    anyhow!("{}: you may only read it: add {option}", path.display())
                }
                _ => error,
            }
        })
    }

    /// Opens the buffer, for a command that also takes a file: `option` says how, to who gives that
    /// for the buffer.
    pub fn open_beside(&self, open: fn(&Self) -> Result<Buffer>, option: &str) -> Result<Buffer> {
        open(self).map_err(|error| {
            let errno = error.downcast_ref().and_then(shmbuf::Error::errno);
            match errno {
                Some(Errno::ENOTTY) => {
                    let path = self.path();
                    anyhow!(
                        "{error:#}: if it is the file, say {option} {}",
                        path.display()
                    )
                }
                _ => error,
            }
        })
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

/// Whether a path is one of a buffer's node.
fn is_node(path: &Path) -> bool {
    path.as_os_str().as_bytes().starts_with(DEFAULT.as_bytes())
}

/// The number of an inherited file descriptor, which need not have a node that
/// can be opened.
fn inherited(path: &Path) -> Option<RawFd> {
    let folders = ["/dev/fd", "/proc/self/fd"];
    let number = folders.iter().find_map(|it| path.strip_prefix(it).ok())?;
    let number = number.to_str()?.parse().ok();
    number.filter(|number| *number >= 0)
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
    fn the_default_is_what_was_passed_on() {
        let path = |number: Option<&str>| BufferName::passed_on(number.map(Into::into)).path();
        assert_eq!(path(None), Path::new(DEFAULT));
        assert_eq!(path(Some("4")), Path::new("/dev/fd/4"));
    }

    #[test]
    fn only_numbers_are_inherited() {
        assert_eq!(inherited(Path::new("/dev/fd/3")), Some(3));
        assert_eq!(inherited(Path::new("/proc/self/fd/3")), Some(3));
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
    fn what_is_no_buffer_is_not_opened() {
        let file = std::env::temp_dir().join(format!("shmbuf-no-buffer-{}", std::process::id()));
        std::fs::write(&file, "precious").unwrap();
        let pipe = file.with_extension("pipe");
        // To open it would wait for its other end.
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [&file, &pipe, Path::new("/"), Path::new("/dev/null")] {
            let name = BufferName(path.into());
            for open in [BufferName::open, BufferName::open_read_only] {
                let text = format!("{:#}", name.open_beside(open, "--input").unwrap_err());
                assert!(text.starts_with(&format!("{}: ", path.display())), "{text}");
                assert!(text.contains("not a shmbuf buffer"), "{text}");
                let advice = format!("say --input {}", path.display());
                assert!(text.ends_with(&advice), "{text}");
            }
        }
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");
        std::fs::remove_file(file).unwrap();
        std::fs::remove_file(pipe).unwrap();
    }

    #[test]
    fn a_link_to_nothing_is_no_buffer() {
        let link = std::env::temp_dir().join(format!("shmbuf-dangling-{}", std::process::id()));
        std::os::unix::fs::symlink("/nonexistent/buffer", &link).unwrap();
        let error = BufferName(link.clone().into()).open().unwrap_err();
        let expected = format!("{}: there is no such file", link.display());
        std::fs::remove_file(link).unwrap();
        assert_eq!(format!("{error:#}"), expected);
    }

    #[test]
    fn only_a_node_that_lacks_wants_the_module() {
        for (name, words) in [
            ("/dev/shmbuf-nonexistent", "load the module"),
            ("nonexistent", "load the module"),
            ("/nonexistent/file", "there is no such file"),
        ] {
            let text = format!("{:#}", BufferName(name.into()).open().unwrap_err());
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_descriptor_of_something_else_is_refused() {
        let null = File::open("/dev/null").unwrap();
        let name = BufferName(format!("/dev/fd/{}", null.as_raw_fd()).into());
        let text = format!("{:#}", name.open().unwrap_err());
        assert!(text.contains("not a shmbuf buffer"), "{text}");
    }
}
