# SPDX-License-Identifier: GPL-2.0
"""fuzz.py BOARD: fuzz the driver on a board, and make what is found small.

The fuzzer is tests/guest/src/fuzz. This boots the board, shows what the fuzzer says, looks at the
kernel's log and for leaks, and boots again to try smaller programs.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import board as boards
import covered
from board import BoardError, QemuBoard
from tools import build_folder

#: More boots than a program needs to become small.
MOST_BOOTS = 40

#: Where a program is on the board.
FILE = "/tmp/programs"


@dataclass
class Run:
    """What became of programs on a board."""

    #: how many were run
    programs: int = 0
    #: the program at fault, or the last one before the end of the board
    failed: str = ""
    #: what is wrong
    faults: list[str] = field(default_factory=list)
    #: programs that did something new
    corpus: list[str] = field(default_factory=list)
    #: where the module's code begins
    text: int = 0
    #: addresses of its code that ran
    code: list[int] = field(default_factory=list)


def boot(name: str, folder: str = "") -> QemuBoard:
    """A board with the kernel that fuzzing needs; with what `folder` of its build folder has."""
    os.environ["SHMBUF_KERNEL"] = "fuzz"
    # Slabs notice who writes past their ends, or after they were freed.
    made = QemuBoard(name, boot_args="slab_debug=FZP")
    if folder:
        own = build_folder() / name
        boards.replace(made.qemu, f"-initrd {own}/", f"-initrd {own}/{folder}/")
    return made


def watch(board: QemuBoard, options: str, module: str = "", show=lambda _: None) -> Run:
    """Run the fuzzer, and find out what it found."""
    run = Run()
    last = ""
    command = f"shmbuf-test fuzz --print --module {module or board.module} {options}"
    try:
        for line in board.stream(command):
            word, _, rest = line.partition(" ")
            if word == ">":
                run.programs += 1
                last = rest
            elif word == "+":
                run.corpus.append(rest)
            elif word == "text":
                run.text = int(rest, 16)
            elif word == "code":
                run.code += [int(address, 16) for address in rest.split()]
            elif word == "failed:":
                run.failed = rest
                show(line)
            else:
                if run.failed == "" and line.startswith("# ") and "places of" not in line:
                    run.faults.append(line.removeprefix("# "))
                show(line)
        if board.status and not run.faults:
            run.faults.append(f"the fuzzer ended with status {board.status}")
        if not board.status:
            run.faults = []
            if found := board.leaks():
                run.faults.append(found)
    except BoardError as error:
        run.failed = run.failed or last
        run.faults.append(str(error))
    run.faults += map(str, board.reports())
    return run


def put(board: QemuBoard, programs: list[str]):
    """Put programs in a file on the board; a shell does not take lines of any length."""
    board.check(f"rm -f {FILE}")
    for program in programs:
        for step in program.split("; "):
            board.check(f"printf '%s; ' '{step}' >>{FILE}")
        board.check(f"echo >>{FILE}")


def smaller(name: str, program: str, folder: str = "", module: str = "") -> Iterator[str]:
    """Smaller and smaller programs at which something goes wrong."""
    for _ in range(MOST_BOOTS):
        with boot(name, folder) as board:
            put(board, [program])
            run = watch(board, f"--shrink {FILE} --times 3", module)
        if not run.failed:
            return
        program = run.failed
        yield program


def main(arguments: argparse.Namespace) -> int:
    name = arguments.board
    print(f"==> booting {name} (usually 20 s)", file=sys.stderr, flush=True)
    show = lambda line: print(line, flush=True)  # noqa: E731
    with boot(name) as board:
        if arguments.program:
            lines = Path(arguments.program).read_text().splitlines()
            put(board, [line for line in lines if line and not line.startswith("#")])
            options = f"--run {FILE} --times 100"
        else:
            options = f"--seconds {arguments.minutes * 60:.0f} --seed {arguments.seed}"
        run = watch(board, options, show=show)
    if run.corpus:
        file = build_folder() / name / "corpus.txt"
        file.write_text("".join(f"{program}\n" for program in run.corpus))
        print(f"corpus: {file}")
    if run.code:
        known = covered.places(build_folder() / name / "module/shmbuf.ko")
        ran = covered.reached(known, run.text, run.code)
        print(covered.table(known, ran))
        file = build_folder() / name / "not-reached.txt"
        file.write_text("".join(f"{line}\n" for line in covered.never(known, ran)))
        print(f"lines not reached: {file}")
    for fault in run.faults:
        print(f"\n{fault}")
    if run.failed:
        print(f"\nThe program at fault:\n{run.failed}\n==> trying smaller ones", flush=True)
        smallest = run.failed
        for smallest in smaller(name, run.failed):
            print(smallest, flush=True)
        print(f"\nThe smallest program at fault (PROGRAM=file runs it):\n{smallest}")
    failed = int(bool(run.faults))
    print(f"{run.programs - failed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("board")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--program", help="a file with programs, which are run in place of others")
    try:
        sys.exit(main(parser.parse_args()))
    except KeyboardInterrupt:
        sys.exit(130)
