# SPDX-License-Identifier: GPL-2.0
"""Kernels that copy for every device (swiotlb=force): what a SYNC leaves out shows in the data."""

import re

import report
from board import names_64bit

BOARDS = names_64bit()
BOOT_ARGS = "swiotlb=force"
#: The device reaches all memory, and no IOMMU is between.
QEMU_ARGS = {
    "virt-arm64": "-machine iommu=none -global edu.dma_mask=0xffffffff",
    "q35-x86_64": "",
}


def test_guest(machine, subtests):
    """The device, and what does not take more than the kernel copies at once."""
    printed = []

    def lines():
        for line in machine.stream(f"shmbuf-test run edu --module {machine.module}"):
            printed.append(line)
            yield line

    assert report.each(subtests, lines()) > 0
    assert machine.status == 0, f"shmbuf-test ended with status {machine.status}"
    assert any(re.fullmatch(r"ok \d+ .*edu_sees_a_forgotten_sync", line) for line in printed)


def test_sample(machine):
    """The sample program: all arrives, and old data without one of the SYNCs."""
    machine.check(f"insmod {machine.module}; insmod /lib/modules/edu.ko dma_bits=32")
    for kind in ("streaming", "scatter", "coherent"):
        out = machine.run(f"shmbuf-edu --kind {kind}")
        assert (out.status, out.lines[-1]) == (0, "result: ok"), out.text
    for which, old in (
        ("end", "The device has read what was there before the program wrote."),
        ("start", "The program has read what was there before the device wrote."),
    ):
        out = machine.run(f"shmbuf-edu --kind streaming --forget {which}")
        assert out.status == 1, out.text
        assert out.lines[-2].startswith("result: WRONG at byte 0x0: "), out.text
        assert out.lines[-1].strip() == old, out.text
    machine.check("rmmod edu shmbuf")


def test_too_large(machine):
    """A buffer that would lie in several places is refused, and the log says why."""
    machine.check(f"insmod {machine.module}")
    out = machine.run("shmbuf alloc 1M --kind streaming --verify")
    assert out.status != 0, out.text
    assert "the kernel copies for this device (swiotlb), and not 1048576 bytes at once" in (
        machine.kernel_log()
    )
    machine.check("rmmod shmbuf")


def test_leaks(machine):
    """Kmemleak finds nothing after all of that."""
    leaks = machine.leaks()
    assert not leaks, leaks


def test_kernel_log(machine):
    """Last: nothing of all that made the kernel complain."""
    report.kernel_log(machine)
