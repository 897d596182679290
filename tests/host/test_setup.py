# SPDX-License-Identifier: GPL-2.0
"""The set-up's long steps: what fails stops, and says why in one sentence."""

import subprocess

import pytest
from tools import TOP


def step(tmp_path, body: str) -> tuple[int, str]:
    """Run a step that does `body`; its status and what the user sees."""
    script = f"""
        set -euo pipefail
        . {TOP}/tests/toolchain/lib.sh
        work() {{ {body}
        }}
        [ -e /nowhere ] || step "the work" "1 s" work
        echo finished
    """
    result = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout


def test_good(tmp_path):
    status, said = step(tmp_path, "echo hidden")
    assert status == 0
    assert "the work (usually 1 s" in said
    assert "hidden" not in said
    assert said.endswith("finished\n")


def test_failure_stops_the_step(tmp_path):
    status, said = step(tmp_path, f"echo reason; false; touch {tmp_path}/went-on")
    assert status == 1
    assert "reason" in said
    assert "finished" not in said
    assert not (tmp_path / "went-on").exists()


@pytest.mark.parametrize(
    ("cause", "sentence"),
    [
        ("Temporary failure resolving 'host'", "check the network"),
        ("E: Failed to fetch http://host/name.deb  404  Not Found", "does not have a package"),
        ("NewConnectionError: refused", "check the network"),
        ("write error: No space left on device", "ran out of disk space"),
    ],
)
def test_causes_are_one_sentence(tmp_path, cause, sentence):
    status, said = step(tmp_path, f'echo "{cause}"; return 1')
    assert status == 1
    assert len(said.splitlines()) == 2
    assert sentence in said.splitlines()[1]


def test_unknown_board():
    result = subprocess.run(
        [TOP / "tests/toolchain/setup", "toaster"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.startswith('shmbuf: there is no board "toaster"; there are: ')
    assert result.stderr.count("\n") == 1
