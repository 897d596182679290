# SPDX-License-Identifier: GPL-2.0
"""The walker, on tables made by hand from the architecture manuals."""

import struct

import pagetable64
import pytest
from pagetable import (
    DEVICE,
    NON_CACHEABLE,
    NORMAL,
    STRONGLY_ORDERED,
    WRITE_BACK,
    WRITE_BACK_ALLOCATE,
    WRITE_THROUGH,
    CacheBits,
    Cpu,
    MemoryType,
    Table,
    Unknown,
    select,
)
from pagetable64 import X86, Arm64, PatType

ARMV5 = Cpu(armv7=False, sctlr=0x52177)
#: TEX remap on, with the values that Linux uses.
REMAP = Cpu(armv7=True, sctlr=0x10C5387D, prrr=0xFF0A81A8, nmrr=0x40E040E0)
PLAIN = Cpu(armv7=True, sctlr=0x00C5387D)

L1, L2 = 0x4000, 0x8000


def table(cpu: Cpu, words: dict[int, int]) -> Table:
    memory = bytearray(0x10000)
    for address, word in words.items():
        struct.pack_into("<I", memory, address, word)
    return Table(cpu, L1, lambda address, length: bytes(memory[address : address + length]))


def test_fault():
    assert table(REMAP, {}).walk(0x12345678) is None
    assert table(REMAP, {L1: L2 | 1}).walk(0x1000) is None


@pytest.mark.parametrize("bits", range(4))
def test_armv5_pages(bits):
    # A small page at 0x00101000, user read and write in all quarters.
    entry = 0x20003000 | 0xFF0 | bits << 2 | 2
    found = table(ARMV5, {L1 + 4: L2 | 0x11, L2 + 4: entry}).walk(0x101004)
    assert (found.virtual, found.physical, found.size) == (0x101000, 0x20003000, 0x1000)
    assert found.type == CacheBits(bits >> 1, bits & 1)
    assert (found.user_read, found.user_write) == (True, True)
    assert found.type.cacheable == (bits >= 2)


def test_armv5_ignores_tex():
    section = 0x30000000 | 7 << 12 | 3 << 10 | 0x10 | 2
    assert table(ARMV5, {L1: section}).walk(0).type == CacheBits(0, 0)


def test_armv5_large_page_and_quarters():
    # AP3..AP0 = user write, user read, privileged, privileged.
    entry = 0x20010000 | (3 << 10 | 2 << 8 | 1 << 6 | 1 << 4) | 3 << 2 | 1
    it = table(ARMV5, {L1: L2 | 1, **{L2 + 4 * n: entry for n in range(16)}})
    found = it.walk(0xC123)
    assert (found.virtual, found.physical, found.size) == (0, 0x20010000, 0x10000)
    assert (found.user_read, found.user_write) == (True, True)
    assert (it.walk(0x8000).user_read, it.walk(0x8000).user_write) == (True, False)
    assert (it.walk(0x4000).user_read, it.walk(0).user_read) == (False, False)


@pytest.mark.parametrize("entry", [3, 0x20000003])
def test_armv5_has_no_fine_tables(entry):
    with pytest.raises(Unknown):
        table(ARMV5, {L1: entry}).walk(0)
    with pytest.raises(Unknown):
        table(ARMV5, {L1: L2 | 1, L2: entry}).walk(0)


def _normal(inner, outer=None):
    return MemoryType(NORMAL, inner, outer or inner, shareable=True)


REMAPPED = {
    0: MemoryType(STRONGLY_ORDERED, shareable=True),
    1: _normal(NON_CACHEABLE),
    2: _normal(WRITE_THROUGH),
    3: _normal(WRITE_BACK),
    4: MemoryType(DEVICE, shareable=True),
    7: _normal(WRITE_BACK_ALLOCATE),
}


@pytest.mark.parametrize("n", REMAPPED)
def test_tex_remap(n):
    # A small page: TEX[0] is bit 6, S bit 10, AP=11, XN bit 0.
    entry = 0x60001000 | (n >> 2) << 6 | (n & 3) << 2 | 1 << 10 | 3 << 4 | 3
    found = table(REMAP, {L1: L2 | 1, L2: entry}).walk(0xFFF)
    assert found.type == REMAPPED[n]
    assert (found.user_read, found.user_write, found.execute_never) == (True, True, True)
    # The same in a section: TEX[0] is bit 12, S bit 16, AP=01, XN bit 4.
    entry = 0x60100000 | (n >> 2) << 12 | (n & 3) << 2 | 1 << 16 | 1 << 10 | 0x10 | 2
    found = table(REMAP, {L1 + 4: entry}).walk(0x123456)
    assert found.type == REMAPPED[n]
    assert (found.virtual, found.physical, found.size) == (0x100000, 0x60100000, 0x100000)
    assert (found.user_read, found.user_write, found.execute_never) == (False, False, True)


