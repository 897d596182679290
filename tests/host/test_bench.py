# SPDX-License-Identifier: GPL-2.0
"""The benchmarks count what they say, and the same each time."""

import itertools
import re
import subprocess

import bench
import boardinfo
import classic
import coherence
import hand_over
import plot
import pytest
import size
from bench import Case
from tools import TOP

MIB = 1 << 20
LINE = 32
#: Those of the cores whose calls are measured.
BOARDS = [board for board in coherence.BOARDS if board not in coherence.ONLY_ONES]
#: Instructions in a row during which nothing else may be scheduled.
LONGEST = 200_000
#: Titles of all tables.
TITLES = {*bench.TABLES, bench.RATIOS, bench.GROWTH, bench.LONGEST}
#: System calls to allocate, where it is not one. The last asks whether it is a dma-buf; before
#: that, memfd takes memfd_create, ftruncate, fcntl, ioctl and close.
ALLOCATE = {"heap.system": 2, "heap.cma": 2, "memfd": 6}
#: What a fault of a strict mapping fills at most.
AROUND = 256 << 10
#: The largest buffer of the curves: bench/growth.rs.
MOST = {"arm926": 64 * MIB, "cortex-a9": 16 * MIB}

#: Memory that is not cached, and the other.
UNCACHED = [
    "pages.writecombine",
    "pages.noncached",
    "coherent.writecombine",
    "coherent.noncached",
]
CACHED = ["pages.writeback", "streaming.writeback", "scatter.writeback", "heap.system", "plain"]


def skip_unless_asked_for(request):
    asked = request.config.getoption("board")
    if asked and request.param not in asked:
        pytest.skip("another board was asked for")


@pytest.fixture(scope="module", params=BOARDS)
def measured(request):
    """Two runs: the rounds of both."""
    skip_unless_asked_for(request)
    with bench.lean():
        subprocess.run([TOP / "tests/toolchain/build-bench", request.param], check=True)
        first, _ = bench.run(request.param)
        second, _ = bench.run(request.param)
    return request.param, first, second


@pytest.fixture(scope="module")
def counts(measured):
    """The costs by call and source, without the curves."""
    best = bench.costs(measured[1])
    return {(case.call, case.source): c for case, c in best.items() if not case.axis}


def different(first: list[dict], second: list[dict]) -> list[str]:
    """The rounds that are not the same, one line each."""
    if len(first) != len(second):
        return [f"{len(first)} rounds, then {len(second)}"]
    return [
        f"{one['name']}: {name} was {one[name]}, then {other[name]}"
        for one, other in zip(first, second, strict=True)
        for name in one
        if one[name] != other[name]
    ]


def test_two_runs_are_the_same(measured):
    _, first, second = measured
    assert different(first, second) == []


def test_each_call_is_one_system_call(counts):
    for (call, source), count in counts.items():
        expected = 0 if call.startswith(("load ", "store ")) else 1
        if call.startswith("allocate "):
            expected = ALLOCATE.get(source, 1)
        assert count["calls"] == expected, f"{call}, {source}"


def test_mapped_accesses_are_counted(counts):
    """Each word of memory that is not cached is one access, and of no other."""
    seen = 0
    for (call, source), count in counts.items():
        if not call.startswith(("load ", "store ")):
            continue
        words = {"4 KiB": 1024, "4 MiB": MIB}[call.split(" ", 1)[1]]
        found = count["buffered"] + count["ordered"]
        if source in UNCACHED:
            assert found == words, f"{call}, {source}"
            seen += 1
        elif source in CACHED:
            assert found == 0, f"{call}, {source}"
            assert count["user"] >= 2 * words, f"{call}, {source}"
    assert seen >= 8


def test_types(counts):
    """Buffered and strongly-ordered memory are told apart."""
    combined = counts["load 4 KiB", "pages.writecombine"]
    ordered = counts["load 4 KiB", "pages.noncached"]
    assert (combined["buffered"], combined["ordered"]) == (1024, 0)
    assert (ordered["buffered"], ordered["ordered"]) == (0, 1024)


def test_sync_maintains_its_range(counts, measured):
    """Of 1 MiB each line once at least, of a line hardly more than one, of both caches."""
    outer = "pl310" in boardinfo.of(measured[0]).checker.devices
    names = ["lines", "outer-lines"] if outer else ["lines"]
    for name in names:
        for kind in ("streaming", "scatter"):
            source = f"{kind}.writeback"
            line = counts["SYNC of a line to device", source][name]
            page = counts["SYNC of 4 KiB to device", source][name]
            whole = counts["SYNC of 1 MiB to device", source][name]
            assert 1 <= line <= 4, f"{name}, {source}"
            assert 4096 // LINE <= page <= 2 * 4096 // LINE, f"{name}, {source}"
            # The DMA API goes line by line, where a VIVT cache has fewer lines too.
            assert MIB // LINE <= whole <= 2 * MIB // LINE, f"{name}, {source}"


