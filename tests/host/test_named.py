# SPDX-License-Identifier: GPL-2.0
"""Named buffers, of configfs and of a device tree that has some."""

import boardinfo
import pytest
import report

BOARDS = boardinfo.names(lambda it: it.has_named_buffers)
DTB = "buffers"


@pytest.fixture(autouse=True)
def _emulated(request):
    if request.config.getoption("env"):
        pytest.skip("only an emulated board's device tree can be changed")


def test_guest(machine, subtests, quick):
    """What the other tests skip, since their boards' device trees have no such nodes."""
    cases = report.guest(subtests, machine, f"configfs devicetree {quick}")
    assert not [case.name for case in cases if case.result == "skip"]
