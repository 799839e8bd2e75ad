"""Text as weighted n-grams: words 1–2 and characters 2–5 within words, TF-IDF.

The same code serves training and answering, so a deployed classifier sees exactly what it was trained on. Term
frequency is sublinear, inverse document frequency smoothed, each of the two blocks scaled to length one (Salton and
Buckley 1988; the formulas are scikit-learn's TfidfVectorizer's, with sublinear_tf and smooth_idf).
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from freehold.evaluation.scorers.tokens import words

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

WORD, CHARACTER = "w", "c"
_CHARACTERS = range(2, 6)
_FREQUENT_FROM = 2000


class Grams:
    """A vocabulary of n-grams with their inverse document frequencies."""

    def __init__(self, vocabulary: Sequence[str], idf: Sequence[float]) -> None:
        self.vocabulary = tuple(vocabulary)
        self.idf = tuple(idf)
        self._index = {gram: at for at, gram in enumerate(self.vocabulary)}

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Grams":
        """The n-grams of training texts; of many texts (2,000 or more) only those that two of them share."""
        frequency = Counter(gram for text in texts for gram in set(_grams(text)))
        least = 2 if len(texts) >= _FREQUENT_FROM else 1
        kept = sorted(gram for gram, count in frequency.items() if count >= least)
        return cls(kept, [math.log((1 + len(texts)) / (1 + frequency[gram])) + 1 for gram in kept])

    def weights(self, text: str) -> dict[int, float]:
        """Column → weight of one text; n-grams that training never saw are left out."""
        found: dict[int, float] = {}
        lengths = {WORD: 0.0, CHARACTER: 0.0}
        for gram, count in Counter(_grams(text)).items():
            column = self._index.get(gram)
            if column is not None:
                found[column] = (1 + math.log(count)) * self.idf[column]
                lengths[gram[0]] += found[column] ** 2
        return {column: value / math.sqrt(lengths[self.vocabulary[column][0]]) for column, value in found.items()}

    def matrix(self, texts: Sequence[str]) -> "csr_matrix":
        """One sparse row a text."""
        from scipy.sparse import csr_matrix

        rows = [self.weights(text) for text in texts]
        ends = [0]
        for row in rows:
            ends.append(ends[-1] + len(row))
        columns = [column for row in rows for column in row]
        values = [value for row in rows for value in row.values()]
        return csr_matrix((values, columns, ends), shape=(len(rows), len(self.vocabulary)))


def _grams(text: str) -> Iterator[str]:
    tokens = words(text)
    yield from (WORD + token for token in tokens)
    yield from (f"{WORD}{first} {second}" for first, second in pairwise(tokens))
    for chunk in unicodedata.normalize("NFKC", text).casefold().split():
        padded = f" {chunk} "
        for size in _CHARACTERS:
            yield from (CHARACTER + padded[at : at + size] for at in range(len(padded) - size + 1))
