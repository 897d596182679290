# SPDX-License-Identifier: GPL-2.0
"""What displays show by the camera sample: what the camera drew, and the stamp, pixel by pixel.

The camera is vivid, whose picture moves from frame to frame. Of the frame's number, which is in the
stamp too, all of it can be computed.
"""

import contextlib
import itertools
import re
import time
from collections.abc import Iterator

import boardinfo
import coherence
import picture
import pytest
from board import QemuBoard
from coherence import CheckedBoard
from tools import shell_names


def has_camera(name: str) -> bool:
    return bool(shell_names('kernel_config "$1" | grep -x CONFIG_VIDEO_VIVID=y || true', name))


BOARDS = boardinfo.names(lambda it: it.display and has_camera(it.name))

#: The driver of the first camera fills buffers with the CPU; that of the second maps them as one
#: does whose camera does DMA, and then fills them with the CPU all the same.
CAMERAS = {"the CPU": "vivid-000-vid-cap", "DMA": "vivid-001-vid-cap"}
BOOT_ARGS = "vivid.n_devs=2 vivid.allocators=0,1"

WIDTH, HEIGHT = 640, 480
#: Of squares, without text, that go 8 pixels to the left and one up from frame to frame.
DRAWS = {"Test Pattern": 4, "OSD Text Mode": 2, "Horizontal Movement": 0, "Vertical Movement": 2}
CONTROLS = " ".join(f'--control "{name}={value}"' for name, value in DRAWS.items())
LEFT, UP = 8, 1

WHITE, BLACK = b"\xff\xff\xff", b"\0\0\0"
#: From white to black, as in test cards of television.
COLORS = [bytes(255 * (index >> bit & 1 ^ 1) for bit in (1, 2, 0)) for index in range(8)]


@pytest.fixture(autouse=True)
def _emulated(request):
    if request.config.getoption("env"):
        pytest.skip("only an emulated board's screen can be read")


