# SPDX-License-Identifier: GPL-2.0
"""bench.py BOARD: count what each call costs on a board, and write tables and plots."""

import argparse
import bisect
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import klog
import plot
from board import BoardError, environment
from coherence import machine, prepare
from tools import TOP, build_folder

#: Seconds until a run is taken for hung.
PATIENCE = 3600

#: No sleep, no time of the host's, no entropy: the same run each time. An instruction takes two
#: nanoseconds: with one, QEMU 11.1 stops for ever on a Zynq, always at the same instruction.
SAME = "-smp 1 -icount shift=1,sleep=off -rtc clock=vm,base=2020-01-01 -seed 1"

#: What is counted, as the tables have it, from the plugin's counts.
TABLES = {
    "Instructions": ["user", "kernel"],
    "Cache-line operations": ["lines", "outer-lines"],
    "Operations on the whole data cache": ["whole", "set-way", "outer-whole"],
    "Uncached accesses": ["buffered", "ordered"],
    "Page faults": ["faults"],
}

#: What one would choose of shmbuf in place of each alternative, contiguous memory or single pages:
#: calls of the two are compared.
CHOICES = {
    "u-dma-buf": "streaming.writeback",
    "heap.cma": "streaming.writeback",
    "heap.system": "scatter.writeback",
    "memfd": "scatter.writeback",
    "plain": "pages.writeback",
    "/dev/mem": "pages.writecombine",
}
RATIOS, MEAN = "Ratio of instructions", "geometric mean"
#: Of the calls that are not marked; and if no call cost more than the other's.
SAME_JOB, AT_BEST = "of the same job", "of the same job, none above 1"

#: Behind the ratio of a call that maintains less in the alternative than in shmbuf.
LESS = "*"
#: Calls that hand over what is in memory to devices, to programs, or to both.
HANDING_OVER = r"(allocate|SYNC|import|read|write) .*"

#: Calls that no driver has a part in: they say nothing of it.
WITHOUT_DRIVER = r"(load|store) .*"

#: The panels of the curves, line by line: what there is more of, and the calls, each a panel.
CURVES = [
    ("bytes", ["SYNC of a line to device", "read 4 KiB", "mmap and touch 4 KiB"]),
    ("bytes", ["SYNC of all to device", "read all", "mmap and touch all"]),
    ("bytes", ["allocate", "free", "import"]),
    ("buffers", ["SYNC of a line to device", "read 4 KiB", "mmap and touch 4 KiB"]),
    ("mappings", ["SYNC of a line to device", "read 4 KiB", "mmap and touch 4 KiB"]),
    ("VMAs", ["SYNC of a line to device", "read 4 KiB", "mmap and touch 4 KiB"]),
    ("importers", ["SYNC of a line to device", "SYNC of all to device", "mmap and touch 4 KiB"]),
    ("processes", ["SYNC of a line to device", "read 4 KiB", "mmap and touch 4 KiB"]),
]
GROWTH = "Growth of instructions"

#: The most instructions of the kernel in a row during which nothing else can be scheduled, in
#: kernels that preempt what runs, and in others: the plugin's names.
STRETCHES = {"preemptible kernel": "unpreempted", "other kernels": "unyielded"}
LONGEST = "Instructions in a row"

#: The plot's panels, line by line: headings, and patterns of the calls.
PANELS = [
    {
        "Open, allocate, free and map 4 KiB": r"open|(allocate|free|mmap and touch) 4 KiB",
        "Allocate, free and map 4 MiB": r"(allocate|free|mmap and touch) 4 MiB",
    },
    {
        "Read and write 4 KiB": r"(read|write|load|store)( mapped)? 4 KiB",
        "Read and write 4 MiB": r"(read|write|load|store)( mapped)? 4 MiB",
    },
    {"SYNC": r"SYNC .*"},
    {"EXPORT, import and COPY": r"(EXPORT|import|COPY) .*"},
]

