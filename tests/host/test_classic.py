# SPDX-License-Identifier: GPL-2.0
"""The classic driver is found out, and shmbuf is not, as Documentation/classic-bug.md says."""

import functools
import re

import classic
import coherence
from tools import TOP

BOARDS = coherence.FULL_BOARDS
PAGE = TOP / "Documentation/classic-bug.md"


@functools.cache
def run(board: str) -> classic.Run:
    coherence.build(board)
    return classic.run(board)


def documented(heading: str) -> list[dict[str, str]]:
    """The rows of the page's table whose first heading this is: cells by heading."""
    tables = re.findall(rf"^(\| {heading} .*\n)\| -.*\n((?:\| .*\n)+)", PAGE.read_text(), re.M)
    ((headings, rows),) = tables

    def cells(line: str) -> list[str]:
        return [cell.strip() for cell in line.strip("|").split("|")]

    return [
        dict(zip(cells(headings.strip()), cells(row), strict=True)) for row in rows.splitlines()
    ]


def hazards(verdict: str) -> str:
    """A verdict without its numbers: an interrupt between two accesses may change them."""
    return re.sub(r"\d+ ", "", verdict)


def test_verdicts(board_name, subtests):
    """What the checker finds is what the page says; and the program saw right data."""
    it = run(board_name)
    page = {row["driver"]: row[classic.core(board_name)] for row in documented("driver")}
    assert list(page) == [case.name for case in classic.CASES]
    for case in classic.CASES:
        with subtests.test(case.name):
            assert it.right[case]
            assert hazards(it.verdict(case)) == hazards(page[case.name])
            if case.module == "shmbuf":
                assert it.verdict(case) == "nothing"


def test_nothing_else(board_name):
    """The rest is in order: loading, unloading, what ran beside it, the kernel's log."""
    it = run(board_name)
    ours = [finding for case in classic.CASES for finding in it.of(case)]
    assert [f"{f.label}: {f.text}" for f in it.findings if f not in ours] == []
    assert it.totals["forgotten"] == 0
    assert [str(report) for report in it.reports] == []


def test_costs(board_name, subtests):
    """They are what the page says; for a small record all of the cache is more than is needed."""
    it = run(board_name)
    cache = it.totals["cache-lines"]
    page = [row for row in documented("core") if row["core"] == classic.core(board_name)]
    assert [int(row["bytes"]) for row in page] == classic.RECORD_BYTES
    for row in page:
        size = int(row["bytes"])
        for heading, case in classic.COSTS.items():
            with subtests.test(f"{heading}, {size} bytes"):
                lines = it.lines(case, size)
                # Once there and back: on ARMv5 another program that runs meanwhile costs a flush.
                assert abs(lines - int(row[heading])) <= 2 * cache / classic.TIMES
                if case == classic.FLUSHED:
                    assert lines >= cache
                elif size == min(classic.RECORD_BYTES):
                    assert lines < it.lines(classic.FLUSHED, size) / 2
