# SPDX-License-Identifier: MIT OR Apache-2.0
"""A handle on a buffer."""

import contextlib
import errno
import io
import os
import stat
from pathlib import Path
from typing import Self

from . import _abi as abi
from ._dma_buf import DmaBuf
from ._enums import Access, Direction, Kind, MappingKind, Phase, Policy
from ._error import Error
from ._file import File, accessed
from ._info import Info, Segment


class Buffer(File):
    """An open handle on a buffer. Its mappings and dma-bufs live on without it.

    A range of bytes is a ``range``, or None for all of the buffer.
    """

    def __init__(self, fd: int) -> None:
        """Take over a handle, such as one that a Unix socket brought. ENOTTY if it is none, which
        is closed then.
        """
        self._file = io.FileIO(fd)
        try:
            self._size = self._info().size
        except Error:
            self.close()
            raise

    @classmethod
    def open(cls, path: str | os.PathLike[str] = "/dev/shmbuf", *, read_only: bool = False) -> Self:
        """Open a buffer. Nothing else is opened: to open another device may do something."""
        try:
            found = Path(path).stat()
            if not stat.S_ISCHR(found.st_mode) or _is_another(found.st_rdev):
                raise Error("open", errno.ENOTTY)
            return cls(os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC))
        except Error:
            raise
        except OSError as error:
            raise Error.of("open", error) from None

    def dup(self) -> Self:
        """Another descriptor of the same handle."""
        try:
            return type(self)(os.dup(self.fileno()))
        except Error:
            raise
        except OSError as error:
            raise Error.of("fcntl", error) from None

    def alloc(
        self,
        size: int,
        kind: Kind | str,
        policy: Policy | str | None = None,
        *,
        mapping: MappingKind | str = MappingKind.PFNMAP,
        direction: Direction | str = Direction.BIDIRECTIONAL,
        align: int = 0,
        boundary: int = 0,
    ) -> Self:
        """Make a private buffer, zeroed, which lives until its last handle, mapping and dma-buf
        are gone. This handle has only to be open for writing.

        The size is a multiple of the page size, for kind pool less than a page. Without a policy
        it is the one that suits the kind. A buffer of kind pool begins at a multiple of
        ``align``, and crosses no multiple of ``boundary``.
        """
        argument = abi.shmbuf_alloc(
            size=_unsigned("size", size, 64),
            kind=Kind(kind).raw,
            policy=abi.SHMBUF_POLICY_DEFAULT if policy is None else Policy(policy).raw,
            mapping=MappingKind(mapping).raw,
            direction=Direction(direction).raw,
            align=_unsigned("align", align, 32),
            boundary=_unsigned("boundary", boundary, 32),
        )
        return type(self)(self._ioctl("ALLOC", abi.SHMBUF_IOC_ALLOC, argument))

    def info(self) -> Info:
        """What the buffer is, and what is in force now."""
        return Info.of(self._info())

    def set_policy(self, policy: Policy | str) -> None:
        """Change the policy. The contents survive; the memory may move. EBUSY while anybody has
        the buffer mapped or exported, or a device has any of it.
        """
        argument = abi.shmbuf_set_cache(policy=Policy(policy).raw)
        self._ioctl("SET_CACHE", abi.SHMBUF_IOC_SET_CACHE, argument)

    def sync(self, where: range | None, access: Access | str, phase: Phase | str) -> None:
        """Begin or end an access of the CPU; ``cpu_access`` does both.

        The begin makes what a device wrote visible, and takes back what devices were lent of the
        range. The end makes what the CPU wrote visible to devices, and lends them the range if
        the buffer is of kind streaming or scatter. Nobody may touch the range meanwhile. Its ends
        are multiples of ``Info.cache_line``.
        """
        offset, length = self._bounds(where)
        flags = Access(access).raw | Phase(phase).raw
        argument = abi.shmbuf_sync(offset=offset, length=length, flags=flags)
        self._ioctl("SYNC", abi.SHMBUF_IOC_SYNC, argument)

    def cpu_access(
        self, where: range | None = None, access: Access | str = Access.READ_WRITE
    ) -> contextlib.AbstractContextManager[None]:
        """Begin an access of the CPU, which ends with the ``with`` block, also by an exception."""
        return accessed(lambda phase: self.sync(where, access, phase))

    def lent(self) -> list[range]:
        """The ranges that devices have now. If others use the buffer, that may have changed."""
        found = []
        at = 0
        while at < self.size:
            argument = abi.shmbuf_lent(offset=at, length=self.size - at)
            self._ioctl("LENT", abi.SHMBUF_IOC_LENT, argument)
            if argument.length == 0:
                break
            at = argument.offset + argument.length
            found.append(range(argument.offset, at))
        return found

    def segments(self) -> list[Segment]:
        """Where the device of the buffer sees each part of it, in parts as long as the device's
        addresses follow each other. For those who have CAP_SYS_RAWIO.
        """
        found = []
        at = 0
        while at < self.size:
            argument = abi.shmbuf_segment(offset=at)
            self._ioctl("SEGMENT", abi.SHMBUF_IOC_SEGMENT, argument)
            found.append(Segment(range(at, at + argument.length), argument.dma_addr))
            at += argument.length
        return found

    def read_at(self, length: int, offset: int = 0) -> bytes:
        """Read through the kernel: fewer bytes across the end of the buffer, none past it."""
        try:
            return os.pread(self.fileno(), length, offset)
        except OSError as error:
            raise Error.of("read", error) from None

    def write_at(self, data: bytes | bytearray | memoryview, offset: int = 0) -> int:
        """Write through the kernel, and return how many bytes were: fewer across the end."""
        try:
            return os.pwrite(self.fileno(), data, offset)
        except OSError as error:
            raise Error.of("write", error) from None

    def export(self, where: range | None = None, *, read_only: bool = False) -> DmaBuf:
        """Make a dma-buf of whole pages, for an importer to take. It keeps the memory. If it is
        read-only, as it always is from a read-only handle, devices can only read.
        """
        offset, length = self._bounds(where)
        flags = abi.SHMBUF_EXPORT_READ_ONLY if read_only else 0
        argument = abi.shmbuf_export(offset=offset, length=length, flags=flags)
        return DmaBuf(self._ioctl("EXPORT", abi.SHMBUF_IOC_EXPORT, argument))

    def import_dma_buf(self, dma_buf: File | int) -> Self:
        """A handle on a dma-buf of another driver, or of its descriptor, mapped for the device that
        this buffer is for. It keeps the dma-buf.
        """
        fd = dma_buf if isinstance(dma_buf, int) else dma_buf.fileno()
        argument = abi.shmbuf_import(fd=fd)
        return type(self)(self._ioctl("IMPORT", abi.SHMBUF_IOC_IMPORT, argument))

    def copy_from(self, source: "Buffer", where: range | None = None, offset: int = 0) -> None:
        """Copy a range of another buffer, or of this one, to an offset of this one, by a DMA
        engine. Nobody may touch either range meanwhile.
        """
        self._copy(source, where, offset, 0)

    def begin_copy_from(
        self,
        source: "Buffer",
        where: range | None = None,
        offset: int = 0,
        *,
        eventfd: int | None = None,
    ) -> None:
        """Begin such a copy. When it has ended, poll(2) finds this handle ready, ``eventfd`` is
        added one, and ``copy_result`` tells how. Closing the handle cancels it.
        """
        if eventfd is None:
            self._copy(source, where, offset, abi.SHMBUF_COPY_ASYNC)
        else:
            flags = abi.SHMBUF_COPY_ASYNC | abi.SHMBUF_COPY_EVENTFD
            self._copy(source, where, offset, flags, eventfd)

    def begin_copy_with_fence(
        self, source: "Buffer", where: range | None = None, offset: int = 0
    ) -> int:
        """Begin such a copy, and return the descriptor of a sync_file: a fence for poll(2) and
        other drivers, signalled when the copy has ended. It is for the caller to close.
        """
        flags = abi.SHMBUF_COPY_ASYNC | abi.SHMBUF_COPY_SYNC_FILE
        return self._copy(source, where, offset, flags)

    def copy_result(self) -> None:
        """Raise the error of a copy that was begun, if it failed. EAGAIN if it has not ended,
        ENODATA if there is none.
        """
        self._ioctl("COPY_RESULT", abi.SHMBUF_IOC_COPY_RESULT)

    def _info(self) -> abi.shmbuf_info:
        argument = abi.shmbuf_info()
        self._ioctl("INFO", abi.SHMBUF_IOC_INFO, argument)
        return argument

    def _copy(
        self, source: "Buffer", where: range | None, offset: int, flags: int, eventfd: int = 0
    ) -> int:
        src_offset, length = source._bounds(where)
        argument = abi.shmbuf_copy(
            src_offset=src_offset,
            dst_offset=_unsigned("offset", offset, 64),
            length=length,
            src_fd=source.fileno(),
            flags=flags,
            eventfd=eventfd,
        )
        return self._ioctl("COPY", abi.SHMBUF_IOC_COPY, argument)


def _unsigned(name: str, value: int, bits: int) -> int:
    """A number that a field of so many bits can hold; ctypes would cut off the rest."""
    if not 0 <= value < 1 << bits:
        raise ValueError(f"{name}={value} is not a number of {bits} bits")
    return value


def _is_another(device: int) -> bool:
    """Whether sysfs says that a character device is one of another driver."""
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        name = (Path("/sys/dev/char") / number).readlink().name
    except OSError:
        return False
    return name != "shmbuf" and not name.startswith("shmbuf-")
