# SPDX-License-Identifier: GPL-2.0
"""Formatting, lints and the header, without a board."""

import re
import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import api
import boardinfo
import pytest
from tools import COMPILERS, TOP, build_folder, must, shell_names, tracked

#: Files that cannot have a line of ours on top: a licence, what cargo writes,
#: patches, which begin as git makes them, and what Debian's tools read as a whole.
NO_SPDX = re.compile(
    r"^(LICENSE.*|.*/Cargo\.lock|.*\.patch|.*\.png|packaging/debian/(changelog|source/format))$"
)

#: A makefile of Buildroot begins with six lines that Buildroot prescribes.
FIRST_LINES = 8

HEADER = TOP / "include/uapi/shmbuf.h"
#: Compilers that have a C library in the toolchain tree.
WITH_C_LIBRARY = [name for name in COMPILERS if not name.startswith(("arm64", "i386"))]
HELPERS = TOP / "lib/c/shmbuf-helpers.h"
#: Cargo workspaces: programs for the boards, the coherence checker, the driver's rules.
WORKSPACES = ["lib", "tools/coherence", "tests/rules"]

#: The binding of named buffers, and the boards that have some.
BINDING = TOP / "Documentation/devicetree/bindings/shmbuf,buffer.yaml"
WITH_BUFFERS = boardinfo.names(lambda it: it.has_named_buffers)

#: Nodes that the binding must refuse: what is wrong, and the properties.
SIZE = "shmbuf,size = /bits/ 64 <0x1000>; "
MEMORY = 'label = "x"; ' + SIZE
REGION = 'label = "x"; shmbuf,kind = "region"; reg = <0 0x1000>; '
WRONG_NODES = {
    "no label": SIZE,
    "no name": 'label = "-x"; ' + SIZE,
    "no memory": 'label = "x";',
    "half a size": 'label = "x"; shmbuf,size = <0x1000>;',
    "no such property": MEMORY + 'shmbuf,colour = "red";',
    "no such kind": MEMORY + 'shmbuf,kind = "page";',
    "no such mapping": MEMORY + 'shmbuf,mapping = "x";',
    "a mask of no bits": MEMORY + "shmbuf,dma-mask-bits = <0>;",
    "pages with reg": MEMORY + "reg = <0x1000 0x1000>;",
    "a region without reg": 'label = "x"; shmbuf,kind = "region";',
    "a region with two": 'label = "x"; shmbuf,kind = "region"; reg = <0 0x1000>, <0x2000 0x1000>;',
    "a region with a size": REGION + SIZE,
    "a cached region": REGION + 'shmbuf,policy = "writeback";',
    "a cached region, by the former name": REGION + 'shmbuf,cache = "writeback";',
    "a strict region": REGION + 'shmbuf,mapping = "strict";',
    "cached words": REGION + 'shmbuf,memory; shmbuf,policy = "writeback"; reg-io-width = <4>;',
    "pinned memory of a device": REGION
    + 'shmbuf,memory; shmbuf,policy = "writeback"; shmbuf,mapping = "refcounted";',
    "memory of no device": MEMORY + "shmbuf,memory;",
}

#: Boards that the set-up has built the PCI device's driver for.
WITH_EDU = shell_names(
    'for board; do ! has_edu "$board" || echo "$board"; done',
    *boardinfo.names(lambda it: not it.is_64bit),
)

UDEV_RULE = TOP / "packaging/udev/60-shmbuf.rules"


def rust_files() -> list[Path]:
    return tracked("src/*.rs", "samples/edu/driver/*.rs", "tests/misuse/*.rs")


def test_spdx():
    """Every file says its licence in its first lines."""
    without = []
    for path in tracked():
        name = str(path.relative_to(TOP))
        head = path.read_text(errors="replace").splitlines()[:FIRST_LINES]
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
    ruff = [sys.executable, "-m", "ruff", *what, "--no-cache"]
    package = tracked("lib/python/*.py")
    must([*ruff, "--config", config, *(it for it in tracked("*.py") if it not in package)])
    # It has a configuration of its own there.
    must([*ruff, *package], cwd=TOP / "lib/python")


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
    must([*command, "-fsyntax-only", f"-I{HEADER.parent}", source])


