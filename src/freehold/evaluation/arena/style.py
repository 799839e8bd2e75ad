"""Style control: how much of a model's rating is length and markdown, and the ratings without it.

Each style is a count for either answer (words, headings, list items, bold spans). Its covariate is the difference over
the sum, scaled to unit deviation, in one logistic regression with the models' strengths (Li, Angelopoulos and Chiang
2024, "Does style matter?", LMSYS). Intervals are sandwich ones.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from freehold.errors import DataError, UndeterminedError
from freehold.evaluation.arena.rank import Rating, Scale, ranked
from freehold.evaluation.arena.votes import LEFT, TIE, Votes, together
from freehold.evaluation.scorers.tokens import words
from freehold.evaluation.statistics import quantile
from freehold.records import Interval, Record

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

_STEPS = 60


class Controlled(Record, frozen=True, kw_only=True):
    """Ratings at equal style, and each style's coefficient: log odds of winning per deviation of the difference."""

    ratings: tuple[Rating, ...]
    coefficients: dict[str, Interval]


def markers(answer: str) -> dict[str, int]:
    """The styles of one answer, by counting."""
    return {
        "length": len(words(answer)),
        "headings": len(re.findall(r"^#{1,6} ", answer, re.M)),
        "lists": len(re.findall(r"^\s*(?:[-*+]|\d+[.)]) ", answer, re.M)),
        "bold": len(re.findall(r"\*\*[^*\n]+\*\*|__[^_\n]+__", answer)),
    }


def control(votes: Votes, styles: Sequence[str], scale: Scale, confidence: float = 0.95) -> Controlled:
    """Ratings at equal style. `votes` was read keeping `left_NAME` and `right_NAME` for every name in `styles`.

    Raises `DataError` for a cell that is no number, `UndeterminedError` where style and models cannot be told apart.
    """
    import numpy as np

    together(votes)
    covariates = np.column_stack([_covariate(votes, name) for name in styles])
    models = len(votes.models)
    at = 0 if scale.anchor is None else votes.models.index(scale.anchor)
    estimate, covariance = _fit(votes, covariates)
    theta = estimate[:models] - (estimate[at] if scale.anchor else estimate[:models].mean())
    z = quantile(confidence)
    half = z * scale.unit * np.sqrt(_contrast_variance(covariance[:models, :models], at if scale.anchor else None))
    rating = scale.init + scale.unit * theta
    deviations = np.sqrt(np.diag(covariance)[models:])
    coefficients = {
        name: Interval(
            value=float(value),
            low=float(value - z * error),
            high=float(value + z * error),
            n=len(votes),
            method="sandwich",
        )
        for name, value, error in zip(styles, estimate[models:], deviations, strict=True)
    }
    return Controlled(ratings=tuple(ranked(votes, rating, (rating - half, rating + half))), coefficients=coefficients)


def _covariate(votes: Votes, name: str) -> "NDArray[float64]":
    """The difference over the sum, in units of its own deviation; 0 where neither answer has any."""
    import numpy as np

    left, right = (_numbers(votes.columns, f"{side}_{name}") for side in ("left", "right"))
    total = left + right
    share = np.divide(left - right, total, out=np.zeros_like(total), where=total > 0)
    deviation = float(share.std())
    if deviation == 0:
        raise UndeterminedError(f"the style {name} is the same on both sides of every vote: it explains nothing")
    return share / deviation


def _numbers(columns: Mapping[str, Sequence[str]], name: str) -> "NDArray[float64]":
    import numpy as np

    try:
        values = np.array([float(cell) for cell in columns[name]])
    except ValueError as error:
        raise DataError(f"column {name}: {error}; a style is a count") from None
    if not np.isfinite(values).all() or (values < 0).any():
        raise DataError(f"column {name} holds a cell that is no count of 0 or more")
    return values


def _fit(votes: Votes, covariates: "NDArray[float64]") -> "tuple[NDArray[float64], NDArray[float64]]":
    """Estimates (strengths, then coefficients) and their sandwich covariance, by Newton's method.

    The strengths are pinned to a mean of zero by one imaginary tie of each model with the average one, of weight 1e-3:
    too little to move a rating, enough for a solution to exist.
    """
    import numpy as np
    from scipy.sparse import coo_matrix, csr_matrix, hstack

    n, models = len(votes), len(votes.models)
    rows = np.arange(n)
    signs = coo_matrix(
        (np.r_[np.ones(n), -np.ones(n)], (np.r_[rows, rows], np.r_[votes.left, votes.right])), shape=(n, models)
    )
    design = hstack([signs, csr_matrix(covariates)]).tocsr()
    outcome = np.where(votes.winner == TIE, 0.5, votes.winner == LEFT)
    ridge = np.r_[np.full(models, 1e-3), np.zeros(covariates.shape[1])]
    beta = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-(design @ beta)))
        gradient = design.T @ (outcome - chance) - ridge * beta
        step = np.linalg.solve(_weighted(design, chance * (1 - chance)) + np.diag(ridge), gradient)
        beta = beta + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < 1e-10:
            break
    bread = np.linalg.inv(_weighted(design, chance * (1 - chance)) + np.diag(ridge))
    return beta, bread @ _weighted(design, (outcome - chance) ** 2) @ bread


def _weighted(design: "object", weights: "NDArray[float64]") -> "NDArray[float64]":
    """X' W X, dense."""
    product: NDArray[float64] = (design.T @ design.multiply(weights[:, None])).toarray()  # type: ignore[attr-defined]
    return product


def _contrast_variance(covariance: "NDArray[float64]", anchor: int | None) -> "NDArray[float64]":
    """Variances of strengths less the anchor's, or less their mean."""
    import numpy as np

    count = len(covariance)
    centre = np.full(count, 1 / count) if anchor is None else np.eye(count)[anchor]
    contrast = np.eye(count) - centre[None, :]
    variance: NDArray[float64] = np.maximum(np.diag(contrast @ covariance @ contrast.T), 0.0)
    return variance
