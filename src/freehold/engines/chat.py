"""An endpoint that takes messages, where an `Engine` takes token ids: a model behind an API renders them itself."""

from typing import Protocol

from freehold.engines.engine import Answer, Sampling
from freehold.records import Message, Record


class Chat(Record, frozen=True, kw_only=True):
    """One conversation to be answered."""

    messages: tuple[Message, ...]
    sampling: Sampling


class ChatEndpoint(Protocol):
    """Whatever answers conversations; contract-tested in `tests/engines/test_remote.py`."""

    def chat(self, request: Chat) -> Answer:
        """Answer one conversation; safe to call from many threads. Raises `UserError` or `EngineError`."""
