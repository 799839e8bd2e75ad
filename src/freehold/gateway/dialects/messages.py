"""Anthropic's Messages: blocks in, blocks out.

Source: Anthropic's API reference, *Messages* and *Streaming Messages*.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from freehold.gateway.body import typed
from freehold.gateway.dialects.dialect import (
    Asked,
    Document,
    counts,
    document,
    event,
    first_choice,
    plain,
    string,
    unsaid,
    wrong,
)

_STOPS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_OWN = ("messages", "system", "tools", "tool_choice", "stop_sequences", "metadata", "thinking", "top_k", "service_tier")
_THOUGHT = ("thinking", "redacted_thinking")


class _Turn(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[dict[str, Any]]


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Request(msgspec.Struct):
    max_tokens: int
    messages: list[_Turn]
    system: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    stop_sequences: list[str] | None = None
    metadata: _Metadata | None = None


_REQUEST = msgspec.json.Decoder(_Request)
_FIELDS = msgspec.json.Decoder(dict[str, Any])


class Messages:
    """The dialect of /v1/messages."""

    def chat(self, content: bytes) -> Document:
        asked = typed(content, _REQUEST)
        chat = {name: value for name, value in _FIELDS.decode(content).items() if name not in _OWN}
        messages: list[Document] = []
        if asked.system:
            messages.append({"role": "system", "content": _texts(asked.system, "system")})
        for at, turn in enumerate(asked.messages):
            messages += _turn(turn, f"messages[{at}].content")
        named = {
            "stop": asked.stop_sequences or None,
            "user": asked.metadata.user_id if asked.metadata else None,
            "tools": [_tool(at, tool) for at, tool in enumerate(asked.tools)] if asked.tools else None,
            **(_tool_choice(asked.tool_choice) if asked.tools and asked.tool_choice else {}),
        }
        return chat | {"messages": messages} | {name: value for name, value in named.items() if value is not None}

    def answer(self, asked: Asked, completion: Document) -> Document:
        choice = first_choice(completion)
        message = choice.get("message") or {}
        calls = message.get("tool_calls") or []
        text = message.get("content") or message.get("refusal")
        blocks: list[Document] = [{"type": "text", "text": text or ""}] if text or not calls else []
        blocks += [_block(asked, at, call) for at, call in enumerate(calls)]
        return _message(asked, blocks) | _end(choice.get("finish_reason")) | {"usage": _usage(completion)}

    def stream(self, asked: Asked) -> "_Stream":
        return _Stream(asked)


# -- the request as a chat -------------------------------------------------------------------------------------------


def _turn(turn: _Turn, where: str) -> Iterator[Document]:
    """One turn is a message; what its tools gave comes first, each a message of its own."""
    if isinstance(turn.content, str):
        yield {"role": turn.role, "content": turn.content}
        return
    parts, calls = [], []
    for at, block in enumerate(turn.content):
        here, kind = f"{where}[{at}]", block.get("type")
        if kind == "tool_result":
            yield _result(block, here)
        elif kind == "tool_use":
            calls.append(_call(block, here))
        elif kind not in _THOUGHT:  # what another model thought stays with it
            parts.append(_part(block, here))
    if parts or calls:
        said = {"role": turn.role, "content": plain(parts) if parts else None}
        yield said | ({"tool_calls": calls} if calls else {})


def _part(block: Document, where: str) -> Document:
    kind = block.get("type")
    if kind == "text":
        return {"type": "text", "text": string(block.get("text"), f"{where}.text")}
    source = block.get("source")
    if kind == "image" and isinstance(source, dict):
        data = f"data:{source.get('media_type')};base64,{source.get('data')}"
        return {"type": "image_url", "image_url": {"url": source.get("url") or data}}
    unsaid(f"{where}.type", f"is {kind!r}")


def _call(block: Document, where: str) -> Document:
    id, name = (string(block.get(each), f"{where}.{each}") for each in ("id", "name"))
    arguments = msgspec.json.encode(document(block.get("input"), f"{where}.input")).decode()
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _result(block: Document, where: str) -> Document:
    id = string(block.get("tool_use_id"), f"{where}.tool_use_id")
    return {"role": "tool", "tool_call_id": id, "content": _texts(block.get("content") or "", f"{where}.content")}


def _texts(content: Any, where: str) -> str:  # noqa: ANN401 (any JSON value)
    """Blocks of text as one text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        wrong(where, "must be a text or a list of blocks")
    blocks = [document(block, f"{where}[{at}]") for at, block in enumerate(content)]
    for at, block in enumerate(blocks):
        if block.get("type") != "text":
            unsaid(f"{where}[{at}].type", f"is {block.get('type')!r}")
    return "\n\n".join(string(block.get("text"), f"{where}[{at}].text") for at, block in enumerate(blocks))


