# SPDX-License-Identifier: GPL-2.0
"""demo.py BOARD: boot the board, run the pattern sample in every combination, show a picture."""

import re
import sys

import klog
import picture
from board import BoardError, QemuBoard
from tools import build_folder


def save_picture(board: QemuBoard):
    """What the display shows from two buffers, for people to look at."""
    board.check(f"insmod {board.module}")
    with picture.shown(board) as drawn:
        if board.screen() != drawn:
            raise BoardError("the screen shows something else than was drawn")
        file = build_folder() / board.name / "display.png"
        file.write_bytes(board.screen("png"))
    board.check("rmmod shmbuf")
    print(f"picture: {file}: the screen, pixel by pixel what was drawn", flush=True)


def main(name: str) -> int:
    print(f"==> booting {name} (usually 10 s)", file=sys.stderr, flush=True)
    count = None
    try:
        with QemuBoard(name) as board:
            for line in board.stream(f"shmbuf-test demo --module {board.module}"):
                count = re.fullmatch(r"(\d+) passed, (\d+) failed(.*)", line)
                # The count is printed when the kernel log was looked at.
                if not count:
                    print(line, flush=True)
            # The demo's kernels of 64 bits have no display.
            if board.info.display and not board.info.is_64bit and count:
                save_picture(board)
            log = board.kernel_log()
    except BoardError as error:
        print(f"{error}\n0 passed, 1 failed")
        return 1

    reports = klog.scan(log)
    for found in reports:
        print(f"\n{found}")
    if not count:
        tail = "\n".join(log.splitlines()[-20:])
        print(f"The demo ended early (status {board.status}). The kernel's last words:\n{tail}")
        print("0 passed, 1 failed")
        return 1
    failed = int(count[2]) + len(reports)
    print(f"{count[1]} passed, {failed} failed{count[3]}")
    return 1 if failed or board.status else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
