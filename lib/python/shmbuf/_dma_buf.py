# SPDX-License-Identifier: MIT OR Apache-2.0
"""The CPU's side of a dma-buf, of this driver or any other."""

import contextlib
import io
import os

from . import _abi as abi
from ._enums import Access, Phase
from ._error import Error
from ._file import File, accessed


class DmaBuf(File):
    """A dma-buf: memory that drivers hand to each other. ``fileno()`` is for an importer."""

    def __init__(self, fd: int) -> None:
        """Take over the descriptor of a dma-buf. ESPIPE if it is none, which is closed then."""
        self._file = io.FileIO(fd)
        try:
            self._size = os.lseek(fd, 0, os.SEEK_END)
        except OSError as error:
            self.close()
            raise Error.of("lseek", error) from None

    def sync(self, access: Access | str, phase: Phase | str) -> None:
        """Begin or end an access of the CPU to all of it; ``cpu_access`` does both."""
        flags = Access(access).raw | Phase(phase).raw
        self._ioctl("DMA_BUF_IOCTL_SYNC", abi.DMA_BUF_IOCTL_SYNC, abi.dma_buf_sync(flags))

    def cpu_access(
        self, access: Access | str = Access.READ_WRITE
    ) -> contextlib.AbstractContextManager[None]:
        """Begin an access of the CPU, which ends with the ``with`` block, also by an exception."""
        return accessed(lambda phase: self.sync(access, phase))
