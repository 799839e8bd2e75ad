"""Coverage by simulation, published worked examples, and the identities that hold for any data."""

import math
import re
from inspect import isfunction

import numpy as np
import pytest
from evaluation_material import covers
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import DataError
from freehold.evaluation import statistics as s

COUNT = st.integers(0, 60)
TABLE = st.builds(lambda a, b, c, d: s.Pairs(both=a, only_left=b, only_right=c, neither=d), COUNT, COUNT, COUNT, COUNT)
SOME = TABLE.filter(lambda table: table.n > 0)


def table(a: int, b: int, c: int, d: int) -> s.Pairs:
    return s.Pairs(both=a, only_left=b, only_right=c, neither=d)


def test_wilson_published() -> None:
    """Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3."""
    interval = s.wilson(81, 263)
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.2553, 0.3662)
    assert round(s.wilson(0, 20).high, 4) == 0.1611
    assert round(s.wilson(1, 29).low, 4) == 0.0061


def test_newcombe_published() -> None:
    """Newcombe 1998 (17:2635), table III: 36, 12, 2, 0 of 50 by method 10."""
    interval = s.newcombe(table(36, 12, 2, 0))
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.0569, 0.3404)


@pytest.mark.parametrize(("b", "c", "n"), [(12, 2, 50), (0, 1, 44), (9, 3, 32), (5, 0, 20)])
def test_tango_is_the_maximised_score_test(b: int, c: int, n: int) -> None:
    """At both limits the score, its nuisance parameter found by brute force on a grid, is the normal quantile."""
    interval = s.tango(table(n - b - c, b, c, 0))
    for delta, target in ((interval.low, s.quantile(0.95)), (interval.high, -s.quantile(0.95))):
        q = np.linspace(max(0, -delta) + 1e-9, (1 - delta) / 2 - 1e-9, 400_001)
        likelihood = b * np.log(q + delta) + c * np.log(q) + (n - b - c) * np.log(1 - 2 * q - delta)
        best = q[np.argmax(likelihood)]
        score = (b - c - n * delta) / math.sqrt(n * (2 * best + delta - delta**2))
        assert score == pytest.approx(target, abs=1e-3)


def test_mcnemar_exact() -> None:
    assert s.mcnemar(table(10, 0, 0, 5)) == 1.0
    assert s.mcnemar(table(0, 10, 0, 0)) == pytest.approx(2 / 1024)
    assert s.mcnemar(table(0, 8, 2, 0)) == pytest.approx(2 * (1 + 10 + 45) / 1024)


def test_holm_published() -> None:
    """Holm 1979's rule on four p-values."""
    assert s.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_sample_size_of_the_tour() -> None:
    assert s.noninferiority_sample_size(0.02, discordance=0.10) == 1546
    assert s.smallest_margin(1546) == pytest.approx(0.02, abs=1e-4)
    assert s.noninferiority_power(1546, 0.02) == pytest.approx(0.80, abs=1e-3)


def test_power_by_simulation() -> None:
    """The formula's 80 % is what the score test itself reaches."""
    n = s.noninferiority_sample_size(0.05, discordance=0.10)
    draws = np.random.default_rng(1).multinomial(n, [0.8, 0.05, 0.05, 0.1], size=3000)
    shown = [s.noninferiority(table(*map(int, draw)), 0.05) < 0.05 for draw in draws]
    assert 0.76 < np.mean(shown) < 0.85


def test_level_by_simulation() -> None:
    """A loss of exactly the margin is called non-inferior at most about one time in twenty."""
    draws = np.random.default_rng(2).multinomial(150, [0.75, 0.05, 0.15, 0.05], size=4000)
    shown = [s.noninferiority(table(*map(int, draw)), 0.10) < 0.05 for draw in draws]
    assert np.mean(shown) < 0.065


def test_every_method_names_its_source() -> None:
    """Whatever gives an interval, a p-value or a size says where its method was published."""
    methods = [
        each
        for name, each in vars(s).items()
        if isfunction(each) and each.__module__ == s.__name__ and not name.startswith("_")
    ]
    plain = {"pairs", "quantile"}  # counting, and a constant of the normal distribution
    unnamed = [each.__name__ for each in methods if not re.search(r"\b(19|20)\d\d\b", each.__doc__ or "")]
    assert len(methods) > 15 and set(unnamed) == plain, unnamed


@pytest.mark.parametrize(("share", "n"), [(0.5, 40), (0.9, 146), (0.98, 300)])
def test_wilson_covers(share: float, n: int) -> None:
    draws = np.random.default_rng(3).binomial(n, share, size=4000)
    found = [s.wilson(int(k), n) for k in draws]
    covers(f"Wilson, a share of {share}, n = {n}", [each.low <= share <= each.high for each in found])


