# SPDX-License-Identifier: GPL-2.0
"""Kernels that copy for every device (swiotlb=force): what a SYNC leaves out shows in the data."""

import boardinfo
import report

BOARDS = boardinfo.names(lambda it: it.is_64bit)
#: An IOMMU would do it without copies. vivid is a second importer with DMA.
BOOT_ARGS = "swiotlb=force iommu.passthrough=1 vivid.allocators=1"
#: The device reaches all memory.
QEMU_ARGS = "-global edu.dma_mask=0xffffffff"

#: The guest's tests that take memory which the kernel copies, and those of them that show it.
WORDS = "edu failed_copy_keeps import_is_refused_where"
SHOWN = (
    "edu_sees_a_forgotten_sync",
    "edu_gets_no_second_copy",
    "failed_copy_keeps_what_was_there",
    "import_is_refused_where_the_kernel_copies",
)


def test_guest(machine, subtests):
    """The device, and the tests' DMA engine."""
    cases = report.guest(subtests, machine, WORDS)
    passed = [case.name for case in cases if case.result == "ok"]
    for claim in SHOWN:
        assert any(name.endswith(claim) for name in passed), claim


def test_sample(machine):
    """The sample program: all arrives, and old data without one of the SYNCs."""
    machine.check(f"insmod {machine.module}; insmod /lib/modules/edu.ko dma_bits=32")
    out = machine.run("shmbuf-edu --kind pages")
    assert (out.status, out.lines[-1]) == (0, "result: ok"), out.text
    for which, old in (
        ("write", "The device has read what was there before the program wrote."),
        ("read", "The program has read what was there before the device wrote."),
    ):
        out = machine.run(f"shmbuf-edu --kind pages --forget {which}")
        assert out.status == 1, out.text
        assert out.lines[-2].startswith("result: WRONG at byte 0x0: "), out.text
        assert out.lines[-1].strip() == old, out.text
    machine.check("rmmod edu shmbuf")


def test_refused(machine):
    """What has an address for a device of ours would have two contents; the log says so."""
    machine.check(f"insmod {machine.module}")
    for kind in ("streaming", "scatter"):
        before = len(machine.kernel_log())
        out = machine.run(f"shmbuf alloc 4K --kind {kind} --verify 2>&1")
        assert out.status != 0, out.text
        assert "EOPNOTSUPP" in out.text
        assert "ALLOC: the kernel copies for all devices" in machine.kernel_log()[before:]
    machine.check("rmmod shmbuf")
