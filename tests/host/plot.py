# SPDX-License-Identifier: GPL-2.0
"""A plot of dots as an SVG file: the same numbers give the same bytes."""

import math
from dataclasses import dataclass
from xml.sax.saxutils import escape

#: Pixels. GitHub shows a page's pictures about 830 wide.
WIDTH, MARGIN = 830, 10
#: Of the legend: entries in a line, and its height.
ENTRIES, LINE = 4, 20
#: Between the middles of two marks, so that none hides another.
PITCH = 7.5
#: Above and below a panel's rows: its heading, and its axis.
ABOVE, BELOW = 24, 56
#: What a character takes at most, in a wide font of this size.
CHARACTER = 7.2

STACKED = "Marks at about the same place are stacked."

#: Marks around their middle.
SHAPES = {
    "circle": "M-3.6 0a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0-7.2 0z",
    "ring": "M-3.6 0a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0-7.2 0z"
    "M-1.8 0a1.8 1.8 0 1 1 3.6 0a1.8 1.8 0 1 1-3.6 0z",
    "square": "M-3.3-3.3h6.6v6.6h-6.6z",
    "diamond": "M0-3.7L3.7 0L0 3.7L-3.7 0z",
    "triangle": "M0-3.6L3.7 3.2H-3.7z",
}

#: A number for each name, for each row.
Rows = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Mark:
    """How the dots of one name look."""

    colour: str
    #: one of SHAPES
    shape: str

    def at(self, x: float, y: float, title: str) -> str:
        return (
            f'<use href="#{self.shape}" x="{x:.1f}" y="{y:.1f}" fill="{self.colour}">'
            f"<title>{escape(title)}</title></use>"
        )


def text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(words)}</text>'


def line(x: float, top: float, bottom: float, colour: str) -> str:
    return f'<path d="M{x:.1f} {top:.1f}V{bottom:.1f}" stroke="{colour}"/>'


@dataclass(frozen=True)
class Scale:
    """From numbers to pixels, logarithmic, between two powers of ten."""

    left: float
    right: float
    low: int
    high: int

    @classmethod
    def of(cls, rows: Rows, left: float, right: float) -> "Scale":
        """With room for all numbers."""
        numbers = [number for row in rows.values() for number in row.values()]
        low, high = (math.floor(math.log10(number)) for number in (min(numbers), max(numbers)))
        return cls(left, right, low, high + 1)

    def across(self, number: float) -> float:
        share = (math.log10(number) - self.low) / (self.high - self.low)
        return self.left + (self.right - self.left) * share

    def axis(self, top: float, bottom: float, unit: str) -> list[str]:
        """Lines from top to bottom, and what they mean below them."""
        out = []
        for power in range(self.low, self.high + 1):
            x = self.across(10**power)
            out.append(text(x, bottom + 15, short(power), ' text-anchor="middle"'))
            digits = range(1, 10) if power < self.high else [1]
            for digit in digits:
                colour = "#bbb" if digit == 1 else "#e4e4e4"
                out.append(line(self.across(digit * 10**power), top, bottom, colour))
        middle = (self.left + self.right) / 2
        words = f"{unit}, logarithmic"
        return [*out, text(middle, bottom + 31, words, ' text-anchor="middle" fill="#555"')]


def short(power: int) -> str:
    """A power of ten, as 10 k."""
    unit, shift = next((u, s) for u, s in (("M", 6), ("k", 3), ("", 0)) if power >= s)
    return f"{10 ** (power - shift)} {unit}".strip()


def swarm(places: dict[str, float]) -> dict[str, float]:
    """How far below the middle of its row each mark is: those that would overlap are stacked."""
    clusters: list[list[str]] = []
    for name in sorted(places, key=lambda name: places[name]):
        if clusters and places[name] - places[clusters[-1][-1]] < PITCH:
            clusters[-1].append(name)
        else:
            clusters.append([name])
    below = {}
    for cluster in clusters:
        lane = {}
        #: where the last mark of each lane is
        last: list[float] = []
        for name in cluster:
            free = (i for i, place in enumerate(last) if places[name] - place >= PITCH)
            lane[name] = next(free, len(last))
            last[lane[name] : lane[name] + 1] = [places[name]]
        below |= {name: (lane[name] - (len(last) - 1) / 2) * PITCH for name in cluster}
    return below


@dataclass(frozen=True)
class Panel:
    """Some rows with an axis of their own."""

    heading: str
    rows: Rows

    def draw(
        self, left: float, right: float, top: float, unit: str, marks: dict[str, Mark]
    ) -> tuple[list[str], float]:
        """The elements, and where they end."""
        names = max(map(len, self.rows)) * CHARACTER + 18
        scale = Scale.of(self.rows, left + names, right - 20)
        bands = []
        front = [text(left, top + 12, self.heading, ' font-size="14" font-weight="bold"')]
        y = top + ABOVE
        for i, (row, numbers) in enumerate(self.rows.items()):
            places = {name: scale.across(number) for name, number in numbers.items()}
            below = swarm(places)
            height = 2 * max(below.values()) + PITCH + 8
            if i % 2 == 0:
                bands.append(
                    f'<rect x="{left:.1f}" y="{y:.1f}" width="{scale.right - left:.1f}"'
                    f' height="{height:.1f}" fill="#f1f3f5"/>'
                )
            middle = y + height / 2
            front.append(text(scale.left - 10, middle + 4, row, ' text-anchor="end"'))
            for name, place in places.items():
                title = f"{row}, {name}: {numbers[name]}"
                front.append(marks[name].at(place, middle + below[name], title))
            y += height
        return [*bands, *scale.axis(top + ABOVE, y, unit), *front], y + BELOW


