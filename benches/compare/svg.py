"""Charts as SVG, with nothing but text: bars and lines that are read on light and on dark pages, for they bring their own ground."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

# Ours in the accent, all others in grey; both schemes keep a contrast of 4.5 : 1 for text.
STYLE = """<style>
 :root { --ground: #ffffff; --text: #1f2328; --quiet: #59636e; --grid: #d1d9e0; --ours: #0969da; --theirs: #8c959f; --second: #bc4c00 }
 @media (prefers-color-scheme: dark) {
  :root { --ground: #0d1117; --text: #f0f6fc; --quiet: #9198a1; --grid: #3d444d; --ours: #4493f8; --theirs: #6e7681; --second: #f0883e }
 }
 text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: var(--text) }
 .title { font-weight: 600; font-size: 15px } .quiet { fill: var(--quiet); font-size: 12px } .end { text-anchor: end } .middle { text-anchor: middle }
 .ours { fill: var(--ours) } .theirs { fill: var(--theirs) } .bold { font-weight: 600 }
 .grid { stroke: var(--grid); stroke-width: 1 } .line { fill: none; stroke: var(--ours); stroke-width: 2; stroke-linejoin: round }
 .second { stroke: var(--second) } .goal { stroke: var(--quiet); stroke-width: 1; stroke-dasharray: 5 4 } .key { fill: var(--second) }
</style>"""


@dataclass
class Drawing:
    """Elements on a ground of their own, so many pixels wide; the height is that of what was drawn."""

    title: str
    width: int = 760
    height: float = 0
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, what: str, kind: str = "") -> None:
        """A line of text whose foot is at `y`."""
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(what)}</text>')

    def rect(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        """A bar."""
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{height:.1f}" rx="2" class="{kind}"/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line."""
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')

    def path(self, points: Iterable[tuple[float, float]], kind: str) -> None:
        """A line through points."""
        self.parts.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" class="{kind}"/>')

    def render(self) -> str:
        """The whole file."""
        size = f'width="{self.width}" height="{self.height:.0f}" viewBox="0 0 {self.width} {self.height:.0f}"'
        ground = f'<rect width="{self.width}" height="{self.height:.0f}" rx="6" style="fill: var(--ground)"/>'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<title>{escape(self.title)}</title>'
        return "\n".join([head, STYLE, ground, *self.parts, "</svg>", ""])


@dataclass(frozen=True)
class Bar:
    """A name, its value, the value for a person, and whether it is ours."""

    name: str
    value: float
    label: str
    is_ours: bool


def bars(drawing: Drawing, heading: str, rows: list[Bar]) -> None:
    """Horizontal bars from zero on one linear scale, below what was drawn before."""
    left, row, right = 190, 24, 90
    y = drawing.height + 26
    drawing.text(16, y, heading, "bold")
    scale = (drawing.width - left - right) / max(bar.value for bar in rows)
    for bar in rows:
        y += row
        drawing.text(left - 10, y, bar.name, "end bold" if bar.is_ours else "end")
        drawing.rect(left, y - 13, bar.value * scale, 16, "ours" if bar.is_ours else "theirs")
        drawing.text(left + bar.value * scale + 8, y, bar.label, "bold" if bar.is_ours else "quiet")
    drawing.height = y + 10


@dataclass(frozen=True)
class Series:
    """One line of a plot: its points, and the name that the key gives it."""

    name: str
    points: list[tuple[float, float]]
    is_second: bool = False


def plot(drawing: Drawing, heading: str, x_unit: str, y_unit: str, series: list[Series], *, goal: float | None = None, x_top: float = 0) -> None:
    """Lines over a grid from zero to `x_top` (or the last point), below what was drawn before; a goal is a dashed line."""
    left, right, height = 70, 34, 150
    top = drawing.height + 44
    x_top = x_top or max((x for one in series for x, _ in one.points), default=1) or 1
    y_top = nice(max([y for one in series for _, y in one.points] + [goal or 0]) * 1.05 or 1)
    across, up = (drawing.width - left - right) / x_top, height / y_top
    drawing.text(16, top - 18, f"{heading}, {y_unit}", "bold")
    for step in range(5):
        value = y_top * step / 4
        y = top + height - value * up
        drawing.line(left, y, drawing.width - right, y, "grid")
        drawing.text(left - 8, y + 4, short(value), "quiet end")
        x = x_top * step / 4
        last = step == 4
        drawing.text(left + x * across, top + height + 18, f"{short(x)} {x_unit}" if last else short(x), "quiet end" if last else "quiet middle")
    if goal is not None:
        drawing.line(left, top + height - goal * up, drawing.width - right, top + height - goal * up, "goal")
        drawing.text(drawing.width - right, top + height - goal * up - 5, f"goal {short(goal)}", "quiet end")
    x_key = float(drawing.width - right)
    for one in series:
        drawing.path(((left + x * across, top + height - y * up) for x, y in one.points), "line second" if one.is_second else "line")
        if len(series) > 1:
            drawing.text(x_key, top - 18, one.name, "end key" if one.is_second else "end ours")
            x_key -= 8 * len(one.name) + 20
    drawing.height = top + height + 26


def nice(value: float) -> float:
    """The next round number, for the end of an axis."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= value)


def short(value: float) -> str:
    """A number of an axis."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"
