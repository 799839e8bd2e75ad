"""A whole answer as a stream again: merged, it is the whole answer again, in every dialect."""

from typing import Any

import msgspec
import pytest

from freehold.gateway.endpoints import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Endpoint
from freehold.gateway.fake_upstream import _DIALECTS
from freehold.gateway.restream import events

TOOLS = [{"type": "function", "function": {"name": "weather"}}]


@pytest.mark.parametrize("endpoint", [CHAT, COMPLETIONS, RESPONSES, MESSAGES], ids=lambda each: each.name)
@pytest.mark.parametrize("tools", [False, True])
def test_merged_it_is_the_answer_again(endpoint: Endpoint, tools: bool) -> None:
    request: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    request |= {"tools": TOOLS} if tools else {}
    request["stream_options"] = {"include_usage": True}
    sent = _DIALECTS[endpoint.path].events(request, 5)
    whole = endpoint.whole(sent)
    assert whole is not None
    again = events(endpoint, whole)
    assert endpoint.is_last(again[-1]) and not any(endpoint.is_last(each) for each in again[:-1])
    assert endpoint.whole(again) == msgspec.json.decode(msgspec.json.encode(whole))


def test_a_tool_of_anthropics_is_told_by_its_input() -> None:
    tool = {"type": "tool_use", "id": "t", "name": "weather", "input": {}, "partial_json": '{"city": "[cut]"}'}
    whole = {
        "id": "m",
        "role": "assistant",
        "content": [tool],
        "stop_reason": "tool_use",
        "usage": {"output_tokens": 3},
    }
    again = events(MESSAGES, whole)
    assert any(b"input_json_delta" in each and b"[cut]" in each for each in again)
    merged = MESSAGES.whole(again)
    assert merged is not None and (merged["content"], merged["stop_reason"]) == ([tool], "tool_use")
