# SPDX-License-Identifier: GPL-2.0
"""The pages of the documentation: their links, headings and indented blocks."""

import re
from dataclasses import dataclass
from pathlib import Path

from tools import TOP, tracked


@dataclass(frozen=True)
class Block:
    """Indented lines: what is typed, what is printed, or a piece of a file."""

    page: str
    lines: tuple[str, ...]


def pages() -> list[Path]:
    return tracked("*.md")


def name(page: Path) -> str:
    return str(page.relative_to(TOP))


def without_fences(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def indented(text: str) -> list[list[str]]:
    """The lines of each indented block outside of fences."""
    found = re.findall(r"(?:^ {4}.*\n)+", without_fences(text), re.M)
    return [[line[4:].rstrip() for line in block.splitlines()] for block in found]


def blocks(page: Path) -> list[Block]:
    return [Block(name(page), tuple(lines)) for lines in indented(page.read_text())]


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", without_fences(page.read_text()))


def anchors(page: Path) -> set[str]:
    """What a link may have after "#": headings as GitHub spells them, and named places."""
    text = without_fences(page.read_text())
    found = set(re.findall(r'<a id="([^"]+)"', text))
    for heading in re.findall(r"^#+\s+(.*)$", text, re.M):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        found.add(re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-"))
    return found
