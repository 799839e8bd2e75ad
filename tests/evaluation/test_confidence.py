"""Calibration and the threshold of a cascade: the promise is kept over many draws, and refused where it cannot be."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import UndeterminedError
from freehold.evaluation.confidence import Graded, brier, calibrate, keep
from freehold.records import ConfidenceCurve

graded_lists = st.lists(st.builds(Graded, confidence=st.floats(0, 1), right=st.booleans()), min_size=2, max_size=60)


def draw(seed: int, n: int, overconfidence: float = 3.0) -> list[Graded]:
    """Answers whose model says how sure it is, too loudly: its odds are raised to a power."""
    source = random.Random(seed)
    found = []
    for _ in range(n):
        truth = min(1 - 1e-9, 1 - source.random() ** 2)  # more often right than wrong
        odds = (truth / (1 - truth)) ** overconfidence
        found.append(Graded(confidence=odds / (1 + odds), right=source.random() < truth))
    return found


@given(graded_lists)
def test_a_calibrated_confidence_is_a_share_and_keeps_the_order(graded: list[Graded]) -> None:
    try:
        curve = calibrate(graded)
    except UndeterminedError:
        return
    found = [curve.at(each.confidence) for each in sorted(graded, key=lambda each: each.confidence)]
    assert found == sorted(found)
    assert all(0 <= each <= 1 for each in found)


def test_calibration_mends_overconfidence() -> None:
    graded, fresh = draw(1, 2000), draw(2, 2000)
    curve = calibrate(graded)
    assert curve.slope == pytest.approx(1 / 3, abs=0.08)
    assert brier(fresh, curve) < brier(fresh, ConfidenceCurve()) - 0.01


def test_what_is_kept_reaches_the_promised_accuracy_in_nineteen_draws_of_twenty() -> None:
    fresh = draw(10_000, 20_000)
    broken = decided = 0
    for seed in range(300):
        try:
            kept = keep(draw(seed, 300), 0.85)
        except UndeterminedError:
            continue
        decided += 1
        above = [each.right for each in fresh if each.confidence >= kept.confidence]
        broken += sum(above) / len(above) < 0.85
    assert decided > 250
    assert broken / decided <= 0.08  # 0.05 promised; three standard errors of 300 draws above it


def test_more_than_the_examples_can_show_is_refused_with_what_they_show() -> None:
    with pytest.raises(UndeterminedError, match=r"99% for no threshold .*it takes at least 299"):
        keep(draw(0, 100), 0.99)
    with pytest.raises(UndeterminedError, match="surest 29 were right 14 times"):
        keep([Graded(confidence=at / 30, right=at % 2 == 0) for at in range(30)], 0.9)


def test_confidence_that_says_nothing_is_refused() -> None:
    with pytest.raises(UndeterminedError, match="says nothing"):
        calibrate([Graded(confidence=at / 20, right=at < 10) for at in range(20)])
    with pytest.raises(UndeterminedError, match="all 3 validation answers are right"):
        calibrate([Graded(confidence=0.5, right=True)] * 3)


def test_equal_confidences_are_kept_or_passed_on_together() -> None:
    graded = [Graded(confidence=0.9, right=True)] * 40 + [Graded(confidence=0.2, right=False)] * 40
    kept = keep(graded, 0.9)
    assert (kept.kept, kept.right, kept.confidence) == (40, 40, 0.9)
