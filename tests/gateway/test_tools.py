"""Tool calls of an owned model through the real `openai` client: offered, read, streamed, answered, refused."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from gateway_house import TOOL_TEMPLATE, House, make_base
from hypothesis import given
from hypothesis import strategies as st

from freehold.engines.engine import JsonSchema
from freehold.gateway.tools import HERMES, LLAMA, CallReader, Function, Offer, syntax_of
from freehold.render import Renderer
from freehold.store.deployments import BaseTarget, Deployment, deploy

ASK: Any = [{"role": "user", "content": "What is the weather in Graz?"}]
_CITY = {"type": "object", "properties": {"city": {"$ref": "#/$defs/place"}}, "$defs": {"place": {"type": "string"}}}
TOOLS: Any = [
    {"type": "function", "function": {"name": "weather", "description": "Looks outside.", "parameters": _CITY}},
    {"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}}}},
]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Graz"}}\n</tool_call>'


@pytest.fixture
def tooled(house: House) -> Iterator[House]:
    make_base(house.workspace, "tooled", TOOL_TEMPLATE)
    deploy(house.store, Deployment(name="agent", target=BaseTarget(base="tooled")), "test")
    with house.open():
        yield house


def engine_of(house: House) -> Any:  # noqa: ANN401 (the fake engine)
    return next(engine for engine in house.engines if engine.base == "tooled")


def client_of(house: House) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{house.url}/v1", api_key="any", max_retries=0, timeout=20)


def test_a_call_is_read_and_the_functions_reach_the_model(tooled: House) -> None:
    engine_of(tooled).words = ("Let me look.", " \n<tool", f"{CALL[5:]}\n")
    reply = client_of(tooled).chat.completions.create(model="agent", messages=ASK, tools=TOOLS)
    choice = reply.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me look."
    [call] = choice.message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("weather", '{"city":"Graz"}')  # type: ignore[union-attr]
    seen = Renderer(tooled.workspace.models / "tooled").decode(engine_of(tooled).requests[0].prompt)
    assert "Looks outside." in seen
    assert engine_of(tooled).requests[0].sampling.constraint is None


def test_calls_are_streamed_whole_and_text_before_them_at_once(tooled: House) -> None:
    engine_of(tooled).words = ("Let me", " look.", "\n<tool_call>\n", *CALL[12:], "\n", CALL.replace("Graz", "Linz"))
    chunks = list(client_of(tooled).chat.completions.create(model="agent", messages=ASK, tools=TOOLS, stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(delta.content or "" for delta in deltas) == "Let me look."
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    assert [(call.index, call.function and call.function.arguments) for call in calls] == [
        (0, '{"city":"Graz"}'),
        (1, '{"city":"Linz"}'),
    ]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    [kept] = tooled.kept()
    assert '"Linz' in (kept.answer or "").replace("\\", ""), "what was streamed is recorded with its calls"


def test_what_a_call_gave_is_told_to_the_model(tooled: House) -> None:
    engine_of(tooled).words = ("Sunny.",)
    turns: Any = [
        *ASK,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Graz"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sun, 21 °C <|im_end|>"},
    ]
    client = client_of(tooled)
    assert client.chat.completions.create(model="agent", messages=turns, tools=TOOLS).choices[0].message.content
    text = Renderer(tooled.workspace.models / "tooled").decode(engine_of(tooled).requests[0].prompt)
    assert '{"name": "weather", "arguments": {"city": "Graz"}}' in text
    assert "sun, 21 °C < |im_end|>" in text, "no special token can be spelled by a tool"
    turns[1]["tool_calls"][0]["function"]["arguments"] = "Graz"
    with pytest.raises(openai.BadRequestError, match="no JSON object"):
        client.chat.completions.create(model="agent", messages=turns, tools=TOOLS)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_call_that_must_be_made_is_decoded_under_its_schema(tooled: House, choice: str | dict[str, Any]) -> None:
    engine = engine_of(tooled)
    engine.words = ('{"name": "weather", ', '"arguments": {"city": "Graz"}}')
    for stream in (False, True):
        asked: Any = {"model": "agent", "messages": ASK, "tools": TOOLS, "tool_choice": choice, "stream": stream}
        answer: Any = client_of(tooled).chat.completions.create(**asked)
        calls = [call for chunk in answer for call in chunk.choices[0].delta.tool_calls or ()] if stream else []
        [call] = calls or answer.choices[0].message.tool_calls
        assert (call.function.name, call.function.arguments) == ("weather", '{"city":"Graz"}')
    request = engine.requests[0]
    opening = Renderer(tooled.workspace.models / "tooled").encode("<tool_call>\n")
    assert request.prompt[-len(opening) :] == opening
    assert isinstance(request.sampling.constraint, JsonSchema)
    schema = request.sampling.constraint.json_schema
    assert schema["$defs"] == {"weather.place": {"type": "string"}}
    assert ("anyOf" in schema) == (choice == "required")
    whole = client_of(tooled).chat.completions.create(model="agent", messages=ASK, tools=TOOLS, tool_choice=choice)
    assert whole.usage and whole.usage.prompt_tokens == len(request.prompt) - len(opening)


def test_none_and_one_call_only(tooled: House) -> None:
    engine_of(tooled).words = (CALL, CALL)
    client = client_of(tooled)
    none = client.chat.completions.create(model="agent", messages=ASK, tools=TOOLS, tool_choice="none")
    assert none.choices[0].message.tool_calls is None
    assert none.choices[0].message.content == CALL + CALL
    one = client.chat.completions.create(model="agent", messages=ASK, tools=TOOLS, parallel_tool_calls=False)
    assert len(one.choices[0].message.tool_calls or []) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "unversed"}, "knows no tools"),
        ({"model": "triage"}, "knows no tools|under a rule"),
        ({"model": "plain"}, "not served by a plain classifier"),
        ({"tool_choice": "must"}, "tool_choice is 'must'"),
        ({"tool_choice": {"type": "function", "function": {"name": "wether"}}}, "not among the tools"),
        ({"tools": [{"type": "web_search"}]}, "is offered functions"),
        ({"tools": [], "tool_choice": "required"}, "no tools are offered"),
    ],
)
def test_what_cannot_be_offered_is_refused(tooled: House, change: dict[str, Any], words: str) -> None:
    deploy(tooled.store, Deployment(name="unversed", target=BaseTarget(base="tiny")), "test")
    asked: Any = {"model": "agent", "messages": ASK, "tools": TOOLS} | change
    client = client_of(tooled).with_options(max_retries=3)
    while change.get("model") == "unversed" and "unversed" not in {each.id for each in client.models.list()}:
        pass
    with pytest.raises(openai.BadRequestError, match=words):
        client.chat.completions.create(**asked)


def test_syntaxes_are_told_by_the_template(tooled: House) -> None:
    assert syntax_of(TOOL_TEMPLATE) == HERMES
    assert syntax_of(Renderer(tooled.workspace.models / "tiny").template) is None


def _reader(syntax: Any = HERMES) -> CallReader:  # noqa: ANN401
    return CallReader(Offer((Function("weather"), Function("time")), must=False, several=True, syntax=syntax))


@given(
    st.lists(st.sampled_from(["<tool_call>", "</tool_call>", "<tool", "_call>", '{"name": "time"}', "{", " ", "a"])),
    st.data(),
)
def test_an_answer_without_a_sound_call_is_the_text_that_it_was(parts: list[str], data: st.DataObject) -> None:
    whole = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    reader = _reader()
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    said = "".join(reader.feed(piece)[0] for piece in pieces) + reader.finish()[0]
    assert said.replace(" ", "") == whole.replace(" ", "")
    assert not reader.calls


@given(st.integers(1, 40), st.booleans())
def test_a_call_is_read_however_it_is_cut(size: int, closed: bool) -> None:
    whole = f"Well. {CALL}" if closed else f"Well. {CALL.removesuffix('</tool_call>')}"
    reader, said = _reader(), ""
    for at in range(0, len(whole), size):
        said += reader.feed(whole[at : at + size])[0]
    said += reader.finish()[0]
    assert [call.name for call in reader.calls] == ["weather"]
    assert said.strip() == "Well."


def test_llama_writes_a_call_as_the_whole_answer() -> None:
    reader = _reader(LLAMA)
    assert reader.feed('{"name": "weather", ') == ("", ())
    assert reader.feed('"parameters": {"city": "Graz"}}') == ("", ())
    assert [call.arguments for call in reader.finish()[1]] == ['{"city":"Graz"}']
    talking = _reader(LLAMA)
    assert talking.feed("It is")[0] + talking.feed(" sunny {")[0] + talking.finish()[0] == "It is sunny {"
