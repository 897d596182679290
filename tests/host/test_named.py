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


def test_guest(machine, subtests):
    """What the other tests skip, since their boards' device trees have no such nodes."""
    command = f"shmbuf-test run configfs devicetree --module {machine.module}"
    printed = []

    def lines():
        for line in machine.stream(command):
            printed.append(line)
            yield line

    assert report.each(subtests, lines()) > 0
    assert machine.status == 0, f"shmbuf-test ended with status {machine.status}"
    skipped = [line for line in printed if "# SKIP" in line]
    assert not skipped, "\n".join(skipped)
