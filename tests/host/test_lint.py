# SPDX-License-Identifier: GPL-2.0
"""Formatting, lints and the header, without a board."""

import re
import sys
from pathlib import Path

import pytest
from tools import TOP, build_folder, must, shell_names, tracked

#: Files that cannot have a line of ours on top: a licence, what cargo writes,
#: and patches, which begin as git makes them.
NO_SPDX = re.compile(r"^(LICENSE.*|.*/Cargo\.lock|.*\.patch)$")

HEADER = TOP / "include/uapi/shmbuf.h"
#: Cargo workspaces: programs for the boards, and the coherence checker.
WORKSPACES = ["samples", "tests/coherence"]

#: Compilers to read the header with, 32 and 64 bits, C and C++.
COMPILERS = {
    "armhf c99": ["arm-linux-gnueabihf-gcc", "-std=c99"],
    "armel c99": ["arm-linux-gnueabi-gcc", "-march=armv5te", "-std=c99"],
    "x86-64 c99": ["gcc", "-std=c99"],
    "x86-64 c11 clang": ["clang-19", "-std=c11"],
    "i386 c99 clang": ["clang-19", "--target=i386-linux-gnu", "-std=c99"],
    "x86-64 c++11": ["clang-19", "-x", "c++", "-std=c++11"],
    "armhf c++17": ["clang-19", "--target=arm-linux-gnueabihf", "-x", "c++", "-std=c++17"],
}


def rust_files() -> list[Path]:
    return tracked("src/*.rs")


def test_spdx():
    """Every file says its licence in its first lines."""
    without = []
    for path in tracked():
        name = str(path.relative_to(TOP))
        head = path.read_text(errors="replace").splitlines()[:3]
        if not NO_SPDX.match(name) and not any("SPDX-License-Identifier: " in s for s in head):
            without.append(name)
    assert not without, "no SPDX line: " + ", ".join(without)


def test_shellcheck():
    scripts = [
        path
        for path in tracked()
        if re.match(rb"#!.*\b(ba)?sh\n", path.read_bytes()[:80]) or path.name == "lib.sh"
    ]
    assert len(scripts) > 5
    must(["shellcheck", "-x", *scripts])


@pytest.mark.parametrize("what", [["check"], ["format", "--diff"]], ids=["lint", "format"])
def test_ruff(what):
    config = TOP / "tests/host/pyproject.toml"
    must([sys.executable, "-m", "ruff", *what, "--no-cache", "--config", config, *tracked("*.py")])


def test_rustfmt_module():
    must(["rustfmt", "--check", *rust_files()])


@pytest.mark.parametrize("workspace", WORKSPACES)
def test_rustfmt_crates(workspace):
    must(["cargo", "fmt", "--all", "--check", "--manifest-path", TOP / workspace / "Cargo.toml"])


@pytest.mark.parametrize("compiler", COMPILERS)
def test_header(compiler, tmp_path):
    """It compiles by itself, and no structure has a hole, so that 32 and 64 bits agree."""
    structs = re.findall(r"^struct (\w+) \{", HEADER.read_text(), re.M)
    assert structs
    source = tmp_path / "header.c"
    uses = "\n".join(f"struct {name} use_{name};" for name in structs)
    source.write_text(f"#include <shmbuf.h>\n#include <shmbuf.h>\n{uses}\n")
    command = [*COMPILERS[compiler], "-Wall", "-Wextra", "-Wpedantic", "-Wpadded", "-Werror"]
    if compiler.startswith("i386"):
        command += ["-isystem", "/usr/include/x86_64-linux-gnu"]
    if compiler.startswith("armhf c++"):
        command += ["-isystem", "/usr/arm-linux-gnueabihf/include"]
    must([*command, "-fsyntax-only", f"-I{HEADER.parent}", source])


def test_checkpatch():
    """The kernel's own style checker, on all C."""
    checkpatch = Path(shell_names("kernel_source")[0]) / "scripts/checkpatch.pl"
    files = tracked("*.c", "*.h")
    assert HEADER in files
    # helpers.h has stand-ins for two kernel types, for bindgen.
    ignored = "SPDX_LICENSE_TAG,LONG_LINE_STRING,NEW_TYPEDEFS"
    # User space has types and strings of its own.
    for_users = "PREFER_KERNEL_TYPES,VOLATILE,EMBEDDED_FUNCTION_NAME"
    programs = tracked("samples/*.[ch]", "tests/coherence/*.c", "tests/coherence/*.h")
    programs = [f for f in programs if f.parent.name != "seeded" or f.name == "run.c"]
    for more, some in (
        ("", [f for f in files if f not in programs]),
        (f",{for_users}", programs),
    ):
        options = ["--no-tree", "--strict", "--terse", "--show-types", "--no-summary"]
        options += ["--max-line-length=100", f"--ignore={ignored}{more}"]
        must(["perl", checkpatch, *options, "-f", *some])


@pytest.mark.parametrize("workspace", WORKSPACES)
@pytest.mark.parametrize("lint", ["clippy", "test"])
def test_cargo(lint, workspace):
    """The crates of user space and of the host, and their unit tests."""
    command = ["cargo", lint, "--locked", "--workspace", "--all-targets"]
    command += ["--manifest-path", str(TOP / workspace / "Cargo.toml")]
    if lint == "clippy":
        command += ["--", "-D", "warnings"]
    # One after the other: some fork, and a child that is born while another
    # thread has the allocator's lock would wait for it forever.
    must(command, CARGO_TARGET_DIR=str(build_folder() / "cargo"), RUST_TEST_THREADS="1")


@pytest.mark.parametrize("workspace", WORKSPACES)
def test_cargo_doc(workspace):
    manifest = TOP / workspace / "Cargo.toml"
    must(
        ["cargo", "doc", "--locked", "--no-deps", "--manifest-path", manifest],
        CARGO_TARGET_DIR=str(build_folder() / "cargo"),
        RUSTDOCFLAGS="-D warnings",
    )


def test_clippy_module(board_name):
    build = [TOP / "tests/toolchain/build-module", board_name, "--as", "clippy"]
    must([*build, "CLIPPY=1", "W=e", "modules"])
