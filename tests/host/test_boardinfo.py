# SPDX-License-Identifier: GPL-2.0
"""Each board's folder says what it must, and a wrong word there is named."""

import re

import boardinfo
import cores
import pytest
from boardinfo import BoardInfo, Checker
from tools import TOP, shell_names


@pytest.mark.parametrize("board", boardinfo.names())
def test_boards(board):
    """The fields are read, and the core is one that the audit has a table of."""
    assert boardinfo.of(board).core in cores.CORES


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "kernel.config").write_text("CONFIG_SMP=y\n")
    return tmp_path


def read(folder, text: str) -> BoardInfo:
    (folder / "board.toml").write_text(text)
    return boardinfo.read(folder)


def test_all_fields(folder):
    text = """
        core = "arm926"
        display = true
        there_for = "copy"
        without_highmem = "512M"
        [checker]
        without = "-plugin it.so"
        [checker.devices]
        pl110 = [0x1000, 0x2000]
    """
    checker = Checker({"pl110": [0x1000, 0x2000]}, "-plugin it.so")
    expected = BoardInfo(folder, "arm926", True, "copy", "512M", checker)
    assert read(folder, text) == expected


def test_few_fields(folder):
    info = read(folder, 'core = "arm926"')
    assert info == BoardInfo(folder, "arm926")
    assert (info.name, info.is_64bit, info.has_named_buffers) == (folder.name, False, False)
    (folder / "kernel.config").write_text("CONFIG_ARM64=y\n")
    (folder / "buffers.dts").touch()
    assert (info.is_64bit, info.has_named_buffers) == (True, True)


CORE = 'core = "arm926"\n'


#: Files that are refused: what is wrong, the text, and what is said of it.
WRONG = {
    "no core": ("", ": the field 'core' is missing"),
    "not TOML": ("core =", ": Invalid value (at end of document)"),
    "another field": (CORE + "folder = 'x'", ": there is no field 'folder', but core, display, "),
    "a slip": (CORE + "dispaly = true", ": there is no field 'dispaly', but core, display, "),
    "a number": ("core = 926", ": the field 'core' is 926, which is no str"),
    "no bool": (CORE + "display = 1", ": the field 'display' is 1, which is no bool"),
    "no table": (CORE + "checker = 1", ": the field 'checker' is 1, which is no "),
    "half a table": (CORE + "[checker]", ": [checker]: the field 'devices' is missing"),
    "another in a table": (
        CORE + "[checker]\ndevice = 1",
        ": [checker]: there is no field 'device', but devices, without",
    ),
    "one address": (
        CORE + "[checker.devices]\npl080 = 0x1000",
        ": [checker]: the field 'devices' is {'pl080': 4096}, which is no dict[str, list[int]]",
    ),
    "no address": (
        CORE + "[checker.devices]\npl080 = [true]",
        ": [checker]: the field 'devices' is {'pl080': [True]}, which is no dict[",
    ),
}


@pytest.mark.parametrize(("text", "sentence"), WRONG.values(), ids=WRONG)
def test_wrong_fields(folder, text, sentence):
    with pytest.raises(boardinfo.Wrong) as said:
        read(folder, text)
    assert str(said.value).startswith(f"{folder}/board.toml{sentence}")


def test_no_file(folder):
    with pytest.raises(boardinfo.Wrong, match=r"board\.toml: .* No such file"):
        boardinfo.read(folder)


def test_demo_kernel():
    """The demo's kernels go without what another kernel has, and keep all else."""
    less = (TOP / "tests/boards/demo.config").read_text()
    own = set((TOP / "tests/boards/bench.config").read_text().splitlines())
    without = {f"{name}=y" for name in re.findall("^# (CONFIG_.*) is not set$", less, re.M)}
    missing = set(without)
    for board in boardinfo.names():
        bench, demo = (
            set(shell_names(f'SHMBUF_KERNEL={kernel} kernel_config "$1"', board))
            for kernel in ("bench", "demo")
        )
        more = {line for line in bench - demo - own if line.startswith("CONFIG_")}
        assert more == bench & without
        missing -= bench
    assert missing == set()
