# SPDX-License-Identifier: GPL-2.0
"""`make coherence-run`, as somebody has it who watches a driver of their own."""

import fcntl
import json
import os
import re
import signal
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import browser
import coherence
import coherence_run
import klog
import pexpect
import pytest
from board import BoardError, QemuBoard
from coherence_run import Run, told
from pexpect import TIMEOUT
from tools import TOP, build_folder, must, shell_names

#: Any board of the checker does that has several CPUs and an outer cache by its address.
BOARD = "vexpress-a9"
TOOLCHAIN = TOP / "tests/toolchain"

#: A finding as the checker writes it, as far as it is looked at here.
FOUND = {
    "hazard": "stale-read",
    "shown": "this-core",
    "label": "",
    "reason": "the newest value is in a dirty line of the inner data cache",
    "count": 1,
    "victim": {"text": "mine_init+0x8 [mine]", "function": "mine_init"},
    "text": "stale-read (this-core), 1 times: 0x60000040: by mine_init+0x8 [mine]",
}
#: The kernel's own, as tools/coherence/known has it.
KNOWN = FOUND | {
    "hazard": "lost-write",
    "victim": {"text": "check_writebuffer+0x8", "function": "check_writebuffer"},
    "text": "lost-write (this-core), 1 times: 0x60000080: by check_writebuffer+0x8",
}
TOTALS = {"accesses": 1000, "unlisted": 0, "more": [], "forgotten": 0}
OOPS = "[    9.1] Internal error: Oops: 5 [#1] PREEMPT SMP ARM\n"


@pytest.fixture(autouse=True)
def _emulated(request):
    if request.config.getoption("env"):
        pytest.skip("only an emulated board's caches are modelled")


# What is told.


def findings(*lines: dict) -> list[coherence.Finding]:
    return [coherence.parse(line) for line in lines]


RAN = Run("toaster", "modprobe mine", status=0)


@pytest.mark.parametrize(
    ("run", "lines", "log", "totals", "status", "says"),
    [
        (RAN, [], "", TOTALS, 0, "0 findings (0 of the checker, 0 of the kernel)"),
        (RAN, [FOUND], "", TOTALS, 2, "1 finding (1 of the checker, 0 of the kernel)"),
        (RAN, [], OOPS, TOTALS, 2, "1 finding (0 of the checker, 1 of the kernel)"),
        (RAN, [KNOWN], "", TOTALS, 0, "0 findings (0 of the checker, 0 of the kernel), 1 known,"),
        (RAN, [], "", TOTALS | {"unlisted": 7, "more": ["7 more"]}, 2, "7 findings (7 of the ch"),
        (RAN, [], "", coherence_run.NOTHING, 1, "0 loads and stores"),
        (Run("toaster", "false", status=5), [], "", TOTALS, 3, "ended with exit status 5."),
        (Run("toaster", ""), [], "", TOTALS, 0, "there was no command."),
        (Run("toaster", "x", ended="it hangs"), [], "", TOTALS, 1, "ended early: it hangs"),
        (Run("toaster", "x", ended="it hangs"), [FOUND], "", TOTALS, 2, "ended early: it hangs"),
        (Run("toaster", "x", interrupted=True), [FOUND], "", TOTALS, 130, "was interrupted"),
    ],
)
def test_exit_status(run, lines, log, totals, status, says):
    """Each end has an exit status, and a sentence that says it."""
    text, found = told(run, findings(*lines), totals, klog.scan(log))
    assert found == status
    assert says in text.splitlines()[-1]


def test_order():
    """The kernel's complaints are among the findings; what is known comes last, uncounted."""
    text, _ = told(RAN, findings(KNOWN, FOUND), TOTALS, klog.scan(OOPS))
    lines = text.splitlines()
    begins = [
        "stale-read",
        "kernel (Oops): ",
        "    line 1 of",
        "known, counted apart",
        "    A test at",
    ]
    assert [line.startswith(it) for line, it in zip(lines, begins, strict=False)] == [True] * 5
    assert lines[-1].startswith("2 findings ")


