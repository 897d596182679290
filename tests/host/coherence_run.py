# SPDX-License-Identifier: GPL-2.0
"""coherence_run.py BOARD COMMAND: watch somebody else's module on a board."""

import sys

from board import BoardError
from coherence import CheckedBoard
from tools import build_folder


def main(name: str, command: str) -> int:
    modules = sorted((build_folder() / name / "coherence-run/modules").glob("*.ko"))
    print(f"==> booting {name} under the coherence checker (usually 1 min)", flush=True)
    try:
        with CheckedBoard(name, "coherence-run") as board:
            for line in board.stream(command or f"insmod /lib/modules/{modules[0].name}"):
                print(line, flush=True)
            status = board.status
            findings, totals = board.finish()
    except BoardError as error:
        print(error)
        return 1

    # The checker has printed them itself, the kernel's own among them.
    found = len(findings) + totals["unlisted"]
    print(f"{found} findings in {totals['accesses']} accesses; the command: {status}")
    return 0 if totals["accesses"] and not found and not status else 1


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
