"""Charts as SVG, made here: zero baselines, units on the axes, intervals drawn wherever there are any.

Colours come from the page's style, so that a chart is light or dark with it. Every chart on a page has its table.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 64, 16, 16, 34


@dataclass(frozen=True)
class Measured:
    """A named figure with its interval (None where there is no bound)."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """A named curve of points (x, y); `spread` gives some points their interval; dashed lines are forecasts."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str = "one"
    spread: Sequence[tuple[float, float, float]] = ()
    dashed: bool = False


def bars(values: Sequence[tuple[str, float]], unit: str, label: str) -> Markup:
    """One bar a name over a zero baseline; `unit` stands on the axis, `label` is what is said to a screen reader."""
    height, bottom = 220, 220 - _BOTTOM
    top = max((value for _, value in values), default=0) or 1.0
    ticks = _ticks(0, top)
    wide = (_WIDTH - _LEFT - _RIGHT) / max(1, len(values))
    every = max(1, math.ceil(len(values) / 12))

    def y(value: float) -> float:
        return bottom - (bottom - _TOP - 14) * value / ticks[-1]

    parts = [_grid_y(ticks, y), _text(_LEFT, 12, unit, css="faint")]
    for at, (name, value) in enumerate(values):
        x = _LEFT + at * wide
        place = f'x="{x + wide * 0.12:.1f}" y="{y(value):.1f}" width="{wide * 0.76:.1f}"'
        title = f"<title>{escape(name)}: {value:,.6g} {escape(unit)}</title>"
        parts.append(f'<rect class="one" {place} height="{max(0.0, bottom - y(value)):.1f}">{title}</rect>')
        if at % every == 0:
            parts.append(_text(x + wide / 2, bottom + 16, name, "middle"))
    return _svg(parts, height, label)


def intervals(rows: Sequence[Measured], unit: str, label: str, zero: bool = False) -> Markup:
    """A dot with its band a row. Dots need no zero; where `zero` is set the axis has one."""
    if not rows:
        return Markup("")
    known = [each for row in rows for each in (row.value, row.low, row.high) if each is not None]
    low, high = min([*known, 0.0] if zero else known), max(known)
    ticks = _ticks(low, high if high > low else low + 1)
    start, height = 230, 34 * len(rows) + 44

    def x(value: float) -> float:
        return start + (_WIDTH - _RIGHT - 84 - start) * (value - ticks[0]) / (ticks[-1] - ticks[0])

    parts = []
    for tick in ticks:
        parts.append(f'<line class="axis" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="8" y2="{height - 32}"/>')
        parts.append(_text(x(tick), height - 16, f"{tick:g}", "middle", "faint"))
    parts.append(_text(start, height - 2, unit, css="faint"))
    for at, row in enumerate(rows):
        y = 24 + 34 * at
        left, right = (ticks[0] if row.low is None else row.low), (ticks[-1] if row.high is None else row.high)
        parts.append(f'<line class="one band" x1="{x(left):.1f}" x2="{x(right):.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="one" cx="{x(row.value):.1f}" cy="{y}" r="5"/>')
        parts.append(_text(start - 12, y + 4, row.name if len(row.name) < 34 else row.name[:33] + "…", "end"))
        parts.append(_text(_WIDTH - 4, y + 4, f"{row.value:,.4g}", "end"))
    return _svg(parts, height, label)


def lines(curves: Sequence[Line], x_unit: str, y_unit: str, label: str, mark: float | None = None) -> Markup:
    """Curves over a zero baseline, with whiskers where a point has an interval; `mark` is one upright line."""
    points = [point for curve in curves for point in curve.points]
    if len(points) < 2:
        return Markup("")
    height, bottom = 260, 260 - _BOTTOM - 8
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    top = max([y for _, y in points] + [high for curve in curves for _, _, high in curve.spread])
    ticks, across = _ticks(0, top or 1.0), _ticks(first, last if last > first else first + 1)

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - first) / max(last - first, 1e-9)

    def y(value: float) -> float:
        return bottom - (bottom - _TOP - 18) * value / ticks[-1]

    parts = [_grid_y(ticks, y), _text(_LEFT, 12, y_unit, css="faint")]
    parts.append(_text(_WIDTH - _RIGHT, height - 4, x_unit, "end", "faint"))
    parts += [_text(x(tick), bottom + 18, f"{tick:,g}", "middle", "faint") for tick in across if first <= tick <= last]
    if mark is not None:
        parts.append(f'<line class="mark" x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="{_TOP}" y2="{bottom}"/>')
    for at, curve in enumerate(curves):
        drawn = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in curve.points)
        dashed = " dashed" if curve.dashed else ""
        parts.append(f'<polyline class="{curve.colour} line{dashed}" points="{drawn}"/>')
        for a, low, high in curve.spread:
            whisker = f'x1="{x(a):.1f}" x2="{x(a):.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}"'
            parts.append(f'<line class="{curve.colour} whisker" {whisker}/>')
        parts.append(f'<rect class="{curve.colour}" x="{_LEFT + 150 + 150 * at}" y="4" width="14" height="8"/>')
        parts.append(_text(_LEFT + 170 + 150 * at, 12, curve.name))
    return _svg(parts, height, label)


def _grid_y(ticks: Sequence[float], y: Callable[[float], float]) -> str:
    found = []
    for tick in ticks:
        at = y(tick)
        found.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        found.append(_text(_LEFT - 6, at + 4, f"{tick:,g}", "end", "faint"))
    return "".join(found)


def _ticks(low: float, high: float) -> list[float]:
    """Round values that hold everything, four to eight of them."""
    rough = (high - low) / 4 or 1.0
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * part for part in (1, 2, 5, 10) if unit * part >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step - 1e-9)
    return [round(step * at, 12) for at in range(first, max(last, first + 1) + 1)]


def _text(x: float, y: float, words: str, anchor: str = "start", css: str = "") -> str:
    kind = f' class="{css}"' if css else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{escape(words)}</text>'


def _svg(parts: Sequence[str], height: float, label: str) -> Markup:
    head = f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">'
    return Markup(head + "".join(parts) + "</svg>")
