"""How far a model's own confidence can be trusted, and from where on its answers keep a promised accuracy.

Calibration is Platt's: a logistic curve over the log-odds of the raw confidence, with his corrected targets (Platt
1999, "Probabilistic Outputs for Support Vector Machines"). The threshold comes from fixed-sequence testing
(Angelopoulos, Bates, Candès, Jordan and Lei 2021, "Learn then Test"): exact binomial tests from the surest answers on,
until the first one fails, so that looking at many thresholds costs nothing of the confidence.
"""

import math
from collections.abc import Sequence

from freehold.errors import UndeterminedError
from freehold.records import ConfidenceCurve as Curve
from freehold.records import Record, log_odds, logistic

_STEPS = 50


class Graded(Record, frozen=True, kw_only=True):
    """One answer: how sure its model was (0..1, uncalibrated), and whether it was right."""

    confidence: float
    right: bool


class Kept(Record, frozen=True, kw_only=True):
    """The answers at or above a confidence (raw): how many of all they are, and how many of them were right."""

    confidence: float
    n: int
    kept: int
    right: int


def calibrate(graded: Sequence[Graded]) -> Curve:
    """Fit the curve by Newton's method; raises `UndeterminedError` where surer answers are not oftener right."""
    rights = sum(each.right for each in graded)
    wrongs = len(graded) - rights
    if not rights or not wrongs:
        what = "right" if rights else "wrong"
        raise UndeterminedError(f"all {len(graded)} validation answers are {what}; there is nothing to calibrate on")
    high, low = (rights + 1) / (rights + 2), 1 / (wrongs + 2)
    points = [(log_odds(each.confidence), high if each.right else low) for each in graded]
    slope, intercept = 0.0, math.log(rights / wrongs)
    for _ in range(_STEPS):
        slope, intercept, moved = _step(points, slope, intercept)
        if moved < 1e-9:
            break
    if slope <= 0:
        raise UndeterminedError("the model's confidence says nothing: its surer answers are no oftener right")
    return Curve(slope=slope, intercept=intercept)


def keep(graded: Sequence[Graded], accuracy: float, confidence: float = 0.95) -> Kept:
    """The most answers, surest first, whose accuracy is shown to be at least this at this confidence.

    Raises `UndeterminedError` where these examples show it for no threshold.
    """
    from scipy.stats import binom

    ordered = sorted(graded, key=lambda each: -each.confidence)
    fewest = max(math.ceil(math.log(1 - confidence) / math.log(accuracy)), len(ordered) // 4)
    found: Kept | None = None
    tried, right = 0, 0
    for at, each in enumerate(ordered, 1):
        right += each.right
        tied = at < len(ordered) and ordered[at].confidence == each.confidence
        if tied or at < fewest:
            continue
        tried = at
        if binom.sf(right - 1, at, accuracy) > 1 - confidence:
            break
        found = Kept(confidence=each.confidence, n=len(ordered), kept=at, right=right)
    if found is None:
        surest = f"the surest {tried} were right {right} times" if tried else f"it takes at least {fewest}"
        raise UndeterminedError(
            f"{len(ordered)} validation examples show an accuracy of {accuracy:.0%} for no threshold ({surest}); "
            "promise less, or bring more validation data"
        )
    return found


def brier(graded: Sequence[Graded], curve: Curve) -> float:
    """The mean squared error of calibrated confidences (Brier 1950): 0 is perfect, 0.25 a coin's."""
    return sum((curve.at(each.confidence) - each.right) ** 2 for each in graded) / len(graded)


def _step(points: Sequence[tuple[float, float]], slope: float, intercept: float) -> tuple[float, float, float]:
    """One Newton step of a logistic regression on one feature; the ridge keeps a separable sample finite."""
    g0 = g1 = 0.0
    h00 = h01 = h11 = 1e-6
    for x, target in points:
        p = logistic(slope * x + intercept)
        weight = p * (1 - p)
        g0, g1 = g0 + (target - p) * x, g1 + (target - p)
        h00, h01, h11 = h00 + weight * x * x, h01 + weight * x, h11 + weight
    determinant = h00 * h11 - h01 * h01
    d_slope, d_intercept = (h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant
    return slope + d_slope, intercept + d_intercept, abs(d_slope) + abs(d_intercept)