def test_known_for_one_reason():
    """The first is told, and how many more there are."""
    text, status = told(RAN, findings(KNOWN, KNOWN, KNOWN), TOTALS, [])
    lines = text.splitlines()
    assert [line.startswith("known, counted apart: ") for line in lines] == [True, *[False] * 3]
    assert lines[2] == "    2 more for this reason"
    assert (" 3 known, " in lines[-1], status) == (True, 0)


def mapped_by(function: str, unit: str, **inlined: str) -> dict:
    """A finding about memory that this function has mapped."""
    source = [{"function": it, "file": "x.c", "line": 1} for it in inlined.values()]
    by = {"function": function, "unit": unit, "source": source}
    return FOUND | {"hazard": "owned-touch", "lent": {"mapped": {"by": by, "order": 1}}}


@pytest.mark.parametrize(
    ("finding", "is_known"),
    [
        (mapped_by("e100_rx_alloc_skb", "e100"), True),
        # In the kernel, and inlined.
        (mapped_by("e100_rx_alloc_skb", ""), True),
        (mapped_by("e100_up", "e100", inlined="e100_rx_alloc_skb"), True),
        (mapped_by("e100_rx_alloc_skb", "mine"), False),
        (mapped_by("e100_up", "e100"), False),
        (mapped_by("e100_rx_alloc_skb", "e100") | {"hazard": "stale-read"}, False),
        (FOUND | {"hazard": "owned-touch", "lent": None}, False),
    ],
)
def test_known_by_who_mapped_the_memory(finding, is_known):
    new, old = coherence.divided(findings(finding))
    assert (len(new), len(old)) == (not is_known, is_known)


@pytest.mark.parametrize(
    ("writer", "is_known"),
    [
        ({"unit": "", "function": None, "pc": 0x400081C0}, True),
        ({"unit": "", "function": "memset"}, False),
        ({"unit": "mine", "function": None}, False),
        ({"text": "a device"}, False),
        (None, False),
    ],
)
def test_known_by_who_wrote_before_the_mmu_was_on(writer, is_known):
    new, old = coherence.divided(findings(FOUND | {"writer": writer}))
    assert (len(new), len(old)) == (not is_known, is_known)


def test_module_that_is_not_free_is_no_finding(tmp_path):
    (tmp_path / "kernel.log").write_text("Disabling lock debugging due to kernel taint\n")
    (tmp_path / "report.json").write_text(json.dumps({"totals": TOTALS}) + "\n")
    assert coherence_run.read(tmp_path) == ([], TOTALS, [])


def test_oops_of_a_module_that_is_not_free(tmp_path):
    """The line about its licence comes first, and hides nothing."""
    log = f"Disabling lock debugging due to kernel taint\n{OOPS}---[ end trace 0 ]---\n"
    (tmp_path / "kernel.log").write_text(log)
    (tmp_path / "report.json").write_text(json.dumps({"totals": TOTALS}) + "\n")
    (report,) = coherence_run.read(tmp_path)[2]
    assert (report.kind, report.line) == ("Oops", 2)


def test_what_was_forgotten_is_no_clean_run():
    text, status = coherence_run.told(RAN, [], TOTALS | {"forgotten": 3, "more": ["3 times"]}, [])
    assert (status, text.splitlines()[0]) == (1, "3 times")


def test_names_fit_an_argument(tmp_path):
    """A kernel with very many modules: its own are named by address alone."""
    lines = [
        f"file /lib/modules/7.3.4/{where}/m{i}.ko {'x' * 120}/{where}/m{i}.ko 0644 0 0"
        for where, count in (("kernel/drivers", 2000), ("extra", 2))
        for i in range(count)
    ]
    (tmp_path / "initramfs.list").write_text("\n".join(lines))
    words = coherence.code(tmp_path)
    assert len(words) == 2
    assert all("/extra/" in word for word in words)


