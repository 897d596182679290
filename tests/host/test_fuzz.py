# SPDX-License-Identifier: GPL-2.0
"""The fuzzer finds what is broken on purpose, and a program of a few calls that shows it."""

import re
import subprocess

import boardinfo
import covered
import fuzz
import pytest
from tools import TOP, build_folder

#: The board for which it is built; the faults are none of a processor's.
BOARDS = [name for name in boardinfo.names() if name == "vexpress-a9"]

BREAKS = sorted((TOP / "tests/breaks/fuzz").glob("*.patch"))


@pytest.fixture(scope="module", autouse=True)
def _built():
    for name in BOARDS:
        subprocess.run([TOP / "tests/toolchain/build-fuzz", name], check=True)


@pytest.mark.parametrize("patch", BREAKS, ids=lambda it: it.stem)
def test_finds(board_name, patch):
    """Each fault is found within as many programs as its patch says."""
    programs = re.search(r"^Programs: (\d+)$", patch.read_text(), re.M)[1]
    module = f"/lib/modules/{patch.stem}.ko"
    with fuzz.boot(board_name, "fuzz") as board:
        run = fuzz.watch(board, f"--seconds 3600 --programs {programs}", module)
    assert run.failed, f"not found in {run.programs} programs"
    print(f"{patch.stem}: {run.programs} programs\n{run.failed}\n{run.faults[0]}")


def test_places_of_the_code_have_lines(board_name, monkeypatch):
    """Where the compiler has put its calls is known, and of which lines they are."""
    monkeypatch.setenv("SHMBUF_KERNEL", "fuzz")
    known = covered.places(build_folder() / board_name / "module/shmbuf.ko")
    assert {"interface/ioctl.rs", "rules/range.rs", "sys/calls.c"} <= {
        of.file for of in known.values()
    }
    text, one = 0xBF00_0000, min(known)
    ran = covered.reached(known, text, [(text + one + covered.CALL) % covered.WINDOW])
    assert ran == {one}
    assert re.search(r"^all +1 ", covered.table(known, ran), re.M)
    rest = covered.never(known, ran)
    assert rest
    assert not any(line.startswith(f"{known[one].file}:{known[one].line}:") for line in rest)
