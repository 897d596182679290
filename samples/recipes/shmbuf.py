# SPDX-License-Identifier: MIT OR Apache-2.0
"""Calls of /dev/shmbuf from Python: Documentation/recipes.md."""

import fcntl
import mmap
import os
import struct

#: Numbers of the calls on ARM and x86, and their structures: Documentation/abi.md.
INFO, INFO_FORMAT = 0xC0D8BC00, "=4I3Q4I48s32s4I32s32s"
SYNC, SYNC_FORMAT = 0x4018BC02, "=2Q2I"
ALLOC, ALLOC_FORMAT = 0x4028BC03, "=Q8I"

STREAMING, DEFAULT_POLICY = 2, 0xFFFFFFFF
SYNC_RW, SYNC_START, SYNC_END = 3, 0, 4


def info(buffer: int) -> tuple:
    """The fields of struct shmbuf_info."""
    return struct.unpack(INFO_FORMAT, fcntl.ioctl(buffer, INFO, bytes(216)))


def sync(buffer: int, length: int, flags: int):
    """Begin (SYNC_START) or end (SYNC_END) access to the first bytes."""
    fcntl.ioctl(buffer, SYNC, struct.pack(SYNC_FORMAT, 0, length, SYNC_RW | flags, 0))


def alloc(node: int, size: int, kind: int = STREAMING) -> int:
    """Make a private buffer."""
    fields = struct.pack(ALLOC_FORMAT, size, kind, DEFAULT_POLICY, 0, 0, 0, 0, 0, 0)
    # Of what can be changed Python returns the call's own result, the handle.
    return fcntl.ioctl(node, ALLOC, bytearray(fields))


if __name__ == "__main__":
    buffer = alloc(os.open("/dev/shmbuf", os.O_RDWR | os.O_CLOEXEC), 65536)
    with mmap.mmap(buffer, 65536) as view:
        view[:5] = b"hello"
        sync(buffer, 65536, SYNC_END)
        # The device works here.
        sync(buffer, 65536, SYNC_START)
        print(view[:5], info(buffer)[11])
