# SPDX-License-Identifier: GPL-2.0
"""The guest's tests, the demo and KUnit, on each board."""

import re

import board as boards
import pytest
import report


def test_demo(machine):
    """What `make demo` runs, on a fresh board."""
    out = machine.run(f"shmbuf-test demo --module {machine.module}")
    assert out.status == 0, out.text
    assert re.fullmatch(r"\d+ passed, 0 failed", out.lines[-1]), out.text


def test_kunit(machine, subtests):
    """The module's KUnit suites run when it is loaded."""
    machine.run("rmmod shmbuf")
    before = len(machine.kernel_log())
    machine.check(f"insmod {machine.module}")
    machine.check("rmmod shmbuf")
    lines = boards.strip_timestamps(machine.kernel_log()[before:])
    if not any("KTAP version" in line for line in lines):
        if isinstance(machine, boards.SshBoard):
            pytest.skip("this board's kernel has no KUnit")
        pytest.fail("the module printed no KTAP: its KUnit suites did not run")
    assert report.each(subtests, lines) > 0


def test_guest(machine, subtests):
    """The program that holds all tests of the driver's contract."""
    assert report.each(subtests, machine.stream(f"shmbuf-test run --module {machine.module}")) > 0
    assert machine.status == 0, f"shmbuf-test ended with status {machine.status}"


def test_leaks(machine):
    """Kmemleak finds nothing after all of that."""
    leaks = machine.leaks()
    assert not leaks, leaks


def test_kernel_log(machine):
    """Last: nothing of all that made the kernel complain."""
    report.kernel_log(machine)
