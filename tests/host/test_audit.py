# SPDX-License-Identifier: GPL-2.0
"""The page tables of a running board against what the driver promised."""

import time

import audit
import pytest
from board import Board, BoardError, names
from tools import TOP

#: Bytes; not a multiple of a section, larger than one.
SIZE = 0x144000


@pytest.fixture(autouse=True)
def _emulated(request):
    if request.config.getoption("env"):
        pytest.skip("only an emulated board can be looked into from outside")


def held(board: Board, *arguments: str) -> tuple[audit.Held, str]:
    """Start a program that holds the buffer; what it says, and its shell job's number."""
    log = "/tmp/hold.log"
    pid = board.check(f"shmbuf-test hold {' '.join(arguments)} >{log} 2>&1 & echo $!")[-1]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for line in board.check(f"cat {log}"):
            if line.startswith("{"):
                return audit.Held.parse(line), pid
        if board.run(f"kill -0 {pid}").status:
            break
    raise BoardError(f"shmbuf-test hold gave nothing to look at:\n{board.run(f'cat {log}').text}")


def look(board: Board, *arguments: str, read_only: bool = False) -> str:
    """Hold the loaded buffer and compare."""
    it, pid = held(board, *arguments)
    try:
        # The kernel's view is made when it is needed.
        board.check("dd if=/dev/shmbuf of=/dev/null bs=4096 count=1 2>&1")
        debugfs = "\n".join(board.check("cat /sys/kernel/debug/shmbuf/default/buffer"))
        return audit.check(board, it, debugfs, read_only=read_only)
    finally:
        board.run(f"kill -9 {pid}; wait {pid} 2>/dev/null")


def cases(name: str) -> list[tuple[str, str, str]]:
    machine = audit.MACHINES[name]
    return [
        (kind, policy, step)
        for kind, policies in machine.kinds.items()
        for policy in policies
        for step in audit.STEPS
    ]


def test_every_board_has_a_table():
    assert set(audit.MACHINES) == set(names())


def test_symbols_of_the_abi():
    """The one number that the audit shares with the header."""
    header = (TOP / "include/uapi/shmbuf.h").read_text()
    assert "#define SHMBUF_INFO_ALIASED\t(1U << 2)" in header
    assert audit.ALIASED == 1 << 2


def test_audit(machine, subtests):
    """Each kind and policy, plain and after mprotect, fork and mremap."""
    loaded = None
    for kind, policy, step in cases(machine.name):
        with subtests.test(f"{kind} {policy} {step}"):
            if loaded != (kind, policy):
                machine.run("rmmod shmbuf")
                machine.check(f"insmod {machine.module} size={SIZE} kind={kind} cache={policy}")
                loaded = (kind, policy)
            print(look(machine, "--step", step, read_only=step == "mprotect"))
    machine.run("rmmod shmbuf")


def test_set_cache(machine, subtests):
    """The same after SET_CACHE has changed the policy of a buffer."""
    machine.run("rmmod shmbuf")
    machine.check(f"insmod {machine.module} size={SIZE}")
    policies = audit.MACHINES[machine.name].kinds["pages"]
    for policy in (*policies[1:], *policies):
        with subtests.test(f"to {policy}"):
            print(look(machine, "--policy", policy))
    machine.check("rmmod shmbuf")