def legend(top: float, marks: dict[str, Mark]) -> tuple[list[str], float]:
    """The elements, and where they end."""
    out = []
    for i, (name, mark) in enumerate(marks.items()):
        x = MARGIN + 5 + (i % ENTRIES) * (WIDTH - MARGIN) / ENTRIES
        y = top + (i // ENTRIES + 0.5) * LINE
        out += [mark.at(x, y, name), text(x + 10, y + 4, name)]
    return out, top + math.ceil(len(marks) / ENTRIES) * LINE


def page(title: str, height: float, note: str, out: list[str]) -> str:
    """A picture of those elements."""
    head = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<!-- SPDX-License-Identifier: GPL-2.0 -->",
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}"'
        f' viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif" font-size="12" fill="#222">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        "<defs>",
        *(f'<path id="{name}" d="{shape}"/>' for name, shape in SHAPES.items()),
        "</defs>",
        text(MARGIN, 22, title, ' font-size="16"'),
        text(WIDTH - 25, 22, note, ' text-anchor="end" fill="#555"'),
    ]
    return "\n".join([*head, *out, "</svg>", ""])


def dots(title: str, unit: str, lines: list[list[Panel]], marks: dict[str, Mark]) -> str:
    """Panels, line by line, with a mark for each number."""
    out, y = legend(34, marks)
    y += 16
    for panels in lines:
        width = (WIDTH - MARGIN) / len(panels)
        drawn = [
            panel.draw(MARGIN + i * width, (i + 1) * width, y, unit, marks)
            for i, panel in enumerate(panels)
        ]
        out += [element for elements, _ in drawn for element in elements]
        y = max(end for _, end in drawn)
    return page(title, y, STACKED, out)


#: Of a panel of curves: its height without heading and axis.
CURVE_HEIGHT = 110


@dataclass(frozen=True)
class Curves:
    """What a number is at some points, for each name."""

    heading: str
    #: what the points are of
    axis: str
    #: each point, as words
    points: dict[int, str]
    #: a number for each point, for each name
    numbers: dict[str, dict[int, int]]

    def draw(
        self, left: float, right: float, top: float, marks: dict[str, Mark]
    ) -> tuple[list[str], float]:
        """The elements, and where they end."""
        first, last = left + 52, right - 24
        upper, lower = top + ABOVE, top + ABOVE + CURVE_HEIGHT
        # Upside down: the larger number is further up.
        scale = Scale.of(self.numbers, lower, upper)
        step = (last - first) / max(1, len(self.points) - 1)
        across = {at: first + i * step for i, at in enumerate(sorted(self.points))}
        out = [text(left, top + 12, self.heading, ' font-weight="bold"')]
        for power in range(scale.low, scale.high + 1):
            y = scale.across(10**power)
            out.append(f'<path d="M{first:.1f} {y:.1f}H{last:.1f}" stroke="#ddd"/>')
            out.append(text(first - 8, y + 4, short(power), ' text-anchor="end"'))
        shown = set(range(0, len(across), 1 if len(across) < 6 else 2))
        for i, (at, x) in enumerate(across.items()):
            out.append(line(x, upper, lower, "#eee"))
            if i in shown:
                out.append(text(x, lower + 15, self.points[at], ' text-anchor="middle"'))
        middle = (first + last) / 2
        out.append(text(middle, lower + 30, self.axis, ' text-anchor="middle" fill="#555"'))
        for name, numbers in self.numbers.items():
            places = [(across[at], scale.across(number), at) for at, number in numbers.items()]
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in places)
            out.append(f'<path d="M{path}" fill="none" stroke="{marks[name].colour}"/>')
            for x, y, at in places:
                title = f"{self.heading}, {self.axis} {at}, {name}: {numbers[at]}"
                out.append(marks[name].at(x, y, title))
        return out, lower + 46


def curves(title: str, lines: list[list[Curves]], marks: dict[str, Mark]) -> str:
    """Panels, line by line, with a line for each name."""
    out, y = legend(34, marks)
    y += 16
    for panels in lines:
        width = (WIDTH - MARGIN) / len(panels)
        drawn = [
            panel.draw(MARGIN + i * width, (i + 1) * width, y, marks)
            for i, panel in enumerate(panels)
        ]
        out += [element for elements, _ in drawn for element in elements]
        y = max(end for _, end in drawn)
    return page(title, y, "The vertical axes are logarithmic.", out)
