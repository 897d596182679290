# SPDX-License-Identifier: GPL-2.0
"""classic.py [BOARD...]: the classic driver and shmbuf under the coherence checker, side by side.

The same program, the pattern sample, runs on each variant of the classic driver and on shmbuf.
The emulator has no caches, so that right data says nothing; the checker says what caches would
have done.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import boardinfo
import coherence
import cores
import klog
from board import BoardError
from coherence import CheckedBoard, Finding


@dataclass(frozen=True)
class Case:
    """A driver, how it is loaded, and how the pattern sample uses it."""

    #: the module, and what is special about it
    name: str
    parameters: str
    options: str = ""

    @property
    def module(self) -> str:
        return self.name.split()[0]


def classic(variant: str) -> Case:
    return Case(f"classic {variant}", f"variant={variant}")


FLUSHED = classic("cached-flush")
SHMBUF = Case("shmbuf pages", "size=64K")
STREAMING = Case("shmbuf streaming", "size=64K kind=streaming", "--sync")

#: In the order of the table, which is that of Documentation/classic-bug.md.
CASES = [
    classic("cached"),
    classic("cached-by-fault"),
    classic("noncached"),
    classic("noncached-flush"),
    FLUSHED,
    classic("noncached-both"),
    classic("coherent"),
    SHMBUF,
    Case("shmbuf pages, noncached", "size=64K policy=noncached"),
    STREAMING,
    Case("shmbuf coherent", "size=64K kind=coherent"),
]

#: What the maintenance is counted of, by heading in the table.
COSTS = {"flush of all, read(2)": FLUSHED, "shmbuf, read(2)": SHMBUF, "shmbuf, SYNC": STREAMING}
#: Bytes of a record, and how often tests/guest/record.c reads it.
RECORD_BYTES = [64, 4096]
TIMES = 16

#: How the reasons begin for which a reader misses the newest value, where a cache keeps it.
IN_DIRTY_LINE = "the newest value is in a dirty line"


def verdict(right: bool, findings: Iterable[Finding], speculates: bool) -> str:
    """What a driver is on a core, by what the program saw and what the checker found.

    It is WRONG if somebody gets old bytes while the caches just keep the lines that they have. It
    MAY FAIL if that takes lines that come or go by themselves, or another core, or if the
    architecture leaves open what happens.
    """

    def is_certain(finding: Finding) -> bool:
        # Where lines come by themselves, an old one may be there by that alone.
        kept = finding.reason.startswith(IN_DIRTY_LINE) or not speculates
        return kept and (finding.hazard, finding.shown) == ("stale-read", "this-core")

    findings = list(findings)
    if not right or any(is_certain(finding) for finding in findings):
        return "WRONG"
    return "MAY FAIL" if findings else "RIGHT"


@dataclass
class Run:
    """All of it on one board."""

    core: cores.Core
    #: whether the program saw the right data
    right: dict[Case, bool] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    totals: dict = field(default_factory=dict)
    #: the kernel's complaints
    reports: list[klog.Report] = field(default_factory=list)

    def of(self, case: Case) -> list[Finding]:
        labels = [case.name, *(record_label(case, size) for size in RECORD_BYTES)]
        return [finding for finding in self.findings if finding.label in labels]

    def verdict(self, case: Case) -> str:
        return verdict(self.right[case], self.of(case), self.core.speculates)

    def hazards(self, case: Case) -> str:
        """How many findings of which hazard; in brackets those that another core would show."""
        found = Counter((finding.shown, finding.hazard) for finding in self.of(case))
        here, elsewhere = (
            ", ".join(f"{n} {hazard}" for (by, hazard), n in sorted(found.items()) if by == shown)
            for shown in ("this-core", "some-core")
        )
        return " ".join(filter(None, [here, elsewhere and f"({elsewhere})"]))

    def cell(self, case: Case) -> str:
        """The verdict and what it comes from."""
        saw = "" if self.right[case] else "the program saw wrong data"
        causes = ", ".join(filter(None, [saw, self.hazards(case)]))
        return ": ".join(filter(None, [self.verdict(case), causes]))

    def lines(self, case: Case, size: int) -> int:
        """Cache lines that are gone through to read a record."""
        count = self.totals["maintained"][record_label(case, size)]
        return (count["lines"] + count["all"] * self.totals["cache-lines"]) // TIMES


def core(board: str) -> cores.Core:
    return cores.CORES[boardinfo.of(board).core]


def record_label(case: Case, size: int) -> str:
    return f"{case.name}, a record of {size}"


def run(name: str, progress: Callable[[str], None] = lambda _: None) -> Run:
    """Boots the board and runs all cases."""
    result = Run(core(name))
    with CheckedBoard(name, track="label") as board:
        for case in CASES:
            progress(f"{name}: {case.name}")
            board.label(case.name)
            board.check(f"insmod /lib/modules/{case.module}.ko {case.parameters}")
            device = f"/dev/{case.module}"
            # The second time the kernel touches no page for the first time.
            outs = [board.run(f"shmbuf-pattern --buffer {device} {case.options}") for _ in "12"]
            result.right[case] = not any(out.status for out in outs)
            if case in COSTS.values():
                sync = "sync" if case.options else ""
                for size in RECORD_BYTES:
                    label = record_label(case, size)
                    board.check(f"record '{label}' {device} {size} {sync}")
                board.label(case.name)
            board.check(f"rmmod {case.module}")
        board.label("")
        result.reports = board.reports()
        result.findings, result.totals = board.finish()
    return result


def table(rows: list[list[str]]) -> str:
    """Of Markdown; the first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows = [rows[0], ["-" * width for width in widths], *rows[1:]]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in padded)


def verdicts(runs: Iterable[Run]) -> str:
    rows = [["driver", *(it.core.name for it in runs)]]
    rows += [[case.name, *(it.cell(case) for it in runs)] for case in CASES]
    return table(rows)


def costs(runs: Iterable[Run]) -> str:
    rows = [["core", "bytes", *COSTS]]
    rows += [
        [it.core.name, str(size), *(str(it.lines(case, size)) for case in COSTS.values())]
        for it in runs
        for size in RECORD_BYTES
    ]
    return table(rows)


def main(names: list[str]) -> int:
    runs = []
    try:
        for name in names or coherence.FULL_BOARDS:
            coherence.build(name)
            print(f"==> booting {name} under the coherence checker (usually 1 min)", flush=True)
            runs += [run(name, lambda text: print(f"==> {text}", flush=True))]
    except BoardError as error:
        print(error)
        return 1
    for it in runs:
        for report in it.reports:
            print(f"\n{report}")
    print(f"\nEach driver on each core, and what the checker found:\n\n{verdicts(runs)}")
    print("\nIn brackets: not on this core, but on another of its architecture.")
    print("Documentation/classic-bug.md says what the verdicts mean.")
    print(f"\nCache lines gone through to read a record:\n\n{costs(runs)}")
    wrong = any(it.reports or not all(it.right.values()) for it in runs)
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
