"""From rows to figures: the metric with its interval, each label's precision and recall, tokens and latency."""

from collections.abc import Mapping, Sequence

from freehold.evaluation import f1
from freehold.evaluation.scorers.exact import exact_match
from freehold.evaluation.statistics import bootstrap_mean, wilson
from freehold.records import Candidate, CandidateFigures, Example, Interval, LabelFigures, Row
from freehold.spec import LabelAnswer, Task


def figures(candidate: Candidate, rows: Sequence[Row], examples: Sequence[Example], task: Task) -> CandidateFigures:
    """What a candidate reached. Failed answers stay in, as the 0 they were given; `task` has its labels filled in."""
    matrix = _confusion(rows, examples, task)
    every = _labels(task)
    return CandidateFigures(
        candidate=candidate,
        metric=_interval([row.score for row in rows], examples, task),
        free=_free(rows, examples, task),
        labels=tuple(_label_figures(matrix, at, name) for at, name in enumerate(every)),
        confusion=matrix,
        secondary=_secondary(rows, examples, task) | _f1(rows, examples, task),
        tokens_per_request=sum(row.input_tokens + row.output_tokens for row in rows) / len(rows),
        latency_p50_ms=_percentile(rows, 0.50),
        latency_p95_ms=_percentile(rows, 0.95),
        errors=sum(row.error is not None for row in rows),
    )


def _interval(scores: Sequence[float], examples: Sequence[Example], task: Task) -> Interval:
    """Wilson's for right or wrong, the bootstrap's for graded scores or where examples share a session."""
    sessions = _sessions(examples)
    if set(scores) <= {0.0, 1.0} and sessions is None:
        return wilson(sum(scores), len(scores), task.decide.confidence)
    return bootstrap_mean(scores, task.decide.confidence, task.seed, sessions)


def _sessions(examples: Sequence[Example]) -> list[str] | None:
    """The session of each example; None where no two share one."""
    sessions = [example.session or example.id for example in examples]
    return sessions if len(set(sessions)) < len(sessions) else None


def _free(rows: Sequence[Row], examples: Sequence[Example], task: Task) -> Interval | None:
    scores = [row.free_score for row in rows if row.free_score is not None]
    return _interval(scores, examples, task) if len(scores) == len(rows) else None


def _secondary(rows: Sequence[Row], examples: Sequence[Example], task: Task) -> dict[str, Interval]:
    """Each over the rows that have it: a row that a scorer failed on makes n smaller, not the figure."""
    found = {}
    for name in sorted({name for row in rows for name in row.scores}):
        pairs = [(row.scores[name], each) for row, each in zip(rows, examples, strict=True) if name in row.scores]
        scores = [score for score, _ in pairs]
        alike = name.startswith("cost:") and len(set(scores)) == 1
        found[name] = _constant(scores) if alike else _interval(scores, [each for _, each in pairs], task)
    return found


def _constant(scores: Sequence[float]) -> Interval:
    """A price that was the same every time: it is no share, and nothing about it was drawn."""
    return Interval(value=scores[0], low=scores[0], high=scores[0], n=len(scores), method="all alike")


def _f1(rows: Sequence[Row], examples: Sequence[Example], task: Task) -> dict[str, Interval]:
    places = {label: at for at, label in enumerate(_labels(task))}
    cells = [_cell(row, example, places) for row, example in zip(rows, examples, strict=True)]
    return f1.intervals(cells, len(places), task.decide.confidence, task.seed, _sessions(examples))


def _labels(task: Task) -> tuple[str, ...]:
    return (task.answer.labels or ()) if isinstance(task.answer, LabelAnswer) else ()


def _cell(row: Row, example: Example, places: Mapping[str, int]) -> tuple[int, int]:
    """Reference and answer as places among the labels; the last place is for anything else, failures included."""
    other = len(places)
    answer = other if row.error else next((at for label, at in places.items() if exact_match(row.answer, label)), other)
    return places.get(example.reference, other), answer


def _confusion(rows: Sequence[Row], examples: Sequence[Example], task: Task) -> tuple[tuple[int, ...], ...]:
    """Counts: one row a reference label, one column an answered label, and a last column for any other answer."""
    places = {label: at for at, label in enumerate(_labels(task))}
    counts = [[0] * (len(places) + 1) for _ in places]
    if places:
        for row, example in zip(rows, examples, strict=True):
            reference, answer = _cell(row, example, places)
            if reference < len(places):
                counts[reference][answer] += 1
    return tuple(map(tuple, counts))


def _label_figures(matrix: Sequence[Sequence[int]], at: int, label: str) -> LabelFigures:
    right, support = matrix[at][at], sum(matrix[at])
    answered = sum(row[at] for row in matrix)
    precision = right / answered if answered else 0.0
    recall = right / support if support else 0.0
    f1 = 2 * right / (support + answered) if support + answered else 0.0
    return LabelFigures(label=label, precision=precision, recall=recall, f1=f1, support=support)


def _percentile(rows: Sequence[Row], share: float) -> float:
    """Nearest-rank percentile of the latencies of answers that came, in milliseconds; 0 where none was timed."""
    times = sorted(row.latency_ms for row in rows if row.error is None)
    return times[min(len(times) - 1, int(share * len(times)))] if times else 0.0