#: Of plots, by the first word of a source, and by the rest of it.
COLOURS = {
    "pages": "#0072b2",
    "coherent": "#d55e00",
    "streaming": "#009e73",
    "scatter": "#cc79a7",
    "heap": "#222222",
    "plain": "#999999",
    "memfd": "#56b4e9",
    "u-dma-buf": "#e69f00",
    "/dev/mem": "#999999",
}
SHAPES = {
    "writeback": "circle",
    "writeback.strict": "ring",
    "writethrough": "triangle",
    "writecombine": "diamond",
    "noncached": "square",
    "system": "square",
    "cma": "ring",
    "": "diamond",
}
#: Of those that would look as another.
OTHER_SHAPES = {"/dev/mem": "triangle"}

PAGE = TOP / "Documentation/benchmarks.md"


@dataclass(frozen=True)
class Case:
    """A call, and where the buffer comes from."""

    call: str
    source: str
    #: what there is more of, and how much, if it is of a curve
    axis: str = ""
    at: int = 0

    @classmethod
    def named(cls, name: str) -> "Case":
        """As the programs name it for the plugin."""
        call, source, *more = name.split("\t")
        return cls(call, source, more[0], int(more[1])) if more else cls(call, source)


#: The counts of the round with the fewest instructions, by case, in the order they were run.
Costs = dict[Case, dict[str, int]]


def cost(counts: dict[str, int], table: str) -> int:
    return sum(counts[name] for name in TABLES[table])


@contextmanager
def lean() -> Iterator[None]:
    """Meanwhile all paths are those of what is built for kernels without debugging."""
    os.environ["SHMBUF_KERNEL"] = "bench"
    try:
        yield
    finally:
        del os.environ["SHMBUF_KERNEL"]


def folder(board: str) -> Path:
    return build_folder() / board / "bench"


def run(board: str, profile: bool = False) -> tuple[list[dict], str]:
    """One boot: the counts of each round, and what the board printed."""
    here = folder(board)
    rounds, log = here / "rounds.jsonl", here / "log"
    log.write_text("")
    target = environment(board).get_target("main")
    qemu = target.get_driver("QEMUDriver", activate=False)
    prepare(qemu, board, here)
    qemu.boot_args += " rdinit=/bin/bench-init"
    qemu.extra_args = re.sub(r"-smp \d+", "", qemu.extra_args)
    core = [word for word in machine(board) if word.startswith(("core=", "pl310="))]
    words = [str(build_folder() / "coherence/libcoherence.so"), f"count={rounds}", *core]
    words += ["profile=on"] if profile else []
    command = [*qemu.get_qemu_base_args(), *SAME.split(), "-serial", f"file:{log}"]
    command += ["-plugin", ",".join(words)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            follow(process, log)
        finally:
            process.kill()
    text = log.read_text(errors="replace").replace("\r", "")
    tail = "\n".join(text.splitlines()[-40:])
    if process.returncode or "bench: status 0" not in text:
        raise BoardError(f"{board}: the benchmarks did not end well.\n{tail}")
    if reports := klog.scan(text):
        raise BoardError("\n".join(map(str, reports)))
    return [json.loads(line) for line in rounds.read_text().splitlines()], text


def follow(process: subprocess.Popen, log: Path):
    """Print how far the board is, until it ends."""
    shown, deadline = 0, time.monotonic() + PATIENCE
    while process.poll() is None:
        found = re.findall(
            r"^bench: ((?:growth of )?[\w./-]+)\r?\n", log.read_text(errors="replace"), re.M
        )
        for name in found[shown:]:
            print(f"==> {name}", file=sys.stderr, flush=True)
        shown = len(found)
        if time.monotonic() > deadline:
            raise BoardError(f"it did not end within {PATIENCE} s")
        time.sleep(0.5)


def costs(rounds: list[dict]) -> Costs:
    """The cheapest round of each case: the others met an interrupt, or an empty cache."""
    best: Costs = {}
    for counts in rounds:
        case = Case.named(counts["name"])
        known = best.get(case)
        if not known or cost(counts, "Instructions") < cost(known, "Instructions"):
            best[case] = counts
    return best


def short(number: int) -> str:
    """Exact up to 9999, then three digits."""
    if number < 10_000:
        return str(number)
    digits = len(str(number))
    unit, shift = (("M", 6), ("k", 3))[digits < 7]
    return f"{number / 10**shift:.{max(0, 3 + shift - digits)}f} {unit}"


def unique(words) -> list[str]:
    return list(dict.fromkeys(words))


def rows_of(title: str, columns: list[str], rows: list[list[str]]) -> str:
    """A table for people, that is Markdown too; without the columns that have nothing."""
    used = [i for i in range(1, len(columns) + 1) if any(row[i] != "-" for row in rows)]
    lines = [[title] + [columns[i - 1] for i in used]]
    lines += [[row[0]] + [row[i] for i in used] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(used) + 1)]
    lines.insert(1, ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]])
    text = ""
    for line in lines:
        cells = [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)]
        text += "| " + " | ".join([line[0].ljust(widths[0]), *cells]) + " |\n"
    return text


