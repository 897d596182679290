# SPDX-License-Identifier: GPL-2.0
"""`make shell`, as somebody at its console has it, with a program of theirs."""

import re
import subprocess
import sys
import time

import boardinfo
import pages
import pytest
from tools import TOP, must

#: Any board does.
BOARD = boardinfo.names(lambda it: it.has_several_cpus and not it.is_64bit)[0]

PROGRAM = """
#include <stdio.h>
int main(void) { puts("from a program of mine"); return 0; }
"""


@pytest.fixture(autouse=True)
def _emulated(request):
    if request.config.getoption("env"):
        pytest.skip("it is for emulated boards")


def compiled(folder, compiler: str, *options: str):
    """A program of a user's."""
    source = folder / "mine.c"
    source.write_text(PROGRAM)
    in_tree = TOP / "tests/toolchain/in-tree"
    must([in_tree, compiler, *options, "-o", folder / "mine", source])
    return folder / "mine"


def build(*programs, board: str = BOARD) -> subprocess.CompletedProcess:
    """What build-shell says to programs."""
    return subprocess.run(
        [TOP / "tests/toolchain/build-shell", board, *programs],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_programs_that_cannot_run_are_refused(tmp_path):
    script = tmp_path / "script.sh"
    script.write_text("#!/bin/sh\n")
    for program, said in (
        (script, "is no program (ELF)"),
        (tmp_path / "nothing", "there is no program"),
        (compiled(tmp_path, "gcc"), "is for another processor"),
    ):
        result = build(program)
        assert result.returncode == 1
        assert said in result.stdout
    result = build(compiled(tmp_path, "arm-linux-gnueabihf-gcc"))
    assert (result.returncode, "-static" in result.stdout) == (1, True), result.stdout


def page() -> tuple[str, list[list[str]]]:
    """The C program of the page about a first one, and its blocks of commands and output."""
    text = (TOP / "Documentation/first-program.md").read_text()
    program = re.search(r"^```c\n(.*?)^```$", text, re.M | re.S)[1]
    return program, pages.indented(text)


def test_first_program():
    """The page is right word for word: the program, how it is compiled, run, and what it prints."""
    program, blocks = page()
    assert program == (TOP / "samples/first.c").read_text()
    (armv7,), (armv5,), (shell,), typed, printed = blocks[1:]
    must(["bash", "-c", armv5])
    must(["bash", "-c", armv7])
    board, file = re.fullmatch(r"make shell BOARD=(\S+) PROGRAMS=(\S+)", shell).groups()
    result = build(file, board=board)
    assert result.returncode == 0, result.stdout
    greeting, *said = at_console(board, typed)
    assert "shmbuf --help" in greeting
    # The boot's messages did not come between.
    assert len(greeting.splitlines()) < 30, greeting
    assert not any("KTAP" in text for text in said)
    assert said[-1].splitlines()[1:-1] == printed


def at_console(board: str, commands: list[str]) -> list[str]:
    """What is on the terminal up to the first prompt, and from each command to the next."""
    shell = subprocess.Popen(
        [sys.executable, TOP / "tests/host/shell.py", board],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    )

    def up_to_prompt() -> str:
        said = ""
        end = time.monotonic() + 120
        while "[shmbuf] # " not in said:
            more = shell.stdout.read(1)
            assert more, said
            assert time.monotonic() < end, said
            said += more
        return said

    with shell:
        try:
            found = [up_to_prompt()]
            for command in commands:
                shell.stdin.write(f"{command}\n")
                shell.stdin.flush()
                found.append(up_to_prompt())
        finally:
            shell.kill()
    return found
