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

#: What sys may use of the rules, as it has to stand without the rest of the driver.
WORDS_OF_SYS = {"pairs", "range"}

#: The kernel crate's errors, also of a crate that lacks them: for all floors, and of none.
ERRORS = "sys/errno.rs"

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


def paths(source: str) -> set[tuple[str, ...]]:
    """The paths that a file names, in imports and elsewhere."""
    source = re.sub(r"//.*", "", source)
    imports = r"\buse ([^;]+);"
    trees = re.findall(imports, source)
    inline = re.sub(imports, "", source)
    trees += re.findall(r"\b(?:crate|super|self|kernel)(?:::\w+)+", inline)
    return {path for tree in trees for path in expand(re.findall(r"\w+|::|[{},*]", tree))}


def absolute(name: str, path: tuple[str, ...]) -> tuple[str, ...] | None:
    """A path from the crate on; None for one of another crate."""
    at = Path(name).with_suffix("").parts
    at = at[:-1] if at[-1] in ("mod", "shmbuf_main") else at
    head, *rest = path
    while head == "super" and rest:
        at, head, *rest = (at[:-1], *rest)
        if head != "super":
            return (*at, head, *rest)
    match head:
        case "crate":
            return tuple(rest)
        case "self":
            return (*at, *rest)
    return None


def floor(name: str) -> int:
    return FLOORS.index(str(Path(name).parent).removeprefix("."))


def floor_of(path: tuple[str, ...]) -> int:
    """The floor of what a path from the crate on names; what is on none is the crate root's."""
    if path[:1] in (("LocalModule",), ("THIS_MODULE",)):
        # What module! makes in every module's crate, for the kernel crate's macros.
        return 0
    if "/".join(path[:2]) + ".rs" == ERRORS:
        return 0
    return FLOORS.index(path[0] if path and path[0] in FLOORS else "")


def used_files(name: str, source: str, files: set[str]) -> set[str]:
    """The files of src that a file uses."""
    found = (absolute(name, path) for path in paths(source))
    return {"/".join(path[:2]) + ".rs" for path in found if path} & files - {name}


def complaints(sources: dict[str, str]) -> list[str]:
    """What is wrong with files by their names in src."""
    wrong = []
    graph = {}
    for name, source in sources.items():
        named = paths(source)
        within = {path: absolute(name, path) for path in named}
        above = {
            path[0] if path else "the crate root"
            for path in within.values()
            if path is not None and floor_of(path) > floor(name)
        }
        wrong += [f"{name} uses {what}, which is above it" for what in sorted(above)]
        if floor(name) == FLOORS.index("rules"):
            objects = {path[1] for path in named if path[0] == "kernel"} - PURE
            wrong += [f"{name} uses kernel::{what}: rules know no object" for what in objects]
        if floor(name) == FLOORS.index("sys"):
            words = {"".join(path[1:2]) for path in within.values() if path and path[0] == "rules"}
            wrong += [f"{name} uses rules::{it}: sys stands alone" for it in words - WORDS_OF_SYS]
        if name == ERRORS:
            ours = {"::".join(path) for path in within.values() if path}
            wrong += [f"{name} uses {it}: it stands for the kernel crate" for it in sorted(ours)]
        code = re.sub(r"//.*", "", source)
        if floor(name) != FLOORS.index("sys") and re.search(r"\bunsafe\b", code):
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
        ({"copy/a.rs": "use crate::rules::{b, c::{D, E}};"}, ""),
        ({"copy/a.rs": "use crate::{\n    rules::{b, c},\n    sys::d, //\n};"}, ""),
        ({"sys/a.rs": "use crate::rules::range::Range;"}, ""),
        ({"sys/a.rs": "use crate::rules::{policy::Policy, range::Range};"}, "rules::policy"),
        ({"sys/a.rs": "use crate::{rules::range::R, buffer::{c, D}};"}, "buffer, which"),
        ({"rules/a.rs": "fn f() { crate::copy::g() }"}, "copy, which"),
        ({"rules/a.rs": "fn f() { super::super::copy::g() }"}, "copy, which"),
        ({"rules/mod.rs": "pub(crate) use super::copy::g;"}, "copy, which"),
        ({"sys/mod.rs": "use super::{interface::driver::Driver};"}, "interface, which"),
        ({"sys/a.rs": "use crate::Shmbuf;"}, "Shmbuf, which"),
        ({"sys/a.rs": "use crate::THIS_MODULE;"}, ""),
        ({"rules/a.rs": "use crate::sys::errno::EDQUOT;"}, ""),
        ({"rules/a.rs": "use crate::sys::compat::bound;"}, "sys, which"),
        ({"sys/errno.rs": "use super::ffi;"}, "stands for the kernel crate"),
        ({"sys/a.rs": "use crate::{self as top};"}, "self, which"),
        ({"rules/a.rs": "// crate::copy::g"}, ""),
        ({"rules/a.rs": "mod tests { use super::*; }"}, ""),
        ({"rules/a.rs": "use kernel::{prelude::*, sync::Arc};"}, "kernel::sync"),
        ({"rules/a.rs": "fn f() { kernel::sync::Arc::new(1) }"}, "kernel::sync"),
        ({"copy/a.rs": "use kernel::sync::Arc;"}, ""),
        ({"copy/a.rs": "unsafe { f() }"}, "unsafe"),
        ({"sys/a.rs": "unsafe { f() }"}, ""),
        ({"shmbuf_main.rs": "use interface::driver::Driver;"}, ""),
        ({"copy/a.rs": "use super::b::C;", "copy/b.rs": "use crate::sys::d;"}, ""),
        ({"copy/a.rs": "use super::b::C;", "copy/b.rs": "use crate::copy::a::D;"}, "circle"),
        ({"copy/a.rs": "use super::b::C;", "copy/b.rs": "fn f() { super::a::g() }"}, "circle"),
    ],
)
def test_complaints(sources, found):
    """What the lint is for it finds, and nothing else."""
    wrong = complaints(sources)
    assert len(wrong) == (found != "")
    assert found in "".join(wrong)
