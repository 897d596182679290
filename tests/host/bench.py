# SPDX-License-Identifier: GPL-2.0
"""bench.py BOARD: count what each call costs on a board, and write tables and plots."""

import argparse
import bisect
import json
import os
import re
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
PATIENCE = 1800

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

PAGE = TOP / "Documentation/benchmarks.md"


@dataclass(frozen=True)
class Case:
    """A call, and where the buffer comes from."""

    call: str
    source: str


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
        found = re.findall(r"^bench: (\S+)\r?\n", log.read_text(errors="replace"), re.M)
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
        case = Case(*counts["name"].split("\t"))
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


def table(title: str, best: Costs) -> str:
    """A table of one thing, for people, that is Markdown too. Calls that have none are left out."""
    sources = unique(case.source for case in best)
    calls = unique(case.call for case in best)
    rows = []
    for call in calls:
        found = [best.get(Case(call, source)) for source in sources]
        if any(counts and cost(counts, title) for counts in found):
            rows.append([call] + [short(cost(c, title)) if c else "-" for c in found])
    if not rows:
        return f"**{title}**: none.\n"
    used = [i for i in range(1, len(sources) + 1) if any(row[i] != "-" for row in rows)]
    lines = [[title] + [sources[i - 1] for i in used]]
    lines += [[row[0]] + [row[i] for i in used] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(used) + 1)]
    lines.insert(1, ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]])
    text = ""
    for line in lines:
        cells = [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)]
        text += "| " + " | ".join([line[0].ljust(widths[0]), *cells]) + " |\n"
    return text


def tables(best: Costs) -> str:
    return "\n".join(table(title, best) for title in TABLES)


def mark(source: str) -> plot.Mark:
    """How a source of buffers looks in all plots: shmbuf's have colours, the others are grey."""
    first, _, rest = source.partition(".")
    return plot.Mark(COLOURS[first], SHAPES[rest])


def panel(heading: str, calls: str, best: Costs) -> plot.Panel:
    rows: plot.Rows = {}
    for case, counts in best.items():
        if re.fullmatch(calls, case.call):
            rows.setdefault(case.call, {})[case.source] = cost(counts, "Instructions")
    return plot.Panel(heading, rows)


def picture(board: str, best: Costs) -> str:
    lines = [[panel(heading, calls, best) for heading, calls in it.items()] for it in PANELS]
    marks = {source: mark(source) for source in unique(case.source for case in best)}
    return plot.dots(f"Instructions of each call, {board}", "instructions", lines, marks)


def write(board: str, best: Costs):
    """All results into the board's folder."""
    here = folder(board)
    everything = [
        {"call": case.call, "source": case.source}
        | {name: count for name, count in counts.items() if name != "name"}
        for case, counts in best.items()
    ]
    (here / "benchmarks.json").write_text(json.dumps(everything, indent=1) + "\n")
    (here / "benchmarks.txt").write_text(tables(best))
    (here / "benchmarks.svg").write_text(picture(board, best))


def document(board: str, best: Costs):
    """The board's part of the page, and its plot."""
    begin, end = f"<!-- {board} -->\n", f"<!-- end of {board} -->"
    page = PAGE.read_text()
    head, found, rest = page.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not found or not found_end:
        raise BoardError(f"{PAGE} has no place for {board}")
    PAGE.write_text(f"{head}{begin}\n{tables(best)}\n{end}{tail}")
    PAGE.with_name(f"benchmarks-{board}.svg").write_text(picture(board, best))


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
    print(f"==> booting {board} to measure (usually 2 min)", file=sys.stderr, flush=True)
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
    print(tables(best))
    print(f"also: {folder(board)}/benchmarks.json, .txt and .svg")
    return 0


if __name__ == "__main__":
    try:
        with lean():
            sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
