# SPDX-License-Identifier: GPL-2.0
"""The coherence checker finds the seeded faults and the broken drivers, and nothing else."""

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import boardinfo
import breaks
import coherence
import cores
import ktap
import pytest
import report
from board import BoardError
from coherence import CheckedBoard, Finding, labelled

#: Seeded faults that a core must have, at least.
FAULTS = 14

#: Breaks of the driver whose lines are from before it was loaded.
OLD_LINES = ["zeroes-meet-old-lines"]

#: Tests of the guest's suite in which programs touch what a device owns, to see that the driver
#: and the kernel survive it, with what may be found there.
MISUSE = {
    # That it is possible is the claim.
    "pages.writeback.pfnmap_is_not_withdrawn": {"owned-touch"},
} | {
    f"{kind}.writeback.stress_keeps_the_contract": {
        "owned-touch",
        "stale-read",
        "lost-write",
        "dirty-over-device",
    }
    for kind in ("streaming", "scatter")
}

#: Tests in which the CPU plays a device that snoops, and another device owns the same bytes: not on
#: VIVT caches. To the checker the CPU touches what that device owns, which writes at any moment.
SNOOPING = {
    f"pages.writeback.snooping_importer_{claim}"
    for claim in (
        "beside_the_own_device",
        "goes_before_the_own_device",
        "beside_another",
        "goes_before_another",
        "stays_as_another_goes",
    )
}

#: Claims that are left out of the suite under the checker.
NOT_UNDER_IT = [
    # They do the same thing thousands of times.
    "lose_no_page",
    # It wants the other thread to be in time.
    "race_of_alloc_and_close",
    # A read-only dma-buf lends nothing, so the CPU writes what the device reads, between two SYNCs.
    # The DMA API has no word for that.
    "edu_that_only_reads_",
    # The tests' engine only says that it snoops, so that the kernel syncs nothing for it.
    "engine_that_snoops_",
    # Nor do the devices of tests/importer snoop, for which coherent memory is allocated here.
    "memory_for_a_device_that_snoops_",
    "alloc_is_for_the_device_of_",
    "coherent_memory_that_is_snooped_",
    # Others store by the CPU what an importer's device has, and say nothing: vivid does.
    "imported_memory_keeps_what_",
    "imported_camera_frame_",
    # They touch what they like.
    "fuzzed_programs",
]

#: And those that take the longest there, and do with much memory, or again and again, what others
#: do with little: for --all-boards.
LONG_UNDER_IT = [
    "alloc_64_mib",
    "copy_of_4_mib",
    "edu_unplugged_100_rounds_",
    "eight_private_buffers_of_64_mib",
    "ends_each_call",
    "ends_each_wait",
    "ends_no_wait",
    "failed_allocations_in_",
    "highmem_in_pieces",
    "io_uring_buffers_outlive_all",
    "mapped_at_offset_and_length",
    "module.sizes",
    "nothing_is_taken_past_the_limit",
    "vmspliced_",
]

#: And those that move no data: what is refused, counted, shown, or root's alone.
NO_DATA = [
    "_bad_",
    "_is_roots_to_",
    "_refuse",
    "addresses_",
    "aliased_only",
    "cgroup",
    "configfs_folders",
    "info_",
    "more_memory_than",
    "node_comes",
    "node_is_root",
    "insmod_refused",
    "is_refused",
    "udev_",
    "user_cannot",
]

#: Bytes of a buffer in the suite: the checker takes it that a cache could hold all of it, so that
#: more says no more.
SIZE = 256 << 10


@pytest.fixture(autouse=True)
def _emulated(request):
    if request.config.getoption("env"):
        pytest.skip("only an emulated board's caches are modelled")


@pytest.fixture(scope="module", params=coherence.BOARDS)
def board(request):
    asked = request.config.getoption("board")
    if asked and request.param not in asked:
        pytest.skip("another board was asked for")
    coherence.build(request.param)
    return request.param


def silent(findings, label):
    return "\n".join(f.text for f in labelled(findings, label))


