# SPDX-License-Identifier: GPL-2.0
"""page_owner knows of no page of ours when the module is gone.

It records a stack for each page, which costs a tenth of all, so boards are booted with it for
this claim alone.
"""

import pytest
import report

BOOT_ARGS = "page_owner=on"


@pytest.fixture(autouse=True)
def _emulated(request):
    if request.config.getoption("env"):
        pytest.skip("only an emulated board can be booted anew")


def test_guest(machine, subtests):
    (case,) = report.guest(subtests, machine, "page_owner_finds")
    assert case.result == "ok"
