# SPDX-License-Identifier: GPL-2.0
"""Walks ARM short-descriptor page tables: addresses and memory types.

From the ARM Architecture Reference Manuals for ARMv5 (DDI 0100, part B) and
ARMv7-A (DDI 0406, B3), not from the kernel, so that it can judge the kernel.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

NORMAL = "Normal"
DEVICE = "Device"
STRONGLY_ORDERED = "Strongly-ordered"

NON_CACHEABLE = "non-cacheable"
WRITE_BACK_ALLOCATE = "write-back write-allocate"
WRITE_THROUGH = "write-through"
WRITE_BACK = "write-back"

#: In this order in NMRR, and in TEX[1:0] and C:B of memory with TEX[2] set.
_POLICIES = (NON_CACHEABLE, WRITE_BACK_ALLOCATE, WRITE_THROUGH, WRITE_BACK)


class Unknown(Exception):
    """A descriptor that the architecture does not define, or that we don't."""


@dataclass(frozen=True)
class MemoryType:
    """What a mapping means to the CPU. On ARMv5 C and B are all there is."""

    kind: str
    inner: str = ""
    outer: str = ""
    shareable: bool = False

    def __str__(self):
        if self.kind != NORMAL:
            return self.kind
        caches = self.inner
        if self.inner != self.outer:
            caches = f"inner {self.inner}, outer {self.outer}"
        return f"{self.kind}, {caches}"

    @property
    def cacheable(self) -> bool:
        return self.kind == NORMAL and (self.inner, self.outer) != (NON_CACHEABLE, NON_CACHEABLE)


@dataclass(frozen=True)
class CacheBits:
    """ARMv5: C and B of a descriptor."""

    c: int
    b: int

    def __str__(self):
        word = {
            (1, 1): "cached, write-back",
            (1, 0): "cached, write-through",
            (0, 1): "bufferable",
            (0, 0): "uncached",
        }[self.c, self.b]
        return f"{word} (C={self.c} B={self.b})"

    @property
    def cacheable(self) -> bool:
        return bool(self.c)


@dataclass(frozen=True)
class Mapping:
    """One entry of a table: `size` bytes at `virtual`."""

    virtual: int
    physical: int
    size: int
    type: MemoryType | CacheBits
    #: may a user program read, write
    user_read: bool
    user_write: bool
    #: never executable
    execute_never: bool


@dataclass(frozen=True)
class Cpu:
    """The registers that say what a descriptor means."""

    armv7: bool
    sctlr: int = 0
    prrr: int = 0
    nmrr: int = 0
    ttbcr: int = 0

    @property
    def tex_remap(self) -> bool:
        return bool(self.sctlr >> 28 & 1)

    def memory_type(self, tex: int, c: int, b: int, s: int) -> MemoryType | CacheBits:
        if not self.armv7:
            return CacheBits(c, b)
        if self.tex_remap:
            return self._remapped((tex & 1) << 2 | c << 1 | b, s)
        return self._plain(tex, c, b, s)

    def _remapped(self, n: int, s: int) -> MemoryType:
        kind = self.prrr >> 2 * n & 3
        if kind == 0:
            return MemoryType(STRONGLY_ORDERED, shareable=True)
        if kind == 1:
            # DS0, DS1: what S means for Device memory.
            return MemoryType(DEVICE, shareable=bool(self.prrr >> 16 + s & 1))
        if kind == 3:
            raise Unknown(f"PRRR.TR{n} is reserved")
        # NS0, NS1: what S means for Normal memory.
        return MemoryType(
            NORMAL,
            inner=_POLICIES[self.nmrr >> 2 * n & 3],
            outer=_POLICIES[self.nmrr >> 16 + 2 * n & 3],
            shareable=bool(self.prrr >> 18 + s & 1),
        )

    @staticmethod
    def _plain(tex: int, c: int, b: int, s: int) -> MemoryType:
        if tex & 4:
            inner, outer = _POLICIES[c << 1 | b], _POLICIES[tex & 3]
            return MemoryType(NORMAL, inner, outer, bool(s))
        match tex, c, b:
            case 0, 0, 0:
                return MemoryType(STRONGLY_ORDERED, shareable=True)
            case 0, 0, 1:
                return MemoryType(DEVICE, shareable=True)
            case 2, 0, 0:
                return MemoryType(DEVICE)
            case 0, 1, _:
                policy = WRITE_BACK if b else WRITE_THROUGH
            case 1, 0, 0:
                policy = NON_CACHEABLE
            case 1, 1, 1:
                policy = WRITE_BACK_ALLOCATE
            case _:
                raise Unknown(f"TEX={tex:03b} C={c} B={b} is reserved")
        return MemoryType(NORMAL, policy, policy, bool(s))


