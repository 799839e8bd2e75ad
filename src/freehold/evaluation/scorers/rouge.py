"""ROUGE-L: how much of two texts is one common subsequence (Lin 2004, "ROUGE: A Package for Automatic Evaluation").

The sentence-level F-measure with beta = 1, as the rouge-score package computes it, without stemming.
"""

from freehold.evaluation.scorers.tokens import words


def rouge_l(answer: str, reference: str) -> float:
    """F-measure over the longest common subsequence of words; 1 where both are empty."""
    given, wanted = words(answer), words(reference)
    if not given or not wanted:
        return float(given == wanted)
    return 2 * _common(given, wanted) / (len(given) + len(wanted))


def _common(left: list[str], right: list[str]) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyrö 2004, "Bit-parallel LCS-length computation")."""
    places: dict[str, int] = {}
    for at, word in enumerate(left):
        places[word] = places.get(word, 0) | (1 << at)
    full = (1 << len(left)) - 1
    row = full
    for word in right:
        match = row & places.get(word, 0)
        row = ((row + match) | (row - match)) & full
    return len(left) - row.bit_count()
