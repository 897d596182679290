# SPDX-License-Identifier: GPL-2.0
"""The cores of the boards: what each policy means there, and how one finds its page tables."""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pagetable
import pagetable64
from board import QemuBoard
from gdbstub import Stub
from pagetable import (
    NON_CACHEABLE,
    NORMAL,
    STRONGLY_ORDERED,
    WRITE_BACK_ALLOCATE,
    CacheBits,
    Cpu,
    MemoryType,
)
from pagetable64 import X86, Arm64, PatType

PAGE = 0x1000
#: Where the kernel's half begins on 32-bit ARM (CONFIG_VMSPLIT_3G).
PAGE_OFFSET = 0xC0000000

Type = MemoryType | CacheBits | PatType
Table = pagetable.Table | pagetable64.Table
Read = Callable[[int, int], bytes]


class Found(AssertionError):
    """The tables do not say what they should."""


@dataclass(frozen=True)
class Snapshot:
    """The two tables that count, of a machine that is stopped."""

    user: Table
    kernel: Table


class Translation(Protocol):
    """How a processor finds the tables that it uses."""

    #: the addresses that belong to programs, and to the kernel
    user: range
    kernel: range

    def learn(self, board: QemuBoard, /) -> Callable[[Stub, str, Read], Snapshot]:
        """What finds the tables of a CPU, with what it has to know of the running board."""


@dataclass(frozen=True)
class Core:
    """What the audit has to know of a board's processor."""

    #: for people
    name: str
    translation: Translation
    #: whether the cache may be filled through any mapping at any time
    speculates: bool
    #: what each policy means; one that is missing cannot be had
    meaning: dict[str, Type]
    #: the policies of each kind, the default one first
    kinds: dict[str, tuple[str, ...]]
    #: kinds and ways of mapping besides the default
    mappings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Arm:
    """32-bit ARM, short descriptors."""

    armv7: bool
    #: Modules live just below the linear map.
    user = range(PAGE_OFFSET - 0x01000000)
    kernel = range(user.stop, 1 << 32)

    def learn(self, board: QemuBoard) -> Callable[[Stub, str, Read], Snapshot]:
        swapper = symbol(board.symbols(), "swapper_pg_dir")
        base = swapper - PAGE_OFFSET + ram_base(board.check("cat /proc/iomem"))

        def tables(stub: Stub, cpu: str, read: Read) -> Snapshot:
            what, ttbr0, ttbr1 = registers(stub, cpu, self.armv7)
            user = pagetable.select(what, 0, ttbr0, ttbr1)
            return Snapshot(
                pagetable.Table(what, user, read),
                pagetable.Table(what, base, read),
            )

        return tables


class Armv8:
    """64-bit ARM, 4 KiB pages and 39-bit addresses in both halves: three levels."""

    user = range(1 << 39)
    kernel = range((1 << 64) - (1 << 39), 1 << 64)

    def learn(self, _: QemuBoard) -> Callable[[Stub, str, Read], Snapshot]:
        def tables(stub: Stub, cpu: str, read: Read) -> Snapshot:
            tcr = stub.register(cpu, "TCR_EL1")
            # T0SZ, T1SZ, TG0 and TG1.
            if (tcr & 0x3F, tcr >> 16 & 0x3F, tcr >> 14 & 3, tcr >> 30 & 3) != (25, 25, 0, 2):
                raise pagetable.Unknown(f"TCR_EL1 is {tcr:#x}")
            arm64 = Arm64(stub.register(cpu, "MAIR_EL1"))
            user, kernel = (
                pagetable64.Table(arm64, 3, stub.register(cpu, it) & 0xFFFF_FFFF_F000, read)
                for it in ("TTBR0_EL1", "TTBR1_EL1")
            )
            return Snapshot(user, kernel)

        return tables


class Amd64:
    """x86-64, four levels."""

    user = range(1 << 47)
    kernel = range(0xFFFF8 << 44, 1 << 64)

    def learn(self, board: QemuBoard) -> Callable[[Stub, str, Read], Snapshot]:
        said = re.search(r"x86/PAT: Configuration \[0-7\]: (.*?) *$", board.kernel_log(), re.M)
        if not said:
            raise Found("the kernel's log does not give the page attribute table")
        x86 = X86(tuple(PatType(PAT[word]) for word in said[1].split()))
        meltdown = "/sys/devices/system/cpu/vulnerabilities/meltdown"
        isolated = board.check(f"cat {meltdown}") == ["Mitigation: PTI"]

        def tables(stub: Stub, cpu: str, read: Read) -> Snapshot:
            if stub.register(cpu, "cr4") >> 12 & 1:
                raise pagetable.Unknown("five levels: boot with no5lvl")
            base = stub.register(cpu, "cr3") & 0xFFFF_FFFF_F000
            # With page table isolation there are two tables, side by side.
            user, kernel = (base | PAGE, base & ~PAGE) if isolated else (base, base)
            return Snapshot(
                pagetable64.Table(x86, 4, user, read), pagetable64.Table(x86, 4, kernel, read)
            )

        return tables


