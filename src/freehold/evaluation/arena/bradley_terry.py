"""Bradley-Terry: the strengths under which the votes are likeliest (Bradley and Terry 1952, Biometrika 39:324).

A tie is half a win for each side. The maximum exists when every model can be reached from every other by wins (Ford
1957); where it does not, as when a model never lost, each model is given one imaginary tie with an average one, which
keeps its strength finite, and the caller is told.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

_STEPS = 100
_CLOSE = 1e-12


@dataclass(frozen=True)
class Fit:
    """Log strengths with mean zero; `bounded` is False where the votes alone would let a strength run away."""

    log_strength: "NDArray[float64]"
    bounded: bool

    def natural(self) -> "NDArray[float64]":
        """Strengths that sum to 1."""
        import numpy as np

        strength = np.exp(self.log_strength - self.log_strength.max())
        shares: NDArray[float64] = strength / strength.sum()
        return shares


def fit(wins: "NDArray[float64]", start: "NDArray[float64] | None" = None) -> Fit:
    """Fit a matrix of wins (row over column) by Newton's method; `start` speeds up a resample of the same votes."""
    import numpy as np

    bounded = _exists(wins)
    prior = 0.0 if bounded else 1.0
    games = wins + wins.T
    won = wins.sum(axis=1) + prior / 2
    theta = np.zeros(len(wins)) if start is None else start.copy()
    for _ in range(_STEPS):
        gradient, hessian = _slope(theta, games, won, prior)
        step = np.linalg.solve(hessian + 1.0 / len(wins), gradient)
        theta = theta + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < _CLOSE * max(1.0, float(np.abs(theta).max())):
            break
    return Fit(theta - theta.mean(), bounded)


def sandwich(wins: "NDArray[float64]", ties: "NDArray[float64]", fitted: Fit) -> "NDArray[float64]":
    """Covariance of the log strengths that holds where the model does not (Huber 1967; White 1980).

    `wins` counts a tie as half a win each, `ties` (symmetric) says how many of the games were ties: they vary less.
    """
    import numpy as np

    theta, games = fitted.log_strength, wins + wins.T
    chance = _chances(theta)
    decided = wins - ties / 2
    meat = decided * (1 - chance) ** 2 + decided.T * chance**2 + ties * (0.5 - chance) ** 2
    bread = np.linalg.pinv(_laplacian(games * chance * (1 - chance)), hermitian=True)
    covariance: NDArray[float64] = bread @ _laplacian(meat) @ bread
    return covariance


def _slope(
    theta: "NDArray[float64]", games: "NDArray[float64]", won: "NDArray[float64]", prior: float
) -> "tuple[NDArray[float64], NDArray[float64]]":
    """Gradient and negative Hessian of the log-likelihood; the prior is one game with a model of log strength 0."""
    import numpy as np

    chance, alone = _chances(theta), 1 / (1 + np.exp(-theta))
    gradient = won - (games * chance).sum(axis=1) - prior * alone
    return gradient, _laplacian(games * chance * (1 - chance)) + np.diag(prior * alone * (1 - alone))


def _chances(theta: "NDArray[float64]") -> "NDArray[float64]":
    """The chance that the row's model beats the column's."""
    import numpy as np

    with np.errstate(over="ignore"):
        chance: NDArray[float64] = 1 / (1 + np.exp(theta[None, :] - theta[:, None]))
    return chance


def _laplacian(weights: "NDArray[float64]") -> "NDArray[float64]":
    import numpy as np

    off = weights.copy()
    np.fill_diagonal(off, 0.0)
    laplacian: NDArray[float64] = np.diag(off.sum(axis=1)) - off
    return laplacian


def _exists(wins: "NDArray[float64]") -> bool:
    from scipy.sparse.csgraph import connected_components

    count, _ = connected_components(wins > 0, directed=True, connection="strong")
    return bool(count == 1)
