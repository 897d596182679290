# SPDX-License-Identifier: GPL-2.0
"""demo.py BOARD: boot the board and run the pattern sample in every combination."""

import re
import sys

import klog
from board import BoardError, QemuBoard


def main(name: str) -> int:
    print(f"==> booting {name} (usually 10 s)", file=sys.stderr, flush=True)
    last = None
    try:
        with QemuBoard(name) as board:
            for line in board.stream(f"shmbuf-test demo --module {board.module}"):
                # The count comes last, after the kernel log was looked at.
                if last is not None:
                    print(last, flush=True)
                last = line
            reports = klog.scan(board.kernel_log())
            log = board.kernel_log()
    except BoardError as error:
        if last is not None:
            print(last)
        print(f"{error}\n0 passed, 1 failed")
        return 1

    for found in reports:
        print(f"\n{found}")
    match = re.fullmatch(r"(\d+) passed, (\d+) failed(.*)", last or "")
    if not match:
        if last is not None:
            print(last)
        tail = "\n".join(log.splitlines()[-20:])
        print(f"The demo ended early (status {board.status}). The kernel's last words:\n{tail}")
        print("0 passed, 1 failed")
        return 1
    failed = int(match[2]) + len(reports)
    print(f"{match[1]} passed, {failed} failed{match[3]}")
    return 1 if failed or board.status else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