def _tool(at: int, tool: Document) -> Document:
    if tool.get("type", "custom") != "custom":
        unsaid(f"tools[{at}].type", f"is {tool['type']!r}")
    function = {"name": string(tool.get("name"), f"tools[{at}].name"), "parameters": tool.get("input_schema") or {}}
    described = {"description": tool["description"]} if tool.get("description") else {}
    return {"type": "function", "function": function | described}


def _tool_choice(choice: Document) -> Document:
    kind = string(choice.get("type"), "tool_choice.type")
    one = {"parallel_tool_calls": False} if choice.get("disable_parallel_tool_use") else {}
    if kind == "tool":
        named = {"name": string(choice.get("name"), "tool_choice.name")}
        return {"tool_choice": {"type": "function", "function": named}, **one}
    if kind not in _CHOICES:
        unsaid("tool_choice.type", f"is {kind!r}")
    return {"tool_choice": _CHOICES[kind], **one}


# -- the answer ------------------------------------------------------------------------------------------------------


def _message(asked: Asked, blocks: Sequence[Document]) -> Document:
    head = {"id": f"msg_{asked.id}", "type": "message", "role": "assistant", "model": asked.own.get("model")}
    return {**head, "content": list(blocks), "stop_reason": None, "stop_sequence": None}


def _end(finish_reason: str | None) -> Document:
    return {"stop_reason": _STOPS.get(finish_reason or "", "end_turn"), "stop_sequence": None}


def _block(asked: Asked, at: int, call: Document) -> Document:
    function = call.get("function") or {}
    id = call.get("id") or f"toolu_{asked.id}_{at}"
    return {"type": "tool_use", "id": id, "name": function.get("name") or "", "input": _input(function)}


def _input(function: Document) -> Document:
    """A call's arguments; what a model wrote that is no object is handed over as it is."""
    written = function.get("arguments") or "{}"
    try:
        return _FIELDS.decode(written)
    except msgspec.MsgspecError:
        return {"arguments": written}


def _usage(completion: Document) -> Document:
    """Anthropic counts what came from the cache apart from the input."""
    read, cached, written, _ = counts(completion)
    return {
        "input_tokens": max(0, read - cached),
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": written,
    }


# -- the stream ------------------------------------------------------------------------------------------------------


class _Stream:
    """One block at a time is open: the text, then each call."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._begun = False
        self._blocks = 0
        self._open: str | int | None = None
        self._finish_reason: str | None = None
        self._usage = _usage({})

    def feed(self, chunk: Document) -> Iterator[bytes]:
        if not self._begun:
            self._begun = True
            yield _named("message_start", message=_message(self._asked, []) | {"usage": _usage({})})
        self._usage = _usage(chunk) if chunk.get("usage") else self._usage
        choice = first_choice(chunk)
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        delta = choice.get("delta") or {}
        if delta.get("content"):
            yield from self._piece("text", {"type": "text", "text": ""}, text_delta=delta["content"])
        for call in delta.get("tool_calls") or ():
            block = _block(self._asked, call.get("index", 0), {**call, "function": _nameless(call)})
            pieces = {"input_json_delta": (call.get("function") or {}).get("arguments") or ""}
            yield from self._piece(call.get("index", 0), block, **pieces)

    def finish(self) -> Iterator[bytes]:
        if not self._blocks:
            yield from self._begin("text", {"type": "text", "text": ""})
        yield from self._close()
        yield _named("message_delta", delta=_end(self._finish_reason), usage=self._usage)
        yield _named("message_stop")

    def _piece(self, which: str | int, block: Document, **pieces: str) -> Iterator[bytes]:
        if self._open != which:
            yield from self._begin(which, block)
        for kind, piece in pieces.items():
            delta = {"type": kind, "text" if kind == "text_delta" else "partial_json": piece}
            if piece:
                yield _named("content_block_delta", index=self._blocks - 1, delta=delta)

    def _begin(self, which: str | int, block: Document) -> Iterator[bytes]:
        yield from self._close()
        self._open = which
        self._blocks += 1
        yield _named("content_block_start", index=self._blocks - 1, content_block=block)

    def _close(self) -> Iterator[bytes]:
        if self._open is not None:
            self._open = None
            yield _named("content_block_stop", index=self._blocks - 1)


def _nameless(call: Document) -> Document:
    """The function of a call as its block begins: arguments come in pieces behind it."""
    return {**(call.get("function") or {}), "arguments": ""}


def _named(kind: str, **rest: Any) -> bytes:  # noqa: ANN401 (any JSON value)
    return event({"type": kind, **rest}, named=True)
