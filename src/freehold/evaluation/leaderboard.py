"""All candidates over all measured tasks. Only what was measured under the same protocol is ranked together.

A protocol is a task, a dataset (by digest) and a metric: a figure on another dataset is another figure.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec.structs import replace

from freehold.records import CandidateFigures, Record, Report

if TYPE_CHECKING:
    from jinja2 import Template


class Price(Record, frozen=True, kw_only=True):
    """What a thousand accepted answers cost, from the most to the least favourable of all inputs; see docs/costs.md."""

    low: float
    value: float
    high: float
    currency: str


class Entry(Record, frozen=True, kw_only=True):
    """One candidate under one protocol. `rank` is 1 + the number whose whole interval lies above this one's.

    `tokens_per_request`, the latencies (milliseconds) and the cost are None where unknown.
    """

    rank: int
    name: str
    kind: str
    value: float
    low: float
    high: float
    n: int
    tokens_per_request: float | None
    p50_ms: float | None
    p95_ms: float | None
    parameters: int | None
    report: str
    cost: Price | None = None


class Board(Record, frozen=True, kw_only=True):
    """What was measured under one protocol, best first."""

    task: str
    dataset: str
    metric: str
    entries: tuple[Entry, ...]


def boards(newest_first: Sequence[Report]) -> list[Board]:
    """One board a protocol; a candidate (by digest) that was measured twice counts once, as it was last."""
    found: dict[tuple[str, str, str], dict[str, tuple[CandidateFigures, str]]] = {}
    for report in newest_first:
        board = found.setdefault((report.task, report.dataset, report.metric), {})
        for each in report.figures:
            board.setdefault(each.candidate.digest, (each, report.digest))
    return [
        Board(task=task, dataset=dataset, metric=metric, entries=_ranked(list(board.values())))
        for (task, dataset, metric), board in sorted(found.items())
    ]


def priced(found: Sequence[Board], prices: Mapping[tuple[str, str], Price]) -> list[Board]:
    """The boards with what is known of costs, by (report digest, candidate name)."""
    return [
        replace(board, entries=tuple(replace(e, cost=prices.get((e.report, e.name))) for e in board.entries))
        for board in found
    ]


def page(found: Sequence[Board]) -> str:
    """The boards as one self-contained HTML page."""
    return _template().render(boards=found)


def _ranked(measured: Sequence[tuple[CandidateFigures, str]]) -> tuple[Entry, ...]:
    lows = [figures.metric.low for figures, _ in measured]
    entries = [_entry(figures, report, lows) for figures, report in measured]
    return tuple(sorted(entries, key=lambda each: (each.rank, -each.value, each.name)))


def _entry(figures: CandidateFigures, report: str, lows: Sequence[float]) -> Entry:
    timed = figures.latency_p95_ms > 0
    return Entry(
        rank=1 + sum(low > figures.metric.high for low in lows),
        name=figures.candidate.name,
        kind=figures.candidate.kind.value,
        value=figures.metric.value,
        low=figures.metric.low,
        high=figures.metric.high,
        n=figures.metric.n,
        tokens_per_request=figures.tokens_per_request or None,
        p50_ms=figures.latency_p50_ms if timed else None,
        p95_ms=figures.latency_p95_ms if timed else None,
        parameters=figures.candidate.parameters,
        report=report,
    )


@lru_cache(maxsize=1)
def _template() -> "Template":
    from freehold.evaluation.report_html import environment

    return environment().get_template("leaderboard.html")
