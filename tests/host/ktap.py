# SPDX-License-Identifier: GPL-2.0
"""Reads KTAP, the kernel's test format, as it comes in."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass
class Case:
    """One test's result."""

    name: str
    #: "ok", "not ok" or "skip"
    result: str
    #: what was printed since the result before
    output: list[str] = field(default_factory=list)


@dataclass
class _Level:
    indent: int
    plan: int | None = None
    seen: int = 0
    failed: int = 0
    name: str = ""


_RESULT = re.compile(r"(ok|not ok)\b ?(\d+)? ?(?:- ?)?(.*)")
_DIRECTIVE = re.compile(r"^(.*?)(?:^| )# *(SKIP|TODO|XFAIL|TIMEOUT|ERROR)\b[: ]*(.*)$", re.I)


class Broken(Exception):
    """Not KTAP, or KTAP that ends too early: results are missing."""


def parse(lines: Iterable[str]) -> Iterator[Case]:
    """Yield each leaf's result as soon as its line is there.

    Lines that are not KTAP become output of the case that follows. A parent
    is yielded itself only when it fails without a failed child. At the end,
    results that the plan promised and that did not come raise Broken.
    """
    levels: list[_Level] = []
    output: list[str] = []
    name_next = ""
    versions = 0

    def close(indent: int):
        # Levels deeper than the line at hand have ended.
        while levels and levels[-1].indent > indent:
            check(levels.pop())

    def check(level: _Level):
        where = f" in {level.name}" if level.name else ""
        if level.plan is not None and level.seen != level.plan:
            raise Broken(f"{level.plan} results planned{where}, {level.seen} came" + tail(output))

    child: _Level | None = None
    for line in lines:
        line = line.rstrip()
        text = line.lstrip(" ")
        indent = len(line) - len(text)
        if re.match(r"K?TAP version \d+$", text):
            versions += 1
            if levels and indent <= levels[-1].indent:
                # A new document: KUnit prints one for each module.
                close(indent - 1)
            levels.append(_Level(indent, name=name_next))
            name_next = ""
        elif not levels:
            continue
        elif text.startswith("Bail out!"):
            raise Broken(text + tail(output))
        elif match := re.match(r"# Subtest: (.*)", text):
            if indent > levels[-1].indent:
                levels.append(_Level(indent))
            levels[-1].name = match[1]
        elif match := re.match(r"1\.\.(\d+)( *# *skip.*)?$", text, re.I):
            if indent > levels[-1].indent:
                levels.append(_Level(indent))
            levels[-1].plan = int(match[1])
        elif match := _RESULT.match(text):
            child = levels[-1] if levels[-1].indent > indent else None
            close(indent)
            if not levels:
                raise Broken(f"a result without a plan: {text}")
            level = levels[-1]
            level.seen += 1
            verdict, number, name = match.groups()
            if number and int(number) != level.seen:
                raise Broken(f"result {level.seen} has number {number}: {text}" + tail(output))
            result = verdict
            if directive := _DIRECTIVE.match(name):
                name = directive[1].strip()
                kind = directive[2].upper()
                if kind == "SKIP":
                    result = "skip"
                elif kind in ("TODO", "XFAIL"):
                    result = "skip" if verdict == "not ok" else "ok"
                output.append(f"{kind}: {directive[3]}".rstrip(": "))
            if result == "not ok":
                level.failed += 1
            path = ".".join([*(x.name for x in levels if x.name), name or f"test {level.seen}"])
            parent = child is not None
            if not parent or (result == "not ok" and not child.failed):
                yield Case(path, result, output)
            output = []
        else:
            output.append(line)
    if not versions:
        raise Broken("nothing of it is KTAP" + tail(output))
    close(-1)


def tail(output: list[str], most: int = 15) -> str:
    """The last lines of an output, for a message."""
    return "".join(f"\n    {line}" for line in output[-most:])
