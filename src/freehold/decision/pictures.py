"""Pictures as SVG, drawn by hand so that a certificate is one self-contained file.

Colours are told apart in grey and by colour-blind readers (Okabe and Ito 2008), and every line is labelled in words.
"""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from html import escape

from freehold.decision.break_even import BreakEven, Point, Sensitivity
from freehold.records import Comparison

_WIDTH, _HEIGHT = 680, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 24, 28, 44
_RENTED, _OWNED, _INK, _FAINT = "#D55E00", "#0072B2", "#333", "#bbb"


def break_even_curve(result: BreakEven) -> str:
    """Monthly cost against volume, both as bands, on logarithmic axes; the break-even range is shaded."""
    label = f"Monthly cost of {result.rented} and {result.owned} against jobs a month"
    points = [each for each in result.curve if each.rented.low > 0 and each.owned.low > 0]
    if len(points) < 2:
        return _svg(label, _text(_WIDTH / 2, _HEIGHT / 2, "one side costs nothing: there is nothing to draw", "middle"))
    across = _Axis([each.jobs for each in points], _LEFT, _WIDTH - _RIGHT)
    ends = [bound for each in points for bound in (each.rented.low, each.rented.high, each.owned.low, each.owned.high)]
    up = _Axis(ends, _HEIGHT - _BOTTOM, _TOP)
    parts = [_break_even_band(result, across), *_grid(across, up, result.currency)]
    for name, colour in ((result.rented, _RENTED), (result.owned, _OWNED)):
        parts += _band(points, name == result.rented, across, up, colour)
        last = points[-1].rented if name == result.rented else points[-1].owned
        parts.append(_text(_WIDTH - _RIGHT - 4, up.at(last.value) - 8, name, "end", colour))
    return _svg(label, "".join(parts))


def tornado(result: BreakEven) -> str:
    """Months to break-even when one thing is halved or doubled, the widest first."""
    label = f"Months until {result.owned} has paid back, were one thing halved or doubled"
    rows = sorted(result.sensitivity, key=_width, reverse=True)
    known = [each for row in rows for each in (row.halved, row.doubled, result.months.expected) if each is not None]
    if not known:
        return _svg(label, _text(_WIDTH / 2, 40, "no change that was tried makes owning pay", "middle"), 70)
    longest = max(float(max(known)) * 1.15, 0.1)
    height, start = 40 + 34 * len(rows) + 30, 190

    def at(months: Decimal | None) -> float:
        share = 1.0 if months is None else float(months) / longest
        return start + share * (_WIDTH - _RIGHT - 80 - start)

    parts = [_text(start, 16, "months until owning has paid back (halved ○  doubled ●; → never)", "start")]
    for index, row in enumerate(rows):
        parts += _tornado_row(row, 44 + 34 * index, at)
    middle = at(result.months.expected)
    label = "never" if result.months.expected is None else f"expected: {_short(result.months.expected)}"
    parts.append(_line((middle, 28), (middle, height - 26), _INK, "4 3"))
    parts.append(_text(middle, height - 10, label, "middle"))
    return _svg(label, "".join(parts), height)


def forest(comparisons: Sequence[Comparison], margin: float) -> str:
    """Differences with their intervals against the margin that was fixed."""
    lowest = min([-margin, *(each.difference.low for each in comparisons)]) * 1.15 - 0.01
    highest = max([0.0, *(each.difference.high for each in comparisons)]) * 1.15 + 0.01
    start, height = 260, 48 + 30 * len(comparisons)

    def at(share: float) -> float:
        return start + (share - lowest) / (highest - lowest) * (_WIDTH - _RIGHT - start)

    parts = [
        _line((at(-margin), 14), (at(-margin), height - 24), _RENTED, "5 3"),
        _line((at(0), 14), (at(0), height - 24), _FAINT),
        _text(at(-margin), height - 8, f"margin −{margin * 100:g} points", "middle", _RENTED),
        _text(at(0), 11, "equal", "middle"),
    ]
    for index, each in enumerate(comparisons):
        y, colour = 28 + 30 * index, _OWNED if each.non_inferior else _INK
        parts.append(_text(start - 8, y + 4, f"{each.candidate} − {each.against}", "end"))
        parts.append(_line((at(each.difference.low), y), (at(each.difference.high), y), colour, width=2))
        parts.append(f'<circle cx="{at(each.difference.value):.1f}" cy="{y}" r="4.5" fill="{colour}"/>')
    return _svg("Differences with their intervals, and the margin", "".join(parts), height)


