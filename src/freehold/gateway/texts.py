"""Where the words are in a request and in an answer, in every dialect: what guardrails look at and may cut out of.

Sources of the shapes: OpenAI's API reference (Chat Completions, Completions, Embeddings, Responses), Anthropic's
(Messages). What is not recognised holds no words.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from freehold.store.guardrails import Reads

Span = tuple[int, int]
_SAID_BY_OTHERS = ("user", "tool", "function")


class Place(NamedTuple):
    """One text of a document: `holder[key]`."""

    holder: Any
    key: Any

    @property
    def text(self) -> str:
        text: str = self.holder[self.key]
        return text


def asked(document: dict[str, Any], reads: Reads) -> list[Place]:
    """The texts of a request."""
    turns = [each for each in _turns(document) if isinstance(each, dict)]
    if reads == "last":
        turns = turns[-1:]
    elif reads == "user":
        turns = [each for each in turns if each.get("role") in _SAID_BY_OTHERS or "output" in each]
    places = [place for turn in turns for key in ("content", "output") for place in _in(turn, key)]
    for key in ("prompt", "input"):
        if not any(isinstance(each, dict) for each in _list(document.get(key))):
            places += _in(document, key)
    if reads == "all":
        places += [place for key in ("system", "instructions") for place in _in(document, key)]
    return places


def answered(document: dict[str, Any]) -> list[Place]:
    """The texts of an answer, the arguments of tool calls included."""
    places: list[Place] = []
    for choice in _dicts(document.get("choices")):
        message = choice.get("message")
        places += _in(choice, "text")
        if isinstance(message, dict):
            places += _in(message, "content")
            for call in _dicts(message.get("tool_calls")):
                places += _in(call.get("function"), "arguments")
    for item in _dicts(document.get("output")):
        places += [*_in(item, "content"), *_in(item, "arguments")]
    for block in _dicts(document.get("content")):
        places += [*_in(block, "text"), *_in(block, "partial_json"), *_strings(block, "input")]
    return places


def joined(places: Sequence[Place]) -> str:
    """All of them as one text, a line each."""
    return "\n".join(place.text for place in places)


def cut(places: Sequence[Place], spans: Sequence[Span], mark: str) -> None:
    """Put a mark in the place of each span of the joined text; without spans, of every text."""
    at = 0
    for place in places:
        text = place.text
        inside = [(max(0, start - at), min(len(text), end - at)) for start, end in spans]
        own = merged([(start, end) for start, end in inside if start < end])
        if not spans:
            own = [(0, len(text))]
        place.holder[place.key] = _without(text, own, mark)
        at += len(text) + 1


def merged(spans: Sequence[Span]) -> list[Span]:
    """In order, none overlapping."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _without(text: str, spans: Sequence[Span], mark: str) -> str:
    parts, at = [], 0
    for start, end in spans:
        parts += [text[at:start], mark]
        at = end
    return "".join([*parts, text[at:]])


def _turns(document: dict[str, Any]) -> list[Any]:
    return [
        *_list(document.get("messages")),
        *(each for each in _list(document.get("input")) if isinstance(each, dict)),
    ]


def _in(holder: Any, key: str) -> Iterator[Place]:  # noqa: ANN401 (any JSON value)
    """The texts at a key: a string, strings, or parts with a `text` or further `content`."""
    value = holder.get(key) if isinstance(holder, dict) else None
    if isinstance(value, str):
        yield Place(holder, key)
    for at, each in enumerate(_list(value)):
        if isinstance(each, str):
            yield Place(value, at)
        elif isinstance(each, dict):
            if isinstance(each.get("text"), str):
                yield Place(each, "text")
            yield from _in(each, "content")


def _strings(holder: Any, key: Any) -> Iterator[Place]:  # noqa: ANN401 (any JSON value)
    """Every string below a key: a tool's input."""
    value = holder[key] if not isinstance(holder, dict) or key in holder else None
    if isinstance(value, str):
        yield Place(holder, key)
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for each in keys:
        yield from _strings(value, each)


def _list(value: Any) -> list[Any]:  # noqa: ANN401 (any JSON value)
    return value if isinstance(value, list) else []


def _dicts(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 (any JSON value)
    return (each for each in _list(value) if isinstance(each, dict))
