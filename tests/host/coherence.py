# SPDX-License-Identifier: GPL-2.0
"""A board under the coherence checker, and what the checker found."""

import json
import os
import re
import struct
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import board as boards
import boardinfo
from labgrid.driver import QEMUDriver
from tools import TOP, build_folder


@dataclass(frozen=True)
class Finding:
    """One cause, however often it was met."""

    hazard: str
    shown: str
    label: str
    #: the function that runs into it, "" for a device
    function: str
    #: why, as in tools/coherence/model/src/reasons.rs
    reason: str
    count: int
    #: the sentence for people
    text: str
    #: all that the checker says about it
    told: dict = field(default_factory=dict)

    def places(self) -> Iterator[dict]:
        """Where code is that takes part."""
        for key in ("victim", "writer", "by-way-of"):
            if (place := self.told[key]) and "pc" in place:
                yield place


#: The boards that the checker can follow.
BOARDS = sorted(boardinfo.names(lambda it: it.checker))
#: Those of them that are there for everything, and not for a device alone.
FULL_BOARDS = [name for name in BOARDS if not boardinfo.of(name).there_for]
#: Those that are there for a device, and the only ones with their core.
ONLY_ONES = [
    name
    for name in BOARDS
    if boardinfo.of(name).core not in {boardinfo.of(it).core for it in FULL_BOARDS}
]


def following(board: str) -> boardinfo.Checker:
    """How the checker follows a board."""
    if found := boardinfo.of(board).checker:
        return found
    raise boards.BoardError(f"{board}: the coherence checker is for {', '.join(BOARDS)}")


def machine(board: str) -> list[str]:
    """The plugin's arguments for a board: the core, and the devices that it watches."""
    return [f"core={boardinfo.of(board).core}"] + [
        f"{device}={address:#x}"
        for device, addresses in following(board).devices.items()
        for address in addresses
    ]


def layout(folder: Path, scratch: Path) -> list[str]:
    """Where the kernel keeps what the checker wants to know: a section of the seeded module.

    Where that has not been built, the checker finds out by itself.
    """
    module = folder.parent / "seeded/faults.ko"
    if not module.exists():
        return []
    section = scratch / "layout"
    subprocess.run(
        ["llvm-objcopy-19", f"--dump-section=.coherence={section}", module, "/dev/null"], check=True
    )
    offsets = struct.unpack("<8I", section.read_bytes())
    return [f"layout={':'.join(map(str, offsets))}"]


def plugin(board: str, folder: Path, report: Path, track: str) -> str:
    """The plugin with all that it takes to name what it finds."""
    words = [
        str(build_folder() / "coherence/libcoherence.so"),
        f"report={report}",
        f"track={track}",
    ]
    words += machine(board)
    words += [
        f"symbols={os.environ['LG_KERNEL']}/System.map",
        f"vmlinux={os.environ['LG_KERNEL']}/vmlinux",
        *layout(folder, report.parent),
    ]
    words += code(folder)
    return ",".join(words)


#: Bytes of all names: Linux takes no argument of more than 128 KiB.
MOST_CODE = 100 << 10


def code(folder: Path) -> list[str]:
    """The modules and programs of a folder's initramfs, as arguments of the plugin.

    Where they are too many, without the kernel's own modules.
    """
    lines = (folder / "initramfs.list").read_text().splitlines()
    words = words_for(lines)
    if sum(map(len, words)) > MOST_CODE:
        own = re.compile(r"file /lib/modules/[^/]+/kernel/")
        words = words_for(line for line in lines if not own.match(line))
    return words


def words_for(lines: Iterable[str]) -> list[str]:
    """An argument for each line of an initramfs that is a module or a program."""
    words = []
    for line in lines:
        match line.split():
            case ["file", _, file, *_] if file.endswith(".ko"):
                words.append(f"module={file}")
            case ["file", place, file, *_] if re.match(r"/bin/(?!busybox|bench-init)", place):
                words.append(f"program={file}")
    return words


def prepare(qemu: QEMUDriver, board: str, folder: Path):
    """Make QEMU's arguments those of a machine that the plugin can follow, from a folder.

    With the first CPU only: QEMU 11.1 tells a plugin the wrong one when two share a thread.
    """
    qemu.boot_args += " norandmaps maxcpus=1"
    boards.replace(qemu, f"-initrd {folder.parent}/", f"-initrd {folder}/")
    follow(qemu, board)


def follow(qemu: QEMUDriver, board: str):
    """Leave out of QEMU's arguments what the plugin cannot follow."""
    if without := following(board).without:
        # It names what the environment has, as the board's labgrid.yaml does.
        boards.replace(qemu, os.path.expandvars(without), "")


