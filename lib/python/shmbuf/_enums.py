# SPDX-License-Identifier: MIT OR Apache-2.0
"""The words of the ABI. Functions that take one take its text too: ``Kind.PAGES`` or "pages"."""

import enum
from typing import Self

from . import _abi as abi
from ._error import NewerDriverError


class _Word(enum.StrEnum):
    """A word, as module parameters have it, with its number in the header."""

    raw: int

    def __new__(cls, word: str, raw: int = 0) -> Self:
        member = str.__new__(cls, word)
        member._value_ = word
        member.raw = raw
        return member

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"no such {cls.__name__.lower()}: {value!r} is none of {', '.join(cls)}")

    @classmethod
    def from_raw(cls, raw: int) -> Self:
        """The word of a number of the header."""
        for member in cls:
            if member.raw == raw:
                return member
        raise NewerDriverError(cls.__name__.lower(), raw)


class Kind(_Word):
    """Where the memory of a buffer comes from."""

    #: Physically contiguous pages that are not mapped for a device.
    PAGES = "pages", abi.SHMBUF_KIND_PAGES
    #: DMA memory that needs no cache maintenance.
    COHERENT = "coherent", abi.SHMBUF_KIND_COHERENT
    #: Write-back pages mapped for DMA; a sync lends them and takes them back.
    STREAMING = "streaming", abi.SHMBUF_KIND_STREAMING
    #: Single write-back pages mapped for DMA by a scatter-gather table.
    SCATTER = "scatter", abi.SHMBUF_KIND_SCATTER
    #: Coherent DMA memory of less than a page; it cannot be mapped.
    POOL = "pool", abi.SHMBUF_KIND_POOL
    #: Device memory that a device-tree node names.
    REGION = "region", abi.SHMBUF_KIND_REGION
    #: A dma-buf of another driver, which import_dma_buf() took.
    IMPORTED = "imported", abi.SHMBUF_KIND_IMPORTED


class Policy(_Word):
    """The memory type of all views that the CPU has of a buffer."""

    #: Cached; the kernel's own type for RAM.
    WRITEBACK = "writeback", abi.SHMBUF_POLICY_WRITEBACK
    #: Cached for reads; writes go to memory at once.
    WRITETHROUGH = "writethrough", abi.SHMBUF_POLICY_WRITETHROUGH
    #: Not cached; writes may be buffered and merged.
    WRITECOMBINE = "writecombine", abi.SHMBUF_POLICY_WRITECOMBINE
    #: Not cached, not buffered. Strongly-ordered on ARMv6 and later: see Mapping.
    NONCACHED = "noncached", abi.SHMBUF_POLICY_NONCACHED


class MappingKind(_Word):
    """How mappings of a buffer are made."""

    #: At once, by page frame number.
    PFNMAP = "pfnmap", abi.SHMBUF_MAPPING_PFNMAP
    #: By page faults; what a device was lent is not mapped, and a touch is SIGBUS.
    STRICT = "strict", abi.SHMBUF_MAPPING_STRICT
    #: At once, with a reference to each page, as O_DIRECT and io_uring need it.
    REFCOUNTED = "refcounted", abi.SHMBUF_MAPPING_REFCOUNTED


class Direction(_Word):
    """What devices do with a buffer."""

    BIDIRECTIONAL = "bidirectional", abi.SHMBUF_DIRECTION_BIDIRECTIONAL
    #: Devices read what the CPU wrote.
    TO_DEVICE = "to-device", abi.SHMBUF_DIRECTION_TO_DEVICE
    #: Devices write what the CPU reads.
    FROM_DEVICE = "from-device", abi.SHMBUF_DIRECTION_FROM_DEVICE


class Owner(_Word):
    """Who may touch the contents now."""

    CPU = "cpu", abi.SHMBUF_OWNER_CPU
    #: A device, while it has any of the buffer.
    DEVICE = "device", abi.SHMBUF_OWNER_DEVICE


class Access(_Word):
    """What the CPU does between the begin and the end of an access."""

    READ = "read", abi.SHMBUF_SYNC_READ
    WRITE = "write", abi.SHMBUF_SYNC_WRITE
    READ_WRITE = "read-write", abi.SHMBUF_SYNC_RW


class Phase(_Word):
    """Which end of an access a sync is."""

    #: Makes what a device wrote visible to the CPU; takes back what a device was lent.
    BEGIN = "begin", abi.SHMBUF_SYNC_START
    #: Makes what the CPU wrote visible to a device; lends it a buffer of kind streaming or scatter.
    END = "end", abi.SHMBUF_SYNC_END
