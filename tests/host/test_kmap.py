# SPDX-License-Identifier: GPL-2.0
"""Memory that others have kmap()ed: the page-table audit finds no mapping of it that remains.

A board of its own, since such mappings remain until kmap() needs their places.
"""

import json
import math
import re

import audit
import boardinfo
import pytest
import test_audit
from board import Board
from test_audit import SIZE, held, let_go, look

#: Those with highmem.
BOARDS = boardinfo.names(lambda it: it.without_highmem)
BOOT_ARGS = test_audit.BOOT_ARGS


@pytest.fixture(autouse=True)
def _emulated(request):
    if request.config.getoption("env"):
        pytest.skip("only an emulated board can be looked into from outside")


def leave_kmapped(board: Board, parameters: str):
    """Have kmap() map pages, as tests/kmap is told, and keep that."""
    board.check(f"insmod /lib/modules/kmap.ko {parameters} && rmmod kmap")


def frame_of_a_block(board: Board) -> int:
    """Where a block of a pool was, which is freed again."""
    said = board.check("shmbuf alloc 1K --kind pool -- shmbuf info --json")
    return json.loads("\n".join(said))["phys_addr"] // audit.PAGE


def test_no_alias_of_pages_that_were_kmapped(machine):
    """A page of each block that is large enough has such a mapping: it is not in the buffer."""
    block = math.ceil(math.log2(SIZE / audit.PAGE))
    leave_kmapped(machine, f"order={block}")
    machine.check(f"insmod {machine.module} size={SIZE} policy=noncached")
    try:
        print(look(machine))
    finally:
        machine.check("rmmod shmbuf")


def test_no_alias_of_coherent_memory_that_was_kmapped(machine):
    """The memory for devices is others' as long as these need none, and lies in highmem."""
    coherent = f"insmod {machine.module} size={SIZE} kind=coherent"
    machine.check(coherent)
    before = held(machine)
    let_go(machine)
    # The middle: what is given next may begin elsewhere.
    leave_kmapped(machine, f"frame={(before.phys + before.size // 2) // audit.PAGE:#x}")
    machine.check(f"rmmod shmbuf && {coherent}")
    try:
        print(look(machine))
    finally:
        machine.check("rmmod shmbuf")


def test_no_alias_of_blocks_of_a_pool_that_were_kmapped(machine):
    """A pool returns its page with its last block, and the next pool would get the same page."""
    machine.check(f"insmod {machine.module}")
    try:
        frame = frame_of_a_block(machine)
        assert frame_of_a_block(machine) == frame
        leave_kmapped(machine, f"frame={frame:#x}")
        assert frame_of_a_block(machine) != frame
    finally:
        machine.check("rmmod shmbuf")


def test_set_cache_leaves_pages_that_were_kmapped(machine):
    """Write-back memory may have such a mapping; what is not cached any more is elsewhere."""
    machine.check(f"insmod {machine.module} size={SIZE} policy=noncached")
    try:
        it = held(machine, "--policy", "writeback")
        let_go(machine)
        leave_kmapped(machine, f"frame={it.phys // audit.PAGE:#x}")
        print(look(machine, "--policy", "noncached"))
    finally:
        machine.check("rmmod shmbuf")


def test_refused_if_all_pages_were_kmapped(machine):
    """In each MiB there is one, so there is no place for 32 MiB; it is said, and soon."""
    leave_kmapped(machine, "order=8")
    refused = machine.run(f"insmod {machine.module} size=32M policy=noncached && rmmod shmbuf")
    assert refused.status
    assert re.search(r"physically contiguous highmem .* is free", machine.kernel_log())
