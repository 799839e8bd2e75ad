"""The statistics of every claim: intervals, paired tests, corrections, power. Pure functions, no files, no clock.

Proportions and differences are in 0..1; `confidence` is two-sided for intervals and one-sided for tests of
non-inferiority. Every function names the source of its method, and tests hold its coverage by simulation.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence, Sized
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeVar

from freehold.errors import DataError
from freehold.records import Interval, Record

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

_NORMAL = NormalDist()
ROUNDS = 4000
FEW_ROUNDS = 500
T = TypeVar("T")
_CHUNK = 4_000_000


class Pairs(Record, frozen=True, kw_only=True):
    """Two candidates' right and wrong answers on the same examples."""

    both: int
    only_left: int
    only_right: int
    neither: int

    @property
    def n(self) -> int:
        return self.both + self.only_left + self.only_right + self.neither

    @property
    def difference(self) -> float:
        """Left's share of right answers less right's."""
        return (self.only_left - self.only_right) / self.n

    @property
    def discordance(self) -> float:
        """The share of examples that exactly one of the two answered rightly."""
        return (self.only_left + self.only_right) / self.n


def pairs(left: Sequence[float], right: Sequence[float]) -> Pairs:
    """Count pairs of scores that are each 0 or 1; raises `DataError` on anything else."""
    _same_length(left, right)
    counts = {(1.0, 1.0): 0, (1.0, 0.0): 0, (0.0, 1.0): 0, (0.0, 0.0): 0}
    for pair in zip(left, right, strict=True):
        if pair not in counts:
            raise DataError(f"scores {pair} are not each 0 or 1; use paired_bootstrap for graded scores")
        counts[pair] += 1
    both, only_left, only_right, neither = counts.values()
    return Pairs(both=both, only_left=only_left, only_right=only_right, neither=neither)


def quantile(confidence: float) -> float:
    """The two-sided standard normal quantile, such as 1.96 for 0.95."""
    return _NORMAL.inv_cdf(0.5 + confidence / 2)


