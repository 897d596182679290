# SPDX-License-Identifier: GPL-2.0
"""Documentation/recipes.md: the page, and the programs of samples/recipes on the boards."""

import base64
import contextlib
import hashlib
import re
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import boardinfo
import coherence
import cores
import pages
import picture
import pytest
from board import QemuBoard, replace
from coherence import CheckedBoard
from tools import TOP, build_folder, must, shell_names, tracked

FOLDER = TOP / "samples/recipes"
PAGE = TOP / "Documentation/recipes.md"

#: Boards of their own core and kernel: those that the coherence checker follows, and one of 64 bits
#: whose kernel has a camera.
BOARDS = [*coherence.FULL_BOARDS, *boardinfo.names(lambda it: it.core == "cortex-a53")]


@pytest.fixture(autouse=True)
def _emulated(request):
    if request.config.getoption("env"):
        pytest.skip("the devices of the recipes are those of emulated boards")


@dataclass
class Section:
    """A section of the page."""

    title: str
    text: str
    #: names of the files that it links
    files: list[str] = field(init=False)
    #: pieces of the programs
    pieces: list[str] = field(init=False)

    def __post_init__(self):
        self.files = re.findall(r"\(\.\./samples/recipes/(\S+?)\)", self.text)
        self.pieces = re.findall(r"^```(?:c|python)\n(.*?)^```$", self.text, re.M | re.S)

    def blocks(self) -> list[str]:
        """Its indented blocks."""
        return ["\n".join([*lines, ""]) for lines in pages.indented(self.text)]

    def commands(self) -> list[tuple[str, list[str]]]:
        """What is typed on the board, each with what it prints."""
        found = []
        for line in "".join(self.blocks()).splitlines():
            if line.startswith("# "):
                found.append((line[2:], []))
            elif found:
                found[-1][1].append(line)
        return found


def sections() -> dict[str, Section]:
    _, *parts = re.split(r"^## ", PAGE.read_text(), flags=re.M)
    return {title: Section(title, text) for title, _, text in (it.partition("\n") for it in parts)}


def test_page_shows_the_programs():
    """Each piece is in a file that its section links, and each file is on the page."""
    linked = set()
    for section in sections().values():
        linked |= set(section.files)
        texts = [(FOLDER / name).read_text() for name in section.files]
        for piece in section.pieces:
            assert any(piece in text for text in texts), f"{section.title}: not there:\n{piece}"
        for name, text in zip(section.files, texts, strict=True):
            shown = any(piece in text for piece in section.pieces)
            assert shown or not name.endswith((".c", ".py")), f"{section.title}: nothing of {name}"
    assert linked == {path.name for path in tracked("samples/recipes/*")}