#: As Linux names the types of the page attribute table.
PAT = {
    "WB": "write-back",
    "WT": "write-through",
    "WC": "write-combining",
    "WP": "write-protected",
    "UC-": "uncached, unless an MTRR says write-combining",
    "UC": "uncached",
}

#: Cortex-A9 MPCore under Linux: RAM is shareable, and cached memory allocates
#: on writes, since the coherency of the cores needs it. Write-through is not
#: implemented by the core (TRM 7.1).
CORTEX_A9 = Core(
    name="Cortex-A9",
    translation=Arm(armv7=True),
    speculates=True,
    meaning={
        "writeback": MemoryType(NORMAL, WRITE_BACK_ALLOCATE, WRITE_BACK_ALLOCATE, shareable=True),
        "writecombine": MemoryType(NORMAL, NON_CACHEABLE, NON_CACHEABLE, shareable=True),
        "noncached": MemoryType(STRONGLY_ORDERED, shareable=True),
    },
    kinds={
        "pages": ("writeback", "writecombine", "noncached"),
        "coherent": ("writecombine",),
        "streaming": ("writeback",),
        "scatter": ("writeback",),
    },
    mappings=(
        ("pages", "refcounted"),
        ("streaming", "strict"),
        ("streaming", "refcounted"),
        ("scatter", "strict"),
        ("scatter", "refcounted"),
    ),
)

#: ARM926EJ-S: C and B (ARM DDI 0198, table 4-1), no TEX.
ARM926 = Core(
    name="ARM926EJ-S",
    translation=Arm(armv7=False),
    # The cache is filled by accesses alone, so an alias that nobody uses holds nothing.
    speculates=False,
    meaning={
        "writeback": CacheBits(1, 1),
        "writethrough": CacheBits(1, 0),
        "writecombine": CacheBits(0, 1),
        "noncached": CacheBits(0, 0),
    },
    kinds={
        "pages": ("writeback", "writethrough", "writecombine", "noncached"),
        "coherent": ("noncached", "writecombine"),
        "streaming": ("writeback",),
        "scatter": ("writeback",),
    },
    mappings=(("streaming", "strict"), ("scatter", "strict")),
)

#: Cortex-A53 under Linux: as Cortex-A9, but all memory stays in the linear map.
CORTEX_A53 = Core(
    name="Cortex-A53",
    translation=Armv8(),
    speculates=True,
    meaning={it: CORTEX_A9.meaning[it] for it in ("writeback", "writecombine")},
    kinds=CORTEX_A9.kinds | {"pages": ("writeback",)},
    mappings=CORTEX_A9.mappings,
)

#: x86-64, whose devices snoop.
X86_64 = Core(
    name="x86-64",
    translation=Amd64(),
    speculates=True,
    meaning={"writeback": PatType("write-back"), "writecombine": PatType("write-combining")},
    kinds=dict.fromkeys(CORTEX_A9.kinds, ("writeback",)),
    mappings=CORTEX_A9.mappings,
)

#: By the name that a board.toml gives its core.
CORES = {
    "arm926": ARM926,
    "cortex-a9": CORTEX_A9,
    # Nor does a Cortex-A15 implement write-through (TRM 6.4).
    "cortex-a15": dataclasses.replace(CORTEX_A9, name="Cortex-A15"),
    "cortex-a53": CORTEX_A53,
    "x86-64": X86_64,
}


def registers(stub: Stub, cpu: str, armv7: bool) -> tuple[Cpu, int, int]:
    """What a CPU translates with. A Secure world has copies of its own, "_S"."""

    def get(world: str, *names: str) -> int:
        return stub.register(cpu, *(f"{name}{world}" for name in names), *names)

    # Where there could be a Secure world but is none, its copies are there, and zero.
    worlds = (it for it in ("_S", "") if get(it, "SCTLR_EL1", "SCTLR") & 1)
    if (world := next(worlds, None)) is None:
        raise Found("the MMU is off")
    what = Cpu(
        armv7=armv7,
        sctlr=get(world, "SCTLR_EL1", "SCTLR"),
        prrr=get(world, "MAIR0", "PRRR") if armv7 else 0,
        nmrr=get(world, "MAIR1", "NMRR") if armv7 else 0,
        ttbcr=get(world, "TTBCR") if armv7 else 0,
    )
    ttbr1 = get(world, "TTBR1_EL1", "TTBR1") if armv7 else 0
    return what, get(world, "TTBR0_EL1", "TTBR0"), ttbr1


def symbol(system_map: Path, name: str) -> int:
    match = re.search(rf"^([0-9a-f]+) \w {re.escape(name)}$", system_map.read_text(), re.M)
    if not match:
        raise Found(f"{system_map} has no {name}")
    return int(match[1], 16)


def ram_base(iomem: list[str]) -> int:
    """The physical address of the first byte of RAM, from /proc/iomem."""
    for line in iomem:
        if match := re.match(r"([0-9a-f]+)-[0-9a-f]+ : System RAM", line):
            return int(match[1], 16)
    raise Found("/proc/iomem shows no System RAM")
