"""What turns texts into vectors, so that texts of like meaning lie close: an embedding model behind one interface."""

import math
from collections.abc import Sequence
from typing import Protocol

from freehold.records import Record


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

    def embed(self, texts: Sequence[str], cut: bool = False) -> list[Embedding]:
        """One embedding a text, in order; safe to call from many threads.

        A text longer than the model's context is refused (`UserError`), or read as far as that goes with `cut`.
        """

    def stop(self) -> None:
        """End; safe to call twice."""


def rerank(embedder: Embedder, query: str, documents: Sequence[str], cut: bool = False) -> list[Ranked]:
    """The documents by nearness to the query, nearest first; equals stay in order."""
    if not documents:
        return []
    asked, *given = embedder.embed([query, *documents], cut)
    scores = [cosine(asked.vector, each.vector) for each in given]
    order = sorted(range(len(documents)), key=lambda at: -scores[at])
    return [Ranked(index=at, score=scores[at]) for at in order]


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of the angle between two vectors; 0 where either has no direction."""
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else 0.0
