"""An embedder without a model: texts of like words lie close. For tests, demonstrations and dry runs; it ships."""

import hashlib
import math
from collections.abc import Sequence

from freehold.engines.embedder import Embedding, Input
from freehold.errors import EngineError, UserError

_WIDTH = 256
_IDS = 30_000


class FakeEmbedder:
    """An `Embedder` that counts words, each in the column that its digest names. Its tokens are words."""

    def __init__(self, context: int = 512) -> None:
        self._context = context
        self._running = False

    def start(self) -> None:
        self._running = True

    def stop(self) -> None:
        self._running = False

    def embed(self, texts: Sequence[Input], cut: bool = False) -> list[Embedding]:
        if not self._running:
            raise EngineError("the embedder is stopped")
        return [self._embed(at, _words(at, text), cut) for at, text in enumerate(texts)]

    def _embed(self, at: int, words: list[str], cut: bool) -> Embedding:
        if not words:
            raise UserError(f"input {at}: the text is empty; an embedding needs at least one word")
        if len(words) > self._context and not cut:
            raise UserError(
                f"input {at}: the text has {len(words)} tokens and this model's context holds {self._context}; "
                "shorten it"
            )
        counts = [0.0] * _WIDTH
        for word in words[: self._context]:
            counts[hashlib.sha256(word.encode()).digest()[0] % _WIDTH] += 1.0
        length = math.hypot(*counts)
        return Embedding(vector=tuple(each / length for each in counts), tokens=min(len(words), self._context))


def _words(at: int, text: Input) -> list[str]:
    if isinstance(text, str):
        return text.lower().split()
    wrong = next((id for id in text if not 0 <= id < _IDS), None)
    if wrong is not None:
        raise UserError(f"input {at}: {wrong} is no token of this model, which has {_IDS}")
    return [str(id) for id in text]