def test_heaps_sync_the_whole(counts):
    for source in ("heap.system", "heap.cma"):
        for part in ("a line", "4 KiB"):
            lines = counts[f"SYNC of {part} to device", source]["lines"]
            assert lines >= MIB // LINE, f"{part}, {source}"


def test_uncached_memory_needs_no_maintenance(counts):
    for (call, source), count in counts.items():
        if source in UNCACHED and call.startswith("SYNC"):
            assert count["lines"] == 0, f"{call}, {source}"
            assert count["drains"] >= 1, f"{call}, {source}"


def test_faults(counts):
    """Memory that is mapped at once takes none; a strict mapping's fault fills what is around."""
    for bytes_, strict in (("4 KiB", 1), ("4 MiB", 4 * MIB // AROUND)):
        call = f"mmap and touch {bytes_}"
        assert counts[call, "pages.writeback"]["faults"] == 0
        assert counts[call, "streaming.writeback.strict"]["faults"] == strict
    # One for each page, and one more to note that it is written.
    assert counts["mmap and touch 4 MiB", "heap.cma"]["faults"] == 2048


def of_largest(measured, call: str, source: str) -> tuple[int, dict[str, int]]:
    """Of a call with a whole buffer: the largest there is, and the counts."""
    best = bench.costs(measured[1])
    cases = [
        case for case in best if (case.call, case.source, case.axis) == (call, source, "bytes")
    ]
    largest = max(cases, key=lambda case: case.at)
    return largest.at, best[largest]


@pytest.mark.parametrize("source", ["streaming.writeback", "scatter.writeback"])
@pytest.mark.parametrize("call", ["SYNC of all to device", "SYNC of all from device", "read all"])
def test_others_can_run_soon(measured, call, source):
    """However much is to be done, the scheduler can act in between."""
    size, found = of_largest(measured, call, source)
    assert size >= MOST[boardinfo.of(measured[0]).core] or source.startswith("streaming")
    for kernel, name in bench.STRETCHES.items():
        assert 0 < found[name] <= LONGEST, kernel


#: What costs nothing, however much there is of it.
FREE = [
    ("buffers", "SYNC of a line to device"),
    ("buffers", "read 4 KiB"),
    ("buffers", "mmap and touch 4 KiB"),
    ("VMAs", "SYNC of a line to device"),
    ("VMAs", "read 4 KiB"),
    ("bytes", "read 4 KiB"),
    ("bytes", "mmap and touch 4 KiB"),
]


@pytest.mark.parametrize(("axis", "call"), FREE)
def test_what_there_is_beside_costs_nothing(measured, axis, call):
    found = bench.curve(axis, call, bench.costs(measured[1]))
    for source in ("streaming.writeback", "scatter.writeback"):
        points = found[source]
        assert len(points) >= 4, source
        assert max(points.values()) <= 1.05 * min(points.values()), f"{source}: {points}"


def test_sync_of_a_line_is_searched_for(measured):
    """In the most of parts it costs a little more than in one page."""
    found = bench.curve("bytes", "SYNC of a line to device", bench.costs(measured[1]))
    points = found["scatter.writeback"]
    assert points[MOST[boardinfo.of(measured[0]).core]] <= 1.2 * points[4 << 10]


#: Of what the geometric mean of the ratios to it is at most, where both do the same.
MEANS = {"heap.system": 0.5, "heap.cma": 0.5, "memfd": 0.5}


def test_cheaper_than_others(measured):
    found = bench.same_job(bench.costs(measured[1]))
    for source, most in MEANS.items():
        assert bench.statistics.geometric_mean(found[source].values()) <= most, source


def numbers(tables: str) -> dict[tuple[str, str, str], float]:
    """What tables of Markdown say, by their titles, rows and columns."""
    unit = {"k": 1e3, "M": 1e6}
    found = {}
    title, columns = "", []
    for line in tables.splitlines():
        row, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        if row in TITLES:
            title, columns = row, cells
        elif line.startswith("| ") and not row.startswith("-"):
            for column, cell in zip(columns, cells, strict=True):
                number, _, suffix = cell.removesuffix(bench.LESS).partition(" ")
                if number != "-":
                    found[title, row, column] = float(number) * unit.get(suffix, 1)
    return found


def plotted(svg: str) -> dict[str, float]:
    """What the marks of a plot say."""
    marks = re.findall(r"<title>(.*): (\d+)</title>", svg)
    return {title: float(number) for title, number in marks}


def page_tables(board: str) -> str:
    """The page's part about a board, "" if it has none."""
    _, _, rest = bench.PAGE.read_text().partition(f"<!-- {board} -->")
    return rest.partition("<!-- end of")[0]


def page_plot(board: str) -> str:
    return bench.PAGE.with_name(f"benchmarks-{board}.svg").read_text()


def apart(one: dict, other: dict) -> list[str]:
    """What differs by more than the programs' compiler does: some instructions, or rounding."""
    pairs = {key: (one.get(key, 0), other.get(key, 0)) for key in one | other}
    return [
        f"{key}: {a}, {b}"
        for key, (a, b) in pairs.items()
        if abs(a - b) > max(rounding(key), 0.02 * max(a, b))
    ]


def rounding(key) -> float:
    """What two numbers may be apart, however small."""
    return 0.02 if key[0] in (bench.RATIOS, bench.GROWTH) else 8


def without(columns: set[str], found: dict) -> dict:
    """Numbers, without those columns."""
    return {
        key: number for key, number in found.items() if not columns & {key[-1].split(" / ")[-1]}
    }


def test_page_is_what_the_command_writes(measured):
    board, first, _ = measured
    page = page_tables(board)
    if not page:
        pytest.skip("it is not in the documentation")
    best = bench.costs(first)
    # The page has another driver too, which is not in this tree.
    missing = {"u-dma-buf"} - {case.source for case in best}
    expected = numbers(bench.tables(best))
    assert apart(without(missing, numbers(page)), expected) == [], "run make bench-documentation"
    for name, svg in bench.pictures(board, best).items():
        found = plotted(bench.PAGE.with_name(name).read_text())
        found = {title: n for title, n in found.items() if not title.endswith(tuple(missing))}
        assert plotted(svg)
        assert apart(found, plotted(svg)) == [], "run make bench-documentation"


# Of what the SYNC of each source is worth.


@pytest.fixture(scope="module", params=coherence.FULL_BOARDS)
def handed_over(request):
    skip_unless_asked_for(request)
    return request.param, hand_over.run(request.param)


def test_our_sync_is_enough(handed_over):
    _, found = handed_over
    ours = {source: findings for source, findings in found.items() if "." in source}
    ours = {source: findings for source, findings in ours.items() if not source.startswith("heap.")}
    assert len(ours) >= 5
    assert {source: findings for source, findings in ours.items() if findings} == {}


def test_page_says_what_others_leave(handed_over):
    """The verdicts, and of which hazards: an interrupt between two accesses may change how many."""
    board, found = handed_over

    def said(table: str, column: str) -> dict[str, str]:
        heading, _, *rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()
        ]
        at = heading.index(column)
        return {row[0]: re.sub(r"\d+ ", "", row[at]) for row in rows}

    core = classic.core(board).name
    (page,) = re.findall(
        rf"^(\| {hand_over.HEADING} .*\n(?:\| .*\n)+)", bench.PAGE.read_text(), re.M
    )
    expected, documented = said(hand_over.table({board: found}), core), said(page, core)
    assert {source: documented[source] for source in expected} == expected


# Of the tool itself, without a board.


def test_the_cheapest_round_counts():
    rounds = [
        {"name": "read\tplain", "user": 4, "kernel": kernel, "faults": faults}
        for kernel, faults in ((30, 0), (20, 1), (25, 0))
    ]
    assert bench.costs(rounds) == {Case("read", "plain"): rounds[1]}


def test_who_maintains_less_is_told():
    def costs(ours: int, theirs: int) -> bench.Costs:
        nothing = {name: 0 for names in bench.TABLES.values() for name in names}
        calls = ("open", "SYNC of a line to device")
        return {
            Case(call, source): nothing | {"kernel": kernel, "lines": lines}
            for call in calls
            for source, kernel, lines in (
                ("streaming.writeback", 200, ours),
                ("u-dma-buf", 100 if call == "open" else 50, theirs),
            )
        }

    ours, theirs = "streaming.writeback", "u-dma-buf"
    column = f"{ours} / {theirs}"
    for lines, less in ((1, True), (2, False), (3, False)):
        best = costs(2, lines)
        assert bench.does_less(best, "SYNC of a line to device", theirs) == less
        assert not bench.does_less(best, "open", theirs)
        table = bench.ratio_table(best)
        assert ("4.00*" in table) == less
        found = numbers(table)
        assert found[bench.RATIOS, bench.MEAN, column] == 2.83
        assert found[bench.RATIOS, bench.SAME_JOB, column] == (2.0 if less else 2.83)
        assert found[bench.RATIOS, bench.AT_BEST, column] == 1


def test_another_page_is_told():
    def tables(reading: int, spent: int) -> str:
        counts = {name: 0 for names in bench.TABLES.values() for name in names}
        counts |= {"kernel": reading, "faults": spent}
        return bench.tables({Case("read", "plain"): counts})

    page = numbers(tables(20_000, 0))
    assert page["Instructions", "read", "plain"] == 20_000
    assert apart(page, numbers(tables(20_300, 2))) == []
    assert len(apart(page, numbers(tables(21_000, 0)))) == 1
    assert len(apart(page, numbers(tables(20_000, 9)))) == 1
    assert plotted("<title>read, plain: 7</title>") == {"read, plain": 7}


def test_differences_are_told():
    one = [{"name": "a", "user": 1}, {"name": "b", "user": 2}]
    other = [{"name": "a", "user": 1}, {"name": "b", "user": 3}]
    assert different(one, one) == []
    assert different(one, other) == ["b: user was 2, then 3"]
    assert different(one, other[:1]) == ["2 rounds, then 1"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0"),
        (9999, "9999"),
        (10_000, "10.0 k"),
        (123_456, "123 k"),
        (1_234_567, "1.23 M"),
        (12_345_678, "12.3 M"),
        (123_456_789, "123 M"),
    ],
)
def test_numbers(number, words):
    assert bench.short(number) == words


