# SPDX-License-Identifier: GPL-2.0
"""The classic driver is found out, and shmbuf is not, as Documentation/classic-bug.md says."""

import functools
import re

import classic
import coherence
import pytest
from coherence import Finding
from tools import TOP

BOARDS = coherence.FULL_BOARDS
PAGE = TOP / "Documentation/classic-bug.md"
REASONS = TOP / "tools/coherence/model/src/reasons.rs"


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


def without_numbers(cell: str) -> str:
    """A verdict and its hazards: an interrupt between two accesses may change the numbers."""
    return re.sub(r"\d+ ", "", cell)


OLD = "the line that the cache may have at this address is an old one"
DIRTY_INNER = "the newest value is in a dirty line of the inner data cache"
DIRTY_OUTER = "the newest value is in a dirty line of the outer cache"
OVER = "a dirty line that lacks the newest value is written over it"
UNCACHED = "the page was used uncached, through a mapping that is still there"


@pytest.mark.parametrize(
    ("found", "speculates", "expected"),
    [
        ([], True, "RIGHT"),
        # The caches need only keep their lines.
        ([("stale-read", "this-core", DIRTY_INNER)], True, "WRONG"),
        ([("stale-read", "this-core", DIRTY_OUTER)], True, "WRONG"),
        ([("stale-read", "this-core", DIRTY_INNER)], False, "WRONG"),
        ([("stale-read", "this-core", OLD)], False, "WRONG"),
        ([("two-types", "this-core", UNCACHED), ("stale-read", "this-core", OLD)], False, "WRONG"),
        # The old line may have come by itself.
        ([("stale-read", "this-core", OLD)], True, "MAY FAIL"),
        # A line has to be evicted.
        ([("lost-write", "this-core", OVER)], False, "MAY FAIL"),
        # The architecture leaves it open.
        ([("two-types", "this-core", UNCACHED)], False, "MAY FAIL"),
        # Another core shows it.
        ([("stale-read", "some-core", DIRTY_INNER)], False, "MAY FAIL"),
    ],
)
def test_verdict_of_findings(found, speculates, expected):
    findings = [Finding(hazard, shown, "", "", reason, 1, "") for hazard, shown, reason in found]
    assert classic.verdict(True, findings, speculates) == expected
    assert classic.verdict(False, findings, speculates) == "WRONG"
    reasons = REASONS.read_text()
    assert [reason for *_, reason in found if f'"{reason}"' not in reasons] == []


def test_verdicts(board_name, subtests):
    """They, and what the checker finds, are what the page says."""
    it = run(board_name)
    page = {row["driver"]: row[it.core.name] for row in documented("driver")}
    assert list(page) == [case.name for case in classic.CASES]
    for case in classic.CASES:
        with subtests.test(case.name):
            assert it.right[case]
            assert without_numbers(it.cell(case)) == without_numbers(page[case.name])
            if case.module == "shmbuf":
                assert it.verdict(case) == "RIGHT"


def test_nothing_else(board_name):
    """The rest is in order: loading, unloading, what ran beside it, the kernel's log."""
    it = run(board_name)
    ours = [finding for case in classic.CASES for finding in it.of(case)]
    assert [f"{f.label}: {f.text}" for f in it.findings if f not in ours] == []
    assert (it.totals["forgotten"], it.totals["unlisted"]) == (0, 0)
    assert [str(report) for report in it.reports] == []


def test_costs(board_name, subtests):
    """They are what the page says; for a small record all of the cache is more than is needed."""
    it = run(board_name)
    cache = it.totals["cache-lines"]
    page = [row for row in documented("core") if row["core"] == it.core.name]
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
