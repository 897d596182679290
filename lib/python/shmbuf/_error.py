# SPDX-License-Identifier: MIT OR Apache-2.0
"""What can go wrong, and what to do about it."""

import errno
import os
from typing import Self


class Error(OSError):
    """The kernel refused a call. Its text names the call and the errno, and says what to do.

    ``errno`` and ``strerror`` are as in every OSError; ``operation`` is the call, such as
    "SYNC" or "mmap".
    """

    operation: str

    def __init__(self, operation: str, number: int) -> None:
        super().__init__(number, _reason(operation, number))
        self.operation = operation

    @classmethod
    def of(cls, operation: str, error: OSError) -> Self:
        """The error of a call that has failed with another OSError."""
        return cls(operation, error.errno or errno.EIO)

    def __str__(self) -> str:
        name = errno.errorcode.get(self.errno or 0, str(self.errno))
        return f"{self.operation}: {name}: {self.strerror}"

    def __reduce__(self) -> tuple[type[Self], tuple[str, int | None]]:
        return type(self), (self.operation, self.errno)


class NewerDriverError(RuntimeError):
    """The driver reports something that this package is too old to know."""

    def __init__(self, what: str, value: int) -> None:
        super().__init__(what, value)

    def __str__(self) -> str:
        what, value = self.args
        return (
            f"the driver reports {what} {value}, which this package is too old to know: "
            "install the one of the driver's release"
        )


IOCTLS = "INFO SET_CACHE SYNC ALLOC EXPORT COPY COPY_RESULT LENT SEGMENT IMPORT"

#: What an errno means for every operation.
ANY = {
    errno.EMFILE: "this process has no free file descriptor: close some, or raise its limit "
    "(ulimit -n)",
    errno.ENFILE: "the system has no free file: close some, or raise its limit (sysctl "
    "fs.file-max)",
}

