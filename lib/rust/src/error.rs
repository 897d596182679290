// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong, and what to do about it.

use std::{fmt, io};

use nix::errno::Errno;

/// The result of the functions of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What was asked of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// open(2)
    Open,
    /// fcntl(2), F_DUPFD_CLOEXEC
    Duplicate,
    /// lseek(2)
    Seek,
    /// SHMBUF_IOC_INFO
    Info,
    /// SHMBUF_IOC_SET_CACHE
    SetCache,
    /// SHMBUF_IOC_SYNC
    Sync,
    /// SHMBUF_IOC_ALLOC
    Alloc,
    /// SHMBUF_IOC_EXPORT
    Export,
    /// SHMBUF_IOC_COPY
    Copy,
    /// SHMBUF_IOC_COPY_RESULT
    CopyResult,
    /// SHMBUF_IOC_LENT
    Lent,
    /// SHMBUF_IOC_SEGMENT
    Segment,
    /// SHMBUF_IOC_IMPORT
    Import,
    /// DMA_BUF_IOCTL_SYNC
    DmaBufSync,
    /// pread(2)
    Read,
    /// pwrite(2)
    Write,
    /// fsync(2)
    Fsync,
    /// mmap(2)
    Map,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Duplicate => "fcntl",
            Self::Seek => "lseek",
            Self::Info => "INFO",
            Self::SetCache => "SET_CACHE",
            Self::Sync => "SYNC",
            Self::Alloc => "ALLOC",
            Self::Export => "EXPORT",
            Self::Copy => "COPY",
            Self::CopyResult => "COPY_RESULT",
            Self::Lent => "LENT",
            Self::Segment => "SEGMENT",
            Self::Import => "IMPORT",
            Self::DmaBufSync => "DMA_BUF_IOCTL_SYNC",
            Self::Read => "read",
            Self::Write => "write",
            Self::Fsync => "fsync",
            Self::Map => "mmap",
        })
    }
}

/// An error; its text says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused, and nothing was changed.
    #[error("{operation}: {errno:?}: {}", advice(*.operation, *.errno))]
    Refused {
        /// What was refused.
        operation: Operation,
        /// With which errno.
        errno: Errno,
    },
    /// The driver speaks of something that this crate is too old to know.
    #[error("the driver reports {what} {value}, which this program is too old to know: rebuild it with the driver's header")]
    Newer {
        /// What the value is of: a kind, a policy and so on.
        what: &'static str,
        /// The number that the driver reports.
        value: u32,
    },
}

impl Error {
    /// The errno with which the kernel refused, if it did.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            Self::Newer { .. } => None,
        }
    }

    /// What became of an open(2) by other means.
    pub fn open(error: io::Error) -> Self {
        Self::io(Operation::Open)(error)
    }

    pub(crate) fn io(operation: Operation) -> impl Fn(io::Error) -> Self {
        move |error| Self::Refused {
            operation,
            errno: error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
        }
    }

    pub(crate) fn sys(operation: Operation) -> impl Fn(Errno) -> Self {
        move |errno| Self::Refused { operation, errno }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = error
            .errno()
            .map_or(io::ErrorKind::Unsupported, |e| io::Error::from(e).kind());
        Self::new(kind, error)
    }
}

