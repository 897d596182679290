# SPDX-License-Identifier: GPL-2.0
"""The Python package: its agreement with the header and the crate, its types, its wheel, and its
own tests on boards.
"""

import contextlib
import ctypes
import errno
import importlib
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from types import ModuleType

import pages
import pytest
import report
from board import QemuBoard, replace
from tools import COMPILERS, TOP, build_folder, must, tracked

FOLDER = TOP / "lib/python"
PAGE = TOP / "Documentation/recipes.md"

#: One of 32 bits, and one of 64.
BOARDS = ["vexpress-a9", "virt-arm64"]

#: Seconds that a board may take until its shell answers.
LOGIN_TIMEOUT = 400


@pytest.fixture(scope="module")
def package() -> Iterator[ModuleType]:
    """The package itself, which can be imported without the driver."""
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("shmbuf")
    sys.path.remove(str(FOLDER))


# Without a board.


def test_abi_is_up_to_date():
    """What is committed is what the header says now."""
    made = must(["python3", FOLDER / "generate_abi.py"])
    assert made == (FOLDER / "shmbuf/_abi.py").read_text()


@pytest.mark.parametrize("compiler", COMPILERS)
def test_abi(compiler, package, tmp_path):
    """Numbers, sizes and offsets are those of the compilers of all processors."""
    abi = vars(package._abi)
    claims = [f"{name} == {value}" for name, value in abi.items() if isinstance(value, int)]
    for name, it in abi.items():
        if isinstance(it, type) and issubclass(it, ctypes.Structure):
            claims.append(f"sizeof(struct {name}) == {ctypes.sizeof(it)}")
            for field, *_ in it._fields_:
                at = getattr(it, field)
                claims.append(f"offsetof(struct {name}, {field}) == {at.offset}")
                claims.append(f"sizeof((({'struct ' + name} *)0)->{field}) == {at.size}")
    assert len(claims) > 100
    source = tmp_path / "claims.c"
    word = "static_assert" if "c++" in compiler else "_Static_assert"
    lines = [f'{word}({claim}, "{claim}");' for claim in claims]
    headers = ["#include <stddef.h>", "#include <shmbuf.h>", "#include <linux/dma-buf.h>"]
    source.write_text("\n".join([*headers, *lines, ""]))
    must([*COMPILERS[compiler], "-fsyntax-only", f"-I{TOP}/include/uapi", source])


def crate_reasons() -> dict[tuple[str, str], str]:
    """What the Rust crate says of each operation's errno."""
    text = (TOP / "lib/rust/src/error.rs").read_text()
    calls = dict(re.findall(r'Self::(\w+) => "(\w+)",', text))
    _, _, arms = text.partition("match (operation, errno) {")
    arms, _, _ = arms.partition("_ => errno.desc()")
    found = re.findall(r'\(\s*([\w |]+),\s+Errno::(\w+),?\s*\) => \{?\s*"([^"]*)"', arms)
    assert len(found) == arms.count("=>")
    return {
        (calls.get(call, "any"), name): re.sub(r"\\\n\s*", "", text)
        for of_calls, name, text in found
        for call in of_calls.split(" | ")
    }


def test_reasons(package):
    """Errors say what those of the Rust crate say."""
    error = package._error
    found = {(call, errno.errorcode[it]): text for (call, it), text in error._BY_CALL.items()}
    found |= {("any", errno.errorcode[it]): text for it, text in error.ANY.items()}
    # Names that are one number.
    same = {"EDEADLOCK": "EDEADLK", "EOPNOTSUPP": "ENOTSUP", "EWOULDBLOCK": "EAGAIN"}
    crate = {(call, same.get(it, it)): text for (call, it), text in crate_reasons().items()}
    assert {(call, same.get(it, it)): text for (call, it), text in found.items()} == crate


def test_types():
    must([sys.executable, "-m", "mypy", "--cache-dir=/dev/null"], cwd=FOLDER)


def test_wheel(tmp_path):
    """It is built, twine finds nothing, it holds the package and no more, and can be installed."""
    source = tmp_path / "source"
    for path in tracked("lib/python/*"):
        target = source / path.relative_to(FOLDER)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    dist = tmp_path / "dist"
    must([sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, source])
    wheel, archive = sorted(dist.iterdir())
    assert wheel.name.endswith("-py3-none-any.whl")
    must([sys.executable, "-m", "twine", "check", "--strict", archive, wheel])
    modules = {str(path.relative_to(FOLDER)) for path in tracked("lib/python/shmbuf/*")}
    assert "shmbuf/py.typed" in modules
    with zipfile.ZipFile(wheel) as it:
        assert {name for name in it.namelist() if ".dist-info/" not in name} == modules
    with tarfile.open(archive) as it:
        names = {name.partition("/")[2] for name in it.getnames()}
    assert names >= modules | {"README.md", "pyproject.toml", "tests/__main__.py"}
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--target"]
    must([*pip, tmp_path / "installed", wheel])
    program = "import shmbuf; print(shmbuf.Kind.PAGES, shmbuf.__file__)"
    out = must([sys.executable, "-c", program], PYTHONPATH=str(tmp_path / "installed"))
    assert out == f"pages {tmp_path}/installed/shmbuf/__init__.py\n"


# On a board.


@contextlib.contextmanager
def booted(name: str) -> Iterator[QemuBoard]:
    """A board with Python, the module and the tests' engine."""
    must([TOP / "tests/toolchain/build-python", name])
    machine = QemuBoard(name)
    folder = build_folder() / name
    replace(machine.qemu, f"-initrd {folder}/", f"-initrd {folder}/python/")
    # There is more to unpack than on the board as it is.
    shell = machine.target.get_driver("ShellDriver", activate=False)
    shell.login_timeout = LOGIN_TIMEOUT
    with machine:
        machine.check(f"insmod {machine.module} && insmod /lib/modules/engine.ko")
        yield machine


def readme_program() -> str:
    (program,) = re.findall(r"^```python\n(.*?)^```$", (TOP / "README.md").read_text(), re.M | re.S)
    return program


def recipe() -> tuple[str, list[str]]:
    """What is typed in the page's section, and what that prints."""
    _, _, text = PAGE.read_text().partition("\n## Python\n")
    section, _, _ = text.partition("\n## ")
    (lines,) = pages.indented(section)
    return lines[0].removeprefix("# "), lines[1:]


def test_on_board(board_name, subtests, request):
    """The package's own tests, none of which is left out, and the programs of the pages."""
    if request.config.getoption("env"):
        pytest.skip("Python is on emulated boards only")
    with booted(board_name) as machine:
        command = "cd /root/package && python3 -X dev -W error -m tests"
        cases = report.each(subtests, machine.stream(command, patience=600))
        assert machine.status == 0
        assert not [case.name for case in cases if case.result == "skip"]
        with subtests.test("README"):
            program = readme_program().replace("'", "'\\''")
            (said,) = machine.check(f"printf %s '{program}' >/tmp/it.py; python3 /tmp/it.py")
            assert re.fullmatch(r"b'hello' .+", said)
        with subtests.test("recipe"):
            typed, printed = recipe()
            assert machine.check(typed) == printed
        machine.check("cd /root && rmmod shmbuf engine")
        report.kernel(machine)
