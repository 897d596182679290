# SPDX-License-Identifier: GPL-2.0
"""The demo and the guest's tests as 32-bit programs, on boards with 64 bits."""

import re

import boardinfo
import report

BOARDS = boardinfo.names(lambda it: it.is_64bit)

#: Where build-initramfs puts them.
PATH = "PATH=/compat:$PATH"


def test_bits(machine):
    """They are what we take them for."""
    # The fifth byte of an ELF file: 1 is for 32 bits, 2 for 64.
    for folder, bits in (("/bin", 2), ("/compat", 1)):
        for program in ("shmbuf-test", "shmbuf-pattern", "shmbuf-pattern-c"):
            command = f"od -An -tu1 -j4 -N1 {folder}/{program}"
            assert machine.check(command)[0].split() == [str(bits)], program


def test_demo(machine):
    out = machine.run(f"{PATH} shmbuf-test demo --module {machine.module}")
    assert out.status == 0, out.text
    assert re.fullmatch(r"\d+ passed, 0 failed", out.lines[-1]), out.text


def test_guest(machine, subtests):
    report.guest(subtests, machine, program=f"{PATH} shmbuf-test")
