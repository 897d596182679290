#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Print shmbuf/_abi.py: what include/uapi/shmbuf.h defines, and what the package uses of
linux/dma-buf.h, as clang reads them.

    tests/toolchain/in-tree python3 lib/python/generate_abi.py >lib/python/shmbuf/_abi.py
"""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CLANG = "clang-19"
INCLUDE = Path(__file__).resolve().parents[2] / "include/uapi"
SOURCE = "#include <shmbuf.h>\n#include <linux/dma-buf.h>\n"

#: What is wanted of the headers, by name.
WANTED = re.compile(r"SHMBUF_\w+|shmbuf_\w+|DMA_BUF_SYNC_\w+|DMA_BUF_IOCTL_SYNC|dma_buf_sync")

#: Types of fields, in the words of ctypes and of annotations.
TYPES = {
    "__s32": ("ctypes.c_int32", "int"),
    "__u32": ("ctypes.c_uint32", "int"),
    "__u64": ("ctypes.c_uint64", "int"),
}

HEAD = '''# SPDX-License-Identifier: MIT OR Apache-2.0
"""The ABI, by the names of the headers. Made by generate_abi.py: do not edit."""

import ctypes
from typing import Final
'''


def clang(*options: str, source: str = SOURCE) -> str:
    command = [CLANG, "-x", "c", f"-I{INCLUDE}", *options, "-"]
    result = subprocess.run(command, input=source, check=True, stdout=subprocess.PIPE, text=True)
    return result.stdout


def wanted(names: Iterable[str]) -> list[str]:
    return [name for name in names if WANTED.fullmatch(name)]


def macros() -> list[str]:
    """Macros without arguments."""
    defined = re.findall(r"^#define (\w+) .", clang("-E", "-dD"), re.M)
    return wanted(dict.fromkeys(defined))


def declarations() -> list[dict[str, Any]]:
    tree = json.loads(clang("-fsyntax-only", "-Xclang", "-ast-dump=json"))
    found: list[dict[str, Any]] = tree["inner"]
    return found


def values(names: list[str]) -> list[int]:
    """What constants are; only a compiler can tell, since some contain a sizeof."""
    prints = "".join(f'printf("%llu\\n", (unsigned long long)({name}));\n' for name in names)
    program = f"#include <stdio.h>\n{SOURCE}int main(void)\n{{\n{prints}return 0;\n}}\n"
    with tempfile.TemporaryDirectory() as folder:
        clang("-o", f"{folder}/values", source=program)
        printed = subprocess.run([f"{folder}/values"], check=True, stdout=subprocess.PIPE)
    return [int(line) for line in printed.stdout.split()]


def field(c_type: str) -> tuple[str, str]:
    if chars := re.fullmatch(r"char\[(\d+)\]", c_type):
        return f"ctypes.c_char * {chars[1]}", "bytes"
    return TYPES[c_type]


def structure(node: dict[str, Any]) -> str:
    members = [it for it in node["inner"] if it["kind"] == "FieldDecl"]
    fields = [(it["name"], *field(it["type"]["qualType"])) for it in members]
    lines = [f"\n\nclass {node['name']}(ctypes.Structure):\n"]
    lines += [f"    {name}: {annotation}\n" for name, _, annotation in fields]
    lines.append("    _fields_ = [\n")
    lines += [f'        ("{name}", {c_type}),\n' for name, c_type, _ in fields]
    return "".join([*lines, "    ]\n"])


def main() -> None:
    structures, constants = [], []
    for node in declarations():
        if node["kind"] == "EnumDecl":
            constants += wanted(it["name"] for it in node["inner"])
        elif node["kind"] == "RecordDecl" and wanted([node.get("name", "")]):
            structures.append(structure(node))
    constants += macros()
    numbers = zip(constants, values(constants), strict=True)
    print(HEAD)
    print("\n".join(f"{name}: Final = 0x{value:X}" for name, value in numbers))
    print("".join(structures), end="")


if __name__ == "__main__":
    main()