/// What an errno of an operation means, and what to do about it.
fn advice(operation: Operation, errno: Errno) -> &'static str {
    use Operation::*;
    match (operation, errno) {
        (Open, Errno::ENOENT) => {
            "there is no such node: load the module (insmod shmbuf.ko); for a named buffer, see \
             which /dev/shmbuf-* there are"
        }
        (Open, Errno::ENOTTY) => "not a shmbuf buffer",
        (Open, Errno::EACCES) => {
            "the node is root's: run as root, or give the node to your group with a udev rule"
        }
        (_, Errno::EMFILE) => {
            "this process has no free file descriptor: close some, or raise its limit (ulimit -n)"
        }
        (_, Errno::ENFILE) => {
            "the system has no free file: close some, or raise its limit (sysctl fs.file-max)"
        }
        (
            Info | SetCache | Sync | Alloc | Export | Copy | CopyResult | Lent | Segment | Import,
            Errno::ENOTTY,
        ) => "not a shmbuf buffer, or a driver older than this call",
        (Segment, Errno::EPERM) => "only privileged callers see addresses (CAP_SYS_RAWIO)",
        (Segment, Errno::EOPNOTSUPP) => {
            "no device has a view of this buffer (kind pages or region): use kind coherent, \
             streaming or scatter"
        }
        (Info | SetCache | Sync | Alloc | Export | Copy, Errno::E2BIG) => {
            "the driver is older than this program and does not know what it asks for"
        }
        (SetCache, Errno::EBUSY) => {
            "the buffer is mapped or exported: unmap it everywhere first (all processes, forked \
             children and remaining pieces too) and close its dma-bufs; or a device owns it: take it \
             back first"
        }
        (SetCache, Errno::EOPNOTSUPP) => {
            "this kind of buffer or this machine cannot give that policy: see the policies that \
             INFO lists, and the kernel log for the reason and what would help"
        }
        (SetCache, Errno::EDQUOT) => {
            "the memory has to move, and the limit of private memory would be exceeded meanwhile: \
             free some, or ask for the policy when the buffer is made"
        }
        (SetCache, Errno::ENOMEM) => {
            "the memory has to move, and there is no contiguous memory that fits: see the kernel \
             log"
        }
        (Import, Errno::EINVAL) => {
            "the file is no dma-buf; of a memfd, /dev/udmabuf makes one"
        }
        (Import, Errno::EOPNOTSUPP) => {
            "the dma-buf is of this driver, or the device does not reach all of the memory, or the \
             handle is of an imported dma-buf itself: see the kernel log"
        }
        (Import, Errno::EBADF) => "the handle must be open for writing, and the dma-buf open",
        (SetCache | Sync | Alloc, Errno::EBADF) => {
            "the handle was opened read-only: open it for writing"
        }
        (Sync, Errno::EINVAL) => {
            "offset and length must be multiples of the cache line (see INFO), and the length not \
             zero"
        }
        (Sync, Errno::EBUSY) => {
            "a device owns the buffer, and only a handle open for writing can take it back"
        }
        (Alloc, Errno::EINVAL) => {
            "the size is not one for the kind, or other arguments do not go with it: the kernel log \
             has the reason"
        }
        (Alloc, Errno::EFBIG) => "this machine cannot address that many bytes: ask for fewer",
        (Alloc, Errno::EOPNOTSUPP) => {
            "this kind or this machine cannot give that policy or that mapping: see the kernel log \
             for the reason and what would help"
        }
        (Alloc, Errno::EDQUOT) => {
            "the limit of private memory would be exceeded, or a user's share of it (the kernel log \
             says which): free some, or have root raise limit or user_share in \
             /sys/module/shmbuf/parameters"
        }
        (Alloc, Errno::ENOMEM) => {
            "there is no memory that fits: see the kernel log for what failed and what would help"
        }
        (Export, Errno::EINVAL) => {
            "offset and length must be multiples of the page size, and the length not zero"
        }
        (Sync | Export | Copy, Errno::ERANGE) => "the range reaches past the end of the buffer",
        (Export, Errno::EOPNOTSUPP) => {
            "this memory has no pages of its own (kind pool or region, or reserved with no-map), \
             and a dma-buf is made of pages: use another kind"
        }
        (Copy, Errno::EOPNOTSUPP) => {
            "this machine has no DMA engine that copies, or its driver is not loaded (see the \
             engine in INFO); or devices do not reach one of the buffers (kind pool or region, \
             memory reserved with no-map)"
        }
        (Copy, Errno::EBUSY) => "a device owns one of the buffers: take it back first (SYNC with START; shmbuf sync start)",
        (Copy, Errno::EINVAL) => {
            "the range is empty, or the two overlap, or the eventfd is something else"
        }
        (Copy, Errno::EBADF) => {
            "the handle must be open for writing, and the source a shmbuf handle open for \
             reading; an eventfd must be open"
        }
        (Copy, Errno::EACCES) => "devices may only read this buffer (its direction is to-device)",
        (Copy, Errno::EINPROGRESS) => {
            "another copy of this handle goes on, or its result was not taken (COPY_RESULT)"
        }
        (Copy | CopyResult, Errno::EIO) => {
            "the engine failed, or cannot address one of the buffers"
        }
        (Copy | CopyResult, Errno::ETIMEDOUT) => "the engine took too long, and was stopped",
        (Read | Write | Sync | SetCache, Errno::EAGAIN) => {
            "another call uses some of these bytes, or a fence of theirs is not signalled, and the \
             handle is one with O_NONBLOCK: try again"
        }
        (CopyResult, Errno::EAGAIN) => "the copy goes on: wait for its end with poll(2)",
        (CopyResult, Errno::ENODATA) => "this handle began no copy, or its result was taken",
        (DmaBufSync, Errno::ENOTTY) => "not a dma-buf",
        (Read | Write, Errno::EBUSY) => "a device owns the buffer: take it back first (SYNC with START; shmbuf sync start)",
        (Read | Write, Errno::EBADF) => "the handle was not opened for that",
        (Read | Write, Errno::EINVAL) => {
            "offset and length must be multiples of the access width (see INFO)"
        }
        (Write, Errno::ENOSPC) => "the offset is at or past the end of the buffer",
        (Map, Errno::EINVAL) => {
            "offset plus length must be inside the buffer, the offset a multiple of the page size, \
             and the length not zero"
        }
        (Map, Errno::EACCES) => "the handle or dma-buf is read-only: open or export it for writing",
        (Map, Errno::EOPNOTSUPP) => {
            "the buffer is cached, and the node was opened with O_SYNC or O_DSYNC: open it without \
             them; or the buffer is of kind pool, which cannot be mapped: use read and write"
        }
        (Map, Errno::EBUSY) => {
            "this processor's cache is virtually indexed, and this process has a cached mapping of \
             some of the same bytes: use that one, or unmap it first"
        }
        _ => errno.desc(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_call_errno_and_remedy() {
        let error = Error::sys(Operation::SetCache)(Errno::EBUSY);
        let text = error.to_string();
        assert!(text.starts_with("SET_CACHE: EBUSY: the buffer is mapped or exported: unmap"));
    }

    #[test]
    fn io_error_keeps_kind_and_text() {
        let error: io::Error = Error::sys(Operation::Open)(Errno::ENOENT).into();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("load the module"));
    }
}
