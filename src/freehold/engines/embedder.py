"""What turns texts into vectors, so that texts of like meaning lie close: an embedding model behind one interface."""

import math
from collections.abc import Sequence
from typing import Protocol

from freehold.records import Record

Input = str | Sequence[int]
"""A text, or its token ids, those that open and close it included."""


class Embedding(Record, frozen=True, kw_only=True):
    """A text's vector, of length 1, and the tokens that were read for it."""

    vector: tuple[float, ...]
    tokens: int


class Ranked(Record, frozen=True, kw_only=True):
    """A document's place in what was given, and how near it lies to the query (cosine, −1 to 1)."""

    index: int
    score: float


class Embedder(Protocol):
    """Three methods; contract-tested in `tests/engines/test_embedder.py` on every embedder."""

    def start(self) -> None:
        """Start and wait until ready. Twice is once."""

    def embed(self, texts: Sequence[Input], cut: bool = False) -> list[Embedding]:
        """One embedding a text, in order; safe to call from many threads.

        Raises `UserError` for an empty text, for ids that the model does not have, and for a text longer than its
        context; with `cut` such a text is read as far as that goes.
        """

    def stop(self) -> None:
        """End; safe to call twice."""


def rerank(embedder: Embedder, query: str, documents: Sequence[str], cut: bool = False) -> list[Ranked]:
    """The documents by nearness to the query, nearest first; equals stay in order."""
    return ordered(*embedder.embed([query, *documents], cut)) if documents else []


def ordered(asked: Embedding, *given: Embedding) -> list[Ranked]:
    """What is given by its nearness to what is asked, nearest first; equals stay in order."""
    scores = [cosine(asked.vector, each.vector) for each in given]
    order = sorted(range(len(given)), key=lambda at: -scores[at])
    return [Ranked(index=at, score=scores[at]) for at in order]


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of the angle between two vectors; 0 where either has no direction."""
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else 0.0
