"""OpenAI's Responses: items in, items out, and a stream that tells of each item's beginning, pieces and end.

Source: OpenAI's API reference, *Responses* and *Streaming events*. Nothing is stored between two requests: a request
that goes on from an earlier response is refused.
"""

from collections.abc import Iterator
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

_REFUSED = ("previous_response_id", "conversation", "background", "prompt")
_DROPPED = ("input", "instructions", "store", "include", "truncation", "max_tool_calls", "stream_options")
_RENAMED = ("max_output_tokens", "text", "reasoning", "tools", "tool_choice", "top_logprobs")
_LOGPROBS = "message.output_text.logprobs"
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class _Text(msgspec.Struct):
    format: dict[str, Any] | None = None
    verbosity: str | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _Request(msgspec.Struct):
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: int | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    include: list[str] | None = None
    top_logprobs: int | None = None


_REQUEST = msgspec.json.Decoder(_Request)
_FIELDS = msgspec.json.Decoder(dict[str, Any])


class Responses:
    """The dialect of /v1/responses."""

    def chat(self, content: bytes) -> Document:
        asked, fields = typed(content, _REQUEST), _FIELDS.decode(content)
        for name in _REFUSED:
            if fields.get(name):
                unsaid(name, "is given")
        chat = {name: value for name, value in fields.items() if name not in (*_REFUSED, *_DROPPED, *_RENAMED)}
        system = [{"role": "system", "content": asked.instructions}] if asked.instructions else []
        chat["messages"] = [*system, *_messages(asked.input)]
        named = {
            "max_completion_tokens": asked.max_output_tokens,
            "response_format": _response_format(asked.text),
            "verbosity": asked.text.verbosity if asked.text else None,
            "reasoning_effort": asked.reasoning.effort if asked.reasoning else None,
            "tools": [_tool(at, tool) for at, tool in enumerate(asked.tools)] if asked.tools else None,
            "tool_choice": _tool_choice(asked.tool_choice) if asked.tools else None,
            "logprobs": True if asked.top_logprobs or _LOGPROBS in (asked.include or ()) else None,
            "top_logprobs": asked.top_logprobs or None,
        }
        return chat | {name: value for name, value in named.items() if value is not None}

    def answer(self, asked: Asked, completion: Document) -> Document:
        choice = first_choice(completion)
        message = choice.get("message") or {}
        calls = message.get("tool_calls") or []
        ended = _ended(choice.get("finish_reason"))
        output = []
        if message.get("content") or message.get("refusal") or not calls:
            output.append(_message(asked.id, "completed", _content(message, _tokens(choice))))
        output += [_call(asked.id, at, call, "completed") for at, call in enumerate(calls)]
        output[-1]["status"] = ended  # the bound cut off what was written last
        return _response(asked, ended, output, choice.get("finish_reason")) | {"usage": _usage(completion)}

    def stream(self, asked: Asked) -> "_Stream":
        return _Stream(asked)


# -- the request as a chat -------------------------------------------------------------------------------------------


def _messages(given: str | list[Document]) -> list[Document]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    messages: list[Document] = []
    for at, item in enumerate(given):
        kind, where = item.get("type", "message"), f"input[{at}]"
        if kind == "message":
            role = string(item.get("role"), f"{where}.role")
            messages.append({"role": role, "content": _parts(item.get("content"), f"{where}.content")})
        elif kind == "function_call":
            _called(messages, item, where)
        elif kind == "function_call_output":
            id = string(item.get("call_id"), f"{where}.call_id")
            output = _parts(item.get("output"), f"{where}.output")
            messages.append({"role": "tool", "tool_call_id": id, "content": output})
        elif kind != "reasoning":  # what another model thought stays with it
            unsaid(f"{where}.type", f"is {kind!r}")
    return messages


def _called(messages: list[Document], item: Document, where: str) -> None:
    """Calls of one turn stand in one message, behind the words of that turn."""
    id, name, arguments = (string(item.get(each), f"{where}.{each}") for each in ("call_id", "name", "arguments"))
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    calls = messages[-1].setdefault("tool_calls", [])
    calls.append({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})


def _parts(content: Any, where: str) -> str | list[Document]:  # noqa: ANN401 (any JSON value)
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        wrong(where, "must be a text or a list of parts")
    return plain([_part(part, f"{where}[{at}]") for at, part in enumerate(content)])


def _part(part: Any, where: str) -> Document:  # noqa: ANN401 (any JSON value)
    part = document(part, where)
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text"):
        return {"type": "text", "text": string(part.get("text"), f"{where}.text")}
    if kind == "refusal":
        return {"type": "text", "text": string(part.get("refusal"), f"{where}.refusal")}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        detail = {"detail": part["detail"]} if part.get("detail") else {}
        return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
    unsaid(f"{where}.type", f"is {kind!r}")


def _response_format(text: _Text | None) -> Document | None:
    if text is None or not text.format or text.format.get("type") == "text":
        return None
    if text.format.get("type") == "json_schema":
        return {"type": "json_schema", "json_schema": {n: v for n, v in text.format.items() if n != "type"}}
    return text.format


def _tool(at: int, tool: Document) -> Document:
    if tool.get("type") != "function":
        unsaid(f"tools[{at}].type", f"is {tool.get('type')!r}")
    string(tool.get("name"), f"tools[{at}].name")
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def _tool_choice(choice: str | Document | None) -> str | Document | None:
    if not isinstance(choice, dict):
        return choice
    if choice.get("type") != "function":
        unsaid("tool_choice.type", f"is {choice.get('type')!r}")
    return {"type": "function", "function": {"name": string(choice.get("name"), "tool_choice.name")}}


# -- the answer ------------------------------------------------------------------------------------------------------

Ended = Literal["completed", "incomplete", "in_progress"]