_Place = tuple[float, float]


class _Axis:
    """A logarithmic axis from data to pixels."""

    def __init__(self, values: Sequence[Decimal], start: float, end: float) -> None:
        self.low, self.high = (math.log10(float(each)) for each in (min(values), max(values)))
        if self.high - self.low < 0.1:
            self.low, self.high = self.low - 0.5, self.high + 0.5
        self.start, self.end = start, end

    def at(self, value: Decimal | float) -> float:
        share = (math.log10(float(value)) - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self) -> list[float]:
        return [10.0**power for power in range(math.ceil(self.low), math.floor(self.high) + 1)]


def _grid(across: _Axis, up: _Axis, currency: str) -> list[str]:
    parts = []
    for tick in across.ticks():
        x = across.at(tick)
        parts += [_line((x, _TOP), (x, _HEIGHT - _BOTTOM), "#eee"), _text(x, _HEIGHT - 26, _short(tick), "middle")]
    for tick in up.ticks():
        y = up.at(tick)
        parts += [_line((_LEFT, y), (_WIDTH - _RIGHT, y), "#eee"), _text(_LEFT - 6, y + 4, _short(tick), "end")]
    parts.append(_text(_WIDTH / 2, _HEIGHT - 8, "jobs a month", "middle"))
    title = f"{currency} a month, one-off costs spread, for equally many accepted answers"
    parts.append(_text(_LEFT, 16, title, "start"))
    return parts


def _band(points: Sequence[Point], rented: bool, across: _Axis, up: _Axis, colour: str) -> list[str]:
    ranges = [(across.at(each.jobs), each.rented if rented else each.owned) for each in points]
    there = [f"{x:.1f},{up.at(each.high):.1f}" for x, each in ranges]
    back = [f"{x:.1f},{up.at(each.low):.1f}" for x, each in reversed(ranges)]
    middle = " ".join(f"{x:.1f},{up.at(each.value):.1f}" for x, each in ranges)
    return [
        f'<polygon points="{" ".join(there + back)}" fill="{colour}" opacity="0.18"/>',
        f'<polyline points="{middle}" fill="none" stroke="{colour}" stroke-width="2"/>',
    ]


def _break_even_band(result: BreakEven, across: _Axis) -> str:
    left = across.at(result.volume.best) if result.volume.best else None
    if left is None:
        return ""
    right = across.at(result.volume.worst) if result.volume.worst else across.end
    box = f'x="{left:.1f}" y="{_TOP}" width="{max(1.0, right - left):.1f}" height="{_HEIGHT - _TOP - _BOTTOM}"'
    return f'<rect {box} fill="#F0E442" opacity="0.35"/>' + _text((left + right) / 2, _TOP + 14, "break-even", "middle")


def _tornado_row(row: Sensitivity, y: float, at: Callable[[Decimal | None], float]) -> list[str]:
    parts = [_text(182, y + 4, row.driver, "end"), _line((at(row.halved), y), (at(row.doubled), y), _OWNED, width=6)]
    left = min(at(row.halved), at(row.doubled))
    for months, fill in ((row.halved, "#fff"), (row.doubled, _OWNED)):
        x, label = at(months), "→ never" if months is None else _short(months)
        parts.append(f'<circle cx="{x:.1f}" cy="{y}" r="5" fill="{fill}" stroke="{_OWNED}"/>')
        parts.append(_text(x, y - 9, label, "end" if x == left else "start"))
    return parts


def _width(row: Sensitivity) -> float:
    if row.halved is None or row.doubled is None:
        return math.inf if row.halved != row.doubled else 0.0
    return float(abs(row.halved - row.doubled))


def _short(value: Decimal | float) -> str:
    """Three figures at most, in words of thousands: 1.5M, 20k, 0.05."""
    number = float(value)
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{suffix}"
    return f"{number:.2g}" if number < 10 else f"{number:.3g}"


def _text(x: float, y: float, words: str, anchor: str, colour: str = _INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def _line(start: _Place, end: _Place, colour: str, dash: str = "", width: float = 1) -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    where = f'x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"'
    return f'<line {where} stroke="{colour}" stroke-width="{width}"{dashes}/>'


def _svg(label: str, body: str, height: float = _HEIGHT) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(label)}" font-family="system-ui, sans-serif" font-size="12">{body}</svg>'
    )
