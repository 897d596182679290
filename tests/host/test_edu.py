# SPDX-License-Identifier: GPL-2.0
"""A PCI device with a DMA mask, where nothing else is tested unless asked for."""

import report

BOARDS = ["virt-a15"]


def test_guest(machine, subtests):
    command = f"shmbuf-test run edu --module {machine.module}"
    assert report.each(subtests, machine.stream(command)) > 0
    assert machine.status == 0, f"shmbuf-test ended with status {machine.status}"


def test_leaks(machine):
    """Kmemleak finds nothing after all of that."""
    leaks = machine.leaks()
    assert not leaks, leaks


def test_kernel_log(machine):
    """Last: nothing of all that made the kernel complain."""
    report.kernel_log(machine)
