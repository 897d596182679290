# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a handle of a buffer and a dma-buf have in common."""

import contextlib
import ctypes
import fcntl
import io
from collections.abc import Callable, Iterator
from typing import Self

from ._enums import Phase
from ._error import Error
from ._mapping import Mapping, map_file


class File:
    """An open file with a size. It closes at the end of a ``with`` block, or when it is dropped."""

    _file: io.FileIO
    _size: int

    def fileno(self) -> int:
        """The file descriptor, which this object keeps. ValueError if it is closed."""
        return self._file.fileno()

    def close(self) -> None:
        """Close it. Mappings live on."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def size(self) -> int:
        """The size in bytes, which never changes."""
        return self._size

    def map(self, where: range | None = None, *, writable: bool = True) -> Mapping:
        """Map bytes, or all of them. The first is a multiple of the page size."""
        offset, length = self._bounds(where)
        return map_file(self.fileno(), offset, length, writable=writable)

    def _bounds(self, where: range | None) -> tuple[int, int]:
        """Offset and length. Of a range that is the wrong way round nothing is left."""
        if where is None:
            return 0, self._size
        if where.step != 1 or where.start < 0 or max(where.start, where.stop) >= 1 << 64:
            raise ValueError(f"{where} is not a range of bytes")
        return where.start, max(0, where.stop - where.start)

    def _ioctl(self, operation: str, number: int, argument: ctypes.Structure | None = None) -> int:
        while True:
            try:
                return fcntl.ioctl(self.fileno(), number, 0 if argument is None else argument)
            except InterruptedError:
                # A signal's handler has run and raised nothing: as in Python's own calls.
                continue
            except OSError as error:
                raise Error.of(operation, error) from None


@contextlib.contextmanager
def accessed(sync: Callable[[Phase], None]) -> Iterator[None]:
    """Sync before and after a ``with`` block, after it also if that raises something."""
    sync(Phase.BEGIN)
    try:
        yield
    finally:
        sync(Phase.END)
