# SPDX-License-Identifier: GPL-2.0
"""What is known of each emulated board: its folder in tests/boards, and board.toml there."""

import functools
import inspect
import re
import tomllib
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from tools import TOP

FOLDER = TOP / "tests/boards"


class Wrong(Exception):
    """A board.toml does not say what it should."""


@dataclass(frozen=True)
class Checker:
    """How the coherence checker follows a board."""

    #: the devices that it watches, each with where registers of one begin
    devices: dict[str, list[int]]
    #: what of QEMU's arguments the board has to go without
    without: str = ""


@dataclass(frozen=True)
class BoardInfo:
    """A board's folder, and the fields of board.toml there."""

    folder: Path
    #: the processor's core, one of cores.CORES
    core: str
    #: whether it has a display that the samples can draw on
    display: bool = False
    #: the device that it is there for, as a part of the names of the guest's tests, if it has the
    #: core and kernel of another board; "" if it is there for all tests
    there_for: str = ""
    #: so much memory that the kernel has no highmem, where it has some with the usual size
    without_highmem: str = ""
    #: None where the checker cannot follow the board
    checker: Checker | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def is_64bit(self) -> bool:
        """Whether the kernel is one of 64 bits, which runs 32-bit programs too."""
        config = (self.folder / "kernel.config").read_text()
        return bool(re.search(r"^CONFIG_(ARM64|X86_64)=y$", config, re.M))

    @property
    def has_several_cpus(self) -> bool:
        """Whether it has more than one CPU."""
        return bool(re.search(r" -smp [2-9]", (self.folder / "labgrid.yaml").read_text()))

    @property
    def has_named_buffers(self) -> bool:
        """Whether there is a device tree with named buffers."""
        return (self.folder / "buffers.dts").exists()


def names(wanted: Callable[[BoardInfo], object] = lambda _: True) -> list[str]:
    """The boards that are wanted, the quickest to build first."""
    found = sorted((path.parent.name for path in FOLDER.glob("*/kernel.config")), reverse=True)
    return [name for name in found if wanted(of(name))]


@functools.cache
def of(name: str) -> BoardInfo:
    """The board with this name."""
    return read(FOLDER / name)


def read(folder: Path) -> BoardInfo:
    """What a board's folder says."""
    file = folder / "board.toml"
    try:
        table = tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Wrong(f"{file}: {error}") from error
    if isinstance(table.get("checker"), dict):
        table["checker"] = checked(Checker, table["checker"], f"{file}: [checker]")
    return checked(BoardInfo, table, str(file), folder=folder)


def checked[T](kind: type[T], table: dict[str, Any], where: str, **known: object) -> T:
    """An object with what is known, and the fields of a table, which are looked at."""
    types = {name: it for name, it in get_type_hints(kind).items() if name not in known}
    needed = {field.name for field in fields(kind) if field.default is MISSING} - known.keys()
    for name in sorted(table.keys() - types.keys()):
        raise Wrong(f"{where}: there is no field {name!r}, but {', '.join(types)}")
    for name in sorted(needed - table.keys()):
        raise Wrong(f"{where}: the field {name!r} is missing")
    for name, value in table.items():
        if not fits(value, types[name]):
            wanted = inspect.formatannotation(types[name])
            raise Wrong(f"{where}: the field {name!r} is {value!r}, which is no {wanted}")
    return kind(**known, **table)


def fits(value: object, kind: Any) -> bool:
    """Whether a value has a type, as annotations say it."""
    origin, of_what = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return any(fits(value, it) for it in of_what)
    if origin is dict:
        return isinstance(value, dict) and all(fits(it, of_what[1]) for it in value.values())
    if origin is list:
        return isinstance(value, list) and all(fits(it, of_what[0]) for it in value)
    # True is an int too.
    return type(value) is kind
