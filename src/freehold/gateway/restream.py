"""A whole answer as the events of a stream again: for one that was held back, and changed, before it went out.

Each dialect's shortest stream that its clients read: every text in one piece. Sources: OpenAI's API reference
(streaming of Chat Completions, Completions and Responses), Anthropic's (Messages, streaming).
"""

from collections.abc import Callable, Iterator
from typing import Any

from freehold.gateway.chat import DONE, event
from freehold.gateway.endpoints import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Endpoint

Document = dict[str, Any]


def events(endpoint: Endpoint, whole: Document) -> list[bytes]:
    """The events, the last one included."""
    return list(_STREAMS[endpoint.name](whole))


def _chat(whole: Document) -> Iterator[bytes]:
    yield from _choices(whole, "chat.completion.chunk", lambda choice: {"delta": _delta(choice.get("message") or {})})


def _completions(whole: Document) -> Iterator[bytes]:
    yield from _choices(whole, whole.get("object", "text_completion"), lambda choice: {"text": choice.get("text", "")})


def _choices(whole: Document, kind: str, said: Callable[[Document], Document]) -> Iterator[bytes]:
    head: Document = {name: whole[name] for name in ("id", "created", "model", "system_fingerprint") if name in whole}
    head["object"] = kind
    for choice in whole.get("choices") or ():
        ends = {"index": choice.get("index", 0), "finish_reason": choice.get("finish_reason")}
        yield event({**head, "choices": [{**ends, **said(choice)}]})
    if whole.get("usage"):
        yield event({**head, "choices": [], "usage": whole["usage"]})
    yield DONE


def _delta(message: Document) -> Document:
    calls = [{"index": at, **call} for at, call in enumerate(message.get("tool_calls") or ())]
    return {"role": "assistant", **message, **({"tool_calls": calls} if calls else {})}


def _messages(whole: Document) -> Iterator[bytes]:
    blocks = whole.get("content") or []
    yield _named("message_start", {"message": {**whole, "content": [], "stop_reason": None}})
    for at, block in enumerate(blocks):
        yield from _block(at, block)
    ends = {name: whole.get(name) for name in ("stop_reason", "stop_sequence")}
    yield _named("message_delta", {"delta": ends, "usage": whole.get("usage") or {}})
    yield _named("message_stop", {})


def _block(at: int, block: Document) -> Iterator[bytes]:
    opening, delta = block, None
    if "text" in block:
        opening, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
    elif "partial_json" in block:  # a tool's input, as the merged stream holds it
        opening = {name: value for name, value in block.items() if name != "partial_json"}
        delta = {"type": "input_json_delta", "partial_json": block["partial_json"]}
    yield _named("content_block_start", {"index": at, "content_block": opening})
    if delta is not None:
        yield _named("content_block_delta", {"index": at, "delta": delta})
    yield _named("content_block_stop", {"index": at})


def _responses(whole: Document) -> Iterator[bytes]:
    number = 0

    def numbered(kind: str, said: Document) -> bytes:
        nonlocal number
        number += 1
        return _named(kind, {"sequence_number": number - 1, **said})

    yield numbered("response.created", {"response": {**whole, "status": "in_progress", "output": []}})
    for at, item in enumerate(whole.get("output") or ()):
        yield numbered("response.output_item.added", {"output_index": at, "item": {**item, "content": []}})
        for part_at, part in enumerate(item.get("content") or ()):
            where = {"item_id": item.get("id", ""), "output_index": at, "content_index": part_at}
            text = part.get("text") or ""
            empty = {**part, "text": ""}
            yield numbered("response.content_part.added", {**where, "part": empty})
            yield numbered("response.output_text.delta", {**where, "delta": text, "logprobs": []})
            yield numbered("response.output_text.done", {**where, "text": text, "logprobs": []})
            yield numbered("response.content_part.done", {**where, "part": part})
        yield numbered("response.output_item.done", {"output_index": at, "item": item})
    end = "incomplete" if whole.get("status") == "incomplete" else "completed"
    yield numbered(f"response.{end}", {"response": whole})


def _named(kind: str, said: Document) -> bytes:
    return f"event: {kind}\n".encode() + event({"type": kind, **said})


_STREAMS: dict[str, Callable[[Document], Iterator[bytes]]] = {
    CHAT.name: _chat,
    COMPLETIONS.name: _completions,
    MESSAGES.name: _messages,
    RESPONSES.name: _responses,
}
