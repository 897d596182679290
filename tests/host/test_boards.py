# SPDX-License-Identifier: GPL-2.0
"""The guest's tests, the demo and KUnit, on each board."""

import re

import board as boards
import pytest
import report
from console import Program


def test_demo(machine):
    """What `make demo` runs, on a fresh board."""
    out = machine.run(f"shmbuf-test demo --module {machine.module}")
    assert out.status == 0, out.text
    assert re.fullmatch(r"\d+ passed, 0 failed", out.lines[-1]), out.text


def test_kunit(machine, subtests):
    """The module's KUnit suites run when it is loaded."""
    machine.run("rmmod shmbuf")
    before = len(machine.kernel_log())
    # Emulated boards are booted without any suite.
    suites = "/sys/module/kunit/parameters/filter_glob"
    none = machine.run(f"grep -qx none {suites} && printf '*' >{suites}").status == 0
    machine.check(f"insmod {machine.module}")
    machine.check("rmmod shmbuf")
    if none:
        machine.check(f"printf none >{suites}")
    lines = boards.strip_timestamps(machine.kernel_log()[before:])
    if not any("KTAP version" in line for line in lines):
        if isinstance(machine, boards.SshBoard):
            pytest.skip("this board's kernel has no KUnit")
        pytest.fail("the module printed no KTAP: its KUnit suites did not run")
    report.each(subtests, lines)


#: Commands for the tool, each with what its last line is.
TOOL = {
    "shmbuf alloc 64K --verify": "verdict: ok: 65536 bytes, kind pages, .*",
    "shmbuf alloc 64K --kind coherent --verify": "verdict: ok: 65536 bytes, kind coherent, .*",
    "shmbuf alloc 64K --kind streaming --verify": "verdict: ok: 65536 bytes, kind streaming, .*",
    "shmbuf alloc 64K --kind scatter --verify": "verdict: ok: 65536 bytes, kind scatter, .*",
    "shmbuf alloc 512 --kind pool --align 64 --verify": "verdict: ok: 512 bytes, kind pool, .*",
    "shmbuf alloc 64K --kind scatter --mapping strict --verify": "verdict: ok: .*",
    "shmbuf alloc 64K --kind streaming --direction from-device --verify": "verdict: ok: .*",
    "shmbuf verify | grep verdict": "verdict: ok: .*",
    "echo some words | shmbuf write; shmbuf read --length 10": "some words",
    # By an engine, or the sentence about its absence.
    "(echo 0123 | shmbuf write; shmbuf copy /dev/shmbuf /dev/shmbuf --length 4 --to 4K"
    " && shmbuf read --offset 4K --length 4 && echo) 2>&1": "0123|.*no DMA engine.*",
    "shmbuf export -- sh -c 'shmbuf info | grep ^exports'": "exports: +1",
    "shmbuf sync start && shmbuf sync end && shmbuf sync begin && echo ended": "ended",
    "shmbuf alloc 8K --kind coherent -- shmbuf info | grep ^kind": "kind: +coherent",
    "shmbuf list --json | grep '\"node\"'": ' *"node": "/dev/shmbuf",?',
    "shmbuf list | grep '/dev/shmbuf '": ".* pages .*",
    "shmbuf alloc 8K -- sh -c 'shmbuf info /dev/fd/$SHMBUF_FD | grep ^size'": "size: +8K .*",
    "shmbuf alloc 1 --verify; echo status $?": "status 2",
    # The driver's own sentence, from the log.
    "shmbuf alloc 3 --verify 2>&1": "shmbuf: ALLOC: EINVAL: size=3: must be a multiple of .*",
    "shmbuf alloc 4K --align 64 --verify 2>&1": "shmbuf: ALLOC: EINVAL: align=64 .*",
    "shmbuf alloc 4K --kind coherent --policy writethrough --verify 2>&1": "shmbuf: ALLOC: "
    "EOPNOTSUPP: policy=writethrough kind=coherent: .*",
    # One reason.
    "shmbuf alloc 4K --kind scatter -- "
    "sh -c 'shmbuf sync end; shmbuf set-policy writeback' 2>&1": "shmbuf: SET_CACHE: EBUSY: "
    "a device owns the buffer: .*",
    "shmbuf export -- shmbuf set-cache writeback 2>&1": "shmbuf: SET_CACHE: EBUSY: the buffer is "
    "exported .exports: 1.: .*",
    "shmbuf sync end --length 3 2>&1": "shmbuf: SYNC: EINVAL: .* cache line of [0-9]+ bytes.*",
    "shmbuf alloc 4K -- sh -c 'shmbuf info /proc/self/fd/$SHMBUF_FD | grep ^kind'": "kind: +pages",
    "shmbuf write -i /nonexistent 2>&1": "shmbuf: cannot open /nonexistent: No such file .*",
    "shmbuf info /nonexistent/file 2>&1": "shmbuf: /nonexistent/file: there is no such file",
    "shmbuf set-policy writeback --json | grep memory_type": ' *"memory_type": ".*write-back.*",',
    "(sleep 1; shmbuf read --length 16) >/dev/null & "
    "shmbuf watch --json -n 3 -c 1": '.*"buffer":"default","counters":{"bytes_read":{"by":16,.*',
    "TERM=dumb shmbuf top 2>&1": "shmbuf: (this terminal cannot be drawn on|the output is no ).*",
    "shmbuf top 2>&1 | cat": "shmbuf: the output is no terminal: use shmbuf watch or shmbuf list",
    # What is no buffer is not written to.
    "echo precious >/tmp/f; echo x | shmbuf write /tmp/f; cat /tmp/f; rm /tmp/f": "precious",
    "echo x | shmbuf write /dev/ram0 2>&1": ".*/dev/ram0: .*not a shmbuf buffer.*",
    "head -c 2097152 /dev/zero | shmbuf write; echo status $?": "status 2",
    "shmbuf alloc --verify; echo status $?": "status 64",
    'shmbuf advise --json "$(ls /sys/bus/platform/devices | head -1)" | grep \'"bus"\'': ' *"bus": '
    '"platform",',
    "shmbuf advise nobody 2>&1": "shmbuf: nobody: no device of the buses platform, pci and amba .*",
    "shmbuf man | grep '^.TH'": ".TH shmbuf 1 .*",
    "shmbuf completions bash | head -1": r"_shmbuf\(\).*",
}


