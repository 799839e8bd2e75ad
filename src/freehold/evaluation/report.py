"""A report: candidates and incumbent measured on the same held-out examples, kept as JSON, rows and a page.

The rule of truth (DESIGN.md): where a reference is the incumbent's own answer, matching it is *agreement with the
incumbent*, never accuracy. Where some references are independent, the metric is taken over those alone, and the
agreement over the others stands beside it.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from freehold.errors import DataError, NotFoundError
from freehold.evaluation.figures import figures
from freehold.evaluation.pins import Pins, check
from freehold.evaluation.scorers.spent import by_the_clock
from freehold.records import (
    Candidate,
    CandidateFigures,
    Change,
    Dataset,
    Example,
    Interval,
    Report,
    Row,
    canonical,
    digest,
)
from freehold.spec import Task
from freehold.store.workspace import Workspace, read_record, write_atomically, write_record

AGREEMENT = "agreement with the incumbent"
_SHORT = 12

T = TypeVar("T")
Measured = Sequence[tuple[Candidate, Sequence[Row]]]


@dataclass(frozen=True)
class Checks:
    """What was checked beside the held-out examples; see `records.Report`."""

    leaks: int | None = None
    changes: tuple[Change, ...] = ()
    pins: Pins | None = None


def build(
    task: Task, dataset: Dataset, measured: Measured, examples: Sequence[Example], checks: Checks | None = None
) -> Report:
    """The report of what was measured. `task` has its labels filled in; `examples` are the held-out ones.

    A candidate's rows may be of fewer examples (an incumbent that was not asked everything); its figures say how many.
    """
    if not measured:
        raise DataError(f"{task.task}: nothing was measured; a report needs at least one candidate")
    checks = checks or Checks()
    pinned = checks.pins if checks.pins and checks.pins.examples else None
    any_independent = any(example.provenance.independent for example in examples)
    report = Report(
        digest="",
        task=task.task,
        dataset=dataset.digest,
        metric=task.metric if any_independent else AGREEMENT,
        references=dict(Counter(example.provenance for example in examples)),
        figures=tuple(_figures(candidate, rows, examples, task) for candidate, rows in measured),
        rows_sha256=_rows_sha256(measured),
        dropped=dataset.dropped,
        leaks=checks.leaks,
        confidence=task.decide.confidence,
        changes=checks.changes,
        pins=tuple(check(pinned, candidate.name, rows) for candidate, rows in measured) if pinned else (),
    )
    return replace(report, digest=_digest(report))


def keep(workspace: Workspace, report: Report, measured: Measured, page: str) -> Path:
    """Write rows, page and, last, the report; returns the page's path. The caller lists it (`store/documents.py`)."""
    rows = b"".join(canonical(row) + b"\n" for _, each in measured for row in each)
    write_atomically(_path(workspace, report.digest, "rows.jsonl"), rows)
    page_path = _path(workspace, report.digest, "html")
    write_atomically(page_path, page.encode())
    write_record(_path(workspace, report.digest, "json"), report)
    return page_path


def read(workspace: Workspace, digest: str) -> Report:
    """The report of that digest; raises `NotFoundError` where it is missing or is not what its digest says."""
    path = _path(workspace, digest, "json")
    report = read_record(path, Report)
    if report.digest != digest or _digest(report) != digest:
        raise NotFoundError(
            f"{path}: was altered: its content is not what its digest says; `freehold run` makes it anew"
        )
    return report


def read_rows(workspace: Workspace, report: Report) -> dict[str, list[Row]]:
    """The report's rows by candidate digest, in the examples' order."""
    path = _path(workspace, report.digest, "rows.jsonl")
    if not path.exists():
        raise NotFoundError(f"{path}: the report's rows are missing; `freehold run` makes it anew")
    decoder = msgspec.json.Decoder(Row)
    rows: dict[str, list[Row]] = {}
    for line in path.read_bytes().splitlines():
        row = decoder.decode(line)
        rows.setdefault(row.candidate, []).append(row)
    return rows


def page_path(workspace: Workspace, report: Report) -> Path:
    """Where the report's page lies."""
    return _path(workspace, report.digest, "html")


def summary(report: Report) -> dict[str, Any]:
    """The report as `freehold report --json` prints it (DESIGN.md, The commands)."""
    return {
        "task": report.task,
        "dataset": report.dataset,
        "metric": report.metric,
        "references": {provenance.value: count for provenance, count in report.references.items()},
        "candidates": [_candidate_summary(each) for each in report.figures],
        "digest": report.digest,
        "dropped": report.dropped,
        "leaks": report.leaks,
        "confidence": report.confidence,
        "changes": report.changes,
        "pins": report.pins,
    }


def _candidate_summary(each: CandidateFigures) -> dict[str, Any]:
    timed = each.latency_p95_ms > 0
    return {
        "name": each.candidate.name,
        "kind": each.candidate.kind.value,
        "value": each.metric.value,
        "low": each.metric.low,
        "high": each.metric.high,
        "n": each.metric.n,
        "interval": each.metric.method,
        "free_value": each.free.value if each.free else None,
        "tokens_per_request": each.tokens_per_request or None,
        "latency_ms": {
            "p50": each.latency_p50_ms if timed else None,
            "p95": each.latency_p95_ms if timed else None,
        },
        "errors": each.errors,
        "digest": each.candidate.digest,
        "secondary": {name: _interval_summary(figure) for name, figure in each.secondary.items()},
        "labels": each.labels,
        "confusion": each.confusion,
    }


def _interval_summary(figure: Interval) -> dict[str, Any]:
    return {"value": figure.value, "low": figure.low, "high": figure.high, "n": figure.n}


def _figures(candidate: Candidate, rows: Sequence[Row], examples: Sequence[Example], task: Task) -> CandidateFigures:
    """Figures over independent references; agreement over the incumbent's own stands beside them."""
    by_example = {row.example: row for row in rows}
    if len(by_example) != len(rows):
        raise DataError(f"{candidate.name} has two rows for one example; a report takes one")
    truth = [each for each in examples if each.provenance.independent and each.id in by_example]
    echo = [each for each in examples if not each.provenance.independent and each.id in by_example]
    if not truth:
        return figures(candidate, [by_example[each.id] for each in echo], echo, task)
    found = figures(candidate, [by_example[each.id] for each in truth], truth, task)
    if not echo:
        return found
    agreement = figures(candidate, [by_example[each.id] for each in echo], echo, task).metric
    return replace(found, secondary=found.secondary | {AGREEMENT: agreement})


def _digest(report: Report) -> str:
    """Over everything but the digest itself and what a clock measured."""
    timeless = [
        replace(each, latency_p50_ms=0.0, latency_p95_ms=0.0, secondary=_timeless(each.secondary))
        for each in report.figures
    ]
    return digest(replace(report, digest="", figures=tuple(timeless)))


def _timeless(scores: dict[str, T]) -> dict[str, T]:
    return {name: score for name, score in scores.items() if not by_the_clock(name)}


def _rows_sha256(measured: Measured) -> str:
    hasher = hashlib.sha256()
    for _, rows in measured:
        for row in rows:
            hasher.update(canonical(replace(row, latency_ms=0.0, scores=_timeless(row.scores))) + b"\n")
    return hasher.hexdigest()


def _path(workspace: Workspace, digest: str, ending: str) -> Path:
    return workspace.reports / f"report-{digest[:_SHORT]}.{ending}"
