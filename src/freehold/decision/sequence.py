"""Anytime-valid bounds: look at every pair as it comes, stop at will, and the error is still the one promised.

A bettor who does not believe that the mean is at most μ stakes a part of the capital on every observation being above
it. Were the belief wrong, the capital could not be expected to grow, and the chance that it *ever* reaches 1/α is at
most α (Ville 1939). The bound is the largest mean that the bettor has refuted so far. This is the betting confidence
sequence of Waudby-Smith and Ramdas (2024, JRSS B 86:1, "Estimating means of bounded random variables by betting"), with
the stake mixed over a grid rather than guessed (the mixture is a martingale, because each of its parts is one). It
assumes only that observations lie within known bounds and that their mean, given the past, is the one bounded.

The capital depends on how often each value occurred and not on their order, nor on any clock.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from freehold.records import Plan, Verdict

_PARTS = 40
_LEAST_STAKE = 0.002
_PRECISION = 1e-5


@dataclass(frozen=True)
class Watch:
    """What a stream of observations has shown so far; `low` and `high` are the tightest bounds that ever held.

    Observations lie in `floor`..`ceiling`; each bound holds at `confidence`, one-sided, at all times at once.
    """

    confidence: float
    floor: float = -1.0
    ceiling: float = 1.0
    seen: Mapping[float, int] = field(default_factory=dict)
    low: float = -math.inf
    high: float = math.inf

    @property
    def n(self) -> int:
        return sum(self.seen.values())

    @property
    def mean(self) -> float | None:
        return sum(value * count for value, count in self.seen.items()) / self.n if self.seen else None


def observe(watch: Watch, observations: Iterable[float]) -> Watch:
    """The watch after these observations; raises `ValueError` where one lies outside its bounds."""
    new = Counter(float(each) for each in observations)
    outside = [each for each in new if not watch.floor <= each <= watch.ceiling]
    if outside:
        raise ValueError(f"{outside[0]} lies outside {watch.floor}..{watch.ceiling}")
    seen = dict(Counter(watch.seen) + new)
    low, high = bounds(seen, watch)
    return Watch(watch.confidence, watch.floor, watch.ceiling, seen, max(watch.low, low), min(watch.high, high))


def bounds(seen: Mapping[float, int], watch: Watch) -> tuple[float, float]:
    """Both bounds of the mean from counts alone, to 1e-5."""
    span = watch.ceiling - watch.floor
    shares = {(value - watch.floor) / span: count for value, count in seen.items()}
    mirrored = {1 - share: count for share, count in shares.items()}
    low, high = _refuted_up_to(shares, watch.confidence), 1 - _refuted_up_to(mirrored, watch.confidence)
    return watch.floor + span * low, watch.floor + span * high


def refutes_at_most(watch: Watch, mean: float) -> bool:
    """Whether it has been shown that the mean is above this."""
    return watch.low > mean


def refutes_at_least(watch: Watch, mean: float) -> bool:
    """Whether it has been shown that the mean is below this."""
    return watch.high < mean


def verdict(watch: Watch, plan: Plan) -> Verdict:
    """On differences candidate − incumbent: switch or keep as soon as either is shown, until then more data."""
    if refutes_at_most(watch, -plan.margin):
        return Verdict.SWITCH
    return Verdict.KEEP if refutes_at_least(watch, -plan.margin) else Verdict.NEED_MORE_DATA


def _refuted_up_to(shares: Mapping[float, int], confidence: float) -> float:
    """The largest mean in 0..1 against which the capital has reached 1/α; the capital falls as the mean rises."""
    goal = -math.log(1 - confidence)
    low, high = 0.0, 1.0
    while high - low > _PRECISION:
        middle = (low + high) / 2
        if _log_capital(shares, middle) >= goal:
            low = middle
        else:
            high = middle
    return low


def _log_capital(shares: Mapping[float, int], mean: float) -> float:
    """Log of the mixture of capitals, each of which staked one part of what may be staked at most (1/mean)."""
    capitals = [
        sum(count * math.log1p(stake * (share - mean) / mean) for share, count in shares.items()) for stake in STAKES
    ]
    largest = max(capitals)
    return largest + math.log(sum(math.exp(each - largest) for each in capitals) / len(capitals))


STAKES = [_LEAST_STAKE * (0.95 / _LEAST_STAKE) ** (at / (_PARTS - 1)) for at in range(_PARTS)]
