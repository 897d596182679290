# SPDX-License-Identifier: GPL-2.0
"""Safe code cannot misuse src/sys: what would break memory safety does not compile."""

import re
import shutil
import subprocess
from collections import Counter

import boardinfo
import pytest
from tools import TOP, build_folder, tracked

MISUSE = TOP / "tests/misuse/misuse.rs"

#: The board whose kernel it is built for: any.
BOARD = boardinfo.names(lambda it: not it.is_64bit)[0]


def wanted() -> Counter[tuple[int, str]]:
    """The errors that the marks ask for, by their lines."""
    lines = enumerate(MISUSE.read_text().splitlines(), 1)
    return Counter(
        (number, mark[1]) for number, line in lines if (mark := re.search(r"//~ (E\d+)$", line))
    )


def found(output: str) -> Counter[tuple[int, str]]:
    """The errors of a build by their lines in misuse.rs, or 0 for those elsewhere."""
    error = r"^error(?:\[(E\d+)\])?: .*\n +--> (.*):(\d+):\d+$"
    return Counter(
        (int(line) if path.endswith("/misuse.rs") else 0, number)
        for number, path, line in re.findall(error, output, re.M)
    )


def test_misuse():
    """Each misuse is refused for its own reason, and nothing else is wrong."""
    copy = build_folder() / "misuse"
    shutil.rmtree(copy, ignore_errors=True)
    for part in ("src", "include"):
        shutil.copytree(TOP / part, copy / part)
    shutil.copy(TOP / "Kbuild", copy)
    shutil.copy(MISUSE, copy / "src/interface")
    with (copy / "src/interface/mod.rs").open("a") as mod:
        mod.write("mod misuse;\n")
    build = [TOP / "tests/toolchain/build-module", BOARD, "--as", "misuse", "--from", copy]
    result = subprocess.run(build, capture_output=True, text=True, check=False, timeout=600)
    missing, others = wanted() - found(result.stderr), found(result.stderr) - wanted()
    assert (missing, others) == (Counter(), Counter()), result.stderr


#: A function without comments: what is before its name, and its arguments.
FUNCTION = re.compile(r"^([^\n]*)\bfn \w+(?:<[^(]*>)?\(([^{;]*?)\)\s*(?:->[^{;]*)?[{;]", re.M)

#: A structure: its documentation, its name, and its fields in parentheses or braces.
STRUCT = re.compile(
    r"((?:^ *///[^\n]*\n)*)(?:^ *#\[[^\n]*\n)*^[^\n/]*\bstruct (\w+)[^;{(]*"
    r"(?:\(([^;]*)\);|\{(.*?)^\})",
    re.M | re.S,
)

POINTER = re.compile(r"\*(?:mut|const)\b|\bNonNull\b")


def complaints(source: str) -> list[str]:
    """What is wrong with a file: to the compiler any pointer is a good one."""
    code = re.sub(r"//.*", "", source)
    wrong = [
        f"{head.strip()} takes a pointer, and is safe"
        for head, arguments in FUNCTION.findall(code)
        if "unsafe" not in head and POINTER.search(arguments)
    ]
    wrong += [
        f"{name} has a pointer, and no invariants"
        for docs, name, *fields in STRUCT.findall(source)
        if POINTER.search(re.sub(r"//.*", "", "".join(fields))) and "# Invariants" not in docs
    ]
    return wrong


def test_pointers():
    """What takes a pointer is unsafe, and what keeps one says what is true of it."""
    found = {path.name: complaints(path.read_text()) for path in tracked("src/sys/*.rs")}
    assert len(found) > 20
    assert not {name: wrong for name, wrong in found.items() if wrong}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("fn f(a: *mut u8) {}", "is safe"),
        ("    pub(crate) fn f<T>(\n        a: NonNull<T>,\n    ) -> Result;", "is safe"),
        ("unsafe fn f(a: *mut u8) {}", ""),
        ("fn f(a: u8) -> *mut u8 { g(a.cast::<*const u8>()) }", ""),
        ("struct A(*mut u8);", "no invariants"),
        ("pub(crate) struct A<'a> {\n    a: &'a u8,\n    b: NonNull<u8>,\n}", "no invariants"),
        ("/// A.\n///\n/// # Invariants\n///\n/// B.\n#[a]\nstruct A(*mut u8);", ""),
        ("struct A(u8);\nfn f() -> *mut u8 {}", ""),
        ("struct A {\n    // *mut u8\n    a: u8,\n}", ""),
    ],
)
def test_complaints(source, found):
    """What the lint is for it finds, and nothing else."""
    wrong = complaints(source)
    assert len(wrong) == (found != "")
    assert found in "".join(wrong)
