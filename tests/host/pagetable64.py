# SPDX-License-Identifier: GPL-2.0
"""Walks page tables of 64-bit machines: addresses and memory types.

From the Arm Architecture Reference Manual for A-profile (DDI 0487, D8; 4 KiB
granule) and the Intel SDM (volume 3A, 5.5 and 13.12), not from the kernel, so
that it can judge the kernel.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from pagetable import (
    DEVICE,
    NON_CACHEABLE,
    NORMAL,
    WRITE_BACK,
    WRITE_BACK_ALLOCATE,
    WRITE_THROUGH,
    Mapping,
    MemoryType,
    Unknown,
)

_ENTRIES = 512
#: Bits 47 to 12 of an entry: what it points to.
_ADDRESS = 0x0000_FFFF_FFFF_F000


@dataclass(frozen=True)
class PatType:
    """x86: an entry of the page attribute table. MTRRs, which may forbid caching, are not seen."""

    name: str

    def __str__(self):
        return self.name

    @property
    def cacheable(self) -> bool:
        return self.name in ("write-back", "write-through", "write-protected")


@dataclass(frozen=True)
class Rights:
    """What an entry lets user programs do; the levels above it may only take away."""

    read: bool = True
    write: bool = True
    execute: bool = True

    def __and__(self, other: "Rights") -> "Rights":
        return Rights(
            self.read and other.read, self.write and other.write, self.execute and other.execute
        )


class Format(Protocol):
    """What the bits of an entry mean. Level 0 is that of pages of 4 KiB."""

    def is_present(self, entry: int, level: int, /) -> bool: ...
    def is_table(self, entry: int, level: int, /) -> bool: ...
    def rights(self, entry: int, is_table: bool, /) -> Rights: ...
    def type(self, entry: int, level: int, /) -> MemoryType | PatType: ...


@dataclass(frozen=True)
class Arm64:
    """VMSAv8-64 descriptors."""

    mair: int

    def is_present(self, entry: int, level: int) -> bool:
        if entry & 1 and not entry & 2 and level in (0, 3):
            raise Unknown(f"descriptor {entry:#018x} of level {level}")
        return bool(entry & 1)

    def is_table(self, entry: int, level: int) -> bool:
        return level > 0 and bool(entry & 2)

    def rights(self, entry: int, is_table: bool) -> Rights:
        if is_table:
            # APTable, UXNTable
            limit = entry >> 61 & 3
            return Rights(not limit & 1, not limit, not entry >> 60 & 1)
        read = bool(entry >> 6 & 1)
        return Rights(read, read and not entry >> 7 & 1, not entry >> 54 & 1)

    def type(self, entry: int, _level: int) -> MemoryType:
        attributes = self.mair >> 8 * (entry >> 2 & 7) & 0xFF
        if attributes >> 4 == 0:
            return MemoryType(DEVICE, shareable=True)
        if attributes == 0xF0:
            # Tagged
            attributes = 0xFF
        outer, inner = (self._cache(it) for it in (attributes >> 4, attributes & 0xF))
        # What is not cacheable is shareable whatever SH says.
        shareable = bool(entry >> 9 & 1) or inner == outer == NON_CACHEABLE
        return MemoryType(NORMAL, inner, outer, shareable)

    @staticmethod
    def _cache(nibble: int) -> str:
        if nibble == 0b0100:
            return NON_CACHEABLE
        if nibble >> 2 == 0b10:
            return WRITE_THROUGH
        if nibble >> 2 == 0b11:
            return WRITE_BACK_ALLOCATE if nibble & 1 else WRITE_BACK
        raise Unknown(f"cache attributes {nibble:#06b}")


@dataclass(frozen=True)
class X86:
    """Entries of 4-level paging."""

    #: the page attribute table's eight types
    pat: tuple[PatType, ...]

    def is_present(self, entry: int, _level: int) -> bool:
        return bool(entry & 1)

    def is_table(self, entry: int, level: int) -> bool:
        return level > 0 and not entry >> 7 & 1

    def rights(self, entry: int, _is_table: bool) -> Rights:
        user = bool(entry >> 2 & 1)
        return Rights(user, user and bool(entry >> 1 & 1), not entry >> 63)

    def type(self, entry: int, level: int) -> PatType:
        pat = entry >> (12 if level else 7) & 1
        return self.pat[pat << 2 | entry >> 3 & 3]


@dataclass(frozen=True)
class Table:
    """A table of so many levels in physical memory, which `read(address, length)` reads."""

    format: Format
    levels: int
    base: int
    read: Callable[[int, int], bytes]

    #: ARMv8 and x86-64 can always forbid programs to execute.
    forbids_execution = True

    def walk(self, virtual: int) -> Mapping | None:
        """The mapping that holds an address."""
        base, rights = self.base, Rights()
        for level in reversed(range(self.levels)):
            at = base + (virtual >> _shift(level) & _ENTRIES - 1) * 8
            entry = struct.unpack("<Q", self.read(at, 8))[0]
            if not self.format.is_present(entry, level):
                return None
            is_table = self.format.is_table(entry, level)
            rights &= self.format.rights(entry, is_table)
            if not is_table:
                return self._leaf(entry, level, virtual, rights)
            base = entry & _ADDRESS
        raise Unknown(f"a table in the place of a page at {virtual:#x}")

    def mappings(self, start: int, end: int) -> Iterator[Mapping]:
        """Every mapping between two addresses of the same half of the address space."""
        half = start & -(1 << _shift(self.levels))
        yield from self._below(self.base, self.levels - 1, half, start, end, Rights())

    def _below(self, base, level, first, start, end, rights) -> Iterator[Mapping]:
        size = 1 << _shift(level)
        for index, entry in enumerate(struct.unpack("<512Q", self.read(base, _ENTRIES * 8))):
            virtual = first + index * size
            if not (start < virtual + size and virtual < end):
                continue
            if not self.format.is_present(entry, level):
                continue
            is_table = self.format.is_table(entry, level)
            both = rights & self.format.rights(entry, is_table)
            if is_table:
                below = entry & _ADDRESS
                yield from self._below(below, level - 1, virtual, start, end, both)
            else:
                yield self._leaf(entry, level, virtual, both)

    def _leaf(self, entry: int, level: int, virtual: int, rights: Rights) -> Mapping:
        size = 1 << _shift(level)
        return Mapping(
            virtual & -size,
            entry & _ADDRESS & -size,
            size,
            self.format.type(entry, level),
            rights.read,
            rights.write,
            not rights.execute,
        )


def _shift(level: int) -> int:
    return 12 + 9 * level