@pytest.mark.parametrize("compiler", WITH_C_LIBRARY)
def test_helpers(compiler, tmp_path):
    """The header of helpers compiles by itself, and with nothing of it used."""
    source = tmp_path / "helpers.c"
    source.write_text(f"#include <{HELPERS.name}>\n" * 2)
    folders = [f"-I{HELPERS.parent}", f"-I{HEADER.parent}"]
    for optimise in ("-O0", "-O2"):
        command = [*COMPILERS[compiler], optimise, "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
        must([*command, *folders, "-c", "-o", tmp_path / "helpers.o", source])


def test_checkpatch():
    """The kernel's own style checker, on all C."""
    checkpatch = Path(shell_names("kernel_source")[0]) / "scripts/checkpatch.pl"
    files = tracked("*.c", "*.h")
    assert HEADER in files
    # helpers.h has stand-ins for two kernel types, for bindgen; the names of
    # arm64's registers are as they are.
    ignored = "SPDX_LICENSE_TAG,LONG_LINE_STRING,NEW_TYPEDEFS,CAMELCASE"
    # User space has types and strings of its own, and QEMU's plugins no header.
    for_users = "PREFER_KERNEL_TYPES,VOLATILE,EMBEDDED_FUNCTION_NAME,AVOID_EXTERNS"
    folders = ("lib", "samples", "tests/boards", "tests/guest", "tests/stock", "tools/coherence")
    programs = tracked(*(f"{folder}/*.[ch]" for folder in folders))
    modules = ("samples/classic/*", "samples/edu/*", "tools/coherence/seeded/*")
    programs = [f for f in programs if f.name == "run.c" or f not in tracked(*modules)]
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


def test_crate_is_ready_to_publish():
    """It builds from what cargo packs of it, which has the driver's header in it."""
    target = build_folder() / "cargo"
    command = ["cargo", "package", "--offline", "--locked", "--allow-dirty", "-p", "shmbuf"]
    must(
        [*command, "--manifest-path", TOP / "lib/Cargo.toml"],
        CARGO_TARGET_DIR=str(target),
    )
    # The newest: others are of versions before.
    (unpacked, *_) = sorted(target.glob("package/shmbuf-*/"), key=lambda it: -it.stat().st_mtime)
    assert (unpacked / HEADER.name).read_text() == HEADER.read_text()


def test_crate_keeps_its_promises():
    """What programs may use of the crate is what crate-api.txt lists.

    Whoever changes it changes the file too, and the version as semantic versioning has it: the
    next major one (before 1.0 the next minor one) if a line goes or changes.
    """
    target = build_folder() / "cargo"
    command = ["cargo", "rustdoc", "--locked", "-p", "shmbuf", "--lib", "--manifest-path"]
    must(
        [*command, TOP / "lib/Cargo.toml", "--", "-Zunstable-options", "--output-format=json"],
        CARGO_TARGET_DIR=str(target),
        # The format is not stable: that of the compiler in the toolchain tree.
        RUSTC_BOOTSTRAP="1",
    )
    _, *listed = (TOP / "tests/host/crate-api.txt").read_text().splitlines()
    assert list(api.listing(target / "doc/shmbuf.json")) == listed


def test_oldest_rust():
    """The compiler that all of this is built with is the oldest that the manifest allows."""
    manifest = tomllib.loads((TOP / "lib/Cargo.toml").read_text())
    oldest = manifest["workspace"]["package"]["rust-version"]
    assert must(["rustc", "--version"]).startswith(f"rustc {oldest}.")
    assert f"Rust {oldest}" in (TOP / "lib/rust/README.md").read_text()


def test_clippy_module(board_name):
    build = [TOP / "tests/toolchain/build-module", board_name, "--as", "clippy"]
    must([*build, "CLIPPY=1", "W=e", "modules"])


@pytest.mark.parametrize("board", WITH_EDU)
def test_clippy_edu(board):
    build = [TOP / "tests/toolchain/build-module", board, "--as", "clippy-edu"]
    must([*build, "--from", TOP / "samples/edu/driver", "CLIPPY=1", "W=e", "modules"])


def complaints(source: Path) -> str:
    """What dt-validate says of those nodes of a device tree that the binding is for."""
    if source.suffix == ".dts":
        dtb = source.with_suffix(".dtb")
        must(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", dtb, source])
        source = dtb
    # It succeeds even if it complains.
    return must([tool("dt-validate"), "-s", BINDING.parent, "-l", BINDING.stem, source])


def tool(name: str) -> Path:
    """A program of the runner's own Python."""
    return Path(sys.executable).with_name(name)


def test_binding(tmp_path):
    """The binding is one, and its examples follow it."""
    assert must([tool("dt-doc-validate"), "-u", BINDING.parent, BINDING]) == ""
    examples = tmp_path / "examples.dts"
    examples.write_text(must([tool("dt-extract-example"), BINDING]))
    assert "shmbuf,buffer" in examples.read_text()
    assert complaints(examples) == ""


@pytest.mark.parametrize("board", WITH_BUFFERS)
def test_binding_boards(board):
    """The test boards' nodes follow it, except those that the driver refuses for that too."""
    must([TOP / "tests/toolchain/build-devicetree", board])
    said = complaints(build_folder() / board / "buffers.dtb")
    found = sorted(line for line in said.splitlines() if not line[0].isspace())
    expected = [
        ("shmbuf-cached-registers@", "'anyOf' conditional failed"),
        ("shmbuf-cached-words@", "False schema"),
        ("shmbuf-contradiction ", "False schema"),
        ("shmbuf-pages-for-a-device ", "'shmbuf,kind' is a required"),
        ("shmbuf-strict-registers@", "shmbuf,mapping"),
        ("shmbuf-unknown ", "shmbuf,mapping"),
    ]
    for line, (node, words) in zip(found, expected, strict=True):
        assert node in line
        assert f"(shmbuf,buffer): {words}" in line


@pytest.mark.parametrize("properties", WRONG_NODES.values(), ids=WRONG_NODES)
def test_binding_refuses(properties, tmp_path):
    source = tmp_path / "wrong.dts"
    node = f'wrong {{ compatible = "shmbuf,buffer"; {properties} }};'
    cells = "#address-cells = <1>; #size-cells = <1>;"
    source.write_text(f"/dts-v1/; / {{ {cells} {node} }};")
    assert "wrong (shmbuf,buffer): " in complaints(source)


def test_udev_rule():
    """It gives all nodes of ours, and no others, to the group."""
    lines = UDEV_RULE.read_text().splitlines()
    (rule,) = [line for line in lines if line and not line.startswith("#")]
    pairs = [re.fullmatch(r'([A-Z]+)(==|=)"([^"]*)"', part) for part in rule.split(", ")]
    assert all(pairs), rule
    found = {(key, operator): value for key, operator, value in (pair.groups() for pair in pairs)}
    patterns = found.pop(("KERNEL", "==")).split("|")
    assert found == {
        ("SUBSYSTEM", "=="): "misc",
        ("GROUP", "="): "shmbuf",
        ("MODE", "="): "0660",
    }
    for name, ours in {
        "shmbuf": True,
        "shmbuf-camera.0": True,
        "shmbufs": False,
        "my-shmbuf": False,
    }.items():
        assert any(fnmatchcase(name, pattern) for pattern in patterns) == ours, name


def test_package_version():
    """Debian's packages and Python's have the version of the crates."""
    crates = tomllib.loads((TOP / "lib/Cargo.toml").read_text())["workspace"]["package"]
    changelog = (TOP / "packaging/debian/changelog").read_text()
    assert changelog.startswith(f"shmbuf ({crates['version']}) ")
    python = tomllib.loads((TOP / "lib/python/pyproject.toml").read_text())["project"]
    assert python["version"] == crates["version"]
