"""One candidate against another, pair by pair, on the same examples.

An answer that failed stays in as the score it was given: dropping a candidate's failures would flatter it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import variance

from freehold.errors import FreeholdError
from freehold.evaluation.statistics import paired_bootstrap, pairs, tango
from freehold.records import Candidate, Comparison, Example, Interval, Plan, Row


@dataclass(frozen=True)
class Scored:
    """A candidate's scores, one an example, in the examples' order."""

    name: str
    values: list[float]


def scored(candidate: Candidate, rows: Sequence[Row], examples: Sequence[Example]) -> Scored:
    """A candidate's scores on the examples; raises `FreeholdError` where one was never scored."""
    found = {row.example: row.score for row in rows}
    missing = sum(example.id not in found for example in examples)
    if missing:
        raise FreeholdError(
            f"{candidate.name} has no score for {missing} of the {len(examples)} examples to compare on; "
            "`freehold run` measures them"
        )
    return Scored(candidate.name, [found[example.id] for example in examples])


def compare(mine: Scored, theirs: Scored, examples: Sequence[Example], plan: Plan, sharing: int) -> Comparison:
    """`mine` against `theirs`; the plan's error is shared among `sharing` tests (Bonferroni)."""
    level = 1 - (1 - plan.confidence) / sharing
    differences = [a - b for a, b in zip(mine.values, theirs.values, strict=True)]
    interval = _interval(mine, theirs, _sessions(examples), level, plan.seed)
    return Comparison(
        candidate=mine.name,
        against=theirs.name,
        difference=interval,
        level=level,
        better=sum(each > 0 for each in differences),
        worse=sum(each < 0 for each in differences),
        variance=variance(differences) if len(differences) > 1 else 1.0,
        non_inferior=interval.low > -plan.margin,
    )


def _interval(mine: Scored, theirs: Scored, sessions: list[str] | None, level: float, seed: int) -> Interval:
    """Both bounds one-sided at `level`: Tango's for right or wrong, the bootstrap's for graded or grouped scores."""
    confidence = 2 * level - 1
    if sessions is None and {*mine.values, *theirs.values} <= {0.0, 1.0}:
        return tango(pairs(mine.values, theirs.values), confidence)
    return paired_bootstrap(mine.values, theirs.values, confidence, seed, sessions)


def _sessions(examples: Sequence[Example]) -> list[str] | None:
    """The session of each example, where two share one: their answers are then not independent."""
    sessions = [example.session or example.id for example in examples]
    return sessions if len(set(sessions)) < len(sessions) else None
