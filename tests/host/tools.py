# SPDX-License-Identifier: GPL-2.0
"""What tests of the checkout itself need: its files, and commands that must succeed."""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]

#: Compilers to read the header with, 32 and 64 bits, C and C++. Some have no headers of their own
#: in the toolchain tree.
_OF_X86 = ["-isystem", "/usr/include/x86_64-linux-gnu"]
_OF_ARM = ["-isystem", "/usr/arm-linux-gnueabihf/include"]
COMPILERS = {
    "armhf c99": ["arm-linux-gnueabihf-gcc", "-std=c99"],
    "armel c99": ["arm-linux-gnueabi-gcc", "-march=armv5te", "-std=c99"],
    "arm64 c99 clang": ["clang-19", "--target=aarch64-linux-gnu", "-std=c99", *_OF_X86],
    "x86-64 c99": ["gcc", "-std=c99"],
    "x86-64 c11 clang": ["clang-19", "-std=c11"],
    "i386 c99 clang": ["clang-19", "--target=i386-linux-gnu", "-std=c99", *_OF_X86],
    "x86-64 c++11": ["clang-19", "-x", "c++", "-std=c++11"],
    "armhf c++17": [
        *("clang-19", "--target=arm-linux-gnueabihf", "-x", "c++", "-std=c++17"),
        *_OF_ARM,
    ],
}


def shell_names(script: str, *args: str) -> list[str]:
    """What a piece of shell prints that knows the names of the set-up's lib.sh."""
    command = f". {TOP}/tests/toolchain/lib.sh; {script}"
    return subprocess.run(
        ["bash", "-c", command, "sh", *args], check=True, capture_output=True, text=True
    ).stdout.splitlines()


def build_folder() -> Path:
    return Path(shell_names('echo "$build"')[0])


def tracked(*patterns: str) -> list[Path]:
    """The checkout's files, those too that are not committed yet."""
    out = subprocess.run(
        ["git", "-c", f"safe.directory={TOP}", "ls-files", "-co", "--exclude-standard", *patterns],
        cwd=TOP,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [TOP / name for name in sorted(set(out.splitlines())) if (TOP / name).is_file()]


def copy_of_checkout(folder: Path) -> Path:
    """Copies the checkout's files to a new folder, which is returned."""
    for path in tracked():
        target = folder / path.relative_to(TOP)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        target.chmod(path.stat().st_mode)
    return folder


def must(command: Iterable[str | Path], cwd: Path = TOP, **env: str) -> str:
    """Run a command; fail with all that it said when it fails."""
    command = [str(word) for word in command]
    result = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        timeout=1200,
    )
    if result.returncode:
        pytest.fail(f"{' '.join(command)}\n{result.stdout}", pytrace=False)
    return result.stdout
