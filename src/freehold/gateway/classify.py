"""A plain classifier under a public model name. It answers in this process: it is small, and holds no native engine."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Protocol

from freehold.gateway.chat import ChatRequest, Piece, Reply
from freehold.gateway.owned import last_user_text, refuse_unsupported
from freehold.render import pruned
from freehold.store.deployments import ClassifierTarget


class Predictor(Protocol):
    """What a classifier does: a label for a text, and how sure it is (0..1)."""

    def answer(self, text: str) -> tuple[str, float]: ...


class ClassifierModel:
    """Answers with the label of the last user message. It reads no tokens, so it counts none."""

    def __init__(self, target: ClassifierTarget, classifier: Predictor) -> None:
        self._classifier = classifier
        self._pruning = target.pruning
        self.fingerprint = f"fh-{target.digest[:12]}"

    async def answer(self, chat: ChatRequest) -> Reply:
        refuse_unsupported(chat)
        text = last_user_text(pruned(chat.turns(), self._pruning))
        begun = time.perf_counter()
        label, confidence = await asyncio.to_thread(self._classifier.answer, text)
        seconds = time.perf_counter() - begun
        return Reply(
            text=label,
            finish_reason="stop",
            input_tokens=0,
            output_tokens=0,
            machine_s=seconds,
            confidence=confidence,
        )

    async def stream(self, chat: ChatRequest) -> AsyncIterator[Piece]:
        reply = await self.answer(chat)
        yield Piece(reply.text)
        yield Piece("", reply)