def wilson(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion (Wilson 1927, JASA 22:209; recommended by Brown, Cai and DasGupta 2001)."""
    _enough(n, 1)
    z = quantile(confidence)
    share, spread = successes / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(value=share, low=low, high=high, n=n, method="wilson")


def bootstrap_mean(
    values: Sequence[float],
    confidence: float = 0.95,
    seed: int = 0,
    clusters: Sequence[Hashable] | None = None,
) -> Interval:
    """BCa bootstrap interval of a mean (Efron 1987, JASA 82:171), whole clusters resampled where given.

    `clusters` names the session that each value belongs to (Davison and Hinkley 1997, section 3.8): answers within one
    session are not independent. Where nothing varies there is nothing to resample: scores in 0..1 then get Wilson's
    interval on the same mean, which is wide enough because no such score varies more than a coin.
    """
    import numpy as np

    _enough(len(values), 1)
    _finite(values)
    sums, sizes = _clustered(np.asarray(values, dtype=float), clusters)
    mean = float(sums.sum() / sizes.sum())
    if np.ptp(values) == 0 or len(sums) < 2:
        return _unvaried(mean, len(values), len(sums), confidence)
    low, high = _bca(sums, sizes, confidence, seed)
    method = "bca-bootstrap" if clusters is None else "cluster-bca-bootstrap"
    return Interval(value=mean, low=min(low, mean), high=max(high, mean), n=len(values), method=method)


def bootstrap_of(
    statistic: Callable[[Sequence[T]], float],
    items: Sequence[T],
    confidence: float = 0.95,
    seed: int = 0,
    clusters: Sequence[Hashable] | None = None,
) -> Interval:
    """Percentile bootstrap interval of any statistic of independent items (Efron and Tibshirani 1993, chapter 13).

    The percentiles are the expanded ones of Hesterberg 2015 (The American Statistician 69:371, section 4.6). `clusters`
    names the session that each item belongs to, as in `bootstrap_mean`: whole ones are resampled.
    """
    import numpy as np

    _enough(len(items), 1)
    groups = _grouped(items, clusters)
    random, count = np.random.default_rng(seed), len(groups)
    value = statistic(items)
    drawn = [
        statistic([item for at in random.integers(0, count, count) for item in groups[at]]) for _ in range(FEW_ROUNDS)
    ]
    if min(drawn) == max(drawn):
        return _unvaried(value, len(items), count, confidence)
    tail = _NORMAL.cdf(-_expanded(confidence, count))
    low, high = np.quantile(drawn, [tail, 1 - tail], method="weibull")
    method = "bootstrap" if clusters is None else "cluster-bootstrap"
    return Interval(value=value, low=min(float(low), value), high=max(float(high), value), n=len(items), method=method)


def paired_bootstrap(
    left: Sequence[float],
    right: Sequence[float],
    confidence: float = 0.95,
    seed: int = 0,
    clusters: Sequence[Hashable] | None = None,
) -> Interval:
    """Interval of the mean paired difference, left less right (Efron and Tibshirani 1993, chapters 10 and 14).

    Pairs are resampled together, so what both find hard does not blur the difference between them.
    """
    _same_length(left, right)
    _enough(len(left), 1)
    differences = [a - b for a, b in zip(left, right, strict=True)]
    if len(set(differences)) > 1:
        return bootstrap_mean(differences, confidence, seed, clusters)
    # All differences alike: bound them as Tango's interval bounds a difference that was never seen to vary.
    edge = tango(Pairs(both=len(left), only_left=0, only_right=0, neither=0), confidence).high
    value = differences[0]
    return Interval(value=value, low=value - edge, high=value + edge, n=len(left), method="tango-bound")


def mcnemar(table: Pairs) -> float:
    """Exact two-sided p-value that both are right equally often (McNemar 1947; exact binomial form)."""
    n, k = table.only_left + table.only_right, min(table.only_left, table.only_right)
    tail: int = sum(math.comb(n, i) for i in range(k + 1))
    return min(1.0, float(2 * tail / 2**n))


def newcombe(table: Pairs, confidence: float = 0.95) -> Interval:
    """Hybrid score interval of a paired difference (Newcombe 1998, Statistics in Medicine 17:2635, method 10)."""
    n = table.n
    _enough(n, 1)
    left = wilson(table.both + table.only_left, n, confidence)
    right = wilson(table.both + table.only_right, n, confidence)
    phi = _phi(table)
    a, b = left.value - left.low, right.high - right.value
    c, d = left.high - left.value, right.value - right.low
    low = table.difference - math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))
    high = table.difference + math.sqrt(max(0.0, c * c - 2 * phi * c * d + d * d))
    return Interval(value=table.difference, low=max(-1.0, low), high=min(1.0, high), n=n, method="newcombe-paired")


def tango(table: Pairs, confidence: float = 0.95) -> Interval:
    """Score interval of a paired difference (Tango 1998, Statistics in Medicine 17:891).

    It inverts the same score test that `noninferiority` makes, so interval and verdict cannot contradict each other.
    """
    _enough(table.n, 1)
    z = quantile(confidence)
    low = _root(table, z, -1.0, table.difference) if table.difference > -1 else -1.0
    high = _root(table, -z, table.difference, 1.0) if table.difference < 1 else 1.0
    return Interval(value=table.difference, low=low, high=high, n=table.n, method="tango-score")


def noninferiority(table: Pairs, margin: float) -> float:
    """One-sided p-value against "left is worse than right by `margin` or more".

    The score test of Nam 1997 (Biometrics 53:1422) and Tango 1998; it holds its level down to about 20 pairs, where
    the Wald test does not (Liu et al. 2002, Statistics in Medicine 21:231).
    """
    _enough(table.n, 1)
    if not 0 < margin < 1:
        raise DataError(f"a non-inferiority margin of {margin} is not between 0 and 1")
    return 1 - _NORMAL.cdf(_score(table, -margin))


def noninferiority_bootstrap(
    left: Sequence[float], right: Sequence[float], margin: float, confidence: float = 0.95, seed: int = 0
) -> bool:
    """Whether graded scores are shown to lose less than `margin`: the one-sided paired bootstrap bound is above it.

    The confidence-interval form of the test (Westlake 1972, Journal of Pharmaceutical Sciences 61:1340).
    """
    return paired_bootstrap(left, right, 2 * confidence - 1, seed).low > -margin


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for having looked several times (Holm 1979, Scandinavian Journal of Statistics 6:65)."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    adjusted, running = [0.0] * len(p_values), 0.0
    for position, at in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - position) * p_values[at]))
        adjusted[at] = running
    return adjusted


def kappa(left: Sequence[Hashable], right: Sequence[Hashable]) -> float:
    """Agreement of two raters beyond chance (Cohen 1960, Educational and Psychological Measurement 20:37).

    1 is full agreement, 0 what chance gives. Where both only ever gave one and the same verdict it is 1.
    """
    _same_length(left, right)
    _enough(len(left), 1)
    n, first, second = len(left), Counter(left), Counter(right)
    seen = sum(a == b for a, b in zip(left, right, strict=True)) / n
    chance = sum(first[verdict] * second[verdict] for verdict in first) / n**2
    return (seen - chance) / (1 - chance) if chance < 1 else 1.0


def alpha(ratings: Sequence[Sequence[Hashable]]) -> float:
    """Agreement beyond chance of any number of raters an item (Krippendorff 2004, chapter 11, nominal data).

    Items with fewer than two ratings say nothing about agreement and are left out; raises `DataError` if none is left.
    """
    rated = [each for each in ratings if len(each) > 1]
    _enough(len(rated), 1)
    total = Counter(verdict for each in rated for verdict in each)
    n = sum(total.values())
    observed = sum((len(each) ** 2 - _squares(each)) / (len(each) - 1) for each in rated) / n
    expected = (n * n - sum(count * count for count in total.values())) / (n * (n - 1))
    return 1 - observed / expected if expected else 1.0


def ppi_mean(
    people: Sequence[float], judge_there: Sequence[float], judge_elsewhere: Sequence[float], confidence: float = 0.95
) -> Interval:
    """The mean that people would give everywhere, from their few verdicts and a judge's many, however biased it is.

    Prediction-powered inference (Angelopoulos et al. 2023, Science 382:669) with the tuning of PPI++ (Angelopoulos,
    Duchi and Zrnic 2023, arXiv 2311.01453): a judge that does not follow the people gets no weight, so the interval is
    about never wider than that of the people alone. `judge_there` are its verdicts on the items that people judged.
    """
    import numpy as np

    _same_length(people, judge_there)
    _enough(len(people), 2)
    _finite([*people, *judge_there, *judge_elsewhere])
    truth, there, elsewhere = np.asarray(people), np.asarray(judge_there), np.asarray(judge_elsewhere)
    n, more = len(truth), len(elsewhere)
    spread = float(np.var(np.concatenate([there, elsewhere]), ddof=1))
    weight = 0.0
    if more and spread > 0:
        weight = float(np.cov(truth, there, ddof=1)[0, 1]) / (spread * (1 + n / more))
        weight = min(max(weight, 0.0), 1.0)
    value = float(truth.mean() + (weight * (elsewhere.mean() - there.mean()) if weight else 0.0))
    variance = float(np.var(truth - weight * there, ddof=1)) / n
    variance += weight**2 * float(np.var(elsewhere, ddof=1)) / more if weight and more > 1 else 0.0
    half = _student(confidence, n) * math.sqrt(variance)
    return Interval(value=value, low=value - half, high=value + half, n=n + more, method="ppi++")


def noninferiority_sample_size(
    margin: float, discordance: float = 0.10, confidence: float = 0.95, power: float = 0.80, difference: float = 0.0
) -> int:
    """Pairs needed to show a loss smaller than `margin`, were the true difference `difference`.

    n = (z₁₋α + z₁₋β)² · (ψ − d²) / (margin + d)² for the paired score test (Lachin 1992, Statistics in Medicine
    11:1239; Nam 1997; Liu et al. 2002), ψ being the share of examples on which the two disagree. Two points at ten
    per cent disagreement need 1,546 pairs.
    """
    if margin + difference <= 0:
        raise DataError(f"a true difference of {difference} is beyond the margin {margin}: no number of pairs shows it")
    z = _NORMAL.inv_cdf(confidence) + _NORMAL.inv_cdf(power)
    return math.ceil(z * z * (discordance - difference**2) / (margin + difference) ** 2)


def noninferiority_power(
    n: int, margin: float, discordance: float = 0.10, confidence: float = 0.95, difference: float = 0.0
) -> float:
    """The chance that `n` pairs show a loss smaller than `margin` (Lachin 1992, as in `noninferiority_sample_size`)."""
    _enough(n, 1)
    spread = math.sqrt(max(discordance - difference**2, 1e-12) / n)
    return _NORMAL.cdf((margin + difference) / spread - _NORMAL.inv_cdf(confidence))


def smallest_margin(n: int, discordance: float = 0.10, confidence: float = 0.95, power: float = 0.80) -> float:
    """The smallest margin that `n` pairs can show between equals (Lachin 1992's formula, solved for the margin)."""
    _enough(n, 1)
    return (_NORMAL.inv_cdf(confidence) + _NORMAL.inv_cdf(power)) * math.sqrt(discordance / n)


def mcnemar_sample_size(difference: float, discordance: float, confidence: float = 0.95, power: float = 0.80) -> int:
    """Pairs needed to find a true difference with McNemar's two-sided test (Connor 1987, Biometrics 43:207)."""
    if difference == 0 or abs(difference) > discordance:
        raise DataError(f"a difference of {difference} cannot occur with a disagreement of {discordance}")
    z_alpha, z_beta = quantile(confidence), _NORMAL.inv_cdf(power)
    needed = z_alpha * math.sqrt(discordance) + z_beta * math.sqrt(discordance - difference**2)
    return math.ceil((needed / difference) ** 2)


def _score(table: Pairs, delta: float) -> float:
    """Tango's score statistic at a hypothesised difference, with the likelihood maximised under it."""
    n, b, c = table.n, table.only_left, table.only_right
    first = 2 * n
    second = -b - c + (2 * n - b + c) * delta
    third = -c * delta * (1 - delta)
    q = (math.sqrt(max(0.0, second * second - 4 * first * third)) - second) / (2 * first)
    variance = n * (2 * q + delta * (1 - delta))
    gap = b - c - n * delta
    if variance <= 0:
        return 0.0 if gap == 0 else math.copysign(math.inf, gap)
    return gap / math.sqrt(variance)


def _root(table: Pairs, target: float, low: float, high: float) -> float:
    """Where the score statistic, which falls as the difference grows, meets `target` (bisection to 1e-9)."""
    while high - low > 1e-9:
        middle = (low + high) / 2
        if _score(table, middle) > target:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _phi(table: Pairs) -> float:
    """Correlation of the two outcomes, continuity-corrected as Newcombe's method 10 asks where it is positive."""
    a, b, c, d = table.both, table.only_left, table.only_right, table.neither
    product = (a + b) * (c + d) * (a + c) * (b + d)
    if product == 0:
        return 0.0
    gap = a * d - b * c
    corrected = max(gap - table.n / 2, 0) if gap > 0 else gap
    return float(corrected / math.sqrt(product))


def _clustered(
    values: "NDArray[float64]", clusters: Sequence[Hashable] | None
) -> "tuple[NDArray[float64], NDArray[float64]]":
    """Sums and sizes of the clusters; without clusters each value is its own."""
    import numpy as np

    if clusters is None:
        return values, np.ones(len(values))
    _same_length(values, clusters)
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(name, len(numbers)) for name in clusters])
    return np.bincount(index, weights=values).astype(np.float64), np.bincount(index).astype(np.float64)