@dataclass(frozen=True)
class Table:
    """A translation table in physical memory, which `read(address, length)` reads."""

    cpu: Cpu
    base: int
    read: Callable[[int, int], bytes]

    @property
    def forbids_execution(self) -> bool:
        """Whether entries can forbid programs to execute."""
        return self.cpu.armv7

    def walk(self, virtual: int) -> Mapping | None:
        """The mapping that holds an address."""
        first = self._word(self.base + (virtual >> 20) * 4)
        kind = first & 3
        if kind == 1:
            second = self._word((first & 0xFFFFFC00) + (virtual >> 12 & 0xFF) * 4)
            return self._page(second, virtual)
        return self._section(first, virtual)

    def mappings(self, start: int, end: int) -> Iterator[Mapping]:
        """Every mapping between two addresses that are multiples of 1 MiB."""
        low, high = start >> 20, end >> 20
        firsts = struct.unpack(f"<{high - low}I", self.read(self.base + low * 4, (high - low) * 4))
        for index, first in enumerate(firsts, low):
            virtual = index << 20
            if first & 3 == 1:
                seconds = struct.unpack("<256I", self.read(first & 0xFFFFFC00, 1024))
                for page, second in enumerate(seconds):
                    found = self._page(second, virtual | page << 12)
                    if found:
                        # A large page stands in sixteen entries.
                        size = min(found.size, 0x1000)
                        yield self._cut(found, virtual | page << 12, size)
            elif found := self._section(first, virtual):
                yield self._cut(found, virtual, 0x100000)

    @staticmethod
    def _cut(found: Mapping, virtual: int, size: int) -> Mapping:
        physical = found.physical + (virtual - found.virtual)
        return Mapping(
            virtual,
            physical,
            size,
            found.type,
            found.user_read,
            found.user_write,
            found.execute_never,
        )

    def _word(self, address: int) -> int:
        return struct.unpack("<I", self.read(address, 4))[0]

    def _access(self, ap: int, apx: int) -> tuple[bool, bool]:
        if not self.cpu.armv7:
            # AP=00 depends on the S and R bits, never for writing.
            return ap >= 2, ap == 3
        if self.cpu.sctlr >> 29 & 1:  # AFE: AP[0] is the access flag
            return bool(ap & 2), bool(ap & 2 and not apx)
        return ap >= 2, ap == 3 and not apx

    def _section(self, entry: int, virtual: int) -> Mapping | None:
        v7 = self.cpu.armv7
        kind = entry & 3
        if kind == 0:
            return None
        if kind == 1 or (kind == 3 and not v7):
            raise Unknown(f"first-level descriptor {entry:#010x} at {virtual:#010x}")
        size = 0x1000000 if v7 and entry >> 18 & 1 else 0x100000
        if size == 0x1000000 and (entry >> 20 & 0xF or entry >> 5 & 0xF):
            raise Unknown(f"supersection above 4 GiB: {entry:#010x}")
        read, write = self._access(entry >> 10 & 3, entry >> 15 & 1 if v7 else 0)
        return Mapping(
            virtual & -size,
            entry & 0xFFFFFFFF & -size,
            size,
            self.cpu.memory_type(entry >> 12 & 7, entry >> 3 & 1, entry >> 2 & 1, entry >> 16 & 1),
            read,
            write,
            bool(v7 and entry >> 4 & 1),
        )

    def _page(self, entry: int, virtual: int) -> Mapping | None:
        v7 = self.cpu.armv7
        kind = entry & 3
        if kind == 0:
            return None
        if kind == 3 and not v7:
            raise Unknown(f"second-level descriptor {entry:#010x} at {virtual:#010x}")
        large = kind == 1
        size = 0x10000 if large else 0x1000
        if v7:
            tex = entry >> (12 if large else 6) & 7
            ap, apx = entry >> 4 & 3, entry >> 9 & 1
            never = entry >> 15 & 1 if large else entry & 1
            shared = entry >> 10 & 1
        else:
            # Four access fields, one for each quarter.
            quarter = virtual >> (14 if large else 10) & 3
            tex, ap, apx = 0, entry >> 4 + 2 * quarter & 3, 0
            never = shared = 0
        read, write = self._access(ap, apx)
        return Mapping(
            virtual & -size,
            entry & -size,
            size,
            self.cpu.memory_type(tex, entry >> 3 & 1, entry >> 2 & 1, shared),
            read,
            write,
            bool(never),
        )


def select(cpu: Cpu, virtual: int, ttbr0: int, ttbr1: int) -> int:
    """The base of the table that translates an address: TTBCR.N splits."""
    n = cpu.ttbcr & 7
    if cpu.ttbcr >> 31:
        raise Unknown("long descriptors (LPAE)")
    if n and virtual >> (32 - n):
        return ttbr1 & 0xFFFFC000
    return ttbr0 & (0xFFFFFFFF << (14 - n) & 0xFFFFFFFF)