def table(title: str, best: Costs) -> str:
    """A table of one thing. Calls that have none are left out."""
    plain = {case: counts for case, counts in best.items() if not case.axis}
    sources = unique(case.source for case in plain)
    rows = []
    for call in unique(case.call for case in plain):
        found = [plain.get(Case(call, source)) for source in sources]
        if any(counts and cost(counts, title) for counts in found):
            rows.append([call] + [short(cost(c, title)) if c else "-" for c in found])
    return rows_of(title, sources, rows) if rows else f"**{title}**: none.\n"


def ratios(best: Costs) -> dict[str, dict[str, float]]:
    """Of each alternative, and each call that it has: what shmbuf's costs to what its costs."""
    found: dict[str, dict[str, float]] = {}
    for case, counts in best.items():
        ours = best.get(Case(case.call, CHOICES.get(case.source, "")))
        if ours and not case.axis and not re.fullmatch(WITHOUT_DRIVER, case.call):
            ratio = cost(ours, "Instructions") / cost(counts, "Instructions")
            found.setdefault(case.source, {})[case.call] = ratio
    return found


def does_less(best: Costs, call: str, source: str) -> bool:
    """Whether a call that hands memory over leaves lines in the cache that shmbuf's does not."""
    if not re.fullmatch(HANDING_OVER, call):
        return False
    theirs, ours = best[Case(call, source)], best[Case(call, CHOICES[source])]
    tables = ("Cache-line operations", "Operations on the whole data cache")
    return any(cost(theirs, table) < cost(ours, table) for table in tables)


def same_job(best: Costs) -> dict[str, dict[str, float]]:
    """The ratios of calls that do at least as much in the alternative."""
    return {
        source: {call: it for call, it in calls.items() if not does_less(best, call, source)}
        for source, calls in ratios(best).items()
    }


def ratio_table(best: Costs) -> str:
    found = {source: calls for source, calls in ratios(best).items() if calls}
    same = same_job(best)
    columns = [f"{CHOICES[source]} / {source}" for source in found]

    def cell(source: str, call: str) -> str:
        if call not in found[source]:
            return "-"
        return f"{found[source][call]:.2f}" + ("" if call in same[source] else LESS)

    def mean(numbers) -> str:
        return f"{statistics.geometric_mean(numbers):.2f}"

    rows = [
        [call] + [cell(source, call) for source in found]
        for call in unique(call for calls in found.values() for call in calls)
    ]
    rows.append([MEAN] + [mean(calls.values()) for calls in found.values()])
    rows.append([SAME_JOB] + [mean(same[source].values()) for source in found])
    at_best = [[min(1, it) for it in same[source].values()] for source in found]
    rows.append([AT_BEST] + [mean(it) for it in at_best])
    return rows_of(RATIOS, columns, rows)


