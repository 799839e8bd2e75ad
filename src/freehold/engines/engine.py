"""What every engine is: something that is started, answers completions of token ids, and is stopped.

Prompts are token ids from `render.py`, so every engine sees exactly what the trainer saw (invariant 2).
"""

from collections.abc import Iterator, Sequence
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
    """How an answer is decoded. Temperature 0 is greedy; `logprobs` asks for so many rivals of each decoded token."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    constraint: Constraint | None = None
    logprobs: int | None = None


class Completion(Record, frozen=True, kw_only=True):
    """One request to an engine: the prompt's token ids, and the adapter that must answer (None: the base as it is)."""

    prompt: tuple[int, ...]
    sampling: Sampling
    adapter: str | None = None


class TokenLogprob(Record, frozen=True, kw_only=True):
    """A decoded token, its natural log-probability before any constraint, and those of the likeliest ids (as text)."""

    id: int
    text: str
    logprob: float
    top: dict[str, float]


class Answer(Record, frozen=True, kw_only=True):
    """What an engine answered.

    `input_tokens` counts the whole prompt, `cached_tokens` how many of them were not computed again. `output_tokens`
    counts what was decoded, the end-of-turn token included. `finish_reason` is `stop` or `length`. `adapter` is the
    SHA-256 of the adapter file that was used, as the engine knows it; `latency_ms` includes waiting for a slot;
    `logprobs` are there where they were asked for and the engine has them.
    """

    text: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    finish_reason: str
    latency_ms: float
    adapter: str | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


class Piece(Record, frozen=True, kw_only=True):
    """A part of an answer as it is decoded, with the `logprobs` of its tokens where they were asked for.

    The last piece, and only it, carries the whole `answer`. `adapter` is what it will be in the answer.
    """

    text: str
    answer: Answer | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    adapter: str | None = None


class Engine(Protocol):
    """Five methods; contract-tested in `tests/engines/test_engine_contract.py` on every engine.

    `complete` and `stream` may be called from many threads at once. They raise `UserError` where the request is at
    fault (too long, a wrong grammar, an adapter that is not loaded) and `EngineError` where the engine is.
    """

    def start(self) -> None:
        """Start and wait until ready; raises `EngineError` with the child's last words. Twice is once."""

    def complete(self, request: Completion) -> Answer:
        """Answer one request."""

    def stream(self, request: Completion) -> Iterator[Piece]:
        """Answer one request piece by piece; closing the iterator stops the decoding."""

    def tokenize(self, text: str) -> Sequence[int]:
        """The engine's own token ids of a text, special tokens parsed: for comparison with `render.py`."""

    def stop(self) -> None:
        """Drain and end; safe to call twice."""


class Address(Record, frozen=True, kw_only=True):
    """A loopback URL (up to and including /v1) and the secret that it asks for."""

    url: str
    secret: str


class LocalEngine(Engine, Protocol):
    """An engine that is a child process speaking HTTP on loopback."""

    def address(self) -> Address:
        """Where it answers now, waiting while it is being started again; raises `EngineError` where it cannot be."""