#: Operations, an errno, and what it means for them. The texts are those of the Rust crate.
REASONS = [
    (
        "open",
        errno.ENOENT,
        "there is no such node: load the module (insmod shmbuf.ko); for a named buffer, see "
        "which /dev/shmbuf-* there are",
    ),
    ("open", errno.ENOTTY, "not a shmbuf buffer"),
    (
        "open",
        errno.EACCES,
        "the node is root's: run as root, or give the node to your group with a udev rule",
    ),
    (IOCTLS, errno.ENOTTY, "not a shmbuf buffer, or a driver older than this call"),
    (
        "INFO SET_CACHE SYNC ALLOC EXPORT COPY",
        errno.E2BIG,
        "the driver is older than this program and does not know what it asks for",
    ),
    ("IMPORT", errno.EINVAL, "the file is no dma-buf; of a memfd, /dev/udmabuf makes one"),
    (
        "IMPORT",
        errno.EOPNOTSUPP,
        "the dma-buf is of this driver, or the device does not reach all of the memory, or the "
        "handle is of an imported dma-buf itself: see the kernel log",
    ),
    ("IMPORT", errno.EBADF, "the handle must be open for writing, and the dma-buf open"),
    ("SEGMENT", errno.EPERM, "only privileged callers see addresses (CAP_SYS_RAWIO)"),
    (
        "SEGMENT",
        errno.EOPNOTSUPP,
        "no device has a view of this buffer (kind pages or region): use kind coherent, streaming "
        "or scatter",
    ),
    (
        "SET_CACHE",
        errno.EBUSY,
        "the buffer is mapped or exported: unmap it everywhere first (all processes, forked "
        "children and remaining pieces too) and close its dma-bufs; or a device owns it: take "
        "it back first",
    ),
    (
        "SET_CACHE",
        errno.EOPNOTSUPP,
        "this kind of buffer or this machine cannot give that policy: see the policies that "
        "INFO lists, and the kernel log for the reason and what would help",
    ),
    (
        "SET_CACHE",
        errno.EDQUOT,
        "the memory has to move, and the limit of private memory would be exceeded meanwhile: "
        "free some, or ask for the policy when the buffer is made",
    ),
    (
        "SET_CACHE",
        errno.ENOMEM,
        "the memory has to move, and there is no contiguous memory that fits: see the kernel log",
    ),
    ("SET_CACHE SYNC ALLOC", errno.EBADF, "the handle was opened read-only: open it for writing"),
    (
        "SYNC",
        errno.EINVAL,
        "offset and length must be multiples of the cache line (see INFO), and the length not zero",
    ),
    (
        "SYNC",
        errno.EBUSY,
        "a device owns the buffer, and only a handle open for writing can take it back",
    ),
    (
        "ALLOC",
        errno.EINVAL,
        "the size is not one for the kind, or other arguments do not go with it: the kernel log "
        "has the reason",
    ),
    ("ALLOC", errno.EFBIG, "this machine cannot address that many bytes: ask for fewer"),
    (
        "ALLOC",
        errno.EOPNOTSUPP,
        "this kind or this machine cannot give that policy or that mapping: see the kernel log "
        "for the reason and what would help",
    ),
    (
        "ALLOC",
        errno.EDQUOT,
        "the limit of private memory would be exceeded, or a user's share of it (the kernel log "
        "says which): free some, or have root raise limit or user_share in "
        "/sys/module/shmbuf/parameters",
    ),
    (
        "ALLOC",
        errno.ENOMEM,
        "there is no memory that fits: see the kernel log for what failed and what would help",
    ),
    (
        "EXPORT",
        errno.EINVAL,
        "offset and length must be multiples of the page size, and the length not zero",
    ),
    ("SYNC EXPORT COPY", errno.ERANGE, "the range reaches past the end of the buffer"),
    (
        "EXPORT",
        errno.EOPNOTSUPP,
        "this memory has no pages of its own (kind pool or region, or reserved with no-map), "
        "and a dma-buf is made of pages: use another kind",
    ),
    (
        "COPY",
        errno.EOPNOTSUPP,
        "this machine has no DMA engine that copies, or its driver is not loaded (see the "
        "engine in INFO); or devices do not reach one of the buffers (kind pool or region, "
        "memory reserved with no-map)",
    ),
    (
        "COPY",
        errno.EBUSY,
        "a device owns one of the buffers: take it back first (SYNC with START; shmbuf sync start)",
    ),
    (
        "COPY",
        errno.EINVAL,
        "the range is empty, or the two overlap, or the eventfd is something else",
    ),
    (
        "COPY",
        errno.EBADF,
        "the handle must be open for writing, and the source a shmbuf handle open for reading; "
        "an eventfd must be open",
    ),
    ("COPY", errno.EACCES, "devices may only read this buffer (its direction is to-device)"),
    (
        "COPY",
        errno.EINPROGRESS,
        "another copy of this handle goes on, or its result was not taken (COPY_RESULT)",
    ),
    ("COPY COPY_RESULT", errno.EIO, "the engine failed, or cannot address one of the buffers"),
    ("COPY COPY_RESULT", errno.ETIMEDOUT, "the engine took too long, and was stopped"),
    (
        "read write SYNC SET_CACHE",
        errno.EAGAIN,
        "another call uses some of these bytes, or a fence of theirs is not signalled, and the "
        "handle is one with O_NONBLOCK: try again",
    ),
    ("COPY_RESULT", errno.EAGAIN, "the copy goes on: wait for its end with poll(2)"),
    ("COPY_RESULT", errno.ENODATA, "this handle began no copy, or its result was taken"),
    ("DMA_BUF_IOCTL_SYNC", errno.ENOTTY, "not a dma-buf"),
    (
        "read write",
        errno.EBUSY,
        "a device owns the buffer: take it back first (SYNC with START; shmbuf sync start)",
    ),
    ("read write", errno.EBADF, "the handle was not opened for that"),
    (
        "read write",
        errno.EINVAL,
        "offset and length must be multiples of the access width (see INFO)",
    ),
    ("write", errno.ENOSPC, "the offset is at or past the end of the buffer"),
    (
        "mmap",
        errno.EINVAL,
        "offset plus length must be inside the buffer, the offset a multiple of the page size, "
        "and the length not zero",
    ),
    ("mmap", errno.EACCES, "the handle or dma-buf is read-only: open or export it for writing"),
    (
        "mmap",
        errno.EOPNOTSUPP,
        "the buffer is cached, and the node was opened with O_SYNC or O_DSYNC: open it without "
        "them; or the buffer is of kind pool, which cannot be mapped: use read and write",
    ),
    (
        "mmap",
        errno.EBUSY,
        "this processor's cache is virtually indexed, and this process has a cached mapping of "
        "some of the same bytes: use that one, or unmap it first",
    ),
]
_BY_CALL = {(call, number): text for calls, number, text in REASONS for call in calls.split()}


def _reason(operation: str, number: int) -> str:
    return _BY_CALL.get((operation, number)) or ANY.get(number) or os.strerror(number)
