# SPDX-License-Identifier: GPL-2.0
"""size.py BOARD: how many bytes of code each file of the module is, built without debugging."""

import argparse
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import bench
from tools import TOP, build_folder

#: The crate as the module has it.
CRATE = "shmbuf_main"


def file_of(symbol: str) -> str:
    """The file that a function of the crate is in; one of another crate belongs to who uses it."""
    found = re.search(rf"{CRATE}((?:::[a-z_0-9]+)*)", symbol)
    if not found:
        return "the kernel's crates, and core"
    parts = found[1].split("::")[1:]
    while parts:
        path = Path("src", *parts).with_suffix(".rs")
        for candidate in (path, Path("src", *parts, "mod.rs")):
            if (TOP / candidate).exists():
                return str(candidate)
        parts.pop()
    return "src/shmbuf_main.rs"


def functions(text: str) -> Counter[str]:
    """Bytes by file, from what nm says of the Rust object."""
    sizes: Counter[str] = Counter()
    for line in text.splitlines():
        _, size, kind, name = line.split(maxsplit=3)
        if kind in "tT":
            sizes[file_of(name)] += int(size)
    return sizes


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def text_of(path: Path) -> int:
    """What size(1) calls text: code, and data that is only read."""
    return int(run("llvm-size-19", path).splitlines()[1].split()[0])


def sizes(module: Path) -> tuple[Counter[str], int]:
    """Bytes of each file, and of all; what no file can be told of has a line of its own."""
    nm = ["llvm-nm-19", "--print-size", "--defined-only", "--radix=d", "--demangle"]
    found = functions(run(*nm, module / "src/shmbuf_main.o"))
    for path in sorted(module.glob("src/sys/*.o")):
        found[f"src/sys/{path.stem}.c"] = text_of(path)
    whole = text_of(module / "shmbuf.ko")
    found["texts, tables, unwinding"] = whole - found.total()
    return found, whole


def table(found: Counter[str], whole: int) -> str:
    rows = [[name, str(size)] for name, size in found.most_common()]
    return bench.rows_of("file", ["bytes"], [*rows, ["all", str(whole)]])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("board")
    board = parser.parse_args().board
    with bench.lean():
        print(table(*sizes(build_folder() / board / "module")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
