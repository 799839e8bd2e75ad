"""What an answer is held to, and what else a caller may ask, with the real `openai` client, gateway and SmolLM2."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import openai
import pytest
from gateway_house import TOOL_TEMPLATE, House
from msgspec.structs import replace

from freehold.gateway import backends
from freehold.records import Base
from freehold.render import TEMPLATE_FILE, Renderer
from freehold.store.deployments import BaseTarget, Deployment, deploy
from freehold.store.layout import BASE_FILE
from freehold.store.workspace import Workspace, read_record, write_record

ASK: Any = [{"role": "user", "content": "Name the capital of France."}]
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TOOLS: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]


@pytest.fixture(scope="module")
def served(smollm2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """SmolLM2 as `smol`, and the same weights under a template that knows tools as `agent`."""
    workspace = Workspace(tmp_path_factory.mktemp("structured") / ".freehold")
    workspace.models.mkdir(parents=True)
    (workspace.models / "smol").symlink_to(smollm2_folder)
    tooled = workspace.models / "tooled"
    tooled.mkdir()
    for each in smollm2_folder.iterdir():
        (tooled / each.name).symlink_to(each)
    for name in (TEMPLATE_FILE, BASE_FILE):
        (tooled / name).unlink()
    (tooled / TEMPLATE_FILE).write_bytes(msgspec.json.encode(TOOL_TEMPLATE))
    base = read_record(smollm2_folder / BASE_FILE, Base)
    write_record(tooled / BASE_FILE, replace(base, name="tooled", template_digest=TOOL_TEMPLATE.digest))
    house = House(workspace)
    house.backends = backends.of(workspace)
    for name, base_name in (("smol", "smol"), ("agent", "tooled")):
        deploy(house.store, Deployment(name=name, target=BaseTarget(base=base_name), max_tokens=24), "test")
    with house.open():
        yield house


@pytest.fixture
def client(served: House) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0, timeout=60)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"guided_regex": r"[A-Z]{2}-\d{3}"}, r"[A-Z]{2}-\d{3}"),
        ({"structured_outputs": {"regex": r"(Paris|Rome)!"}}, r"(Paris|Rome)!"),
        ({"guided_choice": ["Paris", "Rome, Italy"]}, r"Paris|Rome, Italy"),
        ({"structured_outputs": {"choice": ["yes"]}}, "yes"),
        ({"guided_grammar": 'root ::= "It is " ("Paris" | "Rome") "."'}, r"It is (Paris|Rome)\."),
        ({"guided_json": {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}}, r'\{"a": 1.*\}'),
        ({"structured_outputs": {"json": '{"enum": ["x", "y"]}'}}, '"[xy]"'),
    ],
)
def test_an_answer_is_held_to_what_is_asked(client: openai.OpenAI, wish: dict[str, Any], expected: str) -> None:
    whole = client.chat.completions.create(model="smol", messages=ASK, extra_body=wish)
    assert re.fullmatch(expected, whole.choices[0].message.content or ""), whole
    chunks = client.chat.completions.create(model="smol", messages=ASK, extra_body=wish, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole.choices[0].message.content


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"guided_regex": "("}, "guided_regex: regex"),
        ({"guided_json": {"type": 3}}, "guided_json: the JSON Schema is not one"),
        ({"guided_json": "nonsense"}, "guided_json is no JSON object"),
        ({"guided_choice": []}, "guided_choice: a label constraint names no label"),
        ({"guided_grammar": "root ::= (("}, "grammar"),
        ({"guided_regex": "a", "guided_choice": ["b"]}, "both given"),
        ({"response_format": {"type": "xml"}}, "response_format.type is 'xml'"),
        ({"n": 0}, "n is 0"),
        ({"top_logprobs": 3}, "with logprobs true"),
        ({"logprobs": True, "top_logprobs": 21}, "may be 0 to 20"),
        ({"stop": [""]}, "empty text"),
        ({"messages": [{"role": "user", "content": "word " * 5000}]}, "shorten the messages"),
        ({"tools": TOOLS}, "knows no tools"),
    ],
)
def test_a_wrong_wish_is_a_clear_400(client: openai.OpenAI, wish: dict[str, Any], words: str) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match=words):
            client.chat.completions.create(
                **({"model": "smol", "messages": ASK, "extra_body": wish} | {"stream": stream})
            )


def test_too_long_a_conversation_names_its_code(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="smol", messages=[{"role": "user", "content": "word " * 5000}])
    assert refused.value.code == "context_length_exceeded"


def test_counts_are_the_tokenizers(client: openai.OpenAI, smollm2_folder: Path) -> None:
    renderer = Renderer(smollm2_folder)
    reply = client.chat.completions.create(model="smol", messages=ASK, max_tokens=60)
    said = reply.choices[0].message.content or ""
    assert reply.usage and reply.choices[0].finish_reason == "stop"
    from freehold.records import Message

    assert reply.usage.prompt_tokens == len(renderer.ids([Message(role="user", content=ASK[0]["content"])]))
    assert reply.usage.completion_tokens == len(renderer.encode(said)) + 1, "and the end of the turn"


def test_log_probabilities_have_openais_shape(client: openai.OpenAI) -> None:
    asked: Any = {"model": "smol", "messages": ASK, "logprobs": True, "top_logprobs": 3, "max_tokens": 8}
    whole = client.chat.completions.create(**asked)
    scores = whole.choices[0].logprobs and whole.choices[0].logprobs.content
    assert scores
    assert b"".join(bytes(each.bytes or ()) for each in scores).decode() == whole.choices[0].message.content
    for each in scores:
        assert len(each.top_logprobs) == 3
        assert each.top_logprobs[0].token == each.token, "greedy: the likeliest is what was decoded"
        assert each.top_logprobs[0].logprob == pytest.approx(each.logprob, abs=1e-4)
    chunks = list(client.chat.completions.create(**asked, stream=True))
    streamed = [
        each for chunk in chunks for each in (chunk.choices[0].logprobs and chunk.choices[0].logprobs.content) or ()
    ]
    assert [each.token for each in streamed] == [each.token for each in scores]
    none = client.chat.completions.create(model="smol", messages=ASK, logprobs=True, max_tokens=2)
    assert none.choices[0].logprobs and none.choices[0].logprobs.content
    assert none.choices[0].logprobs.content[0].top_logprobs == []


def test_several_answers_and_a_seed(client: openai.OpenAI) -> None:
    asked: Any = {"model": "smol", "messages": ASK, "n": 3, "temperature": 1.5, "seed": 7, "max_tokens": 8}
    first, again = (client.chat.completions.create(**asked) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    assert len(set(texts)) > 1, "each answer has a seed of its own"
    one = client.chat.completions.create(**(asked | {"n": 1}))
    assert one.choices[0].message.content == texts[0] == again.choices[0].message.content
    assert first.usage and one.usage and first.usage.prompt_tokens == one.usage.prompt_tokens
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    streamed = ["", "", ""]
    for chunk in chunks:
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed[0] == texts[0]
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens <= 24


def test_a_stop_sequence_ends_the_answer_before_it(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="smol", messages=ASK).choices[0].message.content or ""
    word = whole.split()[-1]
    cut = client.chat.completions.create(model="smol", messages=ASK, stop=word)
    assert cut.choices[0].message.content == whole[: whole.find(word)]
    assert cut.choices[0].finish_reason == "stop"


def test_a_call_that_must_be_made_fits_its_schema(client: openai.OpenAI) -> None:
    asked: Any = {"model": "agent", "messages": ASK, "tools": TOOLS, "max_tokens": 60, "tool_choice": "required"}
    reply = client.chat.completions.create(**asked)
    [call] = reply.choices[0].message.tool_calls or []
    assert reply.choices[0].finish_reason == "tool_calls"
    arguments = json.loads(call.function.arguments)  # type: ignore[union-attr]
    assert set(arguments) == {"city", "unit"} and arguments["unit"] in "CF" and len(arguments["city"]) <= 12
    asked["tool_choice"] = {"type": "function", "function": {"name": "get_weather"}}
    chunks = list(client.chat.completions.create(**asked, stream=True))
    [streamed] = [each for chunk in chunks for each in chunk.choices[0].delta.tool_calls or ()]
    assert streamed.function and json.loads(streamed.function.arguments or "") == arguments
    auto = client.chat.completions.create(model="agent", messages=ASK, tools=TOOLS)
    assert auto.choices[0].finish_reason in ("stop", "length", "tool_calls")


def test_a_client_that_hangs_up_on_several_streams_leaves_none_running(client: openai.OpenAI, served: House) -> None:
    stream = client.chat.completions.create(model="smol", messages=ASK, n=4, max_tokens=400, stream=True, temperature=2)
    next(iter(stream))
    stream.close()
    begun = time.monotonic()
    client.chat.completions.create(model="smol", messages=ASK, max_tokens=2)
    assert time.monotonic() - begun < 60


def test_every_dialect_gives_the_same_answer(client: openai.OpenAI, served: House) -> None:
    text = str(ASK[0]["content"])
    chat = client.chat.completions.create(model="smol", messages=ASK, max_tokens=5)
    words, counts = chat.choices[0].message.content, (chat.usage.prompt_tokens, chat.usage.completion_tokens)  # type: ignore[union-attr]
    legacy = client.completions.create(model="smol", prompt=text, max_tokens=5, logprobs=2)
    response = client.responses.create(model="smol", input=text, max_output_tokens=5, top_logprobs=2)
    claude = anthropic.Anthropic(base_url=served.url, api_key="k", max_retries=0)
    message = claude.messages.create(model="smol", messages=ASK, max_tokens=5)
    said: list[Any] = [legacy.choices[0].text, response.output_text, message.content[0].text]  # type: ignore[union-attr]
    assert said == [words] * 3
    read, written = legacy.usage, response.usage
    assert read and written and (read.prompt_tokens, read.completion_tokens) == counts
    assert (written.input_tokens, written.output_tokens) == counts
    cached = message.usage.cache_read_input_tokens or 0
    assert (message.usage.input_tokens + cached, message.usage.output_tokens) == counts
    assert (legacy.choices[0].finish_reason, response.status, message.stop_reason) == (
        "length",
        "incomplete",
        "max_tokens",
    )
    scored: Any = legacy.choices[0].logprobs
    assert "".join(scored.tokens) == words and len(scored.top_logprobs[0]) == 2 and scored.token_logprobs[0] < 0
    part: Any = response.output[0].content[0]  # type: ignore[union-attr]
    assert [each.token for each in part.logprobs] == scored.tokens
    ask: Any = {"model": "smol", "stream": True}
    pieces = [e.choices[0].text for e in client.completions.create(**ask, prompt=text, max_tokens=5)]
    deltas = client.responses.create(**ask, input=text, max_output_tokens=5)
    with claude.messages.stream(model="smol", messages=ASK, max_tokens=5) as stream:
        assert stream.get_final_text() == words
    assert "".join(pieces) == words
    assert "".join(each.delta for each in deltas if each.type == "response.output_text.delta") == words


def test_a_forced_tool_in_anthropics_words(served: House) -> None:
    claude = anthropic.Anthropic(base_url=served.url, api_key="k", max_retries=0)
    tools: Any = [{"name": "get_weather", "input_schema": WEATHER}]
    ask: Any = {"model": "agent", "messages": ASK, "tools": tools, "tool_choice": {"type": "any"}, "max_tokens": 60}
    [block] = claude.messages.create(**ask).content
    assert block.type == "tool_use" and block.input.keys() == {"city", "unit"}


def test_a_batch_on_the_real_engine(client: openai.OpenAI) -> None:
    bodies = [{"model": "smol", "messages": ASK, "max_tokens": 6, "seed": at} for at in range(6)]
    lines = [
        {"custom_id": str(at), "method": "POST", "url": "/v1/chat/completions", "body": body}
        for at, body in enumerate(bodies)
    ]
    file = client.files.create(file=("in.jsonl", b"\n".join(map(msgspec.json.encode, lines))), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    end = time.monotonic() + 60
    while batch.status != "completed" and time.monotonic() < end:
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    assert batch.request_counts and (batch.request_counts.completed, batch.request_counts.failed) == (6, 0)
