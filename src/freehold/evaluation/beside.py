"""Further scores of kept rows, shown beside the metric: they never decide anything.

A scorer may be a stranger's. Where it fails on a row, the row says so under `faults`, has no score by it, and the
figure's n is smaller by one; the run goes on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from freehold.evaluation.scorers.registry import Scorer, beside_the_metric, beside_the_text
from freehold.evaluation.scorers.similarity import Similarity
from freehold.evaluation.scorers.spent import Spent
from freehold.records import Example, Record, Report, Row
from freehold.spec import Task


def scored(rows: Sequence[Row], examples: Sequence[Example], task: Task, models: Path) -> list[Row]:
    """The same rows with every score that the task file and its answer type ask for. `models` holds pulled bases."""
    texts, measures = beside_the_metric(task, models), beside_the_text(task)
    try:
        return [_row(row, each.reference, texts, measures) for row, each in zip(rows, examples, strict=True)]
    finally:
        for each in texts.values():
            if isinstance(each, Similarity):
                each.stop()


class Fault(Record, frozen=True, kw_only=True):
    """A scorer that gave some of a candidate's answers no score; `why` is what it said of the first."""

    candidate: str
    scorer: str
    rows: int
    of: int
    why: str


def faults(report: Report, rows: Mapping[str, Sequence[Row]]) -> list[Fault]:
    """Where scorers failed, by candidate and scorer."""
    return [
        Fault(candidate=each.candidate.name, scorer=name, rows=len(said), of=len(mine), why=said[0])
        for each in report.figures
        if (mine := rows.get(each.candidate.digest, ()))
        for name in dict.fromkeys(name for row in mine for name in row.faults)
        if (said := [row.faults[name] for row in mine if name in row.faults])
    ]


def _row(row: Row, reference: str, texts: Mapping[str, Scorer], measures: Mapping[str, Spent]) -> Row:
    if row.error:
        return replace(row, scores=dict.fromkeys(texts, 0.0))
    scores, faults = {}, {}
    for name in (*texts, *measures):
        try:
            scores[name] = texts[name](row.answer, reference) if name in texts else measures[name](row)
        except Exception as error:
            faults[name] = f"{type(error).__name__}: {error}"
    return replace(row, scores=scores, faults=faults)
