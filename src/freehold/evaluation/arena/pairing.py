"""Which two models to show next: the pair whose vote would take most off the uncertainty.

Chiang et al. 2024 ("Chatbot Arena", section 5): a pair's chance to be drawn is proportional to how much one more vote
would shrink the standard error of its win rate, so close and little-seen pairs come up most.
"""

import math
from random import Random
from typing import TYPE_CHECKING

from freehold.evaluation.arena import bradley_terry

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

_UNSEEN = 0.25
"""The votes that a pair nobody has voted on is taken to have: its error is finite, and larger than any seen pair's."""


def gains(wins: "NDArray[float64]") -> dict[tuple[int, int], float]:
    """For every pair of models: how much one more vote would take off its standard error."""
    strength = bradley_terry.fit(wins).log_strength
    found = {}
    for left in range(len(wins)):
        for right in range(left + 1, len(wins)):
            chance = 1 / (1 + math.exp(strength[right] - strength[left]))
            seen = float(wins[left, right] + wins[right, left])
            before, after = max(seen, _UNSEEN), max(seen, _UNSEEN) + 1
            found[left, right] = math.sqrt(chance * (1 - chance)) * (1 / math.sqrt(before) - 1 / math.sqrt(after))
    return found


def draw(wins: "NDArray[float64]", random: Random) -> tuple[int, int]:
    """A pair, informative ones more often, its sides in random order."""
    worth = gains(wins)
    left, right = random.choices(list(worth), weights=list(worth.values()))[0]
    return (left, right) if random.random() < 0.5 else (right, left)
