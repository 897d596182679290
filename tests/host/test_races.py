# SPDX-License-Identifier: GPL-2.0
"""The guest's races, with delays at each lock and wait of the driver, and faults that they find.

The delays are those of src/sys/delays.c, a debug option. SHMBUF_SEED chooses others.
"""

import os
import random
import re
import subprocess
from pathlib import Path

import board as boards
import boardinfo
import ktap
import pytest
import report
from tools import TOP, build_folder

#: Races of two CPUs.
BOARDS = boardinfo.names(lambda it: it.has_several_cpus and not it.is_64bit and not it.there_for)

BREAKS = sorted((TOP / "tests/breaks/races").glob("*.patch"))

#: What of the guest's tests is a race, as the boards' drivers let it be run.
RACES = [
    "race_of_",
    "as_it_ends",
    "finds_its_result",
    "finds_the_result",
    "left_in_a_race",
    "do_not_starve",
    "do_not_wait_for_each_other",
]

ROUNDS = 1000

#: Seconds in which a race of so many rounds ends, with whatever else the host does.
PATIENCE = 1200

#: What locks, waits or wakes, by its name.
WAITS = r"lock|wait|wake|complete|schedule|synchronize|work|notifier|fence|resv"
#: What is named so and does not, and what is Rust: a condition variable's functions, which wait by
#: what is delayed, and wake after its mutex was let go of.
NO_WAIT = (
    r"^_R|init|alloc|debug|lockdep|assert|rcu_read|rcu_lock_map|preempt|lock_(acquire|release)"
    r"|unlocked|reset|resv_fini|reserve|fence_release|autoremove"
)


@pytest.fixture(scope="module", autouse=True)
def _built(request):
    if request.config.getoption("env"):
        pytest.skip("the module of a real board is given")
    for name in BOARDS:
        subprocess.run([TOP / "tests/toolchain/build-races", name], check=True)


@pytest.fixture
def delayed(board_name):
    """A board with the modules that have delays."""
    made = boards.QemuBoard(board_name)
    folder = build_folder() / board_name
    boards.replace(made.qemu, f"-initrd {folder}/", f"-initrd {folder}/races/")
    with made as it:
        yield it


def command(module: str, words: str, *options: str) -> str:
    """Run the guest's tests with a module whose delays depend on a seed."""
    seed = int(os.environ.get("SHMBUF_SEED", random.getrandbits(31)))
    print(f"SHMBUF_SEED={seed}")
    file = f"/lib/modules/{module}.ko --parameters delays_seed={seed}"
    return f"shmbuf-test run {words} --module {file} {' '.join(options)}"


def symbols(module: Path, which: str) -> set[str]:
    """Names in a module: those that it defines, or that it takes from the kernel."""
    nm = ["llvm-nm-19", "-j", which, module]
    return set(subprocess.run(nm, check=True, capture_output=True, text=True).stdout.split())


def test_every_lock_and_wait_is_delayed():
    """What the module takes from the kernel to lock, wait and wake, has delays around it."""
    folder = build_folder() / BOARDS[0]
    delayed = symbols(folder / "races/modules/delayed.ko", "--defined-only")
    wrapped = {it.removeprefix("__wrap_") for it in delayed if it.startswith("__wrap_")}
    taken = symbols(folder / "module/shmbuf.ko", "--undefined-only")
    waits = {it for it in taken if re.search(WAITS, it) and not re.search(NO_WAIT, it)}
    assert wrapped == waits


def test_races(delayed, subtests):
    """Each race, for as many rounds."""
    delayed.check("insmod /lib/modules/delayed.ko")
    passed = delayed.check("cat /sys/module/shmbuf/parameters/delays; rmmod shmbuf")
    assert int(passed[-1]) > 0
    races = command("delayed", " ".join(RACES), f"--rounds {ROUNDS}")
    lines = delayed.stream(races, PATIENCE)
    assert len(report.each(subtests, lines)) > len(RACES)
    assert delayed.status == 0, f"shmbuf-test ended with status {delayed.status}"
    report.kernel(delayed)


@pytest.mark.parametrize("patch", BREAKS, ids=lambda it: it.stem)
def test_finds(delayed, patch):
    """Each fault is found by a race, by what it says or by what becomes of the kernel."""
    test = re.search(r"^Finds: (.*)$", patch.read_text(), re.M)[1]
    try:
        cases = list(ktap.parse(delayed.stream(command(patch.stem, test))))
    except boards.BoardError as error:
        # Its log is there also when its shell is not.
        if delayed.reports() or "printed nothing for" in str(error):
            return
        raise
    assert cases, "no such test"
    failed = [case for case in cases if case.result == "not ok"]
    assert failed or delayed.reports(), f"{patch.stem} was not found"
