"""What every engine is: something that is started, answers completions of token ids, and is stopped.

Prompts are token ids from `render.py`, so every engine sees exactly what the trainer saw (invariant 2).
"""

from collections.abc import Sequence
from typing import Any, Protocol

from freehold.records import Record


class Labels(Record, frozen=True, kw_only=True, tag="labels"):
    """Only one of these answers may be decoded."""

    labels: tuple[str, ...]


class JsonSchema(Record, frozen=True, kw_only=True, tag="json_schema"):
    """Only JSON that satisfies this schema may be decoded."""

    json_schema: dict[str, Any]


class Gbnf(Record, frozen=True, kw_only=True, tag="gbnf"):
    """Only what this grammar (llama.cpp's GBNF) generates may be decoded."""

    grammar: str


class Regex(Record, frozen=True, kw_only=True, tag="regex"):
    """Only text that matches this expression as a whole may be decoded."""

    pattern: str


Constraint = Labels | JsonSchema | Gbnf | Regex


class Sampling(Record, frozen=True, kw_only=True):
    """How an answer is decoded. Temperature 0 is greedy."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    constraint: Constraint | None = None


class Completion(Record, frozen=True, kw_only=True):
    """One request to an engine: the prompt's token ids, and the adapter that must answer (None: the base as it is)."""

    prompt: tuple[int, ...]
    sampling: Sampling
    adapter: str | None = None


class Answer(Record, frozen=True, kw_only=True):
    """What an engine answered. `adapter` is the digest of the adapter that was used, as the engine knows it."""

    text: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    finish_reason: str
    latency_ms: float
    adapter: str | None = None


class Engine(Protocol):
    """Five methods; contract-tested in `tests/engines/test_contract.py` on every engine."""

    def start(self) -> None:
        """Start and wait until ready; raises `EngineError` with the child's last words."""

    def complete(self, request: Completion) -> Answer:
        """Answer one request; safe to call from many threads. Raises `EngineError`."""

    def tokenize(self, text: str) -> Sequence[int]:
        """The engine's own token ids of a text, special tokens parsed: for comparison with `render.py`."""

    def address(self) -> "Address":
        """Where the gateway reaches the child."""

    def stop(self) -> None:
        """Drain and end; safe to call twice."""


class Address(Record, frozen=True, kw_only=True):
    """A loopback URL (up to and including /v1) and the secret that it asks for."""

    url: str
    secret: str