def test_functions_belong_to_files():
    found = size.functions(
        "0 8 T <shmbuf_main::buffer::object::Buffer as shmbuf_main::sys::vma::Mapped>::fault\n"
        "8 4 t core::ptr::drop_in_place::<shmbuf_main::copy::job::Job>\n"
        "12 2 T shmbuf_main::copy::nothing_of_that_name\n"
        "14 1 t <kernel::error::Error as core::fmt::Debug>::fmt\n"
        "15 9 r shmbuf_main::buffer::object::TABLE\n"
    )
    assert found == {
        "src/buffer/object.rs": 8,
        "src/copy/job.rs": 4,
        "src/copy/mod.rs": 2,
        "the kernel's crates, and core": 1,
    }


# Of the plots in the documentation.

PLOTTED = re.findall("<!-- end of (.*) -->", bench.PAGE.read_text())


def marks(svg: str) -> list[tuple[str, str, float, float]]:
    """The title of each mark, how it looks, and where its middle is."""
    pattern = r'<use href="(.*)" x="(.*)" y="(.*)" fill="(.*)"><title>(.*)</title></use>'
    found = re.findall(pattern, svg)
    return [
        (title, f"{shape} {colour}", float(x), float(y)) for shape, x, y, colour, title in found
    ]


@pytest.mark.parametrize("board", PLOTTED)
def test_a_plot_has_the_numbers_of_the_page(board):
    page = {
        f"{row}, {column}": number
        for (title, row, column), number in numbers(page_tables(board)).items()
        if title == "Instructions"
    }
    assert page
    assert apart(page, plotted(page_plot(board))) == []


