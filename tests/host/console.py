# SPDX-License-Identifier: GPL-2.0
"""A program that draws on the console of an emulated board, as one at a terminal sees it."""

import re
import time

import pyte
from board import BoardError, QemuBoard
from labgrid.util import gen_marker


class Program:
    """Runs on the board's console, which has what terminals had: 24 lines of 80 letters."""

    def __init__(self, machine: QemuBoard, command: str):
        self.console = machine.shell.console
        self.screen = pyte.Screen(80, 24)
        self.stream = pyte.ByteStream(self.screen)
        #: all that came
        self.raw = b""
        self.marker = gen_marker()
        # In two halves, or the echo of the command would end it.
        mark = f"echo '{self.marker[:4]}''{self.marker[4:]}' $?"
        self.console.sendline(f"clear; TERM=vt102 {command}; {mark}")

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    def shows(self, pattern: str, patience: float = 60):
        """Wait until a line of the screen matches."""
        self._read(
            lambda: any(re.fullmatch(pattern, line) for line in self.lines), pattern, patience
        )

    def types(self, keys: bytes):
        self.console.write(keys)

    def ends(self, patience: float = 60) -> int:
        """Wait until the program has ended. Returns its status."""
        end = rf"{self.marker} (\d+)\r?\n".encode()
        self._read(lambda: re.search(end, self.raw), "its end", patience)
        return int(re.search(end, self.raw)[1])

    def _read(self, is_there, what: str, patience: float):
        deadline = time.monotonic() + patience
        while not is_there():
            if time.monotonic() > deadline:
                shown = "\n".join(self.lines)
                raise BoardError(f"the screen has not shown {what!r}:\n{shown}")
            data = self.console.read(timeout=max(1.0, deadline - time.monotonic()))
            self.raw += data
            self.stream.feed(data)
