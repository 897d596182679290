# SPDX-License-Identifier: GPL-2.0
"""What copies from and to memory that is not cached cost on the bus, as the user guide says."""

import functools
import re

import boardinfo
import coherence
import cores
import pytest
from tools import TOP

BOARDS = coherence.FULL_BOARDS
PAGE = TOP / "Documentation/user-guide.md"

#: Bytes of a copy.
SIZE = 1024
#: Bytes that the copies move by one instruction, and bytes of a word.
BURST, WORD = 32, 4
#: Policies of memory that is not cached, and what accesses to it count as.
POLICIES = {"writecombine": "buffered", "noncached": "ordered"}
#: The copies of lib/c and of the crate.
OURS = ["helpers", "crate"]
#: The headings of the page's table, and what is copied by.
WAYS = {"the helpers": "helpers", "memcpy(3)": "memcpy", "a loop over bytes": "bytes"}

#: Counts by policy, direction, offset in a page, and what copies: of the cheapest round.
Counts = dict[tuple[str, str, int, str], dict[str, int]]


@functools.cache
def counted(board: str) -> Counts:
    coherence.build_plugin()
    found: Counts = {}
    with coherence.CountedBoard(board) as machine:
        for policy in POLICIES:
            machine.check(f"insmod {machine.module} policy={policy}")
            machine.check("shmbuf-copies /dev/shmbuf count && shmbuf-test copies")
            machine.check("rmmod shmbuf")
            for counts in machine.rounds():
                direction, offset, way = re.fullmatch(
                    r"(\w+) at (\d+)\t(\w+)", counts["name"]
                ).groups()
                case = (policy, direction, int(offset), way)
                known = found.get(case)
                if not known or counts["user"] < known["user"]:
                    found[case] = counts
        assert machine.reports() == []
    return found


def bursts(offset: int) -> int:
    """How many bursts a copy at an offset takes: bytes to the next word, words, and so on."""
    up_to = -offset % WORD
    words = -(offset + up_to) % BURST // WORD
    rest = SIZE - up_to - words * WORD
    return up_to + words + rest // BURST + rest % BURST // WORD + rest % WORD


def test_each_byte_once(board_name, subtests):
    """All by aligned words, but for bytes at the ends, and words up to a multiple of a burst."""
    counts = counted(board_name)
    assert len(counts) == len(POLICIES) * 2 * 2 * (len(OURS) + 2)
    for (policy, direction, offset, way), it in counts.items():
        if way not in OURS:
            continue
        with subtests.test(f"{policy} {direction} {offset} {way}"):
            ends = -offset % WORD + (offset + SIZE) % WORD
            assert it[POLICIES[policy]] == (SIZE - ends) // WORD + ends
            assert it["buffered"] + it["ordered"] == it[POLICIES[policy]]
            assert it["bursts"] == bursts(offset)
            assert it["unaligned"] == 0


def test_a_loop_takes_more(board_name):
    """An access for each byte."""
    for (policy, *_, way), it in counted(board_name).items():
        if way == "bytes":
            assert it["bursts"] == it[POLICIES[policy]] == SIZE


def page_table() -> list[dict[str, str]]:
    """The rows of the page's table: cells by heading."""
    ((headings, rows),) = re.findall(
        r"^(\| copy of 1 KiB .*\n)\|-.*\n((?:\| .*\n)+)", PAGE.read_text(), re.M
    )
    table = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in rows.splitlines()]
    names = [cell.strip() for cell in headings.strip("|\n").split("|")]
    return [dict(zip(names, cells, strict=True)) for cells in table]


def test_page(board_name, subtests):
    counts = counted(board_name)
    core = cores.CORES[boardinfo.of(board_name).core]
    rows = [row for row in page_table() if row["core"] == core.name]
    assert len(rows) == 4
    for row in rows:
        words = r"(from|to) it, at an address that is (not )?aligned"
        direction, odd = re.fullmatch(words, row["copy of 1 KiB"]).groups()
        offset = 3 if odd else 0
        for heading, way in WAYS.items():
            with subtests.test(f"{direction} {offset} {way}"):
                for policy in POLICIES:
                    it = counts[policy, direction, offset, way]
                    said = f"{it['bursts']}"
                    if it["unaligned"]:
                        said += f", {it['unaligned']} not aligned"
                    assert row[heading] == said


@pytest.mark.parametrize(("offset", "expected"), [(0, 32), (4, 7 + 31 + 1), (3, 1 + 7 + 31 + 3)])
def test_bursts_are_predicted(offset, expected):
    assert bursts(offset) == expected