def _ended(finish_reason: str | None) -> Ended:
    return "incomplete" if finish_reason in _INCOMPLETE else "completed"


def _response(asked: Asked, status: Ended, output: list[Document], finish_reason: str | None = None) -> Document:
    own = asked.own
    text: Document = own.get("text") or {}
    return {
        "id": f"resp_{asked.id}",
        "object": "response",
        "created_at": asked.at,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": _INCOMPLETE[finish_reason or "length"]} if status == "incomplete" else None,
        "instructions": own.get("instructions"),
        "max_output_tokens": own.get("max_output_tokens"),
        "model": own.get("model"),
        "output": output,
        "parallel_tool_calls": own.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "reasoning": own.get("reasoning") or {"effort": None, "summary": None},
        "store": False,
        "temperature": own.get("temperature"),
        "text": {"format": {"type": "text"}} | text,
        "tool_choice": own.get("tool_choice") or "auto",
        "tools": own.get("tools") or [],
        "top_p": own.get("top_p"),
        "truncation": "disabled",
        "usage": None,
        "metadata": own.get("metadata") or {},
    }


def _message(id: str, status: Ended, content: list[Document]) -> Document:
    return {"type": "message", "id": f"msg_{id}", "status": status, "role": "assistant", "content": content}


def _content(message: Document, logprobs: list[Document]) -> list[Document]:
    if message.get("refusal"):
        return [{"type": "refusal", "refusal": message["refusal"]}]
    return [_text(message.get("content") or "", logprobs)]


def _text(text: str, logprobs: list[Document]) -> Document:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _tokens(choice: Document) -> list[Document]:
    content = (choice.get("logprobs") or {}).get("content") or []
    return [{"top_logprobs": [], **each} for each in content]


def _call(id: str, at: int, call: Document, status: Ended) -> Document:
    function = call.get("function") or {}
    return {
        "type": "function_call",
        "id": f"fc_{id}_{at}",
        "call_id": call.get("id") or f"call_{id}_{at}",
        "name": function.get("name") or "",
        "arguments": function.get("arguments") or "",
        "status": status,
    }


def _usage(completion: Document) -> Document:
    read, cached, written, thought = counts(completion)
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": read + written,
    }


# -- the stream ------------------------------------------------------------------------------------------------------


class _Stream:
    """One item at a time is open: the message's text, then each call."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._number = 0
        self._output: list[Document] = []
        self._open: Document | None = None
        self._call_index: int | None = None
        self._finish_reason: str | None = None
        self._usage: Document | None = None

    def feed(self, chunk: Document) -> Iterator[bytes]:
        if not self._number:
            begun = _response(self._asked, "in_progress", [])
            yield self._event("response.created", response=begun)
            yield self._event("response.in_progress", response=begun)
        self._usage = _usage(chunk) if chunk.get("usage") else self._usage
        choice = first_choice(chunk)
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        delta = choice.get("delta") or {}
        if delta.get("content"):
            yield from self._text(delta["content"], _tokens(choice))
        for call in delta.get("tool_calls") or ():
            yield from self._call(call)

    def finish(self) -> Iterator[bytes]:
        if not self._output:
            yield from self._text("", [])
        status = _ended(self._finish_reason)
        yield from self._close(status)
        whole = _response(self._asked, status, self._output, self._finish_reason) | {"usage": self._usage}
        yield self._event(f"response.{status}", response=whole)

    def _text(self, piece: str, logprobs: list[Document]) -> Iterator[bytes]:
        if self._open is None or self._open["type"] != "message":
            yield from self._begin(_message(self._asked.id, "in_progress", []))
            part = _text("", [])
            self._output[-1]["content"].append(part)
            yield self._event("response.content_part.added", content_index=0, part=part, **self._where)
        part = self._output[-1]["content"][0]
        part["text"] += piece
        part["logprobs"] += logprobs
        if piece:
            said = {"content_index": 0, "delta": piece, "logprobs": logprobs}
            yield self._event("response.output_text.delta", **said, **self._where)

    def _call(self, call: Document) -> Iterator[bytes]:
        function = call.get("function") or {}
        index = call.get("index", 0)
        if self._open is None or self._open["type"] != "function_call" or index != self._call_index:
            named = {**call, "function": {**function, "arguments": ""}}
            yield from self._begin(_call(self._asked.id, index, named, "in_progress"))
            self._call_index = index
        piece = function.get("arguments")
        if piece:
            self._output[-1]["arguments"] += piece
            yield self._event("response.function_call_arguments.delta", delta=piece, **self._where)

    def _begin(self, item: Document) -> Iterator[bytes]:
        yield from self._close()
        self._open = item
        self._output.append(item)
        yield self._event("response.output_item.added", output_index=len(self._output) - 1, item=item)

    def _close(self, status: Ended = "completed") -> Iterator[bytes]:
        item, self._open = self._open, None
        if item is None:
            return
        item["status"] = status
        if item["type"] == "message":
            part = item["content"][0]
            whole = {"content_index": 0, "text": part["text"], "logprobs": part["logprobs"]}
            yield self._event("response.output_text.done", **whole, **self._where)
            yield self._event("response.content_part.done", content_index=0, part=part, **self._where)
        else:
            whole = {"name": item["name"], "arguments": item["arguments"]}
            yield self._event("response.function_call_arguments.done", **whole, **self._where)
        yield self._event("response.output_item.done", output_index=len(self._output) - 1, item=item)

    @property
    def _where(self) -> Document:
        return {"item_id": self._output[-1]["id"], "output_index": len(self._output) - 1}

    def _event(self, kind: str, **rest: Any) -> bytes:  # noqa: ANN401 (any JSON value)
        self._number += 1
        return event({"type": kind, "sequence_number": self._number - 1, **rest}, named=True)