def drawn(number: int, stamped: bool = True) -> bytes:
    """A frame by its number, as a PPM file."""
    # The lines of squares; each begins with the next color.
    squares = [
        b"".join(COLORS[(row + (x + LEFT * number) % WIDTH * 8 // WIDTH) % 8] for x in range(WIDTH))
        for row in range(8)
    ]
    lines = [squares[(y + UP * number) % HEIGHT * 8 // HEIGHT] for y in range(HEIGHT)]
    if stamped:
        bits = (number >> bit & 1 for bit in reversed(range(16)))
        stamp = b"".join((WHITE if bit else BLACK) * 16 for bit in bits)
        for y in range(16, 32):
            line = lines[y]
            lines[y] = line[: 16 * 3] + stamp + line[16 * 3 + len(stamp) :]
    return f"P6\n{WIDTH} {HEIGHT}\n255\n".encode() + b"".join(lines)


def test_colors():
    white, yellow, cyan, green, magenta, red, blue, black = COLORS
    assert (white, black) == (WHITE, BLACK)
    assert [yellow, cyan, magenta] == [b"\xff\xff\0", b"\0\xff\xff", b"\xff\0\xff"]
    assert [red, green, blue] == [b"\xff\0\0", b"\0\xff\0", b"\0\0\xff"]


def differing(seen: bytes, number: int) -> str:
    """How the screen differs from a frame; "" if it does not."""
    wanted = drawn(number)
    if seen[:15] != wanted[:15]:
        return "another size"
    wrong = [at for at, (a, b) in enumerate(zip(seen, wanted, strict=True)) if a != b]
    return f"{len(wrong)} bytes differ, the first of them {wrong[0]}" if wrong else ""


def node(machine: QemuBoard, name: str) -> str:
    """The device of a camera."""
    [path] = machine.check(f"grep -lx {name} /sys/class/video4linux/*/name")
    return f"/dev/{path.split('/')[-2]}"


def command(arguments: str) -> str:
    return f"shmbuf-camera {CONTROLS} {arguments}"


@contextlib.contextmanager
def shown(machine: QemuBoard, arguments: str) -> Iterator[tuple[int, str]]:
    """While the last frame is shown: its number, and what the program has said."""
    with picture.held(machine, command(f"--hold {arguments}")):
        said = "\n".join(machine.check(f"cat {picture.LOG}"))
        yield int(re.search(r"the last of them number (\d+)$", said, re.M)[1]), said


@pytest.fixture
def loaded(machine):
    """With the module, which neither camera nor display keep."""
    machine.check(f"insmod {machine.module}")
    yield machine
    machine.check("rmmod shmbuf")


def test_frames(loaded, subtests):
    """Each way to fill a frame; the first frame, and one that comes after each buffer was used."""
    ways = itertools.product(["streaming", "coherent"], CAMERAS, [1, 8])
    for kind, filled_by, frames in ways:
        camera = node(loaded, CAMERAS[filled_by])
        with (
            subtests.test(f"{kind}, by {filled_by}, {frames} frames"),
            shown(loaded, f"--camera {camera} --kind {kind} --frames {frames}") as (number, said),
        ):
            assert number >= frames - 1
            if kind == "streaming":
                assert f"camera:  fills them by {filled_by}\n" in said
            assert differing(loaded.screen(), number) == ""
            # The camera goes on with the other buffers.
            time.sleep(1)
            assert differing(loaded.screen(), number) == ""


def test_more_than_a_frame(loaded):
    """For a camera or a display that wants a page more, or lines that are further apart."""
    with shown(loaded, "--frames 2 --more 1") as (number, said):
        assert f"of {WIDTH * HEIGHT * 4 + 4096} bytes, 4096 of them behind the frame" in said
        assert differing(loaded.screen(), number) == ""
    pitch = WIDTH * 4 + 256
    if loaded.info.is_64bit:
        with shown(loaded, f"--frames 2 --pitch {pitch}") as (number, said):
            assert f"of {pitch * HEIGHT} bytes, 0 of them" in said
            assert differing(loaded.screen(), number) == ""
    else:
        # A PL111 has no register for that.
        refused(loaded, f"--pitch {pitch}", "the display refuses the mode, or the frame")


def test_goes_red(loaded):
    """Other frames, a frame without its stamp, and one that is torn would be seen."""
    with shown(loaded, "--frames 2") as (number, _):
        seen = loaded.screen()
    assert differing(seen, number) == ""
    for other in number - 1, number + 1, number ^ 1 << 15:
        assert differing(seen, other)
    bare, half = drawn(number, stamped=False), len(seen) // 2
    assert differing(bare, number)
    for torn in seen[:half] + drawn(number + 1)[half:], drawn(number - 1)[:half] + seen[half:]:
        assert differing(torn, number)


def test_forgotten_turn(loaded):
    """The camera draws over what is shown, where the display reads the buffer itself."""
    if loaded.info.is_64bit:
        pytest.skip("its display's driver copies each frame to memory of its own")
    with shown(loaded, "--frames 2 --forget turn") as (number, _):
        for _ in range(20):
            if differing(loaded.screen(), number):
                return
            time.sleep(0.5)
        pytest.fail("nothing is seen of it")


def test_forgotten_start(loaded, subtests):
    """The mapping is strict, so the stamp of what devices own is a SIGBUS."""
    for filled_by, name in CAMERAS.items():
        with subtests.test(filled_by):
            out = loaded.run(command(f"--camera {node(loaded, name)} --frames 8 --forget start"))
            assert loaded.check(f"kill -l {out.status - 128}") == ["BUS"], out.text


def refused(machine: QemuBoard, arguments: str, sentence: str, around: str = "{}"):
    out = machine.run(around.format(f"{command(arguments)} --frames 1 2>&1"))
    assert out.status == 1, out.text
    assert sentence in out.lines[-1], out.text


def test_refusals(loaded):
    """What cannot be shown, with a sentence."""
    for arguments, sentence in (
        ("--camera /dev/nothing", "cannot be opened"),
        ("--camera /dev/null", "not a camera"),
        (f"--camera {node(loaded, 'vivid-000-vid-out')}", "not a camera"),
        ("--card /dev/null", "not a display"),
        ("--buffer /dev/null", "not a shmbuf buffer"),
        ("--kind scatter", "kind coherent or streaming"),
        ("--size 800x600", "the camera takes 640x480, and the display shows 800x600"),
        ("--control Nothing=1", 'the camera has no control "Nothing"'),
        ('--control "Test Pattern=1000"', 'the camera\'s "Test Pattern" cannot be 1000'),
    ):
        refused(loaded, arguments, sentence)
    hidden = "mount -t tmpfs none {0}; {{}}; status=$?; umount {0}; (exit $status)"
    refused(loaded, "", "there is no camera", hidden.format("/dev"))
    refused(loaded, "", "there is no display", hidden.format("/dev/dri"))
    camera = node(loaded, CAMERAS["DMA"])
    with shown(loaded, f"--frames 1 --camera {camera}"):
        refused(loaded, f"--camera {camera}", "the camera is in use")
        refused(loaded, "", "is another program the display's master?")


#: What is run under the coherence checker, with what it must find.
CHECKED = {
    "streaming": ("--kind streaming", ""),
    "coherent": ("--kind coherent", ""),
    "without END": ("--kind streaming --forget end", "stale-read"),
}


def test_checked(board_name, subtests):
    """The stamp and the frame have left the caches when the display reads them."""
    if not boardinfo.of(board_name).checker:
        pytest.skip("the coherence checker does not follow its processor")
    coherence.build(board_name)
    with CheckedBoard(board_name, track="label") as machine:
        machine.check(f"insmod {machine.module}")
        for name, (arguments, _) in CHECKED.items():
            machine.label(name)
            machine.check(command(f"--frames 4 {arguments}"))
        machine.label("")
        machine.check("rmmod shmbuf")
        assert machine.reports() == []
        findings, totals = machine.finish()
    assert (totals["forgotten"], totals["unlisted"]) == (0, 0)
    for name, (_, hazard) in CHECKED.items():
        with subtests.test(name):
            found = {it.hazard: it.text for it in coherence.labelled(findings, name)}
            assert hazard in found if hazard else not found, found