def test_page_compiles_the_programs():
    """By the commands of the page."""
    compile_, shell = sections()["Compile and run them"].blocks()
    must(["bash", "-c", f"set -e; {compile_}"])
    names = [path.stem for path in tracked("samples/recipes/*.c")]
    assert sorted(re.search(r"for name in (.*);", compile_)[1].split()) == names
    made = subprocess.run(
        ["bash", "-c", re.search(r'PROGRAMS="\$\((.*)\)"', shell)[1]],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert sorted(made) == [f"/tmp/recipes/{name}" for name in names]


@contextlib.contextmanager
def booted(name: str) -> Iterator[QemuBoard]:
    """A board with the recipes, under the coherence checker if that can follow it."""
    if boardinfo.of(name).checker:
        coherence.build(name)
    must([TOP / "tests/toolchain/build-recipes", name])
    if boardinfo.of(name).checker:
        machine = CheckedBoard(name, folder="recipes", track="label")
    else:
        # vivid maps dma-bufs for DMA.
        machine = QemuBoard(name, boot_args="vivid.allocators=1")
        folder = build_folder() / name
        replace(machine.qemu, f"-initrd {folder}/", f"-initrd {folder}/recipes/")
    with machine:
        yield machine


@dataclass(frozen=True)
class Claim:
    """What must be so on a board."""

    name: str
    body: Callable[[QemuBoard], None]
    #: what the checker must find meanwhile; "" if it must find nothing
    hazard: str = ""


def page(title: str) -> Claim:
    """The commands of a section print what the page says."""

    def typed(machine: QemuBoard):
        try:
            for command, printed in sections()[title].commands():
                prints(machine, command, *printed)
        finally:
            machine.check("rmmod shmbuf")

    return Claim(title, typed)


def loaded(name: str, body: Callable[[QemuBoard], None], parameters: str = "", hazard: str = ""):
    """What must be so with the module loaded."""

    def with_module(machine: QemuBoard):
        machine.check(f"insmod {machine.module} {parameters}")
        try:
            body(machine)
        finally:
            machine.check("rmmod shmbuf")

    return Claim(name, with_module, hazard)


def prints(machine: QemuBoard, command: str, *lines: str, status: int = 0):
    out = machine.run(f"{{ {command}; }} 2>&1")
    assert (out.status, out.lines) == (status, list(lines)), f"{command}: {out}"


# The camera.

WIDTH, HEIGHT, FRAMES = 320, 180, 10
LINE = WIDTH * 2


def bars(machine: QemuBoard):
    """Each frame has the color bars of vivid in its last line, from white to black."""
    machine.check(f"camera /dev/video1 {WIDTH} {HEIGHT} {FRAMES} >/tmp/frames")
    for frame in range(1, FRAMES + 1):
        command = f"head -c {frame * HEIGHT * LINE} /tmp/frames | tail -c {LINE} | base64"
        line = base64.b64decode("".join(machine.check(command)))
        luma = [line[(2 * bar + 1) * WIDTH // 16 * 2] for bar in range(8)]
        assert luma == sorted(set(luma), reverse=True), f"frame {frame}: {luma}"


def camera_without_start(machine: QemuBoard):
    """The mapping is strict: write(2) from it fails."""
    command = f"FORGET=START forgetful-camera /dev/video1 {WIDTH} {HEIGHT} 1 >/tmp/frames"
    said = f"forgetful-camera: {WIDTH}x{HEIGHT}, {HEIGHT * LINE} bytes"
    prints(machine, command, said, "forgetful-camera: standard output: Bad address", status=1)


def other_video(machine: QemuBoard):
    """vim2m is no camera."""
    prints(machine, "camera /dev/video0 320 180 1", "camera: this is no camera", status=1)


CAMERA = [
    page("A camera"),
    loaded("camera_brings_frames", bars),
    loaded("camera_without_start", camera_without_start),
    loaded("camera_is_none", other_video),
]

# The display.


def drawn(frames: int, width: int, height: int) -> bytes:
    """What the recipe draws last, as a PPM file."""
    grey = bytes((i + 16 * (frames - 1)) & 0xFF for i in range(width + height))
    lines = (bytes(it for it in grey[y : y + width] for _ in range(3)) for y in range(height))
    return f"P6\n{width} {height}\n255\n".encode() + b"".join(lines)


def card() -> str:
    """The display's device, as the page has it."""
    return re.search(r"/dev/dri/card\d", PAGE.read_text())[0]


def shows(arguments: str) -> Callable[[QemuBoard], None]:
    def body(machine: QemuBoard):
        with picture.held(machine, f"display {card()} 3 {arguments}"):
            seen = machine.screen()
        width, height = map(int, seen.split(maxsplit=3)[1:3])
        assert seen == drawn(3, width, height), "another picture"

    return body


def display_without_end(machine: QemuBoard):
    machine.check(f"FORGET=END forgetful-display {card()} 3 streaming </dev/null")


DISPLAY = [
    loaded("display_shows_coherent", shows("")),
    loaded("display_shows_streaming", shows("streaming")),
    loaded("display_without_end", display_without_end, hazard="stale-read"),
]

# The FPGA.

DEVICE = "$(dirname $(grep -l 0x11e8 /sys/bus/pci/devices/*/device))"
#: Parameters of the module, of buffers that suit the recipes. The page has two others.
FOR_FPGA = ("kind=pages", "kind=pages cache=writecombine")


def to_fpga_and_back(machine: QemuBoard):
    """What one program gives to the device, another gets from it."""
    machine.check("head -c 4096 /dev/urandom >/tmp/in")
    machine.check(f"fpga-reads /dev/shmbuf {DEVICE} </tmp/in")
    machine.check("head -c 4096 /dev/zero | shmbuf write")
    machine.check(f"fpga-writes /dev/shmbuf {DEVICE} 4096 >/tmp/out")
    sent, got = machine.check("md5sum </tmp/in; md5sum </tmp/out")
    assert sent == got
    # Nothing is left that could do DMA.
    command = machine.check(f"od -An -tx1 -j4 -N1 {DEVICE}/config")[0].split()
    assert int(command[0], 16) & 4 == 0


def fpga_without(phase: str, program: str) -> Callable[[QemuBoard], None]:
    def body(machine: QemuBoard):
        machine.check(f"echo it | FORGET={phase} forgetful-{program} >/tmp/out")

    return body


def fpga_without_start(machine: QemuBoard):
    """The mapping is strict."""
    machine.run(f"FORGET=START forgetful-fpga-writes /dev/shmbuf {DEVICE} 23 >/tmp/out")
    assert machine.check(f"kill -l {machine.status - 128}") == ["BUS"]


READS, WRITES = f"fpga-reads /dev/shmbuf {DEVICE}", f"fpga-writes /dev/shmbuf {DEVICE} 23"
FPGA = [
    page("An FPGA without a driver that reads"),
    page("An FPGA without a driver that writes"),
    *(loaded(f"fpga_with {kind}", to_fpga_and_back, kind) for kind in FOR_FPGA),
    loaded("fpga_reads_with_sync", fpga_without("nothing", READS)),
    loaded("fpga_reads_without_end", fpga_without("END", READS), hazard="stale-read"),
    loaded("fpga_writes_with_sync", fpga_without("nothing", WRITES)),
    loaded("fpga_writes_without_start", fpga_without_start, "kind=streaming mapping=strict"),
]

# Two processes.


def sender_dies(machine: QemuBoard):
    machine.check("sender /tmp/socket 1000000 & receiver /tmp/socket >/tmp/log 2>&1 & true")
    mapped = "grep -q shmbuf /proc/$(pidof receiver)/maps"
    machine.check(f"for i in $(seq 60); do sleep 1; {mapped} && break; done; {mapped}")
    machine.check("kill -9 $(pidof sender); wait")
    prints(machine, "cat /tmp/log", "receiver: the sender is gone")


PROCESSES = [
    page("Two processes, a buffer over a socket"),
    loaded("receiver_survives_the_sender", sender_dies),
]

# The disk.

WORDS = (256 << 10) // 4


def reaches_the_disk(machine: QemuBoard):
    machine.check("head -c 262144 /dev/zero >/dev/ram0 && disk /dev/ram0")
    wanted = hashlib.md5(struct.pack(f"<{WORDS}I", *range(WORDS)), usedforsecurity=False)
    assert machine.check("head -c 262144 /dev/ram0 | md5sum")[0].split()[0] == wanted.hexdigest()


DISK = [page("A disk, without copies"), loaded("disk_has_the_data", reaches_the_disk)]
VIVT_DISK = [
    loaded(
        "disk_refused",
        lambda machine: prints(
            machine,
            "disk /dev/ram0",
            "disk: ALLOC (dmesg has the reason): Operation not supported",
            status=1,
        ),
    )
]

# The ring.


def slow_ring(machine: QemuBoard):
    """By an engine that has not ended when the program comes."""
    machine.check("insmod /lib/modules/engine.ko delay_ms=20")
    prints(machine, "ring 20", "20 frames through 4 slots")


RING = [page("A ring of slots")]
SLOW_RING = [loaded("ring_waits", slow_ring)]


def claims(name: str) -> list[Claim]:
    """What can be tried on a board."""
    info = boardinfo.of(name)
    checker = info.checker
    refcounted = any(way == "refcounted" for _, way in cores.CORES[info.core].mappings)
    found = [*PROCESSES, *(DISK if refcounted else VIVT_DISK)]
    found += RING if checker and "pl080" in checker.devices else SLOW_RING
    if checker and shell_names('has_edu "$1" && echo yes || true', name):
        found += FPGA
    if info.display:
        found += [it for it in DISPLAY if checker or not it.hazard]
    if name == "vexpress-a9":
        found.append(page("A display"))
    if not checker:
        found += CAMERA
    return found


def test_recipes(board_name, subtests):
    """Each does on a board what the page says; forgotten SYNCs are found."""
    with booted(board_name) as machine:
        checked = isinstance(machine, CheckedBoard)
        done = []
        for claim in claims(board_name):
            with subtests.test(claim.name):
                if checked:
                    machine.label(claim.name)
                claim.body(machine)
                done.append(claim)
        if checked:
            machine.label("")
        assert machine.reports() == []
        findings, totals = machine.finish() if checked else ([], {"forgotten": 0, "unlisted": 0})
    assert (totals["forgotten"], totals["unlisted"]) == (0, 0)
    for claim in done if checked else []:
        with subtests.test(f"{claim.name}: the checker"):
            found = {it.hazard: it.text for it in coherence.labelled(findings, claim.name)}
            assert claim.hazard in found if claim.hazard else not found, found