def test_kdir_that_is_not_there():
    result = subprocess.run(
        [TOP / "tests/toolchain/coherence-run", "vexpress-a9"],
        env=os.environ | {"KDIR": "/no/such/folder"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr == "shmbuf: KDIR=/no/such/folder is not a folder.\n"


def test_report_has_all(tmp_path):
    """The file that stays has what the checker found, what the kernel said, and how it ended."""
    file = tmp_path / "report.json"
    file.write_text(f"{json.dumps(FOUND)}\n{json.dumps({'totals': TOTALS})}\n")
    (tmp_path / "kernel.log").write_text(OOPS)
    found, totals, reports = coherence_run.read(tmp_path)
    assert ([it.text for it in found], totals) == ([FOUND["text"]], TOTALS)
    coherence_run.write(tmp_path, RAN, reports)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [next(iter(line)) for line in lines] == ["hazard", "kernel", "run", "totals"]
    assert lines[1]["kernel"]["kind"] == "Oops"
    assert lines[2]["run"]["command"] == "modprobe mine"


def test_no_report_of_the_checker(tmp_path, capsys):
    """What the kernel said is told all the same."""
    (tmp_path / "kernel.log").write_text(OOPS)
    found, totals, reports = coherence_run.read(tmp_path)
    assert (found, totals, len(reports)) == ([], coherence_run.NOTHING, 1)
    assert "left no report" in capsys.readouterr().out
    coherence_run.write(tmp_path, RAN, reports)
    assert "Oops" in (tmp_path / "report.json").read_text()


# What ends a wait.


def waiting(tmp_path: Path, log: str, ended: int | None = None) -> QemuBoard:
    """A board whose console says nothing."""

    def silent(_size, timeout, _most=None):
        time.sleep(min(timeout, 0.01))
        raise TIMEOUT("silence")

    board = QemuBoard.__new__(QemuBoard)
    board.name, board.dead, board.log = "toaster", "", tmp_path / "kernel.log"
    board.log.write_text(log)
    board.qemu = SimpleNamespace(_child=SimpleNamespace(poll=lambda: ended), _read=silent)
    board._look_while_reading()
    return board


def test_panic_ends_the_wait(tmp_path):
    said = "Kernel panic - not syncing: it is broken"
    board = waiting(tmp_path, f"[1.0] {said}\n[1.0] CPU: 0\n[1.0] ---[ end {said} ]---\n")
    with pytest.raises(BoardError, match="toaster: the kernel panicked: it is broken"):
        board.qemu._read(1, 600.0)
    assert board.dead


def test_end_of_the_emulator_ends_the_wait(tmp_path):
    with pytest.raises(BoardError, match="toaster: the emulator has ended"):
        waiting(tmp_path, "", ended=1).qemu._read(1, 600.0)


def test_silence_does_not_end_the_wait(tmp_path):
    with pytest.raises(TIMEOUT):
        waiting(tmp_path, "").qemu._read(1, 0.05)


# What is built.


def test_command_arrives_as_written(tmp_path):
    """Make expands nothing in it, and the shell sees its quotes."""
    script = tmp_path / "coherence-run"
    script.write_text(
        '#!/bin/sh\nprintf "%s|" "$1" "$RUN_MODULE" "$RUN_PROGRAMS" "$RUN_CMD" >"$0.said"\n'
    )
    script.chmod(0o755)
    words = ["a board", "my module/$x", "a 'b c' $x", 'for m in a; do echo "$m  $$" $(id; done\n#']
    names = ["BOARD", "MODULE", "PROGRAMS", "CMD"]
    variables = [f"{name}={word}" for name, word in zip(names[1:], words[1:], strict=True)]
    must(["make", "coherence-run", f"T={tmp_path}", "BOARD=board", *variables])
    assert (tmp_path / "coherence-run.said").read_text() == "|".join(["board", *words[1:], ""])


def command(script: str, **env: str) -> dict:
    """What to start, with the environment that the makefile makes."""
    variables = {f"RUN_{name}": value for name, value in env.items()}
    return {"args": [TOOLCHAIN / script, BOARD], "env": os.environ | variables}


def refused(script: str, **env: str) -> str:
    """What it says before it exits with status 1."""
    result = subprocess.run(
        **command(script, **env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 1, result.stdout
    return result.stdout


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("/nowhere/mine.ko", 'there is no "/nowhere/mine.ko"'),
        ("'/nowhere", "a quote in MODULE has no other"),
        (str(TOP / "Makefile"), "is neither"),
    ],
)
def test_module_that_is_none(module, says):
    assert says in refused("build-coherence-run", MODULE=module)


def test_two_at_once():
    """The second says why it does not begin."""
    folder = build_folder() / BOARD
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "coherence-run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert f"another make coherence-run for {BOARD} goes on" in refused("coherence-run")


#: A driver in folders with spaces, whose module needs another in a folder below, and includes
#: what is above. It stores to what the device has, and another module of it kills the kernel.
SOURCES = {
    "above.h": "#define FROM_ABOVE 42\n",
    "a driver/Kbuild": "obj-m := mine.o deadly.o below/\n",
    "a driver/below/Kbuild": "obj-m := below.o\n",
    "a driver/below/below.c": """
#include <linux/module.h>
#include "../../above.h"

int below(void)
{
	return FROM_ABOVE;
}
EXPORT_SYMBOL_GPL(below);
MODULE_DESCRIPTION("needed");
MODULE_LICENSE("GPL");
""",
    "a driver/mine.c": """
#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include "../above.h"

int below(void);

static int __init mine_init(void)
{
	struct platform_device *device = platform_device_register_simple("mine", -1, NULL, 0);
	int *bytes = kmalloc(4096, GFP_KERNEL);
	dma_addr_t at;

	dma_coerce_mask_and_coherent(&device->dev, DMA_BIT_MASK(32));
	at = dma_map_single(&device->dev, bytes, 4096, DMA_TO_DEVICE);
	if (!dma_mapping_error(&device->dev, at)) {
		WRITE_ONCE(bytes[0], below() - FROM_ABOVE); /* the fault */
		dma_unmap_single(&device->dev, at, 4096, DMA_TO_DEVICE);
	}
	kfree(bytes);
	platform_device_unregister(device);
	return 0;
}
module_init(mine_init);

static void __exit mine_exit(void)
{
}
module_exit(mine_exit);
MODULE_DESCRIPTION("faulty");
MODULE_LICENSE("GPL");
""",
    "a driver/deadly.c": """
#include <linux/module.h>

static int __init deadly_init(void)
{
	panic("it is deadly");
}
module_init(deadly_init);
MODULE_DESCRIPTION("worse");
MODULE_LICENSE("GPL");
""",
    "oops/Kbuild": "obj-m := oops.o\n",
    "oops/oops.c": """
#include <linux/module.h>

int below(void);

static int __init oops_init(void)
{
	return below() + *(volatile int *)(8);
}
module_init(oops_init);
MODULE_DESCRIPTION("bad");
MODULE_LICENSE("GPL");
""",
    "a program.c": """
#include <stdio.h>
#include "above.h"

int main(int argc, char **argv)
{
	printf("%d: %s|\\n", FROM_ABOVE, argv[argc - 1]);
	return 0;
}
""",
}
FAULT_LINE = next(
    number
    for number, line in enumerate(SOURCES["a driver/mine.c"].strip().splitlines(), 1)
    if "the fault" in line
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("my sources")
    for name, text in SOURCES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.lstrip("\n"))
    return folder


class Started:
    """A run, with a terminal's process group of its own."""

    def __init__(self, **env: str):
        self.said: list[str] = []
        self.process = subprocess.Popen(
            **command("coherence-run", **env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def read(self, until: str = "") -> list[str]:
        """What it says to its end, or until it says something."""
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            if until and until in line:
                return self.said
        self.process.wait()
        return self.said


# On a board.


def test_all_is_told(sources, tmp_path):
    """Modules, a program, and a command with quotes; a fault, an oops and a panic in one list."""
    modules = f"'{sources}/a driver' '{sources}/oops'"
    typed = 'for m in mine oops; do modprobe "$m"; done; a_program "a  b"; modprobe deadly'
    run = Started(MODULE=modules, PROGRAMS=f"{sources}/a program.c", CMD=typed)
    begin = time.monotonic()
    text = "\n".join(run.read())
    assert run.process.returncode == 2, text
    assert time.monotonic() - begin < coherence.CheckedBoard.patience, "it waited for a dead kernel"
    assert "42: a  b|" in run.said
    last, where = run.said[-2:]
    assert last.startswith(f"{len(kernels(run)) + len(checkers(run))} findings"), text
    assert "the kernel panicked: it is deadly" in last
    at = re.compile(rf"stored by mine_init\+0x\w+ \[mine\] at mine\.c:{FAULT_LINE}, task")
    assert [line for line in run.said if at.search(line)], text
    assert {"Oops", "panic"} <= set(kernels(run)), text
    page = Path(where.split(": ", 1)[1])
    lines = [json.loads(line) for line in page.with_suffix(".json").read_text().splitlines()]
    assert [line["run"]["command"] for line in lines if "run" in line] == [typed]
    assert_page(page, run)
    assert_seen(page, tmp_path)
    sarif = json.loads(page.with_suffix(".sarif").read_text())
    results = sarif["runs"][0]["results"]
    assert len([it for it in results if "suppressions" not in it]) == int(last.split()[0])
    # The board has what was asked for, and none of ours.
    listed = (build_folder() / BOARD / "coherence-run/initramfs.list").read_text()
    files = [line.split()[1] for line in listed.splitlines() if line.startswith("file ")]
    assert {Path(it).name for it in files if it.startswith("/bin/")} == {
        "busybox",
        "a_program",
        "label",
    }
    assert {Path(it).stem for it in files if it.endswith(".ko")} == {
        "below",
        "deadly",
        "mine",
        "oops",
    }


class Page(HTMLParser):
    """A page whose tags are closed in their order."""

    def __init__(self, text: str):
        super().__init__()
        #: what is open, each tag with its classes
        self.open: list[tuple[str, str]] = []
        self.articles: list[dict] = []
        self.linked: list[str] = []
        #: the lines of sources that are meant
        self.meant: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.linked += [attributes[it] for it in ("src", "href") if it in attributes]
        if tag == "article":
            self.articles.append(attributes)
        if tag != "meta":
            self.open.append((tag, attributes.get("class", "")))

    def handle_startendtag(self, tag, attrs):
        assert tag in {"circle", "line", "rect"}, attrs

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        classes = [it for _, it in self.open]
        if "meant" in classes and "number" not in classes:
            self.meant.append(data)


def assert_page(file: Path, run: Started):
    """One page with all that was told, and the source of it."""
    page = Page(file.read_text())
    assert page.linked == []
    counted = [it for it in page.articles if it.get("class") != "known"]
    assert len(counted) == len(checkers(run)) + len(kernels(run))
    assert {"mine", "kernel"} <= {it["data-driver"] for it in counted}
    assert any("/* the fault */" in line for line in page.meant)


#: What somebody sees of each article, with all of them shown and then by each filter: its driver
#: and hazard, and whether it is there; what is drawn outside of its picture; and whether the
#: window has to be scrolled sideways.
SEEN = """() => {
  const box = (it) => it.getBoundingClientRect();
  const articles = [...document.querySelectorAll("article")];
  const shown = () => articles.filter((it) => box(it).height > 50);
  const named = (it) => [it.dataset.driver, it.dataset.hazard];
  const outside = [...document.querySelectorAll("svg")].flatMap((svg) =>
    [...svg.querySelectorAll("text, rect, circle")].filter((it) => {
      const [inner, outer] = [box(it), box(svg)];
      return inner.width == 0 || inner.left < outer.left || inner.right > outer.right + 1
        || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
    }).map((it) => it.outerHTML));
  const filtered = [];
  const [drivers, hazards] = ["driver", "hazard"].map((it) => filter.elements[it]);
  for (const driver of drivers.options)
    for (const hazard of hazards.options) {
      drivers.value = driver.value;
      hazards.value = hazard.value;
      drivers.dispatchEvent(new Event("change", { bubbles: true }));
      const said = filter.querySelector("output").value;
      filtered.push([driver.value, hazard.value, shown().map(named), said]);
    }
  drivers.value = hazards.value = "";
  drivers.dispatchEvent(new Event("change", { bubbles: true }));
  const log = document.querySelector("article details:last-of-type");
  const before = box(log).height;
  log.querySelector("summary").click();
  return {
    articles: shown().map(named), outside, filtered,
    sideways: document.documentElement.scrollWidth - innerWidth,
    opened: box(log).height - before,
    drawn: document.querySelectorAll("svg .found").length,
  };
}"""


def assert_seen(file: Path, folder: Path):
    """The page as a browser shows it, on a desk's screen and on a narrow one."""
    articles = [(it["data-driver"], it["data-hazard"]) for it in Page(file.read_text()).articles]
    for width in (1100, 500):
        seen = browser.ask(file, SEEN, folder, width)
        assert [tuple(it) for it in seen["articles"]] == articles
        assert seen["outside"] == []
        assert seen["sideways"] <= 0
        assert seen["opened"] > 0
        assert seen["drawn"] > 0
        assert len(seen["filtered"]) > 4
        for driver, hazard, shown, said in seen["filtered"]:
            wanted = [it for it in articles if driver in {"", it[0]} and hazard in {"", it[1]}]
            assert [tuple(it) for it in shown] == wanted, (driver, hazard)
            assert said == f"{len(wanted)} of {len(articles)}"
    picture = file.with_suffix(".png")
    browser.draw(file, picture, folder)
    print(f"the page as a browser shows it: {picture}")


def kernels(run: Started) -> list[str]:
    """The kinds of the kernel's findings."""
    return [line.split(")")[0][8:] for line in run.said if line.startswith("kernel (")]


def checkers(run: Started) -> list[str]:
    return [line for line in run.said if " times: 0x" in line and not line.startswith("known")]


def test_interrupted():
    """Ctrl-C ends the run, which tells what it has seen."""
    run = Started(CMD="echo begun; sleep 1000")
    run.read(until="begun")
    os.killpg(run.process.pid, signal.SIGINT)
    text = "\n".join(run.read())
    assert run.process.returncode == 130, text
    assert "The run was interrupted; this was seen until then." in text
    assert " in 0 loads" not in text


def test_failing_command():
    """Without any module, and with an exit status of its own."""
    run = Started(CMD="exit 5")
    text = "\n".join(run.read())
    assert run.process.returncode == 3, text
    assert "The command ended with exit status 5." in text


def test_command_alone(tmp_path):
    """`coherence run`, with a kernel and an initramfs: it tells in a sentence and by a status."""
    must([TOOLCHAIN / "build-coherence-run", BOARD])
    (kernel,) = map(Path, shell_names('kernel_build "$1"', BOARD))
    folder, page = build_folder() / BOARD, tmp_path / "page.html"
    program = build_folder() / "coherence/coherence"
    words = ["run", "--machine", BOARD, "--kernel", kernel / "arch/arm/boot/zImage"]
    words += ["--dtb", folder / "board.dtb", "--symbols", kernel / "System.map"]
    words += ["--initrd", folder / "coherence-run/initramfs.cpio.gz", "--html", page]
    words += ["--append", "console=ttyAMA0 kmemleak=off", "--report", tmp_path / "report"]
    words += ["--pl310", "0x1e00a000"]
    more = ["--", "-m", "1G", "-smp", "2", "-audio", "none"]

    watched = pexpect.spawn(
        str(program), [str(it) for it in [*words, "--core", "cortex-a9", *more]], timeout=600
    )
    watched.expect_exact("[shmbuf] # ")
    watched.sendline("poweroff -f")
    watched.expect(r"coherence: 0 findings, (\d+) known, in (\d+) loads and stores\.")
    assert int(watched.match[2]) > 100e6
    watched.wait()
    assert watched.exitstatus == 0
    assert "</html>" in page.read_text()

    refused = subprocess.run(
        [program, *words, "--core", "arm926", *more],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "of another architecture" in refused.stderr
    assert refused.returncode == 1
