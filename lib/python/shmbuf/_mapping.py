# SPDX-License-Identifier: MIT OR Apache-2.0
"""Bytes of a buffer in the address space of this process."""

import errno
import mmap
import sys
from typing import TYPE_CHECKING, Any

from ._error import Error

if TYPE_CHECKING:
    import numpy.typing as npt


class Mapping(mmap.mmap):
    """A shared mapping: an ``mmap.mmap``, whose bytes are used in place by slices, memoryview(),
    numpy and whatever else takes a buffer. It outlives the handle that it was made with.

    Others change this memory at any time. Python copies by memcpy(3), which strongly-ordered
    memory (the policy noncached on ARMv6 and later) may refuse by a bus error if an end of the
    copy is not aligned: use ``Buffer.read_at`` and ``Buffer.write_at`` there, or items of
    ``memoryview(mapping).cast("I")``.
    """

    def numpy(self, dtype: "npt.DTypeLike" = "uint8") -> "npt.NDArray[Any]":
        """The mapping as an array, without a copy; it is read-only if the mapping is.

        The mapping cannot be closed while there is such an array.
        """
        import numpy  # noqa: PLC0415 # the package does without it

        return numpy.frombuffer(self, dtype)


def map_file(fd: int, offset: int, length: int, *, writable: bool) -> Mapping:
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    # Else each mapping would keep the handle open.
    options = {"trackfd": False} if sys.version_info >= (3, 13) else {}
    if length == 0:
        # Which Python takes for the size of the file.
        raise Error("mmap", errno.EINVAL)
    try:
        return Mapping(fd, length, flags=mmap.MAP_SHARED, prot=protection, offset=offset, **options)
    except OverflowError:
        # More than an address or a file's position can be.
        raise Error("mmap", errno.EINVAL) from None
    except OSError as error:
        raise Error.of("mmap", error) from None
