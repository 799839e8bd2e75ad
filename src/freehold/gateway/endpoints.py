"""The addresses that the gateway answers, and how each one's stream becomes a whole answer again.

An endpoint knows the least there is to know of its dialect: what ends its stream, and where in it the counts and the
words are. Everything else passes untouched.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from freehold.gateway.events import data_of

DONE = b"[DONE]"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address. `asks_usage`: a stream reports its counts only where `stream_options` asks for them."""

    name: str
    path: str
    is_last: Callable[[bytes], bool]
    whole: Callable[[Sequence[bytes]], dict[str, Any] | None]
    asks_usage: bool = False
    summary: str = ""


def _openai_last(event: bytes) -> bool:
    return b"[DONE]" in event and data_of(event).strip() == DONE


def _responses_last(event: bytes) -> bool:
    return any(
        f'"type":"response.{end}"'.encode() in event.replace(b'": "', b'":"')
        for end in ("completed", "incomplete", "failed")
    )


def _messages_last(event: bytes) -> bool:
    return b"event: message_stop" in event or b'"type":"message_stop"' in event.replace(b'": "', b'":"')


def _documents(events: Sequence[bytes]) -> list[dict[str, Any]]:
    found = []
    for event in events:
        data = data_of(event)
        if data and data.strip() != DONE:
            try:
                document = msgspec.json.decode(data)
            except msgspec.MsgspecError:
                continue
            if isinstance(document, dict):
                found.append(document)
    return found


def _whole_chat(events: Sequence[bytes]) -> dict[str, Any] | None:
    """Chunks of Chat Completions, or of Completions, merged into the answer that was streamed."""
    documents = _documents(events)
    head = next((each for each in documents if each.get("choices")), None)
    if head is None:
        return None
    choices: dict[int, dict[str, Any]] = {}
    usage = None
    for document in documents:
        usage = document.get("usage") or usage
        for choice in document.get("choices") or ():
            _merge_choice(choices.setdefault(choice.get("index", 0), {"index": choice.get("index", 0)}), choice)
    answer: dict[str, Any] = {
        name: head[name] for name in ("id", "created", "model", "system_fingerprint") if name in head
    }
    answer["object"] = str(head.get("object", "")).removesuffix(".chunk")
    return {**answer, "choices": [choices[at] for at in sorted(choices)], "usage": usage}


def _merge_choice(into: dict[str, Any], choice: dict[str, Any]) -> None:
    if choice.get("finish_reason"):
        into["finish_reason"] = choice["finish_reason"]
    if "text" in choice:
        into["text"] = into.get("text", "") + (choice["text"] or "")
    scored = (choice.get("logprobs") or {}).get("content") if isinstance(choice.get("logprobs"), dict) else None
    if scored:
        into.setdefault("logprobs", {"content": []})["content"] += scored
    delta = choice.get("delta")
    if isinstance(delta, dict):
        message = into.setdefault("message", {"role": "assistant", "content": None})
        for name, value in delta.items():
            if name == "tool_calls":
                _merge_tools(message.setdefault("tool_calls", []), value or ())
            elif name != "role" and isinstance(value, str):
                message[name] = (message.get(name) or "") + value
            elif value is not None:
                message[name] = value


def _merge_tools(calls: list[dict[str, Any]], pieces: Sequence[dict[str, Any]]) -> None:
    for piece in pieces:
        at = piece.get("index", 0)
        while len(calls) <= at:
            calls.append({"type": "function", "function": {"name": "", "arguments": ""}})
        call, function = calls[at], piece.get("function") or {}
        if piece.get("id"):
            call["id"] = piece["id"]
        for name in ("name", "arguments"):
            call["function"][name] += function.get(name) or ""


def _whole_response(events: Sequence[bytes]) -> dict[str, Any] | None:
    """The last event of a Responses stream carries the whole answer."""
    last = next((each for each in reversed(_documents(events)) if isinstance(each.get("response"), dict)), None)
    return last["response"] if last else None


def _whole_message(events: Sequence[bytes]) -> dict[str, Any] | None:
    """Anthropic's events, merged: message_start, the blocks' deltas, message_delta."""
    message: dict[str, Any] | None = None
    for document in _documents(events):
        kind = document.get("type")
        if kind == "message_start":
            message = dict(document.get("message") or {})
            message["content"] = []
        elif message is None:
            continue
        elif kind == "content_block_start":
            message["content"].append(dict(document.get("content_block") or {}))
        elif kind == "content_block_delta" and message["content"]:
            _merge_block(message["content"][-1], document.get("delta") or {})
        elif kind == "message_delta":
            message.update(document.get("delta") or {})
            message["usage"] = {**(message.get("usage") or {}), **(document.get("usage") or {})}
    return message


def _merge_block(block: dict[str, Any], delta: dict[str, Any]) -> None:
    for name in ("text", "thinking", "partial_json", "signature"):
        if isinstance(delta.get(name), str):
            block[name] = (block.get(name) or "") + delta[name]


CHAT = Endpoint("chat.completions", "/chat/completions", _openai_last, _whole_chat, True, "OpenAI's Chat Completions.")
COMPLETIONS = Endpoint("completions", "/completions", _openai_last, _whole_chat, True, "OpenAI's Completions.")
EMBEDDINGS = Endpoint("embeddings", "/embeddings", _openai_last, _whole_chat, summary="OpenAI's Embeddings.")
RERANK = Endpoint("rerank", "/rerank", _openai_last, _whole_chat, summary="Order documents by a query.")
RESPONSES = Endpoint("responses", "/responses", _responses_last, _whole_response, summary="OpenAI's Responses.")
MESSAGES = Endpoint("messages", "/messages", _messages_last, _whole_message, summary="Anthropic's Messages.")

ENDPOINTS = (CHAT, COMPLETIONS, EMBEDDINGS, RERANK, RESPONSES, MESSAGES)
