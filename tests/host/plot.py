# SPDX-License-Identifier: GPL-2.0
"""A plot of dots as an SVG file: the same numbers give the same bytes."""

import math
from xml.sax.saxutils import escape

#: Pixels.
ROW, LEFT, WIDTH, TOP, LEGEND, RADIUS = 19, 220, 620, 40, 190, 4.5

COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800", "#555555"]


def shape(series: int, x: float, y: float, title: str) -> str:
    """A mark: another colour for each series, and when they are used up another shape."""
    colour = COLOURS[series % len(COLOURS)]
    r = RADIUS
    if series < len(COLOURS):
        mark = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}"'
    else:
        mark = f'<rect x="{x - r:.1f}" y="{y - r:.1f}" width="{2 * r}" height="{2 * r}"'
    return f'{mark} fill="{colour}" fill-opacity=".75"><title>{escape(title)}</title>' + (
        "</circle>" if series < len(COLOURS) else "</rect>"
    )


def text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(words)}</text>'


def dots(title: str, points: dict[str, dict[str, int]]) -> str:
    """A row for each key, a dot for each of its series, by its number, on a logarithmic scale."""
    series = list(dict.fromkeys(name for row in points.values() for name in row))
    numbers = [number for row in points.values() for number in row.values()]
    low, high = math.floor(math.log10(min(numbers))), math.ceil(math.log10(max(numbers)))
    height = TOP + ROW * len(points) + 30

    def across(number: float) -> float:
        return LEFT + WIDTH * (math.log10(number) - low) / (high - low)

    out = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<!-- SPDX-License-Identifier: GPL-2.0 -->",
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + LEGEND}"'
        f' height="{height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        text(10, 20, title, ' font-size="15"'),
    ]
    bottom = TOP + ROW * len(points)
    for power in range(low, high + 1):
        x = across(10**power)
        out.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#ccc"/>')
        out.append(text(x, bottom + 16, f"{10**power:,}", ' text-anchor="middle"'))
    for i, (row, values) in enumerate(points.items()):
        y = TOP + ROW * (i + 0.5)
        out.append(f'<line x1="{LEFT}" y1="{y}" x2="{LEFT + WIDTH}" y2="{y}" stroke="#eee"/>')
        out.append(text(LEFT - 10, y + 4, row, ' text-anchor="end"'))
        for name, number in values.items():
            out.append(shape(series.index(name), across(number), y, f"{name}: {number}"))
    for i, name in enumerate(series):
        y = TOP + ROW * (i + 0.5)
        out.append(shape(i, LEFT + WIDTH + 20, y, name))
        out.append(text(LEFT + WIDTH + 32, y + 4, name))
    return "\n".join([*out, "</svg>", ""])
