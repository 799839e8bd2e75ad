"""Semantic similarity: how near an answer lies to its reference in meaning, by a small embedding model on this machine.

The cosine of the two texts' embeddings (Reimers and Gurevych 2019, "Sentence-BERT"), negative ones counting as 0. It
tells topics apart far better than truths: "the gate is open" and "the gate is not open" lie close.
"""

from collections.abc import Callable

from freehold.engines.embedder import Embedder, cosine

NAME, MODEL = "similarity", "all-minilm-l6-v2"


class Similarity:
    """A scorer over an embedder, which is opened and started by the first pair; `stop` ends it."""

    def __init__(self, opened: Callable[[], Embedder]) -> None:
        self._opened = opened
        self._embedder: Embedder | None = None

    def __call__(self, answer: str, reference: str) -> float:
        if not answer.strip() or not reference.strip():
            return float(answer.strip() == reference.strip())
        if self._embedder is None:
            self._embedder = self._opened()
            self._embedder.start()
        given, wanted = self._embedder.embed([answer, reference], cut=True)
        return min(1.0, max(0.0, cosine(given.vector, wanted.vector)))

    def stop(self) -> None:
        if self._embedder is not None:
            self._embedder.stop()
