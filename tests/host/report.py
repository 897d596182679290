# SPDX-License-Identifier: GPL-2.0
"""Hands on to pytest what boards say: KTAP results, and what their kernels complain about."""

from collections.abc import Iterable

import ktap
import pytest
from board import Board, BoardError


def each(subtests, lines: Iterable[str]) -> int:
    """Report every case as it comes; returns how many there were."""
    count = 0
    for case in ktap.parse(lines):
        count += 1
        with subtests.test(case.name):
            if case.result == "not ok":
                pytest.fail("\n".join(case.output) or "not ok", pytrace=False)
            if case.result == "skip":
                pytest.skip(" ".join(case.output[-1:]).removeprefix("SKIP: "))
    return count


def guest(subtests, machine: Board, words: str) -> int:
    """Run the guest's tests with these words in their names; none may be skipped."""
    printed = []

    def lines():
        for line in machine.stream(f"shmbuf-test run {words} --module {machine.module}"):
            printed.append(line)
            yield line

    count = each(subtests, lines())
    assert machine.status == 0, f"shmbuf-test ended with status {machine.status}"
    skipped = [line for line in printed if "# SKIP" in line]
    assert not skipped, "\n".join(skipped)
    return count


def kernel(machine: Board) -> None:
    """Fail when kmemleak finds something, or the kernel has complained since boot."""
    try:
        found = [machine.leaks()]
    except BoardError as error:
        # The log may say what it died of.
        found = [str(error)]
    if reports := machine.reports():
        found.append(f"{machine.name}: {len(reports)} kernel reports")
        found.append("\n\n".join(map(str, reports)))
    if any(found):
        pytest.fail("\n".join(filter(None, found)), pytrace=False)
