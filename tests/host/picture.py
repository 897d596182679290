# SPDX-License-Identifier: GPL-2.0
"""The display sample's test card: what it drew, while an emulated board shows it."""

import base64
import contextlib
import gzip
import time
from collections.abc import Iterator

from board import BoardError, QemuBoard


@contextlib.contextmanager
def shown(board: QemuBoard, arguments: str = "") -> Iterator[bytes]:
    """Shows the card, until the block ends. The last frame, as a PPM file."""
    log, drawn, end = "/tmp/display.log", "/tmp/drawn.ppm", "/tmp/end"
    board.check(f"mkfifo {end}")
    # A reader that holds the pipe open for writing too sees no end of it.
    command = f"shmbuf-display --hold --ppm {drawn} {arguments} <>{end} >{log} 2>&1 & echo $!"
    pid = board.check(command)[-1]
    try:
        while board.run(f"grep shown: {log}").status:
            if board.run(f"kill -0 {pid}").status:
                raise BoardError(f"no picture:\n{board.run(f'cat {log}').text}")
            time.sleep(0.5)
        lines = board.check(f"gzip -c {drawn} | base64")
        yield gzip.decompress(base64.b64decode("".join(lines)))
    finally:
        board.run(f"kill {pid}; wait {pid}; rm -f {end} {drawn}")