def judge(expected: str, findings) -> str:
    """What is wrong with the findings of a case: "" if they are as expected.

    Expected is "none", or hazards with who shows them, separated by commas; a
    "possible" one is another name for the same fault.
    """
    entries = [] if expected == "none" else [entry.split() for entry in expected.split(", ")]
    must = {(hazard, shown) for hazard, shown in entries if shown != "possible"}
    may = {hazard for hazard, _ in entries}
    found = {(f.hazard, f.shown) for f in findings}
    wrong = [f"not found: {hazard} ({shown})" for hazard, shown in sorted(must - found)]
    wrong += [f.text for f in findings if f.hazard not in may]
    return "\n".join(wrong)


@pytest.mark.parametrize(
    ("expected", "found", "wrong"),
    [
        ("none", [], ""),
        ("none", ["stale-read this-core"], "stale-read"),
        ("stale-read this-core", ["stale-read this-core"], ""),
        ("stale-read this-core", ["stale-read some-core"], "not found"),
        ("stale-read this-core", [], "not found"),
        ("stale-read this-core", ["stale-read this-core", "two-types this-core"], "two-types"),
        ("stale-read this-core, two-types possible", ["two-types this-core"], "not found"),
    ],
)
def test_judge(expected, found, wrong):
    findings = [Finding(*it.split(), "", "", "", 1, it) for it in found]
    assert judge(expected, findings).startswith(wrong)
    assert bool(judge(expected, findings)) == bool(wrong)


def prepared(monkeypatch, arguments: str) -> str:
    """What prepare() makes of the arguments of a board that has to go without a plugin."""
    checker = boardinfo.Checker({}, without="-plugin $LG_BUILD/it.so")
    monkeypatch.setattr(coherence, "following", lambda _: checker)
    monkeypatch.setenv("LG_BUILD", "/build/board")
    qemu = SimpleNamespace(boot_args="quiet", extra_args=arguments)
    coherence.prepare(qemu, "board", Path("/build/board/coherence"))
    return qemu.extra_args


def test_prepare(monkeypatch):
    """What is replaced in QEMU's arguments has to be there."""
    initramfs, plugin = "-initrd /build/board/initramfs.cpio.gz", "-plugin /build/board/it.so"
    made = prepared(monkeypatch, f"{plugin} {initramfs} -no-reboot")
    assert made == " -initrd /build/board/coherence/initramfs.cpio.gz -no-reboot"
    with pytest.raises(BoardError, match="QEMU has no argument '-initrd /build/board/' to replace"):
        prepared(monkeypatch, plugin)
    with pytest.raises(BoardError, match=f"QEMU has no argument '{plugin}' to replace"):
        prepared(monkeypatch, initramfs)


