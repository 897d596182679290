# SPDX-License-Identifier: GPL-2.0
"""Compares what a board's page tables say with what the driver promised.

The tables are read from outside, with the machine stopped, while a program on
the board holds a mapping of the buffer.
"""

import bisect
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from board import BoardError, QemuBoard
from cores import CORES, PAGE, Core, Found, Read, Snapshot, Table, Type
from gdbstub import Stub
from pagetable import (
    DEVICE,
    NON_CACHEABLE,
    NORMAL,
    STRONGLY_ORDERED,
    WRITE_BACK,
    WRITE_BACK_ALLOCATE,
    WRITE_THROUGH,
    CacheBits,
    Mapping,
    MemoryType,
)
from pagetable64 import PatType

STEPS = ("plain", "mprotect", "fork", "mremap")

#: What shmbuf_info.memory_type may say, and what that is.
WORDS = {
    "cached, write-back (C=1 B=1)": CacheBits(1, 1),
    "cached, write-through (C=1 B=0)": CacheBits(1, 0),
    "bufferable (C=0 B=1)": CacheBits(0, 1),
    "uncached (C=0 B=0)": CacheBits(0, 0),
    "Normal, write-back write-allocate": MemoryType(
        NORMAL, WRITE_BACK_ALLOCATE, WRITE_BACK_ALLOCATE, shareable=True
    ),
    "Normal, write-back": MemoryType(NORMAL, WRITE_BACK, WRITE_BACK, shareable=True),
    "Normal, write-through": MemoryType(NORMAL, WRITE_THROUGH, WRITE_THROUGH, shareable=True),
    "Normal, non-cacheable": MemoryType(NORMAL, NON_CACHEABLE, NON_CACHEABLE, shareable=True),
    "Strongly-ordered": MemoryType(STRONGLY_ORDERED, shareable=True),
    "Device": MemoryType(DEVICE, shareable=True),
    "write-back, snooped by devices": PatType("write-back"),
    "write-combining": PatType("write-combining"),
}

#: shmbuf_info.flags
ALIASED = 1 << 2


@dataclass(frozen=True)
class View:
    """A range of virtual addresses that should show a part of the buffer."""

    name: str
    virtual: int
    offset: int
    length: int


@dataclass(frozen=True)
class Held:
    """What `shmbuf-test hold` says of the mapping that it holds."""

    #: what it has mapped
    users: tuple[View, ...]
    pid: int
    nonce_va: int
    nonce: bytes
    phys: int
    size: int
    kind: str
    policy: str
    memory_type: str
    flags: int

    @property
    def user(self) -> View:
        (view,) = self.users
        return view

    @classmethod
    def parse(cls, line: str) -> "Held":
        said = json.loads(line)
        info = said["info"]
        return cls(
            users=tuple(
                View("user mapping", it["va"], said["offset"], it["length"])
                for it in said["regions"]
            ),
            pid=said["pid"],
            nonce_va=said["nonce_va"],
            nonce=said["nonce"].to_bytes(8, "little"),
            phys=info["phys_addr"],
            size=info["size"],
            kind=info["kind"],
            policy=info["policy"],
            memory_type=info["memory_type"],
            flags=info["flags"],
        )


def kernel_view(debugfs: str) -> View | None:
    """The kernel's view as the driver's debugfs file gives it."""
    match = re.search(
        r"^kernel view: (linear|vmap|dma|io) 0x([0-9a-f]+)(?: offset (\d+))? length (\d+)$",
        debugfs,
        re.M,
    )
    if not match:
        return None
    kind, virtual, offset, length = match.groups()
    return View(f"kernel view ({kind})", int(virtual, 16), int(offset or 0), int(length))


class Memory:
    """Physical memory in pieces that are read once a stop."""

    _block = 0x400

    def __init__(self, stub: Stub):
        self._stub = stub
        self._blocks: dict[int, bytes] = {}

    def read(self, address: int, length: int) -> bytes:
        if length > self._block:
            return self._stub.read(address, length)
        start = address & -self._block
        if start not in self._blocks:
            self._blocks[start] = self._stub.read(start, self._block)
        data = self._blocks[start][address - start :][:length]
        return data if len(data) == length else self._stub.read(address, length)


