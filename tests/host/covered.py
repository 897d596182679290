# SPDX-License-Identifier: GPL-2.0
"""Which code of the module has run, by what a kernel with KCOV says."""

import json
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tools import TOP

#: The fuzzer tells addresses apart by so many of their bytes (tests/guest/src/fuzz/run.rs).
WINDOW = 1 << 22

#: What the compiler calls where the code forks.
CALLED = "__sanitizer_cov_trace_pc"

#: Bytes of the call: what it is told is where it returns to.
CALL = 4


@dataclass(frozen=True)
class Place:
    """A place of the module's code that tells that it runs."""

    file: str
    line: int
    function: str


def _in_tree(*command: str | Path, given: str = "") -> str:
    return subprocess.run(
        [TOP / "tests/toolchain/in-tree", *command],
        check=True,
        input=given,
        capture_output=True,
        text=True,
    ).stdout


def offsets(module: Path) -> list[int]:
    """Where in .text the calls are."""
    found, section = [], ""
    for line in _in_tree("llvm-readelf-19", "-rW", module).splitlines():
        if line.startswith("Relocation section"):
            section = line.split("'")[1]
        elif CALLED in line and section in (".rel.text", ".rela.text"):
            found.append(int(line.split()[0], 16))
    return found


def place(symbol: list[dict]) -> Place | None:
    """Whose code it is: that of the innermost function of ours."""
    ours = f"{TOP}/src/"
    for frame in symbol:
        name, file = frame["FunctionName"], frame["FileName"]
        if file.startswith(ours) and "::tests::" not in name and "kunit" not in name:
            return Place(file.removeprefix(ours), frame["Line"], name)
    return None


def places(module: Path) -> dict[int, Place]:
    """The places of our own code, by their offset in .text."""
    known = offsets(module)
    if not known:
        raise ValueError(f"{module} has no call of {CALLED}: it was not made for a KCOV kernel")
    # What the call returns to may be another line's.
    command = ["llvm-symbolizer-19", "--output-style=JSON", f"--obj={module}"]
    lines = _in_tree(*command, given="".join(f"{at:#x}\n" for at in known)).splitlines()
    found = {}
    for at, line in zip(known, lines, strict=True):
        if (of := place(json.loads(line)["Symbol"])) is not None:
            found[at] = of
    return found


def reached(known: dict[int, Place], text: int, codes: Iterable[int]) -> set[int]:
    """Which of the places ran, of a module that begins at `text`."""
    ran = set(codes)
    return {at for at in known if (text + at + CALL) % WINDOW in ran}


def table(known: dict[int, Place], ran: set[int]) -> str:
    """How much of each file has run: lines, since the compiler copies code."""
    every, some = defaultdict(set), defaultdict(set)
    for at, of in known.items():
        for name in (of.file, "all"):
            every[name].add((of.file, of.line))
            if at in ran:
                some[name].add((of.file, of.line))
    rows = [f"{'file':40} {'reached':>8} {'of':>6} lines"]
    for name in sorted(every, key=lambda it: (it == "all", it)):
        reached, lines = len(some[name]), len(every[name])
        rows.append(f"{name:40} {reached:8} {lines:6} {100 * reached // lines:4} %")
    return "\n".join(rows)


def never(known: dict[int, Place], ran: set[int]) -> list[str]:
    """The lines of which no place has run, each with its function."""
    run = {(known[at].file, known[at].line) for at in ran}
    rest = {of for of in known.values() if (of.file, of.line) not in run}
    order = sorted(rest, key=lambda of: (of.file, of.line, of.function))
    return [f"{of.file}:{of.line}: {of.function}" for of in order]