def test_tool(machine, subtests):
    """The command-line tool, with a buffer of each kind that can be allocated."""
    machine.check(f"insmod {machine.module}")
    for command, last in TOOL.items():
        with subtests.test(command):
            out = machine.run(command)
            assert re.fullmatch(last, out.lines[-1]), out.text
    machine.check("rmmod shmbuf")


#: What there is to see: programs with a mapping, a dma-buf and a private buffer.
USERS = (
    "shmbuf-test hold >/dev/null & hold=$!",
    "shmbuf export -- sleep 1000 & export=$!",
    "shmbuf alloc 64K --kind scatter -- sleep 1000 & alloc=$!",
    "until shmbuf info | grep -q '^exports: *1'; do sleep 0.1; done",
    "until shmbuf info | grep -q '^mappings: *1'; do sleep 0.1; done",
    "kill -STOP $hold",
)


def test_top(machine, subtests):
    """The screen on the board's console: what it shows, its keys, and what it leaves behind."""
    if isinstance(machine, boards.SshBoard):
        pytest.skip("a real board's console is not at hand")
    machine.check(f"insmod {machine.module}")
    machine.check("; ".join(USERS))
    before = machine.check("stty -a")
    with subtests.test("what is shown, in 80 columns, by keys"):
        program = Program(machine, "shmbuf top -n 0.5")
        program.shows(
            "shmbuf top: 2 buffers +rates per second, every 0.5 s   up, down: select   q: quit"
        )
        program.shows(r"default +pages +\S.* 1M +0 +0 +0 +0 +0")
        program.shows(r"[1-9]\d*/fd/\d+ +scatter +\S.* 64K +0 +- +- +- +-")
        program.shows(r"default: policy \w+, mapping pfnmap, direction bidirectional, owner cpu,")
        program.shows(r" *\d+ shmbuf-test +1 +1 +0")
        program.shows(r" *\d+ sleep +0 +0 +1")
        program.types(b"j")
        program.shows(r"\d+/fd/\d+: policy .*")
        program.shows(r" *\d+ sleep +1 +- +-")
        program.types(b"q")
        assert program.ends() == 0
        # 39 and 49 are "as usual".
        assert not re.search(rb"\x1b\[[0-9;]*[34][0-8][m;]", program.raw), "colours on a vt102"
    with subtests.test("rates, and a buffer that comes and goes"):
        made = "cd /sys/kernel/config/shmbuf && mkdir it && echo 1 >it/enable"
        machine.check("mount -t configfs none /sys/kernel/config; :")
        comes_and_goes = f"sleep 2; {made}; sleep 8; echo 0 >it/enable; rmdir it"
        machine.check(f"({comes_and_goes}) >/dev/null 2>&1 & :")
        writes = "while sleep 0.5; do echo 0123456 | shmbuf write; done"
        machine.check(f"({writes}) >/dev/null 2>&1 & writes=$!")
        program = Program(machine, "shmbuf top")
        program.shows(r"shmbuf top: 3 buffers .*")
        program.shows(r"it +pages +\S.*")
        program.shows(r"default +pages +\S.* 1M +0 +0 +[1-9]\d* +0 +0")
        program.shows(r"shmbuf top: 2 buffers .*")
        program.types(b"\x03")
        assert program.ends() == 0
    with subtests.test("what is missing"):
        machine.check("umount /sys/kernel/debug")
        program = Program(machine, "shmbuf top -c 1")
        program.shows("no rates: debugfs is not mounted: as root, mount -t debugfs debugfs")
        assert program.ends() == 0
        machine.check("mount -t debugfs debugfs /sys/kernel/debug")
    assert machine.check("stty -a") == before
    machine.check("kill -KILL $writes $hold $export $alloc; wait")
    machine.check("rmmod shmbuf")


def test_guest(machine, subtests, quick):
    """The program that holds all tests of the driver's contract."""
    report.guest(subtests, machine, quick)
