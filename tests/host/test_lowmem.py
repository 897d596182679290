# SPDX-License-Identifier: GPL-2.0
"""vexpress-a9 without highmem: non-cached pages are refused there."""

import pytest
import report

MEMORY = "512M"


@pytest.fixture(autouse=True)
def _only_here(request):
    if request.config.getoption("env"):
        pytest.skip("only an emulated board's memory can be changed")


@pytest.mark.parametrize("machine", ["vexpress-a9"], indirect=True, scope="module")
def test_guest_without_highmem(machine, subtests):
    command = f"shmbuf-test run --module {machine.module} "
    assert report.each(subtests, machine.stream(command)) > 0
    assert machine.status == 0, f"shmbuf-test ended with status {machine.status}"
