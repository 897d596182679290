# SPDX-License-Identifier: GPL-2.0
"""What the boards' displays show from buffers of ours, pixel by pixel."""

import boardinfo
import picture
import pytest

BOARDS = boardinfo.names(lambda it: it.display)


@pytest.fixture(autouse=True)
def _emulated(request):
    if request.config.getoption("env"):
        pytest.skip("only an emulated board's screen can be read")


def test_picture(machine, subtests):
    """Either buffer is shown as it was drawn: at first, and after flips."""
    for kind in "coherent", "streaming":
        for frames in 1, 30, 31:
            with subtests.test(f"{kind}, {frames} frames"):
                machine.check(f"insmod {machine.module}")
                with picture.shown(machine, f"--kind {kind} --frames {frames}") as drawn:
                    compare(machine.screen(), drawn)
                # The display keeps no buffer, and so no module.
                machine.check("rmmod shmbuf")


def compare(seen: bytes, drawn: bytes):
    assert seen[:15] == drawn[:15], "another size"
    wrong = [at for at, (a, b) in enumerate(zip(seen, drawn, strict=True)) if a != b]
    assert not wrong, f"{len(wrong)} bytes differ, the first of them {wrong[0]}"


def test_frames_differ(machine):
    """A frame that was not shown would be seen."""
    machine.check(f"insmod {machine.module}")
    with picture.shown(machine, "--frames 2") as drawn:
        assert machine.screen() == drawn
        second = drawn
    with picture.shown(machine, "--frames 3") as drawn:
        assert machine.screen() == drawn != second
    machine.check("rmmod shmbuf")


def test_refusals(machine):
    """What cannot be shown, with a sentence."""
    machine.check(f"insmod {machine.module}")
    for arguments, sentence in (
        ("--kind scatter", "kind coherent or streaming"),
        ("--card /dev/null", "not a display"),
        ("--card /dev/nothing", "cannot be opened"),
        ("--buffer /dev/null", "not a shmbuf buffer"),
    ):
        out = machine.run(f"shmbuf-display --frames 1 {arguments}")
        assert out.status == 1, out.text
        assert sentence in out.lines[-1], out.text
    machine.check("rmmod shmbuf")
