"""What a number of pairs can show: the power of the paired non-inferiority test, from counts alone.

Two ways to be short of data are told apart. **Hopeless**: even a candidate that agreed with the other on every single
example could not be shown non-inferior; `require` stops there, before anything is tuned. **Underpowered**: it could be
shown, but at the expected disagreement the chance is below the plan's power; the flow goes on, because the observed
disagreement may be lower and the measurement is worth having, and `need-more-data` is then an honest outcome.
"""

import math
from statistics import NormalDist

from msgspec.structs import replace

from freehold.errors import DataError
from freehold.evaluation.statistics import noninferiority_sample_size, smallest_margin
from freehold.records import Plan

_normal = NormalDist()


def pairs_needed(plan: Plan, *, variance: float | None = None, comparisons: int = 1) -> int:
    """How many pairs show non-inferiority with the plan's power where both are equally good.

    The score test's size (`noninferiority_sample_size`), but never fewer than `fewest_pairs`. `variance` is that of one
    pair's difference: for right-or-wrong scores the share of pairs scored differently (left out: the plan's). The
    error is shared among `comparisons` (Bonferroni).
    """
    spread = plan.disagreement if variance is None else variance
    needed = noninferiority_sample_size(plan.margin, spread, _level(plan, comparisons), plan.power)
    return max(needed, fewest_pairs(plan, comparisons=comparisons))


def fewest_pairs(plan: Plan, *, comparisons: int = 1) -> int:
    """The fewest pairs with which a candidate that agrees on every one of them is shown non-inferior.

    With no disagreement the lower end of Tango's score interval (1998) is −z²/(n + z²); it clears the margin at
    n > z² (1 − margin) / margin.
    """
    z = _normal.inv_cdf(_level(plan, comparisons))
    return math.floor(z**2 * (1 - plan.margin) / plan.margin) + 1


def margin_shown(plan: Plan, pairs: int, *, variance: float | None = None, comparisons: int = 1) -> float:
    """The smallest margin that so many pairs show with the plan's power, as a share of 1; 1.0 where none does."""
    if pairs < 1:
        return 1.0
    spread = plan.disagreement if variance is None else variance
    level = _level(plan, comparisons)
    z = _normal.inv_cdf(level)
    return min(1.0, max(smallest_margin(pairs, spread, level, plan.power), z**2 / (pairs + z**2)))


def require(pairs: int, plan: Plan) -> None:
    """Stop before tuning where the held-out examples are hopelessly few; raises `DataError` that says what it takes."""
    if pairs >= fewest_pairs(plan):
        return
    raise DataError(
        f"stopped: {pairs} held-out examples cannot support a margin of {points(plan.margin)} "
        f"(about {about(pairs_needed(plan))} are needed).\n"
        "collect more, or decide on another margin before looking: decide.margin in the task file"
    )


def outlook(plan: Plan, pairs: int | None, *, comparisons: int = 1) -> str:
    """The plan's power in one sentence, for `freehold plan`; `pairs` is None where nobody has counted yet."""
    needed = f"about {about(pairs_needed(plan))} pairs"
    if comparisons > 1:
        shared = about(pairs_needed(plan, comparisons=comparisons))
        needed += f" (about {shared} where {comparisons} comparisons share the error)"
    sentence = (
        f"to show non-inferiority within {points(plan.margin)} at {percent(plan.disagreement)} disagreement "
        f"you need {needed}"
    )
    if pairs is None:
        return sentence
    return f"{sentence}; you have {pairs:,}"


def achieved(plan: Plan, pairs: int, *, variance: float, comparisons: int = 1) -> str:
    """What the pairs at hand could show at the variance that was observed, for a certificate."""
    shown = margin_shown(plan, pairs, variance=variance, comparisons=comparisons)
    sentences = [f"with {pairs:,} pairs a margin of {points(shown)} can be shown"]
    for margin in sorted({plan.margin, 0.02}, reverse=True):
        if margin < shown:
            finer = replace(plan, margin=margin)
            needed = pairs_needed(finer, variance=variance, comparisons=comparisons)
            sentences.append(f"{points(margin)} would need about {about(needed)}")
    return "; ".join(sentences)


def points(share: float, *, sign: bool = False) -> str:
    """A share as percentage points, as a person writes it: `2 points`, `7.5 points`."""
    value = f"{share * 100:{'+' if sign else ''}.1f}".removesuffix(".0").replace("-", "−")
    return f"{value} point" if value == "1" else f"{value} points"


def percent(share: float) -> str:
    """A share as a percentage: `10 %`."""
    return f"{share * 100:.1f}".removesuffix(".0") + " %"


def about(count: int) -> str:
    """A sample size rounded to three figures, as an estimate deserves: 1,546 → `1,550`."""
    digits = 10 ** max(0, len(str(count)) - 3)
    return f"{math.ceil(count / digits) * digits:,}"


def _level(plan: Plan, comparisons: int) -> float:
    return 1 - (1 - plan.confidence) / comparisons