def without_a_board(machine: str, plugin: str, folder: Path) -> subprocess.CompletedProcess:
    """What QEMU says of a machine without a kernel."""
    library = coherence.build_folder() / "coherence/libcoherence.so"
    options = f"-M {machine} -accel tcg,thread=single -display none -audio none"
    return subprocess.run(
        [
            "qemu-system-arm",
            *options.split(),
            "-plugin",
            f"{library},report={folder}/report,{plugin}",
        ],
        input="quit\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


#: It runs nothing, until the monitor's "quit".
STOPPED = "-S -monitor stdio"
SYSTEM_MAP = "c0008000 T _text\n{}c1000000 T _etext\n"


@pytest.mark.parametrize(
    ("qemu", "plugin", "symbols", "sentence"),
    [
        ("virt,highmem=off -cpu cortex-a15", "core=cortex-a9", "", "has lines of 64"),
        ("virt,highmem=off -cpu cortex-a7", "core=cortex-a9", "", "has lines of 64"),
        ("versatilepb -cpu ti925t", "core=arm926", "", "has lines of 16"),
        ("virt,highmem=off -cpu cortex-a15", "core=cortex-a8", "", "main ID register is 0x41"),
        ("virt,highmem=off -cpu cortex-a7", "core=cortex-a15", "", "main ID register is 0x41"),
        (f"virt,highmem=off -cpu cortex-a15 {STOPPED}", "core=cortex-a15", "", "no load and no"),
        ("vexpress-a9", "core=list", "", "say which core"),
        ("versatilepb", "core=cortex-a9", "", "of another architecture"),
        ("vexpress-a9", "core=arm926", "", "of another architecture"),
        (f"vexpress-a9 {STOPPED}", "core=cortex-a9", "", "the guest made no load and no store"),
        (f"vexpress-a9 {STOPPED}", "core=cortex-a9,track=label", "", "the guest set no label"),
        ("vexpress-a9", "core=cortex-a9", "c0008000 T _text\n", "not a whole System.map"),
        ("vexpress-a9", "core=cortex-a9", SYSTEM_MAP.format(""), "have no __dma_sync_"),
        (
            "vexpress-a9",
            "core=cortex-a9",
            SYSTEM_MAP.format("c0003000 A swapper_pg_dir\n"),
            "the kernel has LPAE",
        ),
    ],
)
def test_refused(qemu, plugin, symbols, sentence, tmp_path):
    """What the checker cannot follow is refused in a sentence, and so is a run without anything."""
    coherence.build_plugin()
    if symbols:
        file = tmp_path / "System.map"
        file.write_text(symbols)
        plugin += f",symbols={file}"
    ended = without_a_board(qemu, plugin, tmp_path)
    said = [line for line in ended.stderr.splitlines() if line.startswith("coherence: ")]
    assert sentence in said[-1], ended.stderr
    assert ended.returncode == 1


def test_another_kernel(board, tmp_path, monkeypatch, capfd):
    """Symbols that are not those of the kernel that runs are refused when a program runs."""
    file, arguments = tmp_path / "System.map", coherence.plugin

    def others(*args) -> str:
        words = arguments(*args)
        real = re.search("symbols=([^,]*)", words)[1]
        lines = [line.split(" ", 1) for line in Path(real).read_text().splitlines()]
        # The kernel's beginning is the same.
        last = next(int(at, 16) for at, rest in lines if rest.endswith(" __switch_to"))
        moved = [(int(at, 16), rest) for at, rest in lines]
        file.write_text("".join(f"{at + 16 * (at > last):08x} {rest}\n" for at, rest in moved))
        return words.replace(real, str(file))

    monkeypatch.setattr(coherence, "plugin", others)
    with pytest.raises(BoardError), CheckedBoard(board, track="label"):
        pass
    assert "System.map of another one" in capfd.readouterr().err


def drive(machine, label: str, module: str, parameters: str):
    """Load a module, let program, kernel and device use a buffer of it in turns, unload it."""
    machine.label(label)
    machine.check(f"insmod /lib/modules/{module}.ko size=64K {parameters}")
    machine.check("exercise")
    machine.check("rmmod shmbuf")


def assert_found(broken: breaks.Break, findings):
    found = {f.hazard for f in labelled(findings, f"broken {broken.name}")}
    assert broken.hazard in found, f"not found; {found} instead"


def told_wrong(case: str, finding: Finding) -> str:
    """What a finding of a seeded fault fails to tell: who gave the memory away, and lines."""
    function = case.replace("-", "_")
    given = (finding.told["lent"] or {}).get("given")
    if finding.hazard == "owned-touch" and (not given or given["by"]["function"] != function):
        return f"not given by {function}: {finding.text}"
    for place in finding.places():
        files = [Path(line["file"]).name for line in place["source"]]
        if place["unit"] == "faults" and not files:
            return f"no line: {place['text']}"
        if place["function"] == function and files[-1] != "wrong.c":
            return f"not in wrong.c: {place['text']}"
    return ""


@pytest.mark.parametrize("track", ["boot", "label"])
def test_seeded(board, track, subtests):
    """Each fault is found and named, each right sequence is passed over, the boot too.

    So it is too where the checker knows nothing of what was before.
    """
    broken = [it for it in breaks.of(board) if it.name in OLD_LINES]
    with CheckedBoard(board, track=track) as machine:
        machine.label("")
        machine.check("insmod /lib/modules/faults.ko")
        lines = machine.check("coherence-cases")
        machine.check("rmmod faults")
        for it in broken:
            drive(machine, f"broken {it.name}", it.name, it.parameters)
        machine.label("after")
        findings, totals = machine.finish()
    assert totals["forgotten"] == 0
    if track == "boot":
        # A bit for each byte of the line, and twelve bytes.
        assert totals["bytes"] <= (12 + totals["line-bytes"] // 8) * totals["lines"]
    with subtests.test("boot"):
        assert silent(findings, "") == ""
    for it in broken:
        with subtests.test(it.name):
            assert_found(it, findings)
    cases = list(ktap.parse(lines))
    assert sum("none" not in "".join(case.output) for case in cases) >= FAULTS
    for case in cases:
        with subtests.test(case.name):
            if case.result == "skip":
                pytest.skip(case.output[-1])
            assert case.result == "ok", case.output
            expected = next(line for line in case.output if line.startswith("# expect "))
            found = labelled(findings, case.name)
            wrong = judge(expected.removeprefix("# expect "), found)
            assert not wrong, f"{expected}\n{wrong}"
            assert [wrong for it in found if (wrong := told_wrong(case.name, it))] == []
    with subtests.test("fault-in-init"):
        (found,) = labelled(findings, "fault-in-init")
        writer = found.told["writer"]
        assert (found.hazard, writer["function"]) == ("stale-read", "fault_in_init")
        lines = [(it["function"], Path(it["file"]).name) for it in writer["source"]]
        assert lines == [("store_lines", "case.h"), ("fault_in_init", "main.c")]


def test_layout_is_found(board, monkeypatch, subtests):
    """Without `layout=` the checker finds modules and tasks by what is in memory, and in a folder.

    It says less then of devices that snoop, and of pages that change hands.
    """
    arguments, folder = coherence.plugin, coherence.build_folder() / board / "seeded"

    def without_layout(*args) -> str:
        words = arguments(*args).split(",")
        kept = [word for word in words if not word.startswith(("layout=", "module="))]
        return ",".join([*kept, f"modules={folder}"])

    monkeypatch.setattr(coherence, "plugin", without_layout)
    with CheckedBoard(board, track="label") as machine:
        machine.label("")
        machine.check("insmod /lib/modules/faults.ko")
        cases = list(ktap.parse(machine.check("coherence-cases")))
        machine.check("rmmod faults")
        findings, _ = machine.finish()
    named = 0
    for case in cases:
        if "# expect none" in case.output:
            continue
        with subtests.test(case.name):
            found = labelled(findings, case.name)
            assert [wrong for it in found if (wrong := told_wrong(case.name, it))] == []
            assert {it.told["task"] for it in found} <= {"coherence-cases"}
            named += any(place["unit"] == "faults" for it in found for place in it.places())
    assert named >= FAULTS


def test_driver(board, subtests):
    """Program, kernel and device in turns: right in each kind and policy, wrong in each break."""
    kinds = cores.CORES[boardinfo.of(board).core].kinds
    good = [
        f"kind={kind} policy={policy}" for kind, policies in kinds.items() for policy in policies
    ]
    broken = [it for it in breaks.of(board) if not it.buffer]
    assert broken
    with CheckedBoard(board, track="label") as machine:
        for it in good:
            drive(machine, f"shmbuf {it}", "shmbuf", it)
        for it in broken:
            drive(machine, f"broken {it.name}", it.name, it.parameters)
        machine.label("after")
        findings, totals = machine.finish()
    assert totals["forgotten"] == 0
    for it in good:
        with subtests.test(it):
            assert silent(findings, f"shmbuf {it}") == ""
    for it in broken:
        with subtests.test(it.name):
            assert_found(it, findings)


def test_device_memory(board, subtests):
    """Device memory that is cached, in turns: right, and wrong in each break."""
    if not boardinfo.of(board).has_named_buffers:
        pytest.skip("the board has no device tree with named buffers")
    broken = [it for it in breaks.of(board) if it.buffer]
    with CheckedBoard(board, track="label", dtb="buffers") as machine:
        for label, module, buffer in [
            ("right", "shmbuf", "cached"),
            *((f"broken {it.name}", it.name, it.buffer) for it in broken),
        ]:
            machine.label(label)
            machine.check(f"insmod /lib/modules/{module}.ko && exercise {buffer} && rmmod shmbuf")
        machine.label("after")
        findings, totals = machine.finish()
    assert totals["forgotten"] == 0
    with subtests.test("right"):
        assert silent(findings, "right") == ""
    for it in broken:
        with subtests.test(it.name):
            assert_found(it, findings)


def test_sync_for_who_snoops(board):
    """SYNC of memory for a device that snoops maintains no line of the caches."""
    if boardinfo.of(board).core == "arm926" or boardinfo.of(board).there_for:
        pytest.skip("no device snoops a VIVT cache; or the board is there for its device")
    folder, node = "/sys/kernel/config/shmbuf/snooped", "/dev/shmbuf-snooped"
    with CheckedBoard(board, track="label") as machine:
        machine.label("")
        machine.check("insmod /lib/modules/importer.ko && insmod /lib/modules/shmbuf.ko")
        # The kernel cleans the pages of a program when they are first used.
        machine.check("shmbuf sync end && shmbuf sync start")
        for device in ("importer-snooping", "importer-plain"):
            for kind in ("coherent", "streaming", "scatter"):
                settings = {"size": "64K", "kind": kind, "device": device, "enable": "1"}
                echoes = [f"echo {value} >{folder}/{it}" for it, value in settings.items()]
                machine.check(" && ".join([f"mkdir {folder}", *echoes]))
                machine.label(f"{kind} {device}")
                machine.check(f"shmbuf sync end {node} && shmbuf sync start {node}")
                machine.label("")
                machine.check(f"echo 0 >{folder}/enable && rmdir {folder}")
        machine.check("rmmod shmbuf && rmmod importer")
        _, totals = machine.finish()
    lines = {label: it["lines"] for label, it in totals["maintained"].items() if label}
    assert {label for label, count in lines.items() if count} == {
        "streaming importer-plain",
        "scatter importer-plain",
    }
    assert len(lines) == len({"coherent", "streaming", "scatter"}) * 2


def is_expected(finding: Finding) -> bool:
    """Whether a finding is one of a test that is there for it."""
    if finding.label in SNOOPING:
        # What the CPU loads afterwards is what the device that snoops has stored.
        of_a_device = finding.hazard == "dirty-over-device" and not finding.function
        return finding.hazard == "owned-touch" or of_a_device
    return finding.hazard in MISUSE.get(finding.label, ())


def test_suite(board, subtests, request):
    """The guest's tests, each in every kind and policy, without a finding.

    On a board that is there for a device, those of the device; and with --all-boards all, if it
    is the only one with its core.
    """
    claims = boardinfo.of(board).there_for
    left_out = list(NOT_UNDER_IT)
    if not request.config.getoption("all_boards"):
        left_out += LONG_UNDER_IT + NO_DATA
    elif board in coherence.ONLY_ONES:
        claims = ""
    with CheckedBoard(board, track="label") as machine:
        machine.label("")
        # One by one: together they are too long for a line.
        machine.check("skipped=")
        for claim in left_out:
            machine.check(f'skipped="$skipped --skip {claim}"')
        command = f"shmbuf-test run {claims} --size {SIZE} --label /bin/label $skipped"
        report.each(subtests, machine.stream(command))
        assert machine.status == 0, f"shmbuf-test ended with status {machine.status}"
        findings, totals = machine.finish()
    unexpected = [f for f in findings if not is_expected(f)]
    assert [f"{f.label}: {f.text}" for f in unexpected] == []
    snooping = SNOOPING if boardinfo.of(board).core != "arm926" else set()
    for label in MISUSE.keys() | snooping if not claims else ():
        with subtests.test(f"found in {label}"):
            assert "owned-touch" in {f.hazard for f in labelled(findings, label)}
    assert (totals["forgotten"], totals["unlisted"]) == (0, 0)