def test_a_buffer_looks_the_same_in_all_plots():
    looks: dict[str, set[str]] = {}
    for board in PLOTTED:
        for title, look, _, _ in marks(page_plot(board)):
            name = title.rpartition(", ")[2].partition(":")[0]
            looks.setdefault(name, set()).add(look)
    assert "heap.cma" in looks
    assert [name for name, found in looks.items() if len(found) > 1] == []
    assert len({look for found in looks.values() for look in found}) == len(looks)


@pytest.mark.parametrize("board", PLOTTED)
def test_no_mark_hides_another(board):
    found = marks(page_plot(board))
    assert found
    # Coordinates are rounded to tenths.
    near = plot.PITCH - 0.2
    assert [
        (one[0], other[0])
        for one, other in itertools.combinations(found, 2)
        if abs(one[2] - other[2]) < near and abs(one[3] - other[3]) < near
    ] == []


@pytest.mark.parametrize("board", PLOTTED)
def test_no_words_are_cut(board):
    """No words reach beyond the picture, as wide as they are in a wide font."""
    svg = page_plot(board)
    width = int(re.findall(r'<svg .* width="(\d+)"', svg)[0])
    lines = re.findall(r'<text x="(.*?)" .*?( text-anchor=".*?")?( fill=".*?")?>(.*)</text>', svg)
    assert lines
    for x, anchor, _, words in lines:
        before = {"": 0.0, ' text-anchor="middle"': 0.5, ' text-anchor="end"': 1.0}[anchor]
        start = float(x) - before * len(words) * plot.CHARACTER
        assert 0 <= start <= width - len(words) * plot.CHARACTER, words


def test_plot_says_all():
    panel = plot.Panel("Calls", {"open": {"a": 100, "b": 101}, "close & more": {"a": 5}})
    looks = {"a": plot.Mark("#111111", "circle"), "b": plot.Mark("#222222", "ring")}
    svg = plot.dots("title", "steps", [[panel]], looks)
    assert svg == plot.dots("title", "steps", [[panel]], looks)
    for words in ("<title>open, a: 100</title>", "<title>open, b: 101</title>", "close &amp; more"):
        assert words in svg
    assert "steps, logarithmic" in svg
