"""chrF: character n-grams in common (Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation").

Orders 1 to 6, white space left out, recall weighing twice as much as precision (beta = 2), both averaged over the
orders that either text is long enough for: chrF2 as sacreBLEU computes it for one sentence.
"""

from collections import Counter

_ORDERS = range(1, 7)
_BETA_SQUARED = 4.0


def chrf(answer: str, reference: str) -> float:
    """The F-score in 0..1; 1 where both are empty."""
    given, wanted = "".join(answer.split()), "".join(reference.split())
    if not given or not wanted:
        return float(given == wanted)
    precisions, recalls = [], []
    for order in _ORDERS:
        mine, theirs = _grams(given, order), _grams(wanted, order)
        if mine and theirs:
            common = (mine & theirs).total()
            precisions.append(common / mine.total())
            recalls.append(common / theirs.total())
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    if precision + recall == 0:
        return 0.0
    return (1 + _BETA_SQUARED) * precision * recall / (_BETA_SQUARED * precision + recall)


def _grams(text: str, order: int) -> Counter[str]:
    return Counter(text[at : at + order] for at in range(len(text) - order + 1))
