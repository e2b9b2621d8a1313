"""Plots as SVG: bars in stacks, and lines.

Refuses to know what is shown. No colour is given for paper or ink but by the reader's choice of light or dark; the
colours of the data are legible on both.
"""

from __future__ import annotations

import math
from html import escape
from pathlib import Path

COLOURS = ("#3b82c4", "#e0892b", "#4aa564", "#b05bb5", "#c74a4a")
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-size:15px;font-weight:600}.faint{fill:#57606a}"
    ".grid{stroke:#8b949e;stroke-opacity:.3}.axis{stroke:#8b949e}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.faint{fill:#9da7b3}}"
)
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 760, 70, 20, 86, 52


class Canvas:
    def __init__(self, title: str, width: int, height: int) -> None:
        self.size = (width, height)
        self.parts = [f'<text class="title" x="12" y="24">{escape(title)}</text>']

    def text(self, x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> None:
        self.parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>')

    def rule(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        self.parts.append(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(height, 0.5):.1f}" fill="{colour}"/>')

    def legend(self, names: list[str]) -> None:
        x = 12.0
        for name, colour in zip(names, COLOURS):
            self.box(x, 39, 11, 11, colour)
            self.text(x + 16, 49, name, kind="faint")
            x += 34 + 7.2 * len(name)

    def write(self, path: Path) -> None:
        width, height = self.size
        path.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">\n'
            f"<style>{STYLE}</style>\n" + "\n".join(self.parts) + "\n</svg>\n"
        )


def ticks(most: float) -> list[float]:
    """Round steps from nought to at least `most`, three to six of them."""
    rough = most / 4 or 1.0
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if rough <= factor * power)
    return [step * n for n in range(math.ceil(most / step) + 1)]


def short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.3g}"


def frame(canvas: Canvas, left: float, right: float, most: float, unit: str) -> tuple[float, float]:
    """Grid and labels of the upright axis; gives its highest value and the height of one unit."""
    height = canvas.size[1]
    steps = ticks(most)
    scale = (height - TOP - BOTTOM) / steps[-1]
    for value in steps:
        y = height - BOTTOM - value * scale
        canvas.rule(left, y, right, y, "grid" if value else "axis")
        canvas.text(left - 6, y + 4, short(value), "end", "faint")
    canvas.text(left, TOP - 8, unit, "start", "faint")
    return steps[-1], scale


def bars(path: Path, title: str, unit: str, stacks: list[tuple[str, dict[str, float]]], above: list[str] | None = None) -> None:
    """One bar for each name, in stacked pieces by the names of the pieces; `above` is written over the bars.

    What follows a comma in a name stands below it.
    """
    canvas = Canvas(title, WIDTH, 340)
    pieces = list(dict.fromkeys(piece for _name, values in stacks for piece in values))
    if len(pieces) > 1:
        canvas.legend(pieces)
    group(canvas, LEFT, WIDTH - RIGHT, unit, stacks, pieces, above)
    canvas.write(path)


def group(canvas: Canvas, left: float, right: float, unit: str, stacks: list, pieces: list[str], above: list[str] | None) -> None:
    _most, scale = frame(canvas, left, right, max(sum(values.values()) for _name, values in stacks) * 1.08, unit)
    place = (right - left) / len(stacks)
    width, floor = min(place * 0.6, 90), canvas.size[1] - BOTTOM
    for number, (name, values) in enumerate(stacks):
        x, y = left + place * (number + 0.5), floor
        for piece, colour in zip(pieces, COLOURS):
            tall = values.get(piece, 0) * scale
            y -= tall
            if tall:
                canvas.box(x - width / 2, y, width, tall, colour)
        canvas.text(x, y - 5, above[number] if above else short(sum(values.values())), "middle")
        for row, words in enumerate(name.split(", ")):
            canvas.text(x, floor + 18 + 16 * row, words, "middle")


def panels(path: Path, title: str, unit: str, groups: list[tuple[str, list[tuple[str, float, str]]]]) -> None:
    """Several small groups of bars beside and below each other, each bar with its name, value, and words over it."""
    columns = 2
    rows = math.ceil(len(groups) / columns)
    across, tall = WIDTH // 2, 260
    parts = Canvas(title, across * columns, 30 + tall * rows)
    for number, (name, found) in enumerate(groups):
        one = Canvas(name, across, tall)
        stacks = [(label, {unit: value}) for label, value, _words in found]
        group(one, 64, across - 10, unit, stacks, [unit], [words for _label, _value, words in found])
        x, y = across * (number % columns), 30 + tall * (number // columns)
        parts.parts.append(f'<g transform="translate({x} {y})">' + "\n".join(one.parts) + "</g>")
    parts.write(path)


def lines(
    path: Path, title: str, units: tuple[str, str], series: dict[str, list[tuple[float, float]]], labels: dict[float, str] | None = None
) -> None:
    """One line for each name; `labels` names places on the level axis, else it has round steps."""
    canvas = Canvas(title, WIDTH, 340)
    canvas.legend(list(series))
    top, scale = frame(canvas, LEFT, WIDTH - RIGHT, max(y for line in series.values() for _x, y in line), units[1])
    marks = labels or {value: short(value) for value in ticks(max(x for line in series.values() for x, _y in line))}
    first, last = min(marks), max(marks)
    across, floor = (WIDTH - LEFT - RIGHT) / (last - first), canvas.size[1] - BOTTOM
    for value, words in marks.items():
        x = LEFT + (value - first) * across
        canvas.rule(x, floor, x, floor + 4, "axis")
        canvas.text(x, floor + 18, words, "middle", "faint")
    canvas.text(WIDTH - RIGHT, floor + 36, units[0], "end", "faint")
    for line, colour in zip(series.values(), COLOURS):
        points = " ".join(f"{LEFT + (x - first) * across:.1f},{floor - min(y, top) * scale:.1f}" for x, y in line)
        canvas.parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
    canvas.write(path)
