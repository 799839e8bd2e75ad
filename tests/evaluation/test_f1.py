"""F1 over labels: scikit-learn's figures, a hand calculation, and intervals that cover."""

import numpy as np
import pytest
from evaluation_material import LABELS, covers, example, make_task

from freehold.evaluation import f1
from freehold.evaluation.figures import figures
from freehold.records import Candidate, CandidateKind, Row

CELLS = [(0, 0), (0, 1), (1, 1), (2, 0), (2, 2), (1, 1), (0, 0), (2, 3), (1, 3)]
"""Three labels; a 3 is an answer that is none of them."""


def test_it_is_scikit_learns() -> None:
    from sklearn.metrics import f1_score

    references, answers = zip(*CELLS, strict=True)
    for average, ours in (("macro", f1.macro_f1), ("micro", f1.micro_f1)):
        assert ours(CELLS, 3) == pytest.approx(f1_score(references, answers, labels=[0, 1, 2], average=average))


def test_micro_by_hand() -> None:
    """Five of nine right; seven answers are labels: precision 5/7, recall 5/9, F1 10/16."""
    assert f1.micro_f1(CELLS, 3) == pytest.approx(10 / 16)
    assert f1.micro_f1(CELLS[:7], 3) == pytest.approx(5 / 7), "accuracy, where every answer is a label"
    assert f1.micro_f1([], 3) == f1.macro_f1([], 3) == 0


def test_both_are_rows_beside_the_metric() -> None:
    asked = [example(at, LABELS[at % 3]) for at in range(30)]
    rows = [
        Row(candidate="c", example=each.id, answer=each.reference if at > 5 else "hm", score=float(at > 5))
        for at, each in enumerate(asked)
    ]
    candidate = Candidate(name="c", kind=CandidateKind.TUNED, digest="c")
    alone = figures(candidate, rows, asked, make_task()).secondary
    assert alone["micro_f1"].value == pytest.approx(2 * 24 / (30 + 24)) and alone["micro_f1"].n == 30
    assert alone["macro_f1"].low < alone["macro_f1"].value < alone["macro_f1"].high
    together = [example(at, LABELS[at % 3], session=f"s{at // 6}") for at in range(30)]
    rows = [
        Row(candidate="c", example=each.id, answer=each.reference if at > 5 else "hm", score=float(at > 5))
        for at, each in enumerate(together)
    ]
    grouped = figures(candidate, rows, together, make_task()).secondary["micro_f1"]
    assert grouped.method == "cluster-bootstrap"
    assert grouped.high - grouped.low > alone["micro_f1"].high - alone["micro_f1"].low


@pytest.mark.slow
def test_intervals_cover() -> None:
    """Three uneven labels and answers that are none, 60 examples a draw."""
    shares = np.array([[0.30, 0.05, 0.03, 0.02], [0.04, 0.22, 0.03, 0.01], [0.03, 0.05, 0.20, 0.02]])
    right, occurred = np.diag(shares), shares.sum(axis=1) + shares.sum(axis=0)[:3]
    truth = {"macro_f1": float(np.mean(2 * right / occurred)), "micro_f1": 2 * right.sum() / occurred.sum()}
    random = np.random.default_rng(3)
    hits: dict[str, list[bool]] = {name: [] for name in truth}
    for _ in range(800):
        drawn = random.choice(12, size=60, p=shares.ravel())
        for name, found in f1.intervals([(int(at) // 4, int(at) % 4) for at in drawn], 3, 0.95, 0).items():
            hits[name].append(found.low <= truth[name] <= found.high)
    for name, covered in hits.items():
        covers(f"percentile bootstrap of {name}, n = 60", covered)
