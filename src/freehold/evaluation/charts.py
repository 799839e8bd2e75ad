"""The geometry of the report's pictures, in per cent of their frame: they fit any width without shrinking text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from freehold.records import AdapterManifest, CandidateFigures


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where (0..100) and what it says."""

    at: float
    text: str


@dataclass(frozen=True)
class Axis:
    """A linear scale from `low` to `high` with round ticks."""

    low: float
    high: float
    ticks: tuple[Tick, ...]

    def place(self, value: float) -> float:
        """Where a value lies, 0..100."""
        return 100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Bar:
    """One candidate's figure with its interval, and its free figure where there is one."""

    at: float
    low: float
    high: float
    free: float | None


@dataclass(frozen=True)
class Point:
    """One candidate: tokens a request against the metric."""

    name: str
    kind: str
    x: float
    y: float
    low: float
    high: float
    left: bool
    label_y: float


@dataclass(frozen=True)
class Curve:
    """One adapter's loss: polyline points in 0..100, from the bottom of the frame up."""

    name: str
    train: str
    validation: str
    best: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def share_axis(figures: Sequence[CandidateFigures]) -> Axis:
    """An axis in tenths that holds every interval; dots need no zero, but the ticks say where they stand."""
    lows = [each.metric.low for each in figures] + [each.free.value for each in figures if each.free]
    highs = [each.metric.high for each in figures] + [each.free.value for each in figures if each.free]
    low, high = math.floor(min(lows) * 10), math.ceil(max(highs) * 10)
    step = 1 if high - low <= 5 else 2
    low -= low % step
    high = max(high, low + step)
    span = range(low, high + 1, step)
    ticks = tuple(Tick(100 * (each - low) / (high - low), f"{10 * each} %") for each in span)
    return Axis(low / 10, high / 10, ticks)


def bars(figures: Sequence[CandidateFigures], axis: Axis) -> list[Bar]:
    """One bar a candidate."""
    return [
        Bar(
            at=axis.place(each.metric.value),
            low=axis.place(each.metric.low),
            high=axis.place(each.metric.high),
            free=axis.place(each.free.value) if each.free else None,
        )
        for each in figures
    ]


def points(figures: Sequence[CandidateFigures], axis: Axis) -> tuple[list[Point], tuple[Tick, ...]]:
    """Candidates over tokens a request on a logarithmic axis; those that need none stand at its left edge."""
    tokens = [each.tokens_per_request for each in figures if each.tokens_per_request > 0]
    first, last = (math.log10(min(tokens)), math.log10(max(tokens))) if tokens else (0.0, 1.0)
    first, last = first - 0.2, max(last, first + 0.3) + 0.2

    def place(count: float) -> float:
        return 4.0 if count <= 0 else 14 + 82 * (math.log10(count) - first) / (last - first)

    marks = [Tick(place(10**power * part), f"{10**power * part:,}") for power in range(7) for part in (1, 2, 5)]
    ticks = [mark for mark in marks if 14 <= mark.at <= 97]
    if any(each.tokens_per_request <= 0 for each in figures):
        ticks.insert(0, Tick(4.0, "none"))
    return _apart([_point(each, axis, place(each.tokens_per_request)) for each in figures]), tuple(ticks)


def curve(manifest: AdapterManifest) -> Curve | None:
    """An adapter's loss curve, or None where fewer than two points were recorded."""
    losses = manifest.losses
    if len(losses) < 2:
        return None
    values = [point.train for point in losses] + [p.validation for p in losses if p.validation is not None]
    top, last, first = max(values) * 1.05, losses[-1].step, losses[0].step

    def x(step: int) -> float:
        return 100 * (step - first) / max(1, last - first)

    def line(pairs: Sequence[tuple[int, float]]) -> str:
        return " ".join(f"{x(step):.2f},{100 - 100 * loss / top:.2f}" for step, loss in pairs)

    return Curve(
        name=manifest.base,
        train=line([(point.step, point.train) for point in losses]),
        validation=line([(point.step, point.validation) for point in losses if point.validation is not None]),
        best=x(manifest.best_step),
        x_ticks=tuple(Tick(x(step), str(step)) for step in _round_steps(first, last)),
        y_ticks=tuple(Tick(100 * value / top, f"{value:g}") for value in _round_values(top)),
    )


def _point(each: CandidateFigures, axis: Axis, x: float) -> Point:
    y = 100 - axis.place(each.metric.value)
    return Point(
        name=each.candidate.name,
        kind=each.candidate.kind.value,
        x=x,
        y=y,
        low=100 - axis.place(each.metric.low),
        high=100 - axis.place(each.metric.high),
        left=x > 60,
        label_y=y,
    )


def _apart(placed: Sequence[Point]) -> list[Point]:
    """The same points, their names moved down where two would lie on one another."""
    done: list[Point] = []
    for point in sorted(placed, key=lambda each: each.y):
        moved = point
        while any(abs(moved.label_y - each.label_y) < 7 and _overlap(moved, each) for each in done):
            moved = replace(moved, label_y=moved.label_y + 2)
        done.append(moved)
    return done


def _overlap(one: Point, other: Point) -> bool:
    """Whether two names, as wide as on a phone, share some of it."""
    (low, high), (start, end) = _extent(one), _extent(other)
    return low < end and start < high


def _extent(point: Point) -> tuple[float, float]:
    width = 2 + 1.8 * len(point.name)
    return (point.x - width, point.x) if point.left else (point.x, point.x + width)


def _round_values(top: float) -> list[float]:
    rough = top / 4
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * part for part in (1, 2, 5, 10) if unit * part >= rough)
    return [round(step * at, 10) for at in range(int(top / step) + 1)]


def _round_steps(first: int, last: int) -> list[int]:
    return [int(each) for each in _round_values(max(4, last)) if first <= each <= last]
