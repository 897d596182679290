# SPDX-License-Identifier: GPL-2.0
"""Boards for the tests, and a last line that counts everything."""

import os
import re
from pathlib import Path

import board as boards
import boardinfo
import pytest
import report
from _pytest.subtests import SubtestReport
from xdist.scheduler import LoadScopeScheduling


def pytest_addoption(parser):
    parser.addoption("--board", action="append", help="an emulated board; may be repeated")
    parser.addoption("--all-boards", action="store_true", help="those with 64 bits as well")
    parser.addoption("--env", help="labgrid environment file of a real board, over SSH")


def pytest_generate_tests(metafunc):
    """Tests that want a board run on each that was asked for, and that they are made for."""
    option = metafunc.config.getoption
    if option("board"):
        asked = usual = option("board")
    elif option("all_boards"):
        asked = usual = boardinfo.names()
    else:
        asked = boardinfo.names(lambda it: not it.is_64bit)
        usual = [name for name in asked if not boardinfo.of(name).there_for]
    names = [name for name in getattr(metafunc.module, "BOARDS", usual) if name in asked]
    if "board_name" in metafunc.fixturenames:
        metafunc.parametrize("board_name", names)
    if "machine" in metafunc.fixturenames:
        if env := option("env"):
            metafunc.parametrize("machine", [env], indirect=True, scope="module", ids=["board"])
            return
        metafunc.parametrize("machine", names, indirect=True, scope="module")


#: Files whose tests share no board: each boots one of its own.
BOOTING = ["test_coherence.py", "test_checker_cost.py"]


class SideBySide(LoadScopeScheduling):
    """Gives each worker a file, or a board's part of it: its tests share a booted board."""

    def _split_scope(self, nodeid):
        path, test = nodeid.split("::", 1)
        if Path(path).name in BOOTING:
            return nodeid
        board = re.search(r"\[([^]]*)\]$", test)
        return f"{path} {board[1]}" if board and board[1] in boardinfo.names() else path

    def _reschedule(self, node):
        # A worker has to know what comes next when it begins with the last test of what it has.
        # What it is given earlier waits there, while another worker may have nothing to do.
        if self._pending_of(self.assigned_work[node]) <= 1:
            super()._reschedule(node)


def pytest_xdist_make_scheduler(config, log):
    return SideBySide(config, log)


def pytest_xdist_auto_num_workers():
    """One more than there are CPUs, since a board that waits for something leaves its CPU idle."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture(scope="module")
def machine(request):
    """A freshly booted board. After its last test its kernel must have nothing against it."""
    if request.config.getoption("env"):
        made = boards.SshBoard(request.param)
    else:
        memory = getattr(request.module, "MEMORY", {}).get(request.param)
        dtb = getattr(request.module, "DTB", None)
        boot_args = getattr(request.module, "BOOT_ARGS", "")
        qemu_args = getattr(request.module, "QEMU_ARGS", "")
        made = boards.QemuBoard(request.param, memory, dtb, boot_args, qemu_args)
    with made as it:
        yield it


#: Fewer bytes of the guest's default buffer, and not the rounds that take the longest.
QUICK = f"--size {256 << 10} --skip 10000_rounds_ --skip 100_insmods_ --skip 100_rounds_among_users"


@pytest.fixture
def quick(request):
    """What the guest's tests leave out unless asked for all, or on a real board."""
    option = request.config.getoption
    return "" if option("all_boards") or option("env") else QUICK


def board_of(item):
    """Which board a test runs on, of those that its file boots; None for one without."""
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("machine") if callspec else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """Judge a board after its last test: its fixture may end only when the next board is set up."""
    machine = getattr(item, "funcargs", {}).get("machine")
    another = not nextitem or nextitem.path != item.path or board_of(nextitem) != board_of(item)
    try:
        if machine and another:
            report.kernel(machine)
    finally:
        yield


class Count:
    """Counts tests and the KTAP cases in them; prints the line that ends a run."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []

    def pytest_runtest_logreport(self, report):
        if report.failed:
            case = f" [{report.context.msg}]" if isinstance(report, SubtestReport) else ""
            self.failures.append(report.nodeid + case)
            # A run takes long, and may be stopped before its end.
            print(f"\n{report.nodeid}{case}\n{report.longreprtext}", flush=True)
        if isinstance(report, SubtestReport) or report.when == "call":
            if report.failed:
                self.failed += 1
            elif report.passed:
                self.passed += 1
            else:
                self.skipped += 1
        elif report.failed:
            self.failed += 1
        elif report.skipped:
            self.skipped += 1

    def pytest_collectreport(self, report):
        self.failed += report.failed

    def pytest_unconfigure(self):
        # By name once more, since what they printed may be long.
        for name in self.failures:
            print(f"FAILED {name}")
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        print(f"{self.passed} passed, {self.failed} failed{skipped}", flush=True)


def pytest_configure(config):
    config.pluginmanager.register(Count(), "shmbuf-count")
