# SPDX-License-Identifier: MIT OR Apache-2.0
"""Buffers of the shmbuf driver: memory that a program, the kernel and DMA devices share, with the
cache attributes that the program chose.
"""

from ._buffer import Buffer
from ._dma_buf import DmaBuf
from ._enums import Access, Direction, Kind, MappingKind, Owner, Phase, Policy
from ._error import Error, NewerDriverError
from ._info import DmaAddress, Info, Segment
from ._mapping import Mapping

#: ``shmbuf.open()`` is ``Buffer.open()``. Not in __all__, since it is a function of Python too.
open = Buffer.open  # noqa: A001

__all__ = [
    "Access",
    "Buffer",
    "Direction",
    "DmaAddress",
    "DmaBuf",
    "Error",
    "Info",
    "Kind",
    "Mapping",
    "MappingKind",
    "NewerDriverError",
    "Owner",
    "Phase",
    "Policy",
    "Segment",
]
