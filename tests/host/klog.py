# SPDX-License-Identifier: GPL-2.0
"""Finds in a kernel log what no test run may leave there."""

import re
from collections.abc import Collection
from dataclasses import dataclass

#: What the kernel prints when something is wrong, by the part that says it.
#: One of these in a log fails the run, whatever the tests say.
PATTERNS = {
    "WARN": r"\bWARNING: ",
    "BUG": r"\bBUG: |\bBUG\(|kernel BUG at",
    "Oops": r"Internal error: |\bOops\b|Unable to handle kernel|Unhandled (fault|prefetch abort)"
    r"|undefined instruction: |Undefined instruction",
    "panic": r"Kernel panic|rust_kernel: panicked|panicked at ",
    "lockdep": r"possible (circular|recursive) locking|inconsistent lock state"
    r"|Invalid wait context|lock held when returning to user space"
    r"|irq lock inversion|lock order|lock-order-inversion"
    r"|bad unlock balance|held lock freed|suspicious RCU usage"
    r"|INFO: trying to register non-static key"
    r"|turning off the locking correctness validator|nested lock was not taken",
    "atomic sleep": r"sleeping function called from invalid context|scheduling while atomic"
    r"|preempt_count .* before|DEBUG_LOCKS_WARN",
    "DMA-API": r"\bDMA-API: (?!preallocated |debugging enabled|dma_debug_entry pool grown"
    r"|debugging disabled)",
    "kmemleak": r"unreferenced object|new suspected memory leaks|kmemleak: (?!Kernel memory leak"
    r" detector initialized|Automatic memory scanning thread"
    r"|Cannot allocate a scan area, scanning the full object)",
    "pages": r"Bad page |BUG: Bad rss|page_owner.*(bad|corrupt)|page dumped because"
    r"|still mapped when deleted|pagealloc: |page allocation failure",
    "slab": r"Object already free|Poison overwritten|Redzone|slab-out-of-bounds",
    "lists": r"list_(add|del) corruption|refcount_t: |ODEBUG: ",
    "hang": r"blocked for more than|soft lockup|hard LOCKUP|hung_task"
    r"|rcu: INFO: |detected stalls|self-detected stall",
    "sanitizer": r"UBSAN: |KASAN: |KCSAN: |KFENCE: ",
    "vmalloc": r"Trying to vfree|vmap allocation .* failed",
    "out of memory": r"Out of memory: |oom-kill:|invoked oom-killer",
    "stack trace": r"\bCall trace:|---\[ end trace",
    "taint": r"Disabling lock debugging due to kernel taint",
}

#: What a board's kernel prints by itself, with the reason why it is nothing.
#: (pattern, reason)
NOISE: list[tuple[str, str]] = [
    (
        r"\[ +0\.000000\] kmemleak: Kernel memory leak detector disabled",
        "kmemleak=off on the command line; later it would have given up",
    ),
]

_any = re.compile("|".join(f"(?P<p{i}>{p})" for i, p in enumerate(PATTERNS.values())))
_names = list(PATTERNS)


@dataclass
class Report:
    """One complaint of the kernel."""

    kind: str
    line: int
    #: the line that says what is wrong
    said: str
    text: str

    def __str__(self):
        return f"kernel log, line {self.line}: {self.kind}\n{self.text}"


def scan(
    log: str, before: int = 3, after: int = 120, without: Collection[str] = ()
) -> list[Report]:
    """The complaints in a log, one for lines that belong together; none of the kinds `without`."""
    lines = log.splitlines()
    noise = [re.compile(p) for p, _ in NOISE]
    found: list[Report] = []
    covered = 0
    for n, line in enumerate(lines):
        if n < covered:
            continue
        match = _any.search(line)
        if not match or any(p.search(line) for p in noise):
            continue
        kind = _names[int(match.lastgroup[1:])]
        if kind in without:
            continue
        end = _end(lines, n, after)
        found.append(Report(kind, n + 1, line, "\n".join(lines[max(covered, n - before) : end])))
        covered = end
    return found


def _end(lines: list[str], start: int, most: int) -> int:
    """Where the report that begins at `start` ends."""
    for n in range(start, min(start + most, len(lines))):
        if "---[ end" in lines[n]:
            return n + 1
    return min(start + most, len(lines))
