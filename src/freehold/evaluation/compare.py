"""Any two candidates that were ever measured, compared example by example from kept rows: nothing is asked again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from freehold.errors import NotFoundError, UserError, did_you_mean
from freehold.evaluation import report as reports
from freehold.evaluation.statistics import mcnemar, paired_bootstrap, pairs, tango
from freehold.records import Candidate, Example, Interval, Record, Report, Row
from freehold.store.workspace import Workspace


class Flip(Record, frozen=True, kw_only=True):
    """An example that the two answered with a different score. Text and reference are empty where it was erased."""

    example: str
    text: str
    reference: str
    left_answer: str
    right_answer: str
    left_score: float
    right_score: float


class Diff(Record, frozen=True, kw_only=True):
    """Left against right on the examples that both answered. `p` is McNemar's, None for graded scores."""

    left: str
    right: str
    metric: str
    n: int
    difference: Interval
    p: float | None
    flips: tuple[Flip, ...]


@dataclass(frozen=True)
class Measurement:
    """One candidate's rows in one report."""

    candidate: Candidate
    report: Report
    rows: Sequence[Row]


def find(workspace: Workspace, newest_first: Sequence[Report], wanted: str) -> Measurement:
    """The newest measurement of a candidate by name or by the start of its digest; raises `NotFoundError`."""
    names: list[str] = []
    for report in newest_first:
        for each in report.figures:
            candidate = each.candidate
            if candidate.name == wanted or (len(wanted) >= 6 and candidate.digest.startswith(wanted)):
                return Measurement(candidate, report, reports.read_rows(workspace, report)[candidate.digest])
            names.append(candidate.name)
    known = ", ".join(sorted(set(names))) or "none"
    raise NotFoundError(f"{wanted}: no such candidate was measured{did_you_mean(wanted, names)}; there are: {known}")


def diff(left: Measurement, right: Measurement, examples: Mapping[str, Example], confidence: float = 0.95) -> Diff:
    """Compare two measurements; raises `UserError` where they share no example or were scored by another metric."""
    if left.report.metric != right.report.metric:
        raise UserError(
            f"{left.candidate.name} was scored by {left.report.metric} and {right.candidate.name} by "
            f"{right.report.metric}; only the same metric compares"
        )
    theirs = {row.example: row for row in right.rows}
    shared = [(row, theirs[row.example]) for row in left.rows if row.example in theirs]
    if not shared:
        raise UserError(
            f"{left.candidate.name} and {right.candidate.name} share no example: they saw different datasets"
        )
    ours, others = [mine.score for mine, _ in shared], [other.score for _, other in shared]
    graded = not {*ours, *others} <= {0.0, 1.0}
    table = None if graded else pairs(ours, others)
    return Diff(
        left=left.candidate.name,
        right=right.candidate.name,
        metric=left.report.metric,
        n=len(shared),
        difference=tango(table, confidence) if table else paired_bootstrap(ours, others, confidence),
        p=mcnemar(table) if table else None,
        flips=tuple(_flips(shared, examples)),
    )


def _flips(shared: Sequence[tuple[Row, Row]], examples: Mapping[str, Example]) -> Iterator[Flip]:
    """What changed, the largest losses of the left one first."""
    changed = [pair for pair in shared if pair[0].score != pair[1].score]
    for mine, other in sorted(changed, key=lambda pair: (pair[0].score - pair[1].score, pair[0].example)):
        example = examples.get(mine.example)
        yield Flip(
            example=mine.example,
            text=example.text if example else "",
            reference=example.reference if example else "",
            left_answer=mine.error or mine.answer,
            right_answer=other.error or other.answer,
            left_score=mine.score,
            right_score=other.score,
        )
