"""Ratings with intervals, and ranks that a difference within the noise does not make."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from freehold.errors import UserError, did_you_mean
from freehold.evaluation.arena import bradley_terry
from freehold.evaluation.arena.votes import LEFT, RIGHT, TIE, Votes, together
from freehold.evaluation.statistics import quantile
from freehold.progress import SILENT, Progress
from freehold.records import Record

if TYPE_CHECKING:
    from numpy import float64, int64
    from numpy.typing import NDArray

ELO_K = 4.0
"""Small, so that the order of old votes matters little (Chiang et al. 2024, "Chatbot Arena")."""


@dataclass(frozen=True)
class Scale:
    """Rating = init + scale · log_base(strength), the mean log strength (or the anchor's) being 0."""

    scale: float = 400.0
    base: float = 10.0
    init: float = 1000.0
    anchor: str | None = None

    def __post_init__(self) -> None:
        if self.base <= 1 or self.scale <= 0 or not all(map(math.isfinite, (self.scale, self.base, self.init))):
            raise UserError(f"--base {self.base} must be above 1 and --scale {self.scale} above 0")

    @property
    def unit(self) -> float:
        """Rating points per unit of natural log strength."""
        return self.scale / math.log(self.base)


@dataclass(frozen=True)
class Resampling:
    """How intervals are made: `rounds` of the bootstrap, or (0) the sandwich, which Elo does not have."""

    rounds: int = 100
    confidence: float = 0.95
    seed: int = 0


class Rating(Record, frozen=True, kw_only=True):
    """One model's rating. `low` or `high` is None where the votes set no bound: a model that never lost, say.

    `rank` is 1 + the number of models whose whole interval lies above this one's (Chiang et al. 2024).
    """

    model: str
    rating: float
    low: float | None
    high: float | None
    rank: int
    games: int


class Method(StrEnum):
    BT = "bt"
    ELO = "elo"


def rank(
    votes: Votes, method: Method, scale: Scale, resampling: Resampling, progress: Progress = SILENT
) -> list[Rating]:
    """Every model's rating, best first. Raises `UndeterminedError` where the models fall into groups that never met."""
    together(votes)
    if scale.anchor is not None and scale.anchor not in votes.models:
        near = did_you_mean(scale.anchor, votes.models)
        raise UserError(f"--anchor {scale.anchor}: no such model in the votes{near}")
    if method is Method.ELO:
        return _elo_ratings(votes, scale, resampling, progress)
    return _bradley_terry_ratings(votes, scale, resampling, progress)


def natural(votes: Votes, resampling: Resampling, progress: Progress = SILENT) -> list[Rating]:
    """Plain Bradley-Terry strengths that sum to 1."""
    import numpy as np

    together(votes)
    fitted = bradley_terry.fit(votes.wins())

    def strengths(fit: bradley_terry.Fit) -> "NDArray[float64]":
        return fit.natural()

    if resampling.rounds:
        low, high = _quantiles(_resampled(votes, fitted, strengths, resampling, progress), resampling)
    else:  # on the log scale, where strengths are near to normal, then each over the same sum
        spread = quantile(resampling.confidence) * _standard_errors(votes, fitted, None)
        low, high = fitted.natural() * np.exp(-spread), np.minimum(1.0, fitted.natural() * np.exp(spread))
    return ranked(votes, fitted.natural(), (low, high), fitted.bounded)


def _bradley_terry_ratings(votes: Votes, scale: Scale, resampling: Resampling, progress: Progress) -> list[Rating]:
    fitted = bradley_terry.fit(votes.wins())
    at = None if scale.anchor is None else votes.models.index(scale.anchor)

    def points(fit: bradley_terry.Fit) -> "NDArray[float64]":
        zero = 0.0 if at is None else fit.log_strength[at]
        rating: NDArray[float64] = scale.init + scale.unit * (fit.log_strength - zero)
        return rating

    rating = points(fitted)
    if resampling.rounds:
        bounds = _quantiles(_resampled(votes, fitted, points, resampling, progress), resampling)
    else:
        half = quantile(resampling.confidence) * scale.unit * _standard_errors(votes, fitted, at)
        bounds = (rating - half, rating + half)
    return ranked(votes, rating, bounds, fitted.bounded)


def _standard_errors(votes: Votes, fitted: bradley_terry.Fit, anchor: int | None) -> "NDArray[float64]":
    """Of the log strengths less their mean, or less the anchor's."""
    import numpy as np

    covariance = bradley_terry.sandwich(votes.wins(), _ties(votes), fitted)
    variance = np.diag(covariance)
    if anchor is not None:
        variance = variance + covariance[anchor, anchor] - 2 * covariance[anchor]
    errors: NDArray[float64] = np.sqrt(np.maximum(variance, 0.0))
    return errors


def _resampled(
    votes: Votes,
    fitted: bradley_terry.Fit,
    points: "Callable[[bradley_terry.Fit], NDArray[float64]]",
    resampling: Resampling,
    progress: Progress,
) -> "NDArray[float64]":
    """Rounds × models. Votes are drawn with replacement: which is a multinomial draw of how often each kind occurs."""
    import numpy as np

    kinds, counts = _kinds(votes)
    low, high, winner = kinds
    random = np.random.default_rng(resampling.seed)
    drawn = []
    with progress.step("resample", resampling.rounds) as step:
        for _ in range(resampling.rounds):
            times = random.multinomial(len(votes), counts / len(votes)).astype(float)
            wins = np.zeros((len(votes.models), len(votes.models)))
            np.add.at(wins, (low, high), times * np.where(winner == TIE, 0.5, winner == LEFT))
            np.add.at(wins, (high, low), times * np.where(winner == TIE, 0.5, winner == RIGHT))
            drawn.append(points(bradley_terry.fit(wins, fitted.log_strength)))
            step.advance()
    return np.array(drawn)


def _kinds(votes: Votes) -> "tuple[tuple[NDArray[int64], NDArray[int64], NDArray[int64]], NDArray[int64]]":
    """The distinct kinds of vote (lower model, higher model, who of them won) and how often each was cast."""
    import numpy as np

    low, high = np.minimum(votes.left, votes.right), np.maximum(votes.left, votes.right)
    turned = np.where(votes.winner == TIE, TIE, LEFT + RIGHT - votes.winner)
    winner = np.where(votes.left < votes.right, votes.winner, turned)
    codes, counts = np.unique((low * len(votes.models) + high) * 3 + winner, return_counts=True)
    pair: NDArray[int64] = codes // 3
    return (pair // len(votes.models), pair % len(votes.models), codes % 3), counts.astype(np.int64)


def _ties(votes: Votes) -> "NDArray[float64]":
    import numpy as np

    ties = np.zeros((len(votes.models), len(votes.models)))
    tied = votes.winner == TIE
    np.add.at(ties, (votes.left[tied], votes.right[tied]), 1.0)
    return ties + ties.T


def _elo_ratings(votes: Votes, scale: Scale, resampling: Resampling, progress: Progress) -> list[Rating]:
    """Elo in the order of the votes (Elo 1978); intervals from votes drawn with replacement, in random order."""
    import numpy as np

    at = None if scale.anchor is None else votes.models.index(scale.anchor)

    def anchored(rating: "NDArray[float64]") -> "NDArray[float64]":
        return rating if at is None else rating - rating[at] + scale.init

    if not resampling.rounds:
        raise UserError("Elo ratings have no sandwich interval; give --rounds 100 or more, or --method bt")
    random = np.random.default_rng(resampling.seed)
    drawn = []
    with progress.step("resample", resampling.rounds) as step:
        for _ in range(resampling.rounds):
            drawn.append(anchored(elo(votes, scale, random.integers(0, len(votes), len(votes)))))
            step.advance()
    return ranked(votes, anchored(elo(votes, scale)), _quantiles(np.array(drawn), resampling), bounded=True)


def elo(votes: Votes, scale: Scale, order: "NDArray[int64] | None" = None) -> "NDArray[float64]":
    """Elo ratings after the votes in their order, or in the order of these places."""
    import evalica
    import numpy as np
    import pandas as pd

    left, right, winner = votes.left, votes.right, votes.winner
    if order is not None:
        left, right, winner = left[order], right[order], winner[order]
    result = evalica.elo(
        left,
        right,
        winner.astype(np.uint8),
        index=pd.RangeIndex(len(votes.models)),
        initial=scale.init,
        base=scale.base,
        scale=scale.scale,
        k=ELO_K,
    )
    ratings: NDArray[float64] = result.scores.sort_index().to_numpy()
    return ratings


def _quantiles(drawn: "NDArray[float64]", resampling: Resampling) -> "tuple[NDArray[float64], NDArray[float64]]":
    """The (R + 1)α-th of R draws (Davison and Hinkley 1997, section 5.2.1): few rounds make no interval narrow."""
    import numpy as np

    tail = (1 - resampling.confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0, method="weibull")
    return low, high


def ranked(
    votes: Votes,
    rating: "NDArray[float64]",
    bounds: "tuple[NDArray[float64], NDArray[float64]]",
    bounded: bool = True,
) -> list[Rating]:
    """Ratings, best first, ranked by whose whole interval lies above whose."""
    import numpy as np

    low, high = np.minimum(bounds[0], rating), np.maximum(bounds[1], rating)
    wins = votes.wins()
    never_lost = (wins.sum(axis=0) == 0) if not bounded else np.zeros(len(rating), dtype=bool)
    never_won = (wins.sum(axis=1) == 0) if not bounded else np.zeros(len(rating), dtype=bool)
    high, low = np.where(never_lost, np.inf, high), np.where(never_won, -np.inf, low)
    games = votes.games()
    ratings = [
        Rating(
            model=name,
            rating=float(rating[at]),
            low=float(low[at]) if np.isfinite(low[at]) else None,
            high=float(high[at]) if np.isfinite(high[at]) else None,
            rank=1 + int((low > high[at]).sum()),
            games=int(games[at]),
        )
        for at, name in enumerate(votes.models)
    ]
    return sorted(ratings, key=lambda each: (-each.rating, each.model))
