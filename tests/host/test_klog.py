# SPDX-License-Identifier: GPL-2.0
"""The log scanner finds each kind of report, and nothing in a clean boot; a board fails by one."""

import klog
import pytest
import report
from board import Board, BoardError

#: As the kernel words them (the texts are ours), by the part that must be named.
SPLATS = {
    "WARN": "[   12.1] WARNING: CPU: 0 PID: 71 at mm/memory.c:2817 remap_pfn_range+0x1/0x2",
    "BUG": "[   12.1] kernel BUG at mm/rmap.c:1200!",
    "Oops": "[   12.1] Internal error: Oops: 5 [#1] PREEMPT SMP ARM",
    "panic": "[   12.1] Kernel panic - not syncing: Attempted to kill init!",
    "lockdep": "[   12.1] possible circular locking dependency detected",
    "atomic sleep": "[   12.1] sleeping function called from invalid context at mm/slub.c:1",
    "DMA-API": "[   12.1] DMA-API: shmbuf: device driver failed to check map error",
    "kmemleak": "[   12.1] kmemleak: 2 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    "pages": "[   12.1] page dumped because: nonzero _refcount",
    "slab": "[   12.1] Object already free",
    "lists": "[   12.1] refcount_t: underflow; use-after-free.",
    "hang": "[   12.1] task shmbuf-test:71 blocked for more than 120 seconds.",
    "sanitizer": "[   12.1] UBSAN: shift-out-of-bounds in a.c:1:2",
    "vmalloc": "[   12.1] vmap allocation for size 8192 failed",
    "out of memory": "[   12.1] shmbuf-test invoked oom-killer: gfp_mask=0x1, order=0",
    "stack trace": "[   12.1] Call trace: ",
    "taint": "[   12.1] Disabling lock debugging due to kernel taint",
}

CLEAN = """\
[    0.000000] Booting Linux on physical CPU 0x0
[    0.003873] ... MAX_LOCKDEP_SUBCLASSES:  8
[    0.003773] Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar
[    0.509676] DMA-API: preallocated 65550 debug entries
[    0.509861] DMA-API: debugging enabled by kernel config
[    2.037785] kmemleak: Kernel memory leak detector initialized (mem pool available: 1)
[   13.809450] kmemleak: Cannot allocate a scan area, scanning the full object
[    5.148395] shmbuf: loading out-of-tree module taints kernel.
[    5.148395] Warning: unable to open an initial console.
"""


def test_every_pattern_has_a_sample():
    assert set(SPLATS) == set(klog.PATTERNS)


@pytest.mark.parametrize("kind", SPLATS)
def test_finds(kind):
    found = klog.scan(CLEAN + SPLATS[kind] + "\n" + CLEAN)
    assert [r.kind for r in found] == [kind]
    assert SPLATS[kind] in found[0].text


def test_clean_log():
    assert klog.scan(CLEAN) == []


def test_kmemleak_off_is_no_complaint_but_giving_up_is():
    words = "kmemleak: Kernel memory leak detector disabled\n"
    assert klog.scan(f"[    0.000000] {words}{CLEAN}") == []
    assert [r.kind for r in klog.scan(f"{CLEAN}[   12.345678] {words}")] == ["kmemleak"]


def test_one_report_a_splat():
    words = ("---[ cut here ]---", "WARNING: x", "Call trace: ", "---[ end trace 0 ]---")
    splat = "".join(f"[1.0] {line}\n" for line in words)
    found = klog.scan(CLEAN + splat + CLEAN + splat)
    assert [r.kind for r in found] == ["WARN", "WARN"]
    assert found[0].line == len(CLEAN.splitlines()) + 2


def test_noise_has_reasons():
    assert all(pattern and reason for pattern, reason in klog.NOISE)


class Silent(Board):
    """A board with a log and leaks that are given."""

    name = "toaster"

    def __init__(self, log: str, leaks: str | BoardError):
        self.log = log
        self.found = leaks

    def kernel_log(self) -> str:
        return self.log

    def leaks(self) -> str:
        if isinstance(self.found, BoardError):
            raise self.found
        return self.found


LEAK = 'unreferenced object 0xc1234560 (size 64):\n  comm "insmod", pid 71'


@pytest.mark.parametrize(
    ("log", "leaks", "said"),
    [
        (CLEAN, LEAK, [LEAK]),
        (SPLATS["BUG"], "", ["toaster: 1 kernel reports", SPLATS["BUG"]]),
        (SPLATS["hang"], LEAK, [LEAK, "toaster: 1 kernel reports", SPLATS["hang"]]),
        (SPLATS["panic"], BoardError("it died"), ["it died", SPLATS["panic"]]),
    ],
)
def test_a_board_fails(log, leaks, said):
    with pytest.raises(pytest.fail.Exception) as failed:
        report.kernel(Silent(log, leaks))
    assert all(words in str(failed.value) for words in said)


def test_a_board_passes():
    report.kernel(Silent(CLEAN, ""))