def _grouped(items: Sequence[T], clusters: Sequence[Hashable] | None) -> list[list[T]]:
    """The items of each cluster; without clusters each item is its own."""
    if clusters is None:
        return [[item] for item in items]
    _same_length(items, clusters)
    groups: dict[Hashable, list[T]] = {}
    for item, name in zip(items, clusters, strict=True):
        groups.setdefault(name, []).append(item)
    return list(groups.values())


def _bca(sums: "NDArray[float64]", sizes: "NDArray[float64]", confidence: float, seed: int) -> tuple[float, float]:
    """Bias-corrected and accelerated percentiles of the bootstrapped ratio of sums to sizes."""
    import numpy as np

    mean = sums.sum() / sizes.sum()
    means = _resampled(sums, sizes, seed)
    share = (np.count_nonzero(means < mean) + np.count_nonzero(means == mean) / 2) / ROUNDS
    bias = _NORMAL.inv_cdf(min(max(float(share), 1 / ROUNDS), 1 - 1 / ROUNDS))
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
    spread = left_out.mean() - left_out
    scale = float((spread**2).sum()) ** 1.5
    acceleration = float((spread**3).sum()) / (6 * scale) if scale > 0 else 0.0
    # Percentile intervals are too narrow by sqrt((n-1)/n) and heavier tails at small n: use Student's quantile there.
    z = _expanded(confidence, len(sums))

    def at(point: float) -> float:
        moved = bias + (bias + point) / (1 - acceleration * (bias + point))
        return float(np.quantile(means, _NORMAL.cdf(moved)))

    return at(-z), at(z)


