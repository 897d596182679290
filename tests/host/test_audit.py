# SPDX-License-Identifier: GPL-2.0
"""The page tables of a running board against what the driver promised."""

import dataclasses
import re
import time

import audit
import cores
import pytest
from board import Board, BoardError, Output
from tools import TOP

#: The audit looks where debugfs says that the kernel's view is.
BOOT_ARGS = "no_hash_pointers"

#: Bytes; not a multiple of a section, larger than one.
SIZE = 0x144000


@pytest.fixture(autouse=True)
def _emulated(request):
    if request.config.getoption("env"):
        pytest.skip("only an emulated board can be looked into from outside")


def held(board: Board, *arguments: str) -> audit.Held:
    """Start a program that holds the buffer; what it says of it."""
    log = "/tmp/hold.log"
    pid = board.check(f"shmbuf-test hold {' '.join(arguments)} >{log} 2>&1 & echo $!")[-1]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = board.check(f"cat {log}")
        if "held" in lines:
            return audit.Held.parse(lines[lines.index("held") - 1])
        if board.run(f"kill -0 {pid}").status:
            break
    raise BoardError(f"shmbuf-test hold gave nothing to look at:\n{board.run(f'cat {log}').text}")


def view(board: Board, offset: int = 0) -> str:
    """What the driver says of the buffer, once the kernel's view of `offset` exists."""
    # It is made when it is needed.
    page = offset // audit.PAGE
    board.check(f"dd if=/dev/shmbuf of=/dev/null bs={audit.PAGE} count=1 skip={page} 2>&1")
    return "\n".join(board.check("cat /sys/kernel/debug/shmbuf/default/buffer"))


def let_go(board: Board):
    # All of them: the step that forks leaves a child. Nobody else runs this.
    board.run("killall -9 shmbuf-test; while pidof shmbuf-test; do sleep 0.1; done; wait")


def look(board: Board, *arguments: str) -> str:
    """Hold the loaded buffer and compare."""
    try:
        it = held(board, *arguments)
        return audit.check(board, it, view(board))
    finally:
        let_go(board)


def core(board: Board) -> cores.Core:
    return cores.CORES[board.info.core]


def cases(board: Board) -> list[tuple[str, str, str]]:
    return [
        (kind, policy, step)
        for kind, policies in core(board).kinds.items()
        for policy in policies
        for step in audit.STEPS
    ]


def test_symbols_of_the_abi():
    """The one number that the audit shares with the header."""
    header = (TOP / "include/uapi/shmbuf.h").read_text()
    value = re.search(r"^#define SHMBUF_INFO_ALIASED\t(0x[0-9a-f]+)U$", header, re.M)
    assert value
    assert int(value[1], 16) == audit.ALIASED


class Writing:
    """A board whose `hold` has written a part of its line when it is first read."""

    def __init__(self, *logs: list[str]):
        self._logs = iter(logs)

    def check(self, command: str) -> list[str]:
        return next(self._logs) if command.startswith("cat") else ["77"]

    def run(self, _command: str) -> Output:
        return Output([], 0)


def test_a_line_that_is_being_written_is_waited_for():
    line = (
        '{"pid": 77, "regions": [], "offset": 0, "nonce_va": 0, "nonce": 1, '
        '"info": {"phys_addr": 0, "size": 1, "kind": "pages", "policy": "none", '
        '"memory_type": "", "flags": 0}}'
    )
    it = held(Writing([], [line[:40]], [line], [line, "held"]))
    assert it.pid == 77


def test_audit(machine, subtests):
    """Each kind and policy, plain and after mprotect, fork and mremap."""
    loaded = None
    for kind, policy, step in cases(machine):
        with subtests.test(f"{kind} {policy} {step}"):
            if loaded != (kind, policy):
                if loaded:
                    machine.check("rmmod shmbuf")
                machine.check(f"insmod {machine.module} size={SIZE} kind={kind} policy={policy}")
                loaded = (kind, policy)
            print(look(machine, "--step", step))
    machine.check("rmmod shmbuf")


