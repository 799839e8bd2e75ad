"""Simulates looking after every pair: how often a switch is false, and how many pairs a verdict takes.

    python bench/anytime.py [STREAMS]

Prints the tables of docs/decision.md. The bounds are those of `freehold.decision.sequence`; the capital is reckoned for
all pairs of a stream at once, and the first lines check that this gives the same crossing as the product's own code.
"""

import math
import sys

import numpy as np
from numpy.typing import NDArray

from freehold.decision.sequence import STAKES, Watch, observe

Stream = NDArray[np.float64]
CONFIDENCE = 0.95


def draw(random: np.random.Generator, pairs: int, difference: float, disagreement: float) -> Stream:
    """Paired differences, each −1, 0 or 1, with this mean and this share that is not 0."""
    shares = [(disagreement + difference) / 2, (disagreement - difference) / 2, 1 - disagreement]
    return random.choice([1.0, -1.0, 0.0], p=shares, size=pairs)


def crossing(stream: Stream, mean: float, above: bool) -> int | None:
    """After how many pairs it is shown that the mean is above (or below) `mean`; None if never."""
    shares, null = (stream + 1) / 2, (mean + 1) / 2
    if not above:
        shares, null = 1 - shares, 1 - null
    stakes = np.asarray(STAKES)[:, None]
    capital = np.cumsum(np.log1p(stakes * (shares - null) / null), axis=1)
    top = capital.max(axis=0)
    mixed = top + np.log(np.exp(capital - top).mean(axis=0))
    (there,) = np.nonzero(mixed >= -math.log(1 - CONFIDENCE))
    return int(there[0]) + 1 if len(there) else None


def check(random: np.random.Generator) -> None:
    """The fast path crosses exactly where the product does."""
    for _ in range(3):
        stream = draw(random, 400, 0.0, 0.1)
        found, watch = None, Watch(CONFIDENCE)
        for at, each in enumerate(stream, start=1):
            watch = observe(watch, [float(each)])
            if watch.low > -0.1:
                found = at
                break
        assert found == crossing(stream, -0.1, above=True), (found, crossing(stream, -0.1, above=True))


def spell(counts: list[int | None], longest: int) -> str:
    known = [longest if count is None else count for count in counts]
    return f"{np.median(known):,.0f} ({np.quantile(known, 0.8):,.0f})"


def main(streams: int) -> None:
    random = np.random.default_rng(0)
    check(random)
    for margin in (0.02, 0.05, 0.10):
        for disagreement in (0.10, 0.25):
            null = [crossing(draw(random, 5000, -margin, disagreement), -margin, above=True) for _ in range(streams)]
            false = sum(count is not None for count in null) / streams
            equal = [
                crossing(draw(random, 20_000, 0.0, disagreement), -margin, above=True) for _ in range(streams // 5)
            ]
            share = f"{disagreement:.0%}".replace("%", " %")
            print(f"| {margin * 100:g} points | {share} | {false * 100:.1f} % | {spell(equal, 20_000)} |")
    for disagreement in (0.10, 0.25):
        lost = [crossing(draw(random, 20_000, -0.05, disagreement), 0.0, above=False) for _ in range(streams // 2)]
        share = f"{disagreement:.0%}".replace("%", " %")
        print(f"a loss of 5 points at {share} disagreement is found after {spell(lost, 20_000)} pairs, median (80 %)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
