# SPDX-License-Identifier: GPL-2.0
"""Block entries of large mappings, as the page tables of a running board have them.

How often a processor misses in its TLB is not counted: QEMU's has neither the size nor the entries
of a real one. What is counted is how many entries a mapping takes, which is how many a TLB has to
hold, and how many lines of page tables a processor reads that walks each page once.
"""

import re
import subprocess

import audit
import board as boards
import boardinfo
import ktap
import pytest
from test_audit import BOOT_ARGS, held, let_go, look, view  # noqa: F401
from tools import TOP, build_folder

BOARDS = boardinfo.names(lambda it: it.is_64bit and not it.there_for)

BREAKS = sorted((TOP / "tests/breaks/blocks").glob("*.patch"))

#: On both architectures, with pages of 4 KiB.
BLOCK = 2 << 20

SIZE = 8 << 20

#: Kinds, and ways of mapping, with blocks; by its default policy kind coherent is write-combined on
#: arm64.
CASES = [
    ("pages", "pfnmap"),
    ("streaming", "pfnmap"),
    ("streaming", "strict"),
    ("coherent", "pfnmap"),
]


@pytest.fixture(autouse=True)
def _emulated(request):
    if request.config.getoption("env"):
        pytest.skip("only an emulated board can be looked into from outside")


def blocks_of(it: audit.Held) -> int:
    """How many whole blocks there are of the buffer."""
    return (it.phys + it.size) // BLOCK - -(-it.phys // BLOCK)


def seen(machine, *arguments: str) -> tuple[audit.Held, audit.Entries]:
    """Audit a mapping that is held, and count its entries."""
    try:
        it = held(machine, *arguments)
        print(audit.check(machine, it, view(machine)))
        return it, audit.entries(machine, it)
    finally:
        let_go(machine)


@pytest.mark.parametrize(("kind", "mapping"), CASES)
def test_entries(machine, kind, mapping, subtests):
    """Each entry has the type that it should have, and as many as can be are blocks."""
    machine.check(f"insmod {machine.module} size={SIZE} kind={kind} mapping={mapping}")
    for step in ("plain", "mprotect", "fork"):
        with subtests.test(step):
            it, entries = seen(machine, "--step", step)
            assert entries.sizes.get(BLOCK, 0) == blocks_of(it) > 0
    with subtests.test("without"):
        _, pages = seen(machine, "--without-blocks")
        assert pages.sizes == {audit.PAGE: SIZE // audit.PAGE}
        print(f"{kind} {mapping}: {entries} with blocks, {pages} without")
        assert entries.lines < pages.lines
    with subtests.test("shrunk"):
        # To the half: no block is cut.
        half, entries = seen(machine, "--step mremap")
        assert entries.sizes.get(BLOCK, 0) in (blocks_of(it) // 2, (blocks_of(it) - 1) // 2)
        assert half.user.length == SIZE // 2
    machine.check("rmmod shmbuf")


def test_a_cut_block_is_audited(machine):
    """A part whose ends are in the middle of blocks: pages there, blocks between them."""
    machine.check(f"insmod {machine.module} size={SIZE}")
    print(look(machine, f"--offset {BLOCK // 2} --length {SIZE - BLOCK}"))
    machine.check("rmmod shmbuf")


def test_withdrawn(machine):
    """Of blocks of a strict mapping nothing is left when a device has the buffer."""
    machine.check(f"insmod {machine.module} size={SIZE} kind=streaming mapping=strict")
    try:
        print(audit.check_withdrawn(machine, held(machine, "--withdraw 4")))
    finally:
        let_go(machine)
    machine.check("rmmod shmbuf")


@pytest.mark.parametrize("patch", BREAKS, ids=lambda it: it.stem)
def test_finds(board_name, patch):
    """Each fault is found by the guest's test that its patch names."""
    out = build_folder() / board_name / "blocks"
    broken = [TOP / "tests/toolchain/build-broken", board_name, out, *BREAKS, "--", "modules"]
    subprocess.run(broken, check=True)
    subprocess.run([TOP / "tests/toolchain/build-initramfs", board_name, out], check=True)
    test = re.search(r"^Finds: (.*)$", patch.read_text(), re.M)[1]
    made = boards.QemuBoard(board_name)
    folder = build_folder() / board_name
    boards.replace(made.qemu, f"-initrd {folder}/", f"-initrd {folder}/blocks/")
    with made as machine:
        lines = machine.stream(f"shmbuf-test run {test} --module /lib/modules/{patch.stem}.ko")
        cases = list(ktap.parse(lines))
    assert cases, "no such test"
    assert any(case.result == "not ok" for case in cases), f"{patch.stem} was not found"
