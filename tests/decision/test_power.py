"""What a number of pairs can show, before anything is spent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.decision.power import achieved, fewest_pairs, margin_shown, outlook, pairs_needed, require
from freehold.errors import DataError
from freehold.evaluation.statistics import Pairs, tango
from freehold.records import Plan


def plan(margin: float = 0.02, **changes: float) -> Plan:
    return Plan(metric="accuracy", margin=margin, confidence=changes.get("confidence", 0.95), seed=0)


def test_two_points_at_ten_per_cent_disagreement_need_1550_pairs() -> None:
    assert pairs_needed(plan()) == 1546
    assert outlook(plan(), 212) == (
        "to show non-inferiority within 2 points at 10 % disagreement you need about 1,550 pairs; you have 212"
    )


def test_the_promised_power_is_what_simulation_finds() -> None:
    random = np.random.default_rng(3)
    n, rounds = pairs_needed(plan(0.05)), 400
    draws = random.multinomial(n, [0.05, 0.05, 0.9], size=rounds)
    tables = [Pairs(both=int(c), only_left=int(a), only_right=int(b), neither=0) for a, b, c in draws]
    shown = sum(tango(table, 0.9).low > -0.05 for table in tables) / rounds
    assert 0.73 < shown < 0.87


@given(st.floats(0.005, 0.5), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_the_fewest_pairs_are_exactly_those_that_full_agreement_needs(margin: float, confidence: float) -> None:
    least = fewest_pairs(plan(margin, confidence=confidence))

    def low(n: int) -> float:
        return tango(Pairs(both=n, only_left=0, only_right=0, neither=0), 2 * confidence - 1).low

    assert low(least) > -margin - 1e-6
    if least > 1:
        assert low(least - 1) <= -margin + 1e-6


def test_a_hopeless_number_stops_before_tuning_and_says_what_it_takes() -> None:
    with pytest.raises(DataError) as error:
        require(38, plan())
    assert str(error.value) == (
        "stopped: 38 held-out examples cannot support a margin of 2 points (about 1,550 are needed).\n"
        "collect more, or decide on another margin before looking: decide.margin in the task file"
    )


def test_an_underpowered_number_goes_on_to_an_honest_verdict() -> None:
    require(212, plan())
    require(146, plan(0.10))


@given(st.integers(1, 100_000), st.floats(0.01, 1.0), st.integers(1, 6))
def test_margin_and_pairs_are_each_others_inverse(pairs: int, variance: float, comparisons: int) -> None:
    margin = margin_shown(plan(), pairs, variance=variance, comparisons=comparisons)
    if margin < 0.99:
        assert pairs_needed(plan(margin), variance=variance, comparisons=comparisons) <= pairs + 2


def test_a_shared_error_needs_more_pairs() -> None:
    assert pairs_needed(plan(), comparisons=2) == 1963
    assert "(about 1,970 where 2 comparisons share the error)" in outlook(plan(), None, comparisons=2)


def test_a_certificate_tells_what_its_pairs_could_show() -> None:
    assert achieved(plan(0.10), 146, variance=0.1) == (
        "with 146 pairs a margin of 6.5 points can be shown; 2 points would need about 1,550"
    )
