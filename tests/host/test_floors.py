# SPDX-License-Identifier: GPL-2.0
"""The module's source stands on floors: each folder uses only those below it."""

import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from tools import TOP, tracked

SRC = TOP / "src"

#: From the ground up. What is in no folder declares and registers, and may use all.
FLOORS = ["rules", "sys", "memory", "buffer", "copy", "interface", ""]

#: What the rules may use of the kernel crate: no object of the kernel's.
PURE = {"dma", "ffi", "fmt", "page", "prelude", "str"}


def expand(words: list[str]) -> Iterator[tuple[str, ...]]:
    """Paths of a use tree, which is taken from the front of the list of its words."""
    path: list[str] = []
    while words:
        word = words.pop(0)
        if word == "{":
            while words[0] != "}":
                yield from ((*path, *rest) for rest in expand(words))
                if words[0] == ",":
                    words.pop(0)
            words.pop(0)
            return
        if word != "::":
            path.append(word)
        if words and words[0] in ",}":
            break
    yield tuple(path)


def imports(source: str) -> set[tuple[str, ...]]:
    """The paths that a file uses, from the crate on or from a crate's name."""
    source = re.sub(r"//.*", "", source)
    trees = re.findall(r"\buse ([^;]+);", source)
    trees += re.findall(r"\bcrate(?:::\w+)+", re.sub(r"\buse [^;]+;", "", source))
    return {path for tree in trees for path in expand(re.findall(r"\w+|::|[{},*]", tree))}


def floor(name: str) -> int:
    return FLOORS.index(str(Path(name).parent).removeprefix("."))


def used_files(name: str, source: str, files: set[str]) -> set[str]:
    """The files of src that a file uses."""
    folder = Path(name).parent
    found = set()
    for path in imports(source):
        match path:
            case ("crate", above, module, *_) if above in FLOORS:
                found.add(f"{above}/{module}.rs")
            case ("super", module, *_):
                found.add(f"{folder / module}.rs")
    return (found & files) - {name}


def complaints(sources: dict[str, str]) -> list[str]:
    """What is wrong with files by their names in src."""
    wrong = []
    graph = {}
    for name, source in sources.items():
        paths = imports(source)
        wrong += [
            f"{name} uses {above}, which is above it"
            for above in sorted({path[1] for path in paths if path[0] == "crate"} & {*FLOORS})
            if FLOORS.index(above) > floor(name)
        ]
        wrong += [
            f"{name} uses kernel::{module}: rules know no object of the kernel's"
            for module in sorted({path[1] for path in paths if path[0] == "kernel"} - PURE)
            if floor(name) == FLOORS.index("rules")
        ]
        if ("super", "super") in {path[:2] for path in paths}:
            wrong.append(f"{name} uses super::super: say which floor")
        if floor(name) != FLOORS.index("sys") and re.search(
            r"\bunsafe\b", re.sub(r"//.*", "", source)
        ):
            wrong.append(f"{name} has unsafe, which is for src/sys alone")
        graph[name] = used_files(name, source, set(sources))
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        wrong.append("a circle: " + " -> ".join(reversed(error.args[1])))
    return wrong


def test_floors():
    """No file uses one above it, nor itself by way of others."""
    sources = {str(path.relative_to(SRC)): path.read_text() for path in tracked("src/*.rs")}
    assert {name.split("/")[0] for name in sources if "/" in name} == set(FLOORS) - {""}
    assert complaints(sources) == []


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        ({"sys/a.rs": "use crate::rules::{b, c::{D, E}};"}, ""),
        ({"sys/a.rs": "use crate::{\n    rules::b,\n    driver::{c, D}, //\n};"}, ""),
        ({"sys/a.rs": "use crate::{rules::b, buffer::{c, D}};"}, "buffer, which"),
        ({"rules/a.rs": "fn f() { crate::copy::g() }"}, "copy, which"),
        ({"rules/a.rs": "// crate::copy::g"}, ""),
        ({"rules/a.rs": "use kernel::{prelude::*, sync::Arc};"}, "kernel::sync"),
        ({"copy/a.rs": "use super::super::b;"}, "super::super"),
        ({"copy/a.rs": "unsafe { f() }"}, "unsafe"),
        ({"sys/a.rs": "unsafe { f() }"}, ""),
        ({"copy/a.rs": "use super::b::C;", "copy/b.rs": "use crate::sys::d;"}, ""),
        ({"copy/a.rs": "use super::b::C;", "copy/b.rs": "use crate::copy::a::D;"}, "circle"),
    ],
)
def test_complaints(sources, found):
    """What the lint is for it finds, and nothing else."""
    wrong = complaints(sources)
    assert len(wrong) == (found != "")
    assert found in "".join(wrong)