def find_tables(
    stub: Stub, tables: Callable[[Stub, str, Read], Snapshot], held: Held
) -> Snapshot | None:
    """The tables of the program that holds the buffer, if a CPU runs it now."""
    memory = Memory(stub)
    for cpu in stub.cpus:
        snapshot = tables(stub, cpu, memory.read)
        mapping = snapshot.user.walk(held.nonce_va)
        if mapping:
            physical = mapping.physical + held.nonce_va - mapping.virtual
            if stub.read(physical, len(held.nonce)) == held.nonce:
                return snapshot
    return None


def pages_of(runs: list[str], held: Held) -> dict[int, int]:
    """The physical address of each page, by its offset, as debugfs gives the runs."""
    pages = {}
    for line in runs:
        run = re.fullmatch("offset (0x.*) physical (0x.*) length (0x.*)", line)
        if not run:
            raise Found(f"debugfs gives a line without offset, physical address and length: {line}")
        offset, physical, length = (int(number, 16) for number in run.groups())
        for at in range(0, length, PAGE):
            pages[offset + at] = physical + at
    if sorted(pages) != list(range(0, held.size, PAGE)) or len(set(pages.values())) != len(pages):
        raise Found(f"debugfs does not give each page once:\n{runs}")
    if pages[0] != held.phys:
        raise Found(f"debugfs gives {pages[0]:#x} for the first page, INFO {held.phys:#x}")
    return pages


def check_view(table: Table, view: View, pages: dict[int, int], held: Held, meaning: Type) -> int:
    """Every page of a view: the right memory, of the right type. Returns how many."""
    for offset in range(0, view.length, PAGE):
        virtual = view.virtual + offset
        mapping = table.walk(virtual)
        where = f"{view.name}, {virtual:#010x}"
        if mapping is None:
            raise Found(f"{where}: not mapped")
        physical = mapping.physical + virtual - mapping.virtual
        wanted = pages[view.offset + offset]
        if physical != wanted:
            raise Found(f"{where}: maps {physical:#010x}, not {wanted:#010x}")
        if mapping.type != meaning:
            raise Found(
                f"{where}: is {_long(mapping.type)}, but {held.policy} means {_long(meaning)}"
            )
    return view.length // PAGE


def check_user(table: Table, held: Held, writable: bool) -> None:
    """A program may do what its mapping says, and never execute (ARMv5 cannot forbid it)."""
    for virtual in range(held.user.virtual, held.user.virtual + held.user.length, PAGE):
        mapping = table.walk(virtual)
        if not mapping.user_read:
            raise Found(f"user mapping, {virtual:#010x}: the program cannot read it")
        if mapping.user_write and not writable:
            raise Found(f"user mapping, {virtual:#010x}: writable, and should not be")
        if table.forbids_execution and not mapping.execute_never:
            raise Found(f"user mapping, {virtual:#010x}: executable")


def aliases(table: Table, pages: dict[int, int], where: range, known: View) -> list[Mapping]:
    """Mappings of the buffer in a range of addresses, beside the one that is known."""
    found = []
    ours = sorted(pages.values())
    for mapping in table.mappings(where.start, where.stop):
        first = bisect.bisect_left(ours, mapping.physical)
        if first == len(ours) or ours[first] >= mapping.physical + mapping.size:
            continue
        after = mapping.virtual >= known.virtual + known.length
        if after or mapping.virtual + mapping.size <= known.virtual:
            found.append(mapping)
    return found


def _long(what: Type) -> str:
    if isinstance(what, MemoryType):
        return f"{what}{'' if what.shareable else ', not shareable'}"
    return str(what)


def may_write(maps: list[str], virtual: int) -> bool:
    """Whether /proc/PID/maps says that the program may write there."""
    for line in maps:
        match = re.match(r"([0-9a-f]+)-([0-9a-f]+) (....) ", line)
        if match and int(match[1], 16) <= virtual < int(match[2], 16):
            return match[3][1] == "w"
    raise Found(f"/proc/PID/maps does not show {virtual:#010x}")


