"""BLEU of one sentence (Papineni et al. 2002), orders 1 to 4, orders above 1 smoothed by adding one (Lin and Och 2004).

Words are those of `tokens.words`, so scripts without spaces are compared by character. BLEU was made for whole corpora:
the mean of sentences is not the corpus figure, and is never called that here.
"""

import math
from collections import Counter

from freehold.evaluation.scorers.tokens import words

_ORDERS = range(1, 5)


def bleu(answer: str, reference: str) -> float:
    """Sentence BLEU in 0..1; 1 where both are empty."""
    given, wanted = words(answer), words(reference)
    if not given or not wanted:
        return float(given == wanted)
    logs = 0.0
    for order in _ORDERS:
        mine, theirs = _grams(given, order), _grams(wanted, order)
        smooth = int(order > 1)
        common = (mine & theirs).total() + smooth
        if common == 0:
            return 0.0
        logs += math.log(common / (mine.total() + smooth))
    brevity = min(1.0, math.exp(1 - len(wanted) / len(given)))
    return brevity * math.exp(logs / len(_ORDERS))


def _grams(tokens: list[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[at : at + order]) for at in range(len(tokens) - order + 1))
