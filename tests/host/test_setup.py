# SPDX-License-Identifier: GPL-2.0
"""The set-up's long steps: what fails stops, and says why in one sentence."""

import fcntl
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tools import TOP, must


def step(tmp_path, body: str, top: Path = TOP) -> tuple[int, str]:
    """Run a step that does `body` in a checkout; its status and what the user sees."""
    script = f"""
        set -euo pipefail
        . {top}/tests/toolchain/lib.sh
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


def test_checkouts_have_logs_of_their_own(tmp_path):
    logs = []
    for name in ("one", "other"):
        shutil.copytree(TOP / "tests/toolchain", tmp_path / name / "tests/toolchain")
        status, said = step(tmp_path, f"echo from {name}", tmp_path / name)
        assert status == 0
        logs.append(Path(re.search(r"log: (.*)\)", said)[1]))
    assert [log.read_text() for log in logs] == ["from one\n", "from other\n"]


def test_makes_do_not_meet(tmp_path):
    """The pipe of a make's jobs is on the tree's own root, which no other command in it sees."""
    makefile = tmp_path / "Makefile"
    makefile.write_text("all:\n\t+@echo '$(MAKEFLAGS)'\n")
    flags = must([TOP / "tests/toolchain/in-tree", "make", "-j2", "-f", makefile])
    pipe = Path(re.search(r"--jobserver-auth=fifo:(\S+)", flags)[1])
    assert pipe.parent.stat().st_dev == Path("/").stat().st_dev


def test_unknown_board():
    result = subprocess.run(
        [TOP / "tests/toolchain/setup", "toaster"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.startswith('shmbuf: there is no board "toaster"; there are: ')
    assert result.stderr.count("\n") == 1


def distclean(cache) -> tuple[int, str]:
    """What `make distclean` answers with a cache folder."""
    result = subprocess.run(
        [TOP / "tests/toolchain/distclean"],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "SHMBUF_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout


def filled(cache, *names: str) -> list[str]:
    """Makes folders with a file in each; locks are files. Returns what there is then."""
    for name in names:
        if name.endswith(".lock"):
            (cache / name).touch()
        else:
            (cache / name).mkdir(parents=True)
            (cache / name / "file").touch()
    return sorted(path.name for path in cache.iterdir())


#: What the set-up makes in a cache folder.
MADE = [
    "setup.lock",
    "kernel.lock",
    "tree-0123456789ab",
    "linux-0123456789ab",
    "kernel-q35-x86_64-0123456789ab",
    "build-01234567",
    "build-01234567-lean",
    "venv-0123456789ab",
    "log",
    "home",
    "cargo",
    "pycache",
]


def test_distclean_removes_what_the_set_up_made(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    filled(cache, *MADE)
    assert distclean(cache) == (0, "")
    assert not cache.exists()
    assert distclean(cache) == (0, "")


def test_distclean_follows_a_link(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    filled(cache, *MADE)
    (tmp_path / "link").symlink_to(cache)
    assert distclean(tmp_path / "link") == (0, "")
    assert not cache.exists()


def test_distclean_leaves_what_others_made(tmp_path):
    others = ["build-tools", "kernel", "tree", ".config"]
    filled(tmp_path, *MADE, *others)
    status, said = distclean(tmp_path)
    assert status == 0
    assert ".config build-tools kernel tree" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    assert all((tmp_path / name / "file").exists() for name in others)


def test_distclean_leaves_a_folder_that_no_set_up_made(tmp_path):
    before = filled(tmp_path, *[name for name in MADE if name != "setup.lock"])
    status, said = distclean(tmp_path)
    assert status == 1
    assert "nothing is removed" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("lock", ["setup.lock", "kernel.lock"])
def test_distclean_waits_for_no_set_up(tmp_path, lock):
    """A set-up that is running keeps its files."""
    before = filled(tmp_path, *MADE)
    with (tmp_path / lock).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        status, said = distclean(tmp_path)
    assert status == 1
    assert "a set-up is running" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("script", ["setup", "setup-tree", "setup-kernel"])
def test_set_up_takes_no_folder_of_others(tmp_path, script):
    before = filled(tmp_path, "photos", "home")
    result = subprocess.run(
        [TOP / "tests/toolchain" / script, "vexpress-a9"],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "SHMBUF_CACHE": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "set SHMBUF_CACHE to an empty folder" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == before
