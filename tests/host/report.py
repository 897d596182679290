# SPDX-License-Identifier: GPL-2.0
"""Hands KTAP results on to pytest, each as a result of its own."""

from collections.abc import Iterable

import ktap
import pytest
from board import Board


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


def kernel_log(machine: Board) -> None:
    """Fail when the kernel has complained since boot."""
    reports = machine.reports()
    if reports:
        text = "\n\n".join(map(str, reports))
        pytest.fail(f"{machine.name}: {len(reports)} kernel reports\n{text}", pytrace=False)
