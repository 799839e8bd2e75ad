"""What a dialect must know to be put to a model that speaks Chat Completions. Pure functions: no network, no clock.

What a dialect's module does not know passes on as it is; what cannot be said in a chat is refused, and named.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import msgspec

from freehold.gateway.faults import GatewayError

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came (`own`), and the chat that stands for it. `id` is of the exchange, `at` in seconds."""

    own: Document
    chat: Document
    id: str = ""
    at: int = 0


class Stream(Protocol):
    """Chunks of a chat completion in, the dialect's own events out."""

    def feed(self, chunk: Document) -> Iterator[bytes]: ...

    def finish(self) -> Iterator[bytes]:
        """The end of an answer that is whole."""


class Dialect(Protocol):
    """One dialect."""

    def chat(self, content: bytes) -> Document:
        """The request as a chat; raises `GatewayError` of 400 for what a chat cannot say."""

    def answer(self, asked: Asked, completion: Document) -> Document:
        """A whole chat completion in this dialect's words."""

    def stream(self, asked: Asked) -> Stream:
        """The same for an answer that comes in pieces."""


def event(document: Document, named: bool = False) -> bytes:
    """One server-sent event; `named` says its type on a line of its own too."""
    name = f"event: {document['type']}\n".encode() if named else b""
    return name + b"data: " + msgspec.json.encode(document) + b"\n\n"


def unsaid(param: str, what: str) -> NoReturn:
    """Refuse what cannot be translated."""
    fault = f"{param} {what}; the model that is asked speaks Chat Completions, in which this cannot be said"
    raise GatewayError(400, fault, code="unsupported_value", param=param)


def wrong(param: str, what: str) -> NoReturn:
    """Refuse what is not of the dialect."""
    raise GatewayError(400, f"{param}: {what}", code="invalid_type", param=param)


def string(value: Any, param: str) -> str:  # noqa: ANN401 (any JSON value)
    """A text where one must stand."""
    return value if isinstance(value, str) else wrong(param, "must be a text")


def document(value: Any, param: str) -> Document:  # noqa: ANN401 (any JSON value)
    """An object where one must stand."""
    return value if isinstance(value, dict) else wrong(param, "must be an object")


def plain(parts: list[Document]) -> str | list[Document]:
    """A single text by itself, as most servers like it; several parts as they are."""
    single = len(parts) == 1 and parts[0]["type"] == "text"
    return str(parts[0]["text"]) if single else parts


def first_choice(completion: Document) -> Document:
    """The one choice of an answer that has one."""
    choices = completion.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def counts(completion: Document) -> tuple[int, int, int, int]:
    """Input tokens, those of them read from a cache, output tokens, those of them spent on reasoning."""
    usage = completion.get("usage") or {}
    given, made = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    numbers = (
        usage.get("prompt_tokens"),
        given.get("cached_tokens"),
        usage.get("completion_tokens"),
        made.get("reasoning_tokens"),
    )
    read, cached, written, thought = (each or 0 for each in numbers)
    return read, cached, written, thought