@pytest.mark.parametrize("method", [s.tango, s.newcombe])
def test_paired_intervals_cover(method: object) -> None:
    draws = np.random.default_rng(4).multinomial(146, [0.75, 0.09, 0.06, 0.10], size=3000)
    intervals = [method(table(*map(int, draw))) for draw in draws]  # type: ignore[operator]
    covers(f"{intervals[0].method}, 146 pairs", [each.low <= 0.03 <= each.high for each in intervals])


@pytest.mark.parametrize("n", [30, 70])
def test_bootstrap_covers_skewed_scores(n: int) -> None:
    random = np.random.default_rng(5)
    found = [s.bootstrap_mean(random.beta(0.6, 1.4, size=n).tolist()) for _ in range(600)]
    covers(f"BCa bootstrap, skewed scores, n = {n}", [each.low <= 0.3 <= each.high for each in found])


def test_cluster_bootstrap_covers_where_the_plain_one_does_not() -> None:
    """Forty sessions of five answers that rise and fall together."""
    random = np.random.default_rng(6)
    names = [f"s{at // 5}" for at in range(200)]
    plain, clustered = [], []
    for _ in range(600):
        values = (random.normal(0.5, 0.2, 40).repeat(5) + random.normal(0, 0.05, 200)).tolist()
        one, other = s.bootstrap_mean(values), s.bootstrap_mean(values, clusters=names)
        plain.append(one.low <= 0.5 <= one.high)
        clustered.append(other.low <= 0.5 <= other.high)
    assert np.mean(plain) < 0.75
    covers("BCa bootstrap of 40 sessions of five", clustered)


def test_paired_bootstrap_covers() -> None:
    """Two candidates that find the same examples hard, their difference skewed a little."""
    random, hits = np.random.default_rng(8), []
    for _ in range(600):
        hard, skew = random.normal(0, 0.2, 60), random.gamma(4, 0.025, 60)
        interval = s.paired_bootstrap((hard + 0.5 + skew).tolist(), (hard + random.normal(0.5, 0.1, 60)).tolist())
        hits.append(interval.low <= 0.1 <= interval.high)
    covers("paired bootstrap, n = 60", hits)


@pytest.mark.slow
def test_percentile_bootstrap_covers_kappa() -> None:
    """A judge that is wrong on 15 % of two even verdicts has a kappa of 0.7."""
    random, hits = np.random.default_rng(9), []
    for _ in range(1000):
        people = random.integers(0, 2, 120)
        judge = np.where(random.random(120) < 0.15, 1 - people, people)
        interval = s.bootstrap_of(
            lambda drawn: s.kappa([each for each, _ in drawn], [each for _, each in drawn]),
            list(zip(people.tolist(), judge.tolist(), strict=True)),
        )
        hits.append(interval.low <= 0.7 <= interval.high)
    covers("percentile bootstrap of kappa, n = 120", hits)


@given(SOME)
def test_tango_agrees_with_its_test(pairs: s.Pairs) -> None:
    """The margin is shown exactly when the one-sided bound lies above it (same score test)."""
    bound = s.tango(pairs, confidence=0.90).low
    if abs(bound + 0.1) > 1e-6:
        assert (s.noninferiority(pairs, 0.1) < 0.05) == (bound > -0.1)


@given(SOME)
def test_swapping_sides_mirrors(pairs: s.Pairs) -> None:
    mirrored = table(pairs.both, pairs.only_right, pairs.only_left, pairs.neither)
    for method in (s.tango, s.newcombe):
        one, other = method(pairs), method(mirrored)
        assert one.low <= one.value <= one.high
        assert math.isclose(one.low, -other.high, abs_tol=1e-6)
    assert s.mcnemar(pairs) == s.mcnemar(mirrored)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_bootstrap_holds_its_mean_and_is_repeatable(values: list[float]) -> None:
    one = s.bootstrap_mean(values, seed=9)
    assert one == s.bootstrap_mean(values, seed=9)
    assert one.low <= one.value + 1e-9 and one.value <= one.high + 1e-9


def test_unvaried_scores_are_not_certain() -> None:
    assert s.bootstrap_mean([1.0] * 20).low < 0.9
    same = s.paired_bootstrap([1.0] * 20, [1.0] * 20)
    assert same.low < 0 < same.high


def test_bad_input_is_said() -> None:
    with pytest.raises(DataError, match="not each 0 or 1"):
        s.pairs([0.5], [1.0])
    with pytest.raises(DataError, match="same examples"):
        s.pairs([1.0], [1.0, 0.0])
    with pytest.raises(DataError, match="not a number"):
        s.bootstrap_mean([0.1, math.nan])
    with pytest.raises(DataError, match="at least 1"):
        s.wilson(0, 0)
    with pytest.raises(DataError, match="no number of pairs"):
        s.noninferiority_sample_size(0.02, difference=-0.03)