def test_mappings(machine, subtests):
    """Mappings by fault and with references, and those of dma-bufs."""
    for kind, mapping in core(machine).mappings:
        parameters = f"size={SIZE} kind={kind} mapping={mapping}"
        with subtests.test(f"{kind} {mapping}"):
            machine.check(f"insmod {machine.module} {parameters}")
            print(look(machine))
            print(look(machine, "--dma-buf"))
            machine.check("rmmod shmbuf")
    for kind, policies in core(machine).kinds.items():
        for policy in policies:
            with subtests.test(f"dma-buf of {kind} {policy}"):
                machine.check(f"insmod {machine.module} size={SIZE} kind={kind} policy={policy}")
                # All, and a part: its first page is the dma-buf's first.
                print(look(machine, "--dma-buf"))
                print(look(machine, "--dma-buf", f"--offset {4 * audit.PAGE} --length 8192"))
                machine.check("rmmod shmbuf")


def test_withdrawn(machine, subtests):
    """A strict mapping made while the buffer is given away keeps no entry."""
    for kind in ("streaming", "scatter"):
        machine.check(f"insmod {machine.module} size={SIZE} kind={kind} mapping=strict")
        for attempt in range(5):
            with subtests.test(f"{kind} {attempt}"):
                try:
                    print(audit.check_withdrawn(machine, held(machine, "--withdraw 40")))
                finally:
                    let_go(machine)
        machine.check("rmmod shmbuf")
    # A mapping that is not strict keeps them, so it is seen.
    machine.check(f"insmod {machine.module} size={SIZE} kind=streaming")
    try:
        it = held(machine, "--withdraw 1")
        with subtests.test("not strict"), pytest.raises(audit.Found, match="present"):
            audit.check_withdrawn(machine, it)
    finally:
        let_go(machine)
    machine.check("rmmod shmbuf")


def test_set_cache(machine, subtests):
    """The same after SET_CACHE has changed the policy of a buffer."""
    machine.check(f"insmod {machine.module} size={SIZE}")
    policies = core(machine).kinds["pages"]
    for policy in (*policies[1:], *policies):
        with subtests.test(f"to {policy}"):
            print(look(machine, "--policy", policy))
    machine.check("rmmod shmbuf")


def test_large(machine, subtests):
    """A buffer beyond the page allocator's largest block, in all places of the kernel's view."""
    size = 6 << 20
    for policy in {"writeback", "noncached"} & set(core(machine).kinds["pages"]):
        machine.check(f"insmod {machine.module} size={size} policy={policy}")
        try:
            it = held(machine)
            for offset in (0, size // 2 + audit.PAGE, size - audit.PAGE):
                with subtests.test(f"{policy} at {offset:#x}"):
                    print(audit.check(machine, it, view(machine, offset)))
        finally:
            let_go(machine)
        machine.check("rmmod shmbuf")


def test_goes_red(machine, subtests):
    """What the audit is told wrongly of a good buffer, it finds out."""
    meaning = core(machine).meaning
    last = core(machine).kinds["pages"][-1]
    machine.check(f"insmod {machine.module} size={SIZE} policy={last}")
    try:
        it = held(machine)
        debugfs = view(machine)
        audit.check(machine, it, debugfs)
        for policy in meaning:
            if policy == it.policy:
                continue
            words = next(w for w, what in audit.WORDS.items() if what == meaning[policy])
            lie = debugfs.replace(f"policy: {it.policy}", f"policy: {policy}")
            lie = lie.replace(f"memory type: {it.memory_type}", f"memory type: {words}")
            wrong = dataclasses.replace(it, policy=policy, memory_type=words)
            with subtests.test(f"not {policy}"), pytest.raises(audit.Found, match="user mapping"):
                audit.check(machine, wrong, lie)
            with subtests.test(f"INFO lies: {policy}"), pytest.raises(audit.Found, match="INFO"):
                audit.check(machine, dataclasses.replace(it, memory_type=words), debugfs)
        moved = dataclasses.replace(it, phys=it.phys + audit.PAGE)
        with subtests.test("another address"), pytest.raises(audit.Found, match="debugfs gives"):
            audit.check(machine, moved, debugfs)
        shifted = re.sub(
            r"(kernel view: \w+ )0x([0-9a-f]+)",
            lambda m: f"{m[1]}{int(m[2], 16) + audit.PAGE:#x}",
            debugfs,
        )
        with (
            subtests.test("kernel view elsewhere"),
            pytest.raises(audit.Found, match="kernel view"),
        ):
            audit.check(machine, it, shifted)
    finally:
        let_go(machine)
    machine.check("rmmod shmbuf")
