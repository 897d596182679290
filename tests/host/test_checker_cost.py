# SPDX-License-Identifier: GPL-2.0
"""What the coherence checker costs, on the same work, without it and with it."""

import math

import coherence
import pytest
from coherence import CheckedBoard

#: Times as much computing as without the checker, at most.
DEAREST = 4.0


@pytest.fixture(autouse=True)
def _emulated(request):
    if request.config.getoption("env"):
        pytest.skip("only an emulated board's caches are modelled")


@pytest.mark.parametrize("board", coherence.FULL_BOARDS)
def test_cost(board, request):
    if board not in (request.config.getoption("board") or [board]):
        pytest.skip("another board was asked for")
    coherence.build(board)
    least = {False: math.inf, True: math.inf}
    # What else the host does only ever adds, so the least of some runs is the nearest.
    for _ in range(3):
        for checker in (False, True):
            with CheckedBoard(board, checker=checker, track="label") as machine:
                machine.label("demo")
                begin = machine.cpu_seconds()
                machine.check(f"shmbuf-test demo --module {machine.module}")
                least[checker] = min(least[checker], machine.cpu_seconds() - begin)
        ratio = least[True] / least[False]
        print(f"{board}: {ratio:.1f} times")
        if ratio <= DEAREST:
            return
    pytest.fail(f"{ratio:.1f} times, of three runs each")
