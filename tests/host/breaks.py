# SPDX-License-Identifier: GPL-2.0
"""breaks.py BOARD: print the deliberate faults of the driver that a board can show, one a line.

Each is a patch of tests/breaks. Its head says which hazard it is ("Hazard: "), with which
parameters of the module it is met ("Parameters: "), or with which buffer of a device tree
("Buffer: "), and, where not every board shows it, what it takes ("Takes: "): the name of a core, or
armv7, and of devices that the coherence checker watches.
"""

import sys
from dataclasses import dataclass

import boardinfo
import cores
from tools import TOP


@dataclass(frozen=True)
class Break:
    """A deliberate fault of the driver."""

    name: str
    hazard: str
    parameters: str
    #: the name of a buffer of tests/boards/buffers.dtsi, "" for that of the parameters
    buffer: str
    #: what a board must have
    takes: frozenset[str]


def every() -> list[Break]:
    """All of tests/breaks."""
    found = []
    for patch in sorted((TOP / "tests/breaks").glob("*.patch")):
        head = patch.read_text().partition("\n---\n")[0]
        fields = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
        takes = frozenset(fields.get("Takes", "").split())
        met_with = fields.get("Parameters", ""), fields.get("Buffer", "")
        found.append(Break(patch.stem, fields["Hazard"], *met_with, takes))
    return found


def of(board: str) -> list[Break]:
    """Those that a board can show."""
    info = boardinfo.of(board)
    devices = info.checker.devices if info.checker else {}
    has = {info.core, *devices}
    if cores.CORES[info.core].translation == cores.Arm(armv7=True):
        has.add("armv7")
    return [it for it in every() if it.takes <= has]


if __name__ == "__main__":
    for it in of(sys.argv[1]):
        print(it.name)
