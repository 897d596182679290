# SPDX-License-Identifier: GPL-2.0
"""Programs that draw, while an emulated board shows it; what the display sample drew."""

import base64
import contextlib
import gzip
import time
from collections.abc import Iterator

from board import BoardError, QemuBoard

#: Where on the board the program's words are.
LOG = "/tmp/display.log"


@contextlib.contextmanager
def held(board: QemuBoard, command: str) -> Iterator[None]:
    """Runs a program that says "shown:", and shows its picture until its standard input ends."""
    end = "/tmp/end"
    board.check(f"mkfifo {end}")
    # A reader that holds the pipe open for writing too sees no end of it.
    pid = board.check(f"{command} <>{end} >{LOG} 2>&1 & echo $!")[-1]
    try:
        while board.run(f"grep shown: {LOG}").status:
            if board.run(f"kill -0 {pid}").status:
                raise BoardError(f"no picture:\n{board.run(f'cat {LOG}').text}")
            time.sleep(0.5)
        yield
    finally:
        board.run(f"kill {pid}; wait {pid}; rm -f {end}")


@contextlib.contextmanager
def shown(board: QemuBoard, arguments: str = "") -> Iterator[bytes]:
    """Shows the card, until the block ends. The last frame, as a PPM file."""
    drawn = "/tmp/drawn.ppm"
    with held(board, f"shmbuf-display --hold --ppm {drawn} {arguments}"):
        lines = board.check(f"gzip -c {drawn} | base64")
        yield gzip.decompress(base64.b64decode("".join(lines)))
    board.run(f"rm -f {drawn}")
