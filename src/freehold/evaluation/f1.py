"""F1 over a task's labels: macro, where each label counts alike, and micro, where each answer does.

Sokolova and Lapalme 2009 (Information Processing & Management 45:427), table 3: macro as the mean of the labels' own
F1, micro from the counts summed over the labels. An answer that is no label, a failure among them, is a miss of its
reference and a false alarm of nobody: where every answer is a label, micro F1 is accuracy.
"""

from collections.abc import Hashable, Sequence

from freehold.evaluation.statistics import bootstrap_of
from freehold.records import Interval

Cell = tuple[int, int]
"""Reference and answer as places among the labels; a place behind the last is anything else."""


def intervals(
    cells: Sequence[Cell], labels: int, confidence: float, seed: int, sessions: Sequence[Hashable] | None = None
) -> dict[str, Interval]:
    """`macro_f1` and `micro_f1`, examples (or whole sessions) resampled; nothing where a task has no labels."""
    if not labels:
        return {}
    return {
        "macro_f1": bootstrap_of(lambda drawn: macro_f1(drawn, labels), cells, confidence, seed, sessions),
        "micro_f1": bootstrap_of(lambda drawn: micro_f1(drawn, labels), cells, confidence, seed, sessions),
    }


def macro_f1(cells: Sequence[Cell], labels: int) -> float:
    """Mean F1 over the labels that occur as a reference or an answer."""
    right, occurred = _counts(cells, labels)
    scores = [2 * hits / seen for hits, seen in zip(right, occurred, strict=True) if seen]
    return sum(scores) / len(scores) if scores else 0.0


def micro_f1(cells: Sequence[Cell], labels: int) -> float:
    """F1 of the counts summed over all labels."""
    right, occurred = _counts(cells, labels)
    return 2 * sum(right) / sum(occurred) if sum(occurred) else 0.0


def _counts(cells: Sequence[Cell], labels: int) -> tuple[list[int], list[int]]:
    """Of each label: how often it was rightly answered, and how often it occurs as a reference and as an answer."""
    right, occurred = [0] * (labels + 1), [0] * (labels + 1)
    for reference, answer in cells:
        occurred[reference] += 1
        occurred[answer] += 1
        right[reference] += reference == answer
    return right[:labels], occurred[:labels]
