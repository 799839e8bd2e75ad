"""How the metric grows with more examples, and how many are still worth collecting.

An inverse power law, accuracy(n) = a - b·n^-c, is fitted to accuracies on subsets (Figueroa et al. 2012, "Predicting
sample size required for classification performance"); its uncertainty comes from refitting on resampled draws. The
model is the quick linear one: the curve says what more data is worth to it, a guide and no promise for a tuned model.
Held-out examples are never touched.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from freehold.data.linear import features, folds, scores
from freehold.errors import DataError
from freehold.progress import Progress
from freehold.records import Example, Record, Split

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from scipy.sparse import csr_matrix

FEWEST = 60
WORTH = 0.01
_FOLDS = 5
_HALVINGS = 3
_RESAMPLES = 200
_FURTHEST = 64


class Point(Record, frozen=True, kw_only=True):
    """Accuracy with so many training examples, and the range of 95 % of draws (measured) or of refits (forecast)."""

    n: int
    value: float
    low: float
    high: float


class Enough(Record, frozen=True, kw_only=True):
    """A learning curve. `collect`: how many more until a doubling adds less than a point, with 95 % of refits.

    None where that lies beyond 64 times what there is.
    """

    metric: str
    model: str
    examples: int
    measured: tuple[Point, ...]
    forecast: tuple[Point, ...]
    collect: int | None
    collect_low: int | None
    collect_high: int | None


def enough(examples: Sequence[Example], seed: int, progress: Progress) -> Enough:
    """Draw the curve on training and validation examples; raises `DataError` where they are too few."""
    import numpy as np

    pool = [each for each in examples if each.split is not Split.HELD_OUT]
    if len(pool) < FEWEST:
        raise DataError(f"{len(pool)} examples are too few for a learning curve; {FEWEST} are the least")
    sizes, drawn = _measured(pool, seed, progress)
    reached = len(pool)
    fits = _fits(sizes, drawn, seed)
    targets = [reached, 2 * reached, 4 * reached]
    stops = np.array([_stop(fit, reached) for fit in fits])
    collect, low, high = (
        _count(float(each), reached) for each in np.quantile(stops, (0.5, 0.025, 0.975), method="nearest")
    )
    return Enough(
        metric="accuracy",
        model="linear SVM over words",
        examples=reached,
        measured=tuple(_point(int(size), drawn[:, at]) for at, size in enumerate(sizes)),
        forecast=tuple(_point(target, _law(fits, target)) for target in targets),
        collect=collect,
        collect_low=low,
        collect_high=high,
    )


def _measured(
    pool: Sequence[Example], seed: int, progress: Progress
) -> "tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]":
    """Subset sizes, and accuracies of shape (folds, sizes), each fold tested on what it left out."""
    import numpy as np

    names, labels = np.unique([each.reference for each in pool], return_inverse=True)
    if len(names) < 2:
        raise DataError("the examples hold fewer than two labels; there is no curve to draw")
    matrix = features([each.text for each in pool])
    dealt = folds(labels, _FOLDS, seed)
    whole = len(pool) * (_FOLDS - 1) // _FOLDS
    sizes = np.array([whole >> halving for halving in reversed(range(_HALVINGS + 1))])
    drawn = np.zeros((_FOLDS, len(sizes)))
    with progress.step("learning curve", drawn.size) as step:
        for fold in range(_FOLDS):
            test, rest = np.flatnonzero(dealt == fold), np.flatnonzero(dealt != fold)
            rest = np.random.default_rng([seed, fold]).permutation(rest)
            for at, size in enumerate(sizes):
                drawn[fold, at] = _accuracy(matrix, labels, rest[:size], test)
                step.advance()
    return sizes, drawn


def _accuracy(
    matrix: "csr_matrix", labels: "npt.NDArray[np.int64]", train: "npt.NDArray[np.int64]", test: "npt.NDArray[np.int64]"
) -> float:
    import numpy as np

    known = np.unique(labels[train])
    if len(known) < 2:
        return float((labels[test] == known[0]).mean())
    return float((known[scores(matrix, labels, train, test).argmax(axis=1)] == labels[test]).mean())


def _fits(sizes: "npt.NDArray[np.int64]", drawn: "npt.NDArray[np.float64]", seed: int) -> "npt.NDArray[np.float64]":
    """Parameters (a, b, c) of the law, one row a resample.

    A resample draws folds, and leaves out one of the smaller sizes or none: how far the law itself is from the data
    shows in how the fit moves when a point goes.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    fits = []
    for _ in range(_RESAMPLES):
        mean = drawn[random.integers(0, len(drawn), len(drawn))].mean(axis=0)
        kept = np.flatnonzero(np.arange(len(sizes)) != random.integers(-1, len(sizes) - 1))
        fits.append(_fit(sizes[kept], mean[kept]))
    return np.array(fits)


def _fit(sizes: "npt.NDArray[np.int64]", accuracies: "npt.NDArray[np.float64]") -> "npt.NDArray[np.float64]":
    """Least squares with 0 ≤ a ≤ 1, b ≥ 0 and 0.05 ≤ c ≤ 2; sizes are scaled so that the last is 1."""
    import numpy as np
    from scipy.optimize import least_squares

    scaled = sizes / sizes[-1]
    start = np.array([min(0.99, accuracies[-1] + 0.05), 0.05, 0.5])
    found = least_squares(
        lambda law: law[0] - law[1] * scaled ** -law[2] - accuracies, start, bounds=([0, 0, 0.05], [1, 1, 2])
    )
    a, b, c = found.x
    return np.array([a, b * sizes[-1] ** c, c])


def _law(fits: "npt.NDArray[np.float64]", n: float) -> "npt.NDArray[np.float64]":
    accuracies: npt.NDArray[np.float64] = fits[:, 0] - fits[:, 1] * n ** -fits[:, 2]
    return accuracies


def _stop(fit: "npt.NDArray[np.float64]", reached: int) -> float:
    """The least number of examples from which a doubling adds less than `WORTH`; infinite beyond `_FURTHEST` times."""
    _, b, c = fit
    gain = b * (1 - 2**-c)
    n = (gain / WORTH) ** (1 / c) if gain > 0 else 0.0
    return n if n <= _FURTHEST * reached else float("inf")


def _count(n: float, reached: int) -> int | None:
    return None if n == float("inf") else max(0, round(n) - reached)


def _point(n: int, values: "npt.NDArray[np.float64]") -> Point:
    import numpy as np

    low, high = np.quantile(values, (0.025, 0.975))
    return Point(n=n, value=round(float(values.mean()), 4), low=round(float(low), 4), high=round(float(high), 4))