def _expanded(confidence: float, n: int) -> float:
    """The expanded quantile for small samples (Hesterberg 2015, The American Statistician 69:371, section 4.6)."""
    return _student(confidence, n) * math.sqrt(n / (n - 1))


def _student(confidence: float, n: int) -> float:
    """Student's two-sided quantile with n − 1 degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, 0.5 + confidence / 2))


def _resampled(sums: "NDArray[float64]", sizes: "NDArray[float64]", seed: int) -> "NDArray[float64]":
    import numpy as np

    random, n = np.random.default_rng(seed), len(sums)
    step = max(1, _CHUNK // n)
    parts = []
    for start in range(0, ROUNDS, step):
        drawn = random.integers(0, n, size=(min(step, ROUNDS - start), n))
        parts.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    return np.concatenate(parts)


def _unvaried(mean: float, n: int, groups: int, confidence: float) -> Interval:
    if not 0 <= mean <= 1:
        raise DataError(f"{n} values that do not vary ({mean}) or one cluster only: they support no interval")
    bound = wilson(mean * groups, groups, confidence)
    return Interval(value=mean, low=bound.low, high=bound.high, n=n, method="wilson-bound")


def _squares(items: Sequence[Hashable]) -> int:
    return sum(count * count for count in Counter(items).values())


def _enough(n: int, needed: int) -> None:
    if n < needed:
        raise DataError(f"{n} scored examples; at least {needed} are needed for a figure")


def _finite(values: Sequence[float]) -> None:
    if not all(map(math.isfinite, values)):
        raise DataError("a score is not a number; mark its row as an error instead of averaging over it")


def _same_length(left: Sized, right: Sized) -> None:
    if len(left) != len(right):
        raise DataError(f"{len(left)} scores against {len(right)}: pairs need the same examples on both sides")
