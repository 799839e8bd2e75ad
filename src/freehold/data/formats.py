"""Other tools' records of exchanges → Freehold's own: `{"request": {"messages"}, "response": {"choices"}, …}`.

One function a format, in a table; a stranger's is added the same way. Each takes one record and raises `KeyError`,
`TypeError` or `ValueError` where it is not of that format.
"""

from collections.abc import Callable, Mapping
from typing import Any

Fields = Mapping[str, Any]
Exchange = dict[str, Any]

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "model": "assistant"}
_KEPT = ("id", "parent", "session", "subject", "feedback", "correction", "provenance", "at", "tags")
_STOPS = {"max_tokens": "length", "length": "length", "refusal": "content_filter"}


def openai(record: Fields) -> Exchange:
    """Chat fine-tuning lines (`messages`), or a request with its response."""
    if "request" in record:
        return _exchange(dict(record["request"]), record["response"], record)
    messages = list(record["messages"])
    if messages[-1]["role"] != "assistant":
        raise ValueError("the last turn is not the assistant's")
    return _exchange({"messages": messages[:-1]}, _response(messages[-1]["content"]), record)


def anthropic(record: Fields) -> Exchange:
    """A request of the Messages API with its response; or a prompt and its completion of the older one."""
    if "completion" in record:
        turns = str(record["prompt"]).split("\n\nHuman:")
        prompt = turns[-1].rpartition("\n\nAssistant:")[0] or turns[-1]
        messages = [{"role": "user", "content": prompt.strip()}]
        return _exchange({"messages": messages}, _response(str(record["completion"]).strip()), record)
    request, response = record["request"], record["response"]
    system = request.get("system")
    head = [{"role": "system", "content": _text(system)}] if system else []
    messages = [{"role": turn["role"], "content": _text(turn["content"])} for turn in request["messages"]]
    reason = _STOPS.get(response.get("stop_reason"), "stop")
    answer = _response(_text(response["content"]), reason)
    return _exchange({"model": request.get("model"), "messages": head + messages}, answer, record)


def sharegpt(record: Fields) -> Exchange:
    """`conversations` of `from` and `value`; the last turn is the answer."""
    turns = [
        {"role": "system" if turn["from"] == "system" else _ROLES[turn["from"]], "content": turn["value"]}
        for turn in record["conversations"]
    ]
    if turns[-1]["role"] != "assistant":
        raise ValueError("the last turn is not the model's")
    return _exchange({"messages": turns[:-1]}, _response(turns[-1]["content"]), record)


def alpaca(record: Fields) -> Exchange:
    """`instruction`, `input` (may be empty) and `output`."""
    given = record.get("input") or ""
    messages = [{"role": "user", "content": given or record["instruction"]}]
    if given:
        messages.insert(0, {"role": "system", "content": record["instruction"]})
    return _exchange({"messages": messages}, _response(record["output"]), record)


def litellm(record: Fields) -> Exchange:
    """LiteLLM's standard logging payload."""
    response = record["response"]
    answer = response if isinstance(response, Mapping) else _response(str(response))
    if record.get("status") == "failure":
        answer = {"error": {"message": str(record.get("error_str") or "failed")}}
    request = {"model": record.get("model"), "messages": record["messages"]}
    subject = record.get("end_user") or (record.get("metadata") or {}).get("user_api_key_end_user_id")
    known = {"subject": subject, "session": record.get("trace_id"), "at": record.get("startTime")}
    return _exchange(request, answer, {**known, "id": record.get("id")})


def langfuse(record: Fields) -> Exchange:
    """An exported generation: `input` and `output`, as text, turns, or an object that holds them."""
    given, said = record["input"], record["output"]
    turns = given["messages"] if isinstance(given, Mapping) else given
    messages = [{"role": "user", "content": turns}] if isinstance(turns, str) else list(turns)
    content = said if isinstance(said, str) else said["content"]
    known = {"id": record.get("id"), "subject": record.get("userId"), "at": record.get("startTime")}
    known |= {"session": record.get("sessionId") or record.get("traceId")}
    return _exchange({"model": record.get("model"), "messages": messages}, _response(content), known)


def helicone(record: Fields) -> Exchange:
    """An exported request: `request_body` and `response_body`."""
    known = {"id": record.get("request_id"), "subject": record.get("request_user_id")}
    known |= {"at": record.get("request_created_at")}
    return _exchange(dict(record["request_body"]), record["response_body"], known)


FORMATS: dict[str, Callable[[Fields], Exchange]] = {
    "openai": openai,
    "anthropic": anthropic,
    "sharegpt": sharegpt,
    "alpaca": alpaca,
    "litellm": litellm,
    "langfuse": langfuse,
    "helicone": helicone,
}


def recognised(record: Fields) -> str | None:
    """The format that a record's own fields tell, or None."""
    keys = record.keys()
    if "request_body" in keys:
        return "helicone"
    if "conversations" in keys:
        return "sharegpt"
    if {"instruction", "output"} <= keys:
        return "alpaca"
    if {"input", "output"} <= keys:
        return "langfuse"
    if {"messages", "response"} <= keys:
        return "litellm"
    if {"prompt", "completion"} <= keys:
        return "anthropic"
    if "request" in keys and isinstance(record.get("response"), Mapping) and "content" in record["response"]:
        return "anthropic"
    return "openai" if "messages" in keys or "request" in keys else None


def _text(content: object) -> str:
    """Text as it is, or the text blocks of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise TypeError("a turn's content is neither text nor a list of blocks")
    return "".join(str(block.get("text", "")) for block in content if block.get("type") == "text")


def _response(content: object, finish_reason: str = "stop") -> Exchange:
    return {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": finish_reason}]}


def _exchange(request: Exchange, response: object, known: Fields) -> Exchange:
    kept = {name: known[name] for name in _KEPT if known.get(name)}
    return {
        "request": {key: value for key, value in request.items() if value is not None},
        "response": response,
        **kept,
    }