def check(board: QemuBoard, held: Held, debugfs: str) -> str:
    """All of it, for a buffer that is held now. Returns what was seen, for the log."""
    core = CORES[board.info.core]
    meaning = core.meaning[held.policy]

    # What the driver says of itself.
    if WORDS.get(held.memory_type) != meaning:
        raise Found(f"INFO says {held.memory_type!r}, but {held.policy} means {_long(meaning)}")
    for words in (f"policy: {held.policy}", f"memory type: {held.memory_type}"):
        if words not in debugfs.splitlines():
            raise Found(f"debugfs does not say {words!r}:\n{debugfs}")
    in_kernel = kernel_view(debugfs)
    if in_kernel is None:
        raise Found(f"debugfs gives no kernel view:\n{debugfs}")
    if held.phys == 0:
        raise Found("INFO gives no physical address")

    writable = may_write(board.check(f"cat /proc/{held.pid}/maps"), held.user.virtual)
    pages = pages_of(board.check("cat /sys/kernel/debug/shmbuf/default/pages"), held)

    def compare(tables: Snapshot) -> str:
        return _compare(core, held, meaning, pages, tables, in_kernel, writable)

    return _stopped(board, held, compare)


def check_withdrawn(board: QemuBoard, held: Held) -> str:
    """No entry of any mapping is left. Returns what was seen, for the log."""

    def compare(tables: Snapshot) -> str:
        for view in held.users:
            for virtual in range(view.virtual, view.virtual + view.length, PAGE):
                if tables.user.walk(virtual):
                    raise Found(f"{view.name}, {virtual:#010x}: present, and the device owns it")
        return f"{len(held.users)} mappings of {held.size // PAGE} pages have no entry"

    return _stopped(board, held, compare)


@dataclass(frozen=True)
class Entries:
    """What the tables of a mapping are made of."""

    #: how many entries map so many bytes
    sizes: dict[int, int]
    #: lines of 64 bytes that hold what a walk of each page reads
    lines: int


def entries(board: QemuBoard, held: Held) -> Entries:
    """Counts the entries that the one mapping has."""

    def count(tables: Snapshot) -> Entries:
        lines = set()

        def read(address: int, length: int) -> bytes:
            lines.add(address // 64)
            return tables.user.read(address, length)

        table = replace(tables.user, read=read)
        leaves = {}
        for virtual in range(held.user.virtual, held.user.virtual + held.user.length, PAGE):
            mapping = table.walk(virtual)
            if mapping is None:
                raise Found(f"user mapping, {virtual:#010x}: not mapped")
            leaves[mapping.virtual] = mapping.size
        return Entries(dict(Counter(leaves.values())), len(lines))

    return _stopped(board, held, count)


def _stopped[Seen](board: QemuBoard, held: Held, look: Callable[[Snapshot], Seen]) -> Seen:
    """Stop the machine while a CPU runs the program, and look."""
    tables = CORES[board.info.core].translation.learn(board)
    # A CPU may be in the kernel, or in another program: try again.
    deadline = time.monotonic() + 30
    while True:
        with Stub(board.gdb_socket) as stub:
            found = find_tables(stub, tables, held)
            if found:
                return look(found)
        if time.monotonic() > deadline:
            raise BoardError("no CPU ran the program that holds the buffer")
        time.sleep(0.05)


def _compare(core: Core, held, meaning, frames, tables, in_kernel, writable) -> str:
    pages = check_view(tables.user, held.user, frames, held, meaning)
    check_user(tables.user, held, writable)
    kernel_pages = check_view(tables.kernel, in_kernel, frames, held, meaning)

    different = [
        f"user alias at {m.virtual:#010x} is {_long(m.type)}"
        for m in aliases(tables.user, frames, core.translation.user, held.user)
        if m.type != meaning
    ]
    kernel_others = aliases(tables.kernel, frames, core.translation.kernel, in_kernel)
    if core.speculates:
        bad = [m for m in kernel_others if m.type != meaning]
        if held.flags & ALIASED:
            if not bad:
                different.append("INFO says ALIASED, but no alias of another type exists")
        else:
            different += [f"kernel alias at {m.virtual:#010x} is {_long(m.type)}" for m in bad[:4]]
    if different:
        raise Found(f"beside {_long(meaning)}:\n" + "\n".join(different))
    return (
        f"{pages} user pages and {kernel_pages} pages of the {in_kernel.name} at "
        f"{held.phys:#010x} are {_long(meaning)}; {len(kernel_others)} other kernel mappings"
    )
