"""Looking at every pair spends no error; the bounds hold all at once, and a real loss is found."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.decision.sequence import Watch, bounds, observe, verdict
from freehold.records import Plan, Verdict

PLAN = Plan(metric="accuracy", margin=0.1, confidence=0.95, seed=0)


def stream(random: np.random.Generator, loss: float, disagreement: float, n: int) -> list[float]:
    shares = [(disagreement - loss) / 2, (disagreement + loss) / 2, 1 - disagreement]
    return [float(each) for each in random.choice([1.0, -1.0, 0.0], p=shares, size=n)]


def test_false_switches_stay_under_five_per_cent_with_continuous_peeking() -> None:
    random = np.random.default_rng(5)
    rounds, n = 100, 250
    false = 0
    for _ in range(rounds):
        watch = Watch(PLAN.confidence)
        drawn = stream(random, PLAN.margin, 0.25, n)  # exactly the margin worse
        for at in range(0, n, 10):
            watch = observe(watch, drawn[at : at + 10])
            if verdict(watch, PLAN) is Verdict.SWITCH:
                false += 1
                break
    assert false / rounds < 0.05


def test_an_equal_candidate_is_let_through_and_a_bad_one_is_not() -> None:
    random = np.random.default_rng(6)
    assert verdict(observe(Watch(0.95), stream(random, 0.0, 0.1, 400)), PLAN) is Verdict.SWITCH
    assert verdict(observe(Watch(0.95), stream(random, 0.2, 0.3, 1000)), PLAN) is Verdict.KEEP
    assert verdict(observe(Watch(0.95), stream(random, 0.0, 0.1, 10)), PLAN) is Verdict.NEED_MORE_DATA


def test_a_five_point_loss_is_found_within_a_thousand_pairs() -> None:
    random = np.random.default_rng(8)
    found = [observe(Watch(0.95), stream(random, 0.05, 0.1, 1000)).high < 0 for _ in range(40)]
    assert sum(found) >= 36


values = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), max_size=60)


@settings(max_examples=60, deadline=None)
@given(values.filter(bool))
def test_order_and_batches_do_not_matter_to_the_counts(observed: list[float]) -> None:
    shuffled = sorted(observed)
    whole, parts = observe(Watch(0.95), observed), Watch(0.95)
    for each in shuffled:
        parts = observe(parts, [each])
    assert parts.seen == whole.seen
    # Looking more often can only have tightened the bounds.
    assert parts.low >= whole.low - 1e-9
    assert parts.high <= whole.high + 1e-9


@settings(max_examples=60, deadline=None)
@given(values.filter(bool))
def test_bounds_enclose_the_mean(observed: list[float]) -> None:
    watch = observe(Watch(0.95), observed)
    low, high = bounds(watch.seen, watch)
    assert watch.mean is not None
    assert -1 <= low <= watch.mean + 1e-4
    assert watch.mean - 1e-4 <= high <= 1


def test_nothing_seen_bounds_nothing() -> None:
    watch = observe(Watch(0.95), [])
    assert (watch.n, watch.mean) == (0, None)
    assert watch.low <= -1
    assert watch.high >= 1


@pytest.mark.parametrize("wrong", [1.5, -2.0, math.nan])
def test_an_observation_outside_its_bounds_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="outside"):
        observe(Watch(0.95), [wrong])