#: Of a curve, what each source's call costs at each point.
Curve = dict[str, dict[int, int]]


def curve(axis: str, call: str, best: Costs, title: str = "Instructions") -> Curve:
    found: Curve = {}
    for case, counts in best.items():
        if (case.axis, case.call) == (axis, call):
            found.setdefault(case.source, {})[case.at] = cost(counts, title)
    return found


def growth_table(best: Costs) -> str:
    """How many times as much each call costs at the end of its curve."""
    sources = unique(case.source for case in best if case.axis)
    rows = []
    for axis, calls in CURVES:
        for call in calls:
            found = curve(axis, call, best)
            if not found:
                continue
            cells = []
            for source in sources:
                points = found.get(source, {})
                ends = (min(points), max(points)) if len(points) > 1 else None
                cells.append(f"{points[ends[1]] / points[ends[0]]:.2f}" if ends else "-")
            first, last = ends_of(found)
            start = amount(axis, first) if axis == "bytes" else str(first)
            rows.append([f"{call}, {start} to {amount(axis, last)}", *cells])
    return rows_of(GROWTH, sources, rows) if rows else ""


def ends_of(found: Curve) -> tuple[int, int]:
    points = [at for numbers in found.values() for at in numbers]
    return min(points), max(points)


def amount(axis: str, number: int) -> str:
    """So much of what there is more of."""
    if axis != "bytes":
        return f"{number} {axis}"
    return f"{number >> 20} MiB" if number >> 20 else f"{number >> 10} KiB"


def point(axis: str, number: int) -> str:
    """The same, short, below an axis that says of what."""
    if axis == "bytes":
        return f"{number >> 20}M" if number >> 20 else f"{number >> 10}K"
    return f"{number // 1000}k" if number >= 1000 else str(number)


def longest_table(best: Costs) -> str:
    """The longest stretch of the calls that take most, of the largest buffer there is."""
    largest = {}
    for case in best:
        if not re.fullmatch("streaming.*|scatter.*", case.source):
            continue
        if case.axis == "bytes" and re.fullmatch(r"SYNC of all .*|read all", case.call):
            known = largest.get((case.call, case.source), case)
            largest[case.call, case.source] = max(known, case, key=lambda it: it.at)
    sources = unique(source for _, source in largest)
    rows = []
    for kernel, name in STRETCHES.items():
        for call in unique(call for call, _ in largest):
            cases = [largest.get((call, source)) for source in sources]
            cells = [short(best[c][name]) if c else "-" for c in cases]
            rows.append([f"{call}, {kernel}", *cells])
    sizes = [
        max(case.at for case in largest.values() if case.source == source) for source in sources
    ]
    columns = [
        f"{source}, {amount('bytes', at)}" for source, at in zip(sources, sizes, strict=True)
    ]
    return rows_of(LONGEST, columns, rows) if rows else ""


def tables(best: Costs) -> str:
    """All tables of a board."""
    parts = [table(title, best) for title in TABLES]
    return "\n".join([ratio_table(best), growth_table(best), longest_table(best), *parts])


def heading(board: str) -> str:
    """What a run had of other people's."""
    version = folder(board) / "u-dma-buf.version"
    return f"u-dma-buf is version {version.read_text().strip()}.\n\n" if version.exists() else ""


def mark(source: str) -> plot.Mark:
    """How a source of buffers looks in all plots: shmbuf's have colours, the others are grey."""
    first, _, rest = source.partition(".")
    return plot.Mark(COLOURS[first], OTHER_SHAPES.get(source, SHAPES[rest]))


def panel(heading: str, calls: str, best: Costs) -> plot.Panel:
    rows: plot.Rows = {}
    for case, counts in best.items():
        if not case.axis and re.fullmatch(calls, case.call):
            rows.setdefault(case.call, {})[case.source] = cost(counts, "Instructions")
    return plot.Panel(heading, rows)


