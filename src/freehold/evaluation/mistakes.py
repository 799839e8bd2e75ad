"""The mistakes that are worth a person's time: what a candidate got wrong, the most telling first."""

from collections import Counter
from collections.abc import Mapping, Sequence

from freehold.records import CandidateFigures, Example, Record, Row


class Mistake(Record, frozen=True, kw_only=True):
    """One wrong answer, and which other candidates answered the same example rightly."""

    example: Example
    answer: str
    score: float
    error: str | None
    right: tuple[str, ...]


class Confusion(Record, frozen=True, kw_only=True):
    """How often one label was answered where another was the reference."""

    reference: str
    answer: str
    count: int


def worst(
    best: CandidateFigures,
    figures: Sequence[CandidateFigures],
    rows: Mapping[str, Sequence[Row]],
    examples: Sequence[Example],
    most: int = 24,
) -> list[Mistake]:
    """The lowest scores of one candidate; of equals, those that most other candidates got right, then by example id.

    Last come the examples that everybody got wrong: there the reference itself is worth a second look.
    """
    by_example = {example.id: example for example in examples}
    right = _right(best, figures, rows)
    found = [
        Mistake(
            example=by_example[row.example],
            answer=row.answer,
            score=row.score,
            error=row.error,
            right=tuple(right.get(row.example, ())),
        )
        for row in rows[best.candidate.digest]
        if row.score < 1 and row.example in by_example
    ]
    return sorted(found, key=lambda each: (each.score, -len(each.right), each.example.id))[:most]


def confusions(best: CandidateFigures, other: str = "(other)", most: int = 10) -> list[Confusion]:
    """The pairs of labels that a candidate confuses most often."""
    names = [*(label.label for label in best.labels), other]
    counts = Counter(
        {
            (names[row], names[column]): count
            for row, line in enumerate(best.confusion)
            for column, count in enumerate(line)
            if row != column and count
        }
    )
    return [Confusion(reference=pair[0], answer=pair[1], count=count) for pair, count in counts.most_common(most)]


def _right(
    best: CandidateFigures, figures: Sequence[CandidateFigures], rows: Mapping[str, Sequence[Row]]
) -> dict[str, list[str]]:
    right: dict[str, list[str]] = {}
    for each in figures:
        if each is not best:
            for row in rows.get(each.candidate.digest, ()):
                if row.score == 1:
                    right.setdefault(row.example, []).append(each.candidate.name)
    return right
