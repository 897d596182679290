# SPDX-License-Identifier: GPL-2.0
"""Hands on to pytest what boards say: KTAP results, and what their kernels complain about."""

from collections.abc import Iterable

import ktap
import pytest
from board import Board, BoardError


def each(subtests, lines: Iterable[str]) -> list[ktap.Case]:
    """Report every case as it comes; there must be one."""
    cases = []
    for case in ktap.parse(lines):
        cases.append(case)
        with subtests.test(case.name):
            if case.result == "not ok":
                pytest.fail("\n".join(case.output) or "not ok", pytrace=False)
            if case.result == "skip":
                pytest.skip(" ".join(case.output[-1:]).removeprefix("SKIP: "))
    assert cases
    return cases


def guest(subtests, machine: Board, words="", program="shmbuf-test") -> list[ktap.Case]:
    """Run the guest's tests that have these words in their names; options may be among them."""
    command = f"{program} run {words} --module {machine.module}"
    cases = each(subtests, machine.stream(command))
    assert machine.status == 0, f"shmbuf-test ended with status {machine.status}"
    return cases


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