def picture(board: str, best: Costs) -> str:
    lines = [[panel(heading, calls, best) for heading, calls in it.items()] for it in PANELS]
    marks = {source: mark(source) for source in unique(case.source for case in best)}
    return plot.dots(f"Instructions of each call, {board}", "instructions", lines, marks)


def growth_picture(board: str, best: Costs) -> str:
    """The curves."""
    lines = [
        [
            plot.Curves(call, axis, {at: point(axis, at) for at in at_all(found)}, found)
            for call in calls
            if (found := curve(axis, call, best))
        ]
        for axis, calls in CURVES
    ]
    marks = {source: mark(source) for source in unique(case.source for case in best if case.axis)}
    return plot.curves(f"Instructions where there is more, {board}", lines, marks)


def at_all(found: Curve) -> list[int]:
    return sorted({at for numbers in found.values() for at in numbers})


def pictures(board: str, best: Costs) -> dict[str, str]:
    """The board's plots, by the names of their files."""
    return {
        f"benchmarks-{board}.svg": picture(board, best),
        f"benchmarks-{board}-growth.svg": growth_picture(board, best),
    }


def write(board: str, best: Costs):
    """All results into the board's folder."""
    here = folder(board)
    everything = [
        {"call": case.call, "source": case.source}
        | ({case.axis: case.at} if case.axis else {})
        | {name: count for name, count in counts.items() if name != "name"}
        for case, counts in best.items()
    ]
    (here / "benchmarks.json").write_text(json.dumps(everything, indent=1) + "\n")
    (here / "benchmarks.txt").write_text(heading(board) + tables(best))
    for name, svg in pictures(board, best).items():
        (here / name).write_text(svg)


def document(board: str, best: Costs):
    """The board's part of the page, and its plots."""
    if not heading(board):
        raise BoardError(f"{PAGE} has u-dma-buf too: say UDMABUF=<folder of its source>")
    begin, end = f"<!-- {board} -->\n", f"<!-- end of {board} -->"
    page = PAGE.read_text()
    head, found, rest = page.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not found or not found_end:
        raise BoardError(f"{PAGE} has no place for {board}")
    PAGE.write_text(f"{head}{begin}\n{heading(board)}{tables(best)}\n{end}{tail}")
    for name, svg in pictures(board, best).items():
        PAGE.with_name(name).write_text(svg)


def profiles(rounds: list[dict], log: str, word: str):
    """Print the functions that the instructions of some calls are in."""
    symbols = Path(os.environ["LG_KERNEL"], "System.map").read_text().splitlines()
    symbols += re.findall("^bench: symbol (.*)", log, re.M)
    known = sorted((int(s.split()[0], 16), " ".join(s.split()[2:])) for s in symbols)

    def function(address: str) -> str:
        i = bisect.bisect(known, (int(address, 16), chr(sys.maxunicode)))
        return known[i - 1][1] if i else "the program"

    for case, counts in costs(rounds).items():
        if word not in f"{case.call}, {case.source}":
            continue
        functions: Counter[str] = Counter()
        for address, count in counts["profile"].items():
            functions[function(address)] += count
        print(f"\n{case.call}, {case.source}: {cost(counts, 'Instructions')} instructions")
        for name, count in functions.most_common(25):
            print(f"{count:>10} {name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("board")
    parser.add_argument("--document", action="store_true", help="write them to Documentation")
    parser.add_argument("--profile", metavar="WORD", help="the functions of the calls named so")
    options = parser.parse_args()
    board = options.board
    print(f"==> booting {board} to measure (usually 5 min)", file=sys.stderr, flush=True)
    try:
        rounds, log = run(board, profile=bool(options.profile))
    except BoardError as error:
        print(error)
        return 1
    best = costs(rounds)
    if options.profile:
        profiles(rounds, log, options.profile)
        return 0
    write(board, best)
    if options.document:
        document(board, best)
    print(heading(board) + tables(best))
    print(f"also: {folder(board)}/benchmarks.json, .txt and .svg files")
    return 0


if __name__ == "__main__":
    try:
        with lean():
            sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
