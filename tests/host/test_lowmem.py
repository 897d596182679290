# SPDX-License-Identifier: GPL-2.0
"""ARMv7 without highmem: non-cached pages are refused, or have an accepted alias."""

import boardinfo
import pytest
import report
import test_audit
from test_audit import look

BOOT_ARGS = test_audit.BOOT_ARGS
BOARDS = boardinfo.names(lambda it: it.without_highmem)
MEMORY = {name: boardinfo.of(name).without_highmem for name in BOARDS}


@pytest.fixture(autouse=True)
def _emulated(request):
    if request.config.getoption("env"):
        pytest.skip("only an emulated board's memory can be changed")


def test_guest_without_highmem(machine, subtests, quick):
    # What highmem makes a difference to; the rest is as with it.
    report.guest(subtests, machine, f"pages. alias --skip lose_no_page {quick}")


def test_alias(machine):
    """The audit finds the cacheable alias, and INFO admits it; unasked it is refused."""
    assert machine.run(f"insmod {machine.module} policy=noncached").status != 0
    machine.check(f"insmod {machine.module} policy=noncached accept_alias=1")
    seen = look(machine)
    assert not seen.endswith("; 0 other kernel mappings"), seen
    machine.check("rmmod shmbuf")
