"""How alike two texts are: Jaccard similarity of their sets of character 5-grams, after NFKC and casefolding.

A text shorter than five characters is one gram, itself: it is alike only to the same text.
Exact in integers: two sets are near-duplicates where 5·|A∩B| ≥ 4·|A∪B| (Jaccard ≥ 0.8).
"""

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

WIDTH = 5


def normal(text: str) -> str:
    """The form that texts are compared in."""
    return unicodedata.normalize("NFKC", text).casefold()


def shingles(text: str) -> frozenset[str]:
    """The 5-grams of a text in normal form."""
    return frozenset(text[at : at + WIDTH] for at in range(max(1, len(text) - WIDTH + 1)))


def alike(first: frozenset[str], second: frozenset[str]) -> bool:
    """Whether two sets have Jaccard similarity ≥ 0.8, decided without rounding."""
    shared = len(first & second)
    return 5 * shared >= 4 * (len(first) + len(second) - shared)


def hashed(texts: Sequence[str]) -> "tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]":
    """64-bit hashes of every text's grams, one after another, and where each text's begin (length n + 1).

    A polynomial over five code points, then the finaliser of SplitMix64 (Steele et al. 2014). For finding candidates
    only: what is found is verified on the grams themselves.
    """
    import numpy as np

    padded = [text.ljust(WIDTH, "\0") for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    counts = np.fromiter((len(text) - WIDTH + 1 for text in padded), dtype=np.int64, count=len(padded))
    grams = np.zeros(max(0, len(codes) - WIDTH + 1), dtype=np.uint64)
    for at in range(WIDTH):
        grams = grams * np.uint64(0x9E3779B97F4A7C15) + codes[at : len(codes) - WIDTH + 1 + at]
    starts = np.concatenate([[0], np.cumsum(counts + (WIDTH - 1))[:-1]]) if len(padded) else np.zeros(0, dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    return mixed(grams[np.repeat(starts, counts) + within]), offsets.astype(np.uint64)


def mixed(values: "npt.NDArray[np.uint64]") -> "npt.NDArray[np.uint64]":
    """The finaliser of SplitMix64, element by element."""
    import numpy as np

    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