def test_tex_remap_ignores_the_upper_tex_bits():
    entry = 0x60001000 | 6 << 6 | 3 << 2 | 3 << 4 | 2
    found = table(REMAP, {L1: L2 | 1, L2: entry}).walk(0)
    assert found.type == MemoryType(NORMAL, WRITE_BACK, WRITE_BACK, shareable=False)
    assert not found.execute_never


@pytest.mark.parametrize(
    ("tex", "c", "b", "wanted"),
    [
        (0, 0, 0, MemoryType(STRONGLY_ORDERED, shareable=True)),
        (0, 0, 1, MemoryType(DEVICE, shareable=True)),
        (0, 1, 0, MemoryType(NORMAL, WRITE_THROUGH, WRITE_THROUGH)),
        (0, 1, 1, MemoryType(NORMAL, WRITE_BACK, WRITE_BACK)),
        (1, 0, 0, MemoryType(NORMAL, NON_CACHEABLE, NON_CACHEABLE)),
        (1, 1, 1, MemoryType(NORMAL, WRITE_BACK_ALLOCATE, WRITE_BACK_ALLOCATE)),
        (2, 0, 0, MemoryType(DEVICE)),
        (6, 0, 1, MemoryType(NORMAL, WRITE_BACK_ALLOCATE, WRITE_THROUGH)),
    ],
)
def test_without_remap(tex, c, b, wanted):
    entry = 0x60001000 | tex << 6 | c << 3 | b << 2 | 3 << 4 | 2
    assert table(PLAIN, {L1: L2 | 1, L2: entry}).walk(0).type == wanted


@pytest.mark.parametrize(("tex", "c", "b"), [(1, 0, 1), (1, 1, 0), (2, 0, 1), (3, 1, 1)])
def test_reserved(tex, c, b):
    entry = 0x60001000 | tex << 6 | c << 3 | b << 2 | 2
    with pytest.raises(Unknown):
        table(PLAIN, {L1: L2 | 1, L2: entry}).walk(0)


@pytest.mark.parametrize(
    ("apx", "ap", "read", "write"),
    [
        (0, 0, 0, 0),
        (0, 1, 0, 0),
        (0, 2, 1, 0),
        (0, 3, 1, 1),
        (1, 1, 0, 0),
        (1, 2, 1, 0),
        (1, 3, 1, 0),
    ],
)
def test_access(apx, ap, read, write):
    entry = 0x60001000 | apx << 9 | ap << 4 | 2
    found = table(REMAP, {L1: L2 | 1, L2: entry}).walk(0)
    assert (found.user_read, found.user_write) == (bool(read), bool(write))


def test_supersection():
    entry = 0x61000000 | 1 << 18 | 1 << 12 | 3 << 2 | 1 << 16 | 2
    words = {L1 + 4 * n: entry for n in range(16, 32)}
    found = table(REMAP, words).walk(0x1234567)
    assert (found.virtual, found.physical, found.size) == (0x1000000, 0x61000000, 0x1000000)
    with pytest.raises(Unknown):
        table(REMAP, {L1: entry | 1 << 20}).walk(0)


def test_large_page():
    # TEX in [14:12], XN in bit 15.
    entry = 0x60010000 | 1 << 15 | 1 << 12 | 1 << 10 | 3 << 4 | 3 << 2 | 1
    it = table(REMAP, {L1: L2 | 1, **{L2 + 4 * n: entry for n in range(16, 32)}})
    found = it.walk(0x1ABCD)
    assert (found.virtual, found.physical, found.size) == (0x10000, 0x60010000, 0x10000)
    assert found.type == _normal(WRITE_BACK_ALLOCATE)
    assert found.execute_never


def test_mappings_are_all_of_them():
    section = 0x60500000 | 2
    page = 0x60001000 | 2
    large = 0x60010000 | 1
    words = {L1 + 4: L2 | 1, L2 + 4: page, L1 + 8: section}
    words |= {L2 + 4 * n: large for n in range(16, 32)}
    found = [(m.virtual, m.physical, m.size) for m in table(REMAP, words).mappings(0, 0x300000)]
    assert found == [
        (0x101000, 0x60001000, 0x1000),
        *((0x110000 + n * 0x1000, 0x60010000 + n * 0x1000, 0x1000) for n in range(16)),
        (0x200000, 0x60500000, 0x100000),
    ]


def test_split():
    cpu = Cpu(armv7=True, ttbcr=2)
    assert select(cpu, 0x3FFFFFFF, 0x6346906A, 0x6000406A) == 0x63469000
    assert select(cpu, 0x40000000, 0x6346906A, 0x6000406A) == 0x60004000
    assert select(Cpu(armv7=True), 0xC0000000, 0x6346806A, 0x6000406A) == 0x63468000
    with pytest.raises(Unknown):
        select(Cpu(armv7=True, ttbcr=1 << 31), 0, 0, 0)


# 64 bits: a table of each level at these addresses, and a page or a block.
LEVELS = (0x1000, 0x2000, 0x3000, 0x4000)
#: Device-nGnRnE, Device-nGnRE, Normal non-cacheable, Normal, Normal tagged: not Linux's order.
MAIR = 0xF0_FF_44_04_00
PAT = tuple(
    PatType(name)
    for name in (
        *("write-back", "write-combining", "uncached-", "uncached"),
        *("write-back", "write-protected", "uncached-", "write-through"),
    )
)


