# SPDX-License-Identifier: GPL-2.0
"""hand_over.py [BOARD...]: what the SYNC of each alternative leaves in the caches.

A program writes a buffer of each source of the benchmarks, a device reads it and writes it, and the
program reads it, with the SYNC of that source between, under the coherence checker.
"""

import subprocess
import sys
from collections import Counter

import bench
import classic
import coherence
import cores
from board import BoardError
from coherence import CheckedBoard, Finding
from tools import TOP

#: Of the first column.
HEADING = "what hands over"

#: By source, in the order they were run.
Found = dict[str, list[Finding]]

#: What is loaded first, and then where there is a folder with its source; the buffers are those of
#: tests/guest/src/bench/sources.rs that are used.
OURS = ["shmbuf.ko", "plain.ko", "engine.ko"]
U_DMA_BUF, BUFFERS = "u-dma-buf.ko", "info_enable=0 udmabuf0=4096 udmabuf2=65536"


def run(name: str) -> Found:
    """Builds it all, boots the board, and hands over a buffer of each source."""
    with bench.lean():
        subprocess.run([TOP / "tests/toolchain/build-bench", name], check=True)
        with CheckedBoard(name, folder="bench", track="label") as board:
            for module in OURS:
                board.check(f"insmod /lib/modules/{module}")
            sources = hand_over(board)
            if (bench.folder(name) / "modules" / U_DMA_BUF).exists():
                board.check(f"insmod /lib/modules/{U_DMA_BUF} {BUFFERS}")
                sources += hand_over(board)
            reports = board.reports()
            findings, _ = board.finish()
    if reports:
        raise BoardError("\n".join(map(str, reports)))
    return {source: coherence.labelled(findings, source) for source in sources}


def hand_over(board: CheckedBoard) -> list[str]:
    """The names of the sources that were handed over."""
    lines = board.check("shmbuf-test hand-over")
    return [line.removeprefix("hand-over: ") for line in lines if line.startswith("hand-over: ")]


def verdict(core: cores.Core, findings: list[Finding]) -> str:
    """How it ends on that core, a word of Documentation/classic-bug.md, and by which hazards."""
    here = [finding for finding in findings if finding.shown == "this-core"]
    hazards = ", ".join(
        f"{n} {hazard}" for hazard, n in sorted(Counter(f.hazard for f in here).items())
    )
    return ": ".join(filter(None, [classic.verdict(True, here, core.speculates), hazards]))


def table(boards: dict[str, Found]) -> str:
    """Of Markdown."""
    names = list(dict.fromkeys(source for found in boards.values() for source in found))
    rows = [[HEADING, *(classic.core(board).name for board in boards)]]
    rows += [
        [
            source,
            *(
                verdict(classic.core(board), found[source]) if source in found else "-"
                for board, found in boards.items()
            ),
        ]
        for source in names
    ]
    return classic.table(rows)


def main(names: list[str]) -> int:
    boards: dict[str, Found] = {}
    try:
        for name in names or coherence.FULL_BOARDS:
            boards[name] = run(name)
    except BoardError as error:
        print(error)
        return 1
    for found in boards.values():
        for findings in found.values():
            for finding in findings:
                print(finding.text)
    print(f"\n{table(boards)}")
    print("\nDocumentation/classic-bug.md says what the verdicts mean.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