class CheckedBoard(boards.QemuBoard):
    """An emulated board whose caches are modelled.

    What the checker found is known when the machine has been switched off. It tracks loads and
    stores from power-on ("boot") or from the first label on ("label"). The report, and the kernel's
    log, stay in the folder `results` if there is one.
    """

    # It runs several times slower.
    patience = 600.0

    def __init__(
        self,
        board: str,
        folder: str = "coherence",
        checker: bool = True,
        track: str = "boot",
        results: Path | None = None,
        dtb: str | None = None,
    ):
        super().__init__(board, dtb=dtb)
        folder = build_folder() / board / folder
        results = results or self.scratch
        self.log = results / "kernel.log"
        self.report = results / "report.json"
        prepare(self.qemu, board, folder)
        shell = self.target.get_driver("ShellDriver", activate=False)
        shell.login_timeout = self.patience
        # What else looks for faults looks on the board as it is, and costs half of the time here.
        self.qemu.boot_args += " kmemleak=off"
        # The model wants one order of all events.
        self.qemu.extra_args += " -accel tcg,thread=single"
        if checker:
            words = plugin(board, folder, self.report, track)
            # Whoever wants the results has them from the file.
            words += ",summary=off" if results != self.scratch else ""
            self.qemu.extra_args += f" -plugin {words}"

    def label(self, text: str):
        """Name what runs from now on."""
        self.check(f"label '{text}'")

    def cpu_seconds(self) -> float:
        """What the emulator has computed so far."""
        stat = Path(f"/proc/{self.emulator()}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def emulator(self) -> int:
        """The process of QEMU, found by its serial port's file."""
        for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = cmdline.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"qemu-system" in words[0] and f"file:{self.log}".encode() in words:
                return int(cmdline.parent.name)
        raise boards.BoardError("QEMU is not there")

    def finish(self) -> tuple[list[Finding], dict]:
        """Switch it off; what was found, and the totals."""
        try:
            self.qemu.off()
        except OSError as error:
            raise boards.BoardError("QEMU ended in another way: the checker says why") from error
        self.dead = "it was switched off"
        findings, totals = read(self.report)
        new, old = divided(findings)
        for finding, reason in old:
            print(f"{finding.text}\n    known: {reason}")
        return new, totals


class CountedBoard(boards.QemuBoard):
    """An emulated board with the plugin that counts between marks."""

    patience = 600.0

    def __init__(self, board: str):
        super().__init__(board, boot_args="norandmaps maxcpus=1 kmemleak=off")
        follow(self.qemu, board)
        shell = self.target.get_driver("ShellDriver", activate=False)
        shell.login_timeout = self.patience
        self.counts = self.scratch / "counts.jsonl"
        plugin = build_folder() / "coherence/libcoherence.so"
        core = [word for word in machine(board) if word.startswith(("core=", "pl310="))]
        words = ",".join([str(plugin), f"count={self.counts}", *core])
        self.qemu.extra_args += f" -accel tcg,thread=single -plugin {words}"

    def rounds(self) -> list[dict]:
        """What has been counted since they were last asked for, by the marks' names."""
        lines = self.counts.read_text().splitlines()[self.seen :]
        self.seen += len(lines)
        return [json.loads(line) for line in lines]

    seen = 0


def read(report: Path) -> tuple[list[Finding], dict]:
    """What was found, and the totals."""
    text = report.read_text() if report.exists() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    if not lines or "totals" not in lines[-1]:
        raise boards.BoardError("the coherence checker left no report")
    return [parse(line) for line in lines[:-1]], lines[-1]["totals"]


def parse(line: dict) -> Finding:
    function = line["victim"].get("function") or ""
    return Finding(
        line["hazard"],
        line["shown"],
        line["label"],
        function,
        line["reason"],
        line["count"],
        line["text"],
        line,
    )


@dataclass(frozen=True)
class Known:
    """An entry of tools/coherence/known."""

    hazard: str
    #: a function of the kernel, or one of those below
    where: str
    reason: str

    #: before a function and its driver, with a @ between
    MAPPED_BY = "mapped-by="
    #: written last by kernel code without a name, which ran while the MMU was off
    UNTRANSLATED = "written-by=untranslated"

    def fits(self, finding: Finding) -> bool:
        if self.hazard != finding.hazard:
            return False
        if self.where == self.UNTRANSLATED:
            writer = finding.told.get("writer") or {}
            return writer.get("unit") == "" and not writer.get("function")
        if not self.where.startswith(self.MAPPED_BY):
            return self.where == finding.function
        function, _, driver = self.where.removeprefix(self.MAPPED_BY).partition("@")
        mapped = ((finding.told.get("lent") or {}).get("mapped") or {}).get("by")
        if not mapped or mapped["unit"] not in ("", driver):
            return False
        inlined = (line["function"] for line in mapped["source"])
        return function in (mapped["function"], *inlined)


def known() -> list[Known]:
    lines = (TOP / "tools/coherence/known").read_text().splitlines()
    return [Known(*line.split(" ", 2)) for line in lines if not line.startswith("#")]


def divided(findings: Iterable[Finding]) -> tuple[list[Finding], list[tuple[Finding, str]]]:
    """Those that are new, and those that are known, each with its reason."""
    entries = known()
    new, old = [], []
    for finding in findings:
        if entry := next((it for it in entries if it.fits(finding)), None):
            old.append((finding, entry.reason))
        else:
            new.append(finding)
    return new, old


def labelled(findings: Iterable[Finding], label: str) -> list[Finding]:
    return [f for f in findings if f.label == label]


def build_plugin():
    """The checker itself."""
    subprocess.run([TOP / "tests/toolchain/build-plugin"], check=True)


def build(board: str):
    """All that a run under the checker needs."""
    built = subprocess.run([TOP / "tests/toolchain/build-coherence", board], check=False)
    if built.returncode:
        raise boards.BoardError(f"{board}: what a run under the checker needs does not build")