def table64(meaning: Arm64 | X86, entries: dict[int, int]) -> pagetable64.Table:
    memory = bytearray(0x5000)
    for address, entry in entries.items():
        struct.pack_into("<Q", memory, address, entry)
    return pagetable64.Table(
        meaning, 4, LEVELS[0], lambda address, length: bytes(memory[address : address + length])
    )


def chain(entry: int, tables: int, bits: int = 3) -> dict[int, int]:
    """An entry for address zero below so many tables."""
    above = {LEVELS[n]: LEVELS[n + 1] | bits for n in range(tables)}
    return above | {LEVELS[tables]: entry}


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (0, MemoryType(DEVICE, shareable=True)),
        (1, MemoryType(DEVICE, shareable=True)),
        (2, MemoryType(NORMAL, NON_CACHEABLE, NON_CACHEABLE, shareable=True)),
        (3, MemoryType(NORMAL, WRITE_BACK_ALLOCATE, WRITE_BACK_ALLOCATE, shareable=False)),
        (4, MemoryType(NORMAL, WRITE_BACK_ALLOCATE, WRITE_BACK_ALLOCATE, shareable=False)),
    ],
)
def test_arm64_types(index, expected):
    page = 0x4000_0000 | index << 2 | 3
    assert table64(Arm64(MAIR), chain(page, 3)).walk(0x123).type == expected


def test_arm64_shareable_and_sizes():
    inner = 3 << 8
    for tables, size in ((3, 1 << 12), (2, 1 << 21), (1, 1 << 30)):
        leaf = 0xC000_0000 | inner | 3 << 2 | (3 if tables == 3 else 1)
        found = table64(Arm64(MAIR), chain(leaf, tables)).walk(0xABC)
        assert (found.virtual, found.physical, found.size) == (0, 0xC000_0000, size)
        assert found.type.shareable


def test_arm64_rights():
    user, read_only, uxn = 1 << 6, 1 << 7, 1 << 54
    page = 0x4000_0000 | 3 << 2 | 3

    def rights(leaf: int, limit: int = 0):
        found = table64(Arm64(MAIR), chain(page | leaf, 3, 3 | limit)).walk(0)
        return found.user_read, found.user_write, found.execute_never

    assert rights(0) == (False, False, False)
    assert rights(user) == (True, True, False)
    assert rights(user | read_only | uxn) == (True, False, True)
    # What the tables above take away: UXNTable, APTable[1] and [0].
    assert rights(user, 1 << 60) == (True, True, True)
    assert rights(user, 1 << 62) == (True, False, False)
    assert rights(user, 1 << 61) == (False, False, False)


def test_arm64_faults_and_nonsense():
    assert table64(Arm64(MAIR), {}).walk(0) is None
    for entries in (chain(1, 3), chain(1, 0)):
        with pytest.raises(Unknown):
            table64(Arm64(MAIR), entries).walk(0)
    with pytest.raises(Unknown):
        # Transient attributes.
        table64(Arm64(0x55), chain(0x4000_0000 | 3, 3)).walk(0)


@pytest.mark.parametrize("index", range(8))
def test_x86_types(index):
    low = (index & 3) << 3 | 7
    page = 0x4000_0000 | low | index >> 2 << 7
    assert table64(X86(PAT), chain(page, 3, 7)).walk(0).type == PAT[index]
    large = 0x4000_0000 | low | 1 << 7 | index >> 2 << 12
    found = table64(X86(PAT), chain(large, 2, 7)).walk(0x1234)
    assert (found.type, found.physical, found.size) == (PAT[index], 0x4000_0000, 1 << 21)


def test_x86_rights():
    def rights(leaf: int, above: int):
        found = table64(X86(PAT), chain(0x4000_0000 | leaf, 3, above)).walk(0)
        return found.user_read, found.user_write, found.execute_never

    assert rights(7, 7) == (True, True, False)
    assert rights(7 | 1 << 63, 7) == (True, True, True)
    assert rights(5, 7) == (True, False, False)
    assert rights(7, 5) == (True, False, False)
    assert rights(7, 3) == (False, False, False)
    assert rights(7, 7 | 1 << 63) == (True, True, True)


def test_mappings_of_64_bits():
    entries = chain(0x4000_0000 | 3, 3) | {LEVELS[3] + 8: 0x5000_0000 | 3}
    entries |= {LEVELS[2] + 8: 0x8000_0000 | 1}
    for half in (0, 0xFFFF << 48):
        table = table64(Arm64(MAIR), entries)
        found = [(m.virtual - half, m.size) for m in table.mappings(half, half + (1 << 48))]
        assert found == [(0, 0x1000), (0x1000, 0x1000), (0x20_0000, 0x20_0000)]
        found = [m.physical for m in table.mappings(half + 0x1000, half + 0x2000)]
        assert found == [0x5000_0000]
