"""Nothing personal or secret is stored; a model that learned on placeholders is asked with them and answers in full."""

import time
from typing import Any

import msgspec
import openai
import pytest
from gateway_house import House, RunningUpstream
from msgspec.structs import replace

from freehold.data.redact import Redaction
from freehold.errors import UserError
from freehold.records import AnswerType, Dataset
from freehold.render import Renderer
from freehold.store.deployments import BaseTarget, Deployment, deploy
from freehold.store.workspace import write_record

SECRET = "jo.blake@example.com"
ASK: Any = [{"role": "user", "content": f"write to {SECRET} and again to {SECRET}, card 4111 1111 1111 1111"}]


def client_of(house: House) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{house.url}/v1", api_key="k", max_retries=0, timeout=20)


def test_what_is_stored_is_redacted_and_what_is_passed_on_is_not(passing: House, upstream: RunningUpstream) -> None:
    client = client_of(passing)
    client.chat.completions.create(model="gpt-4o-mini", messages=ASK)
    list(client.chat.completions.create(model="gpt-4o-mini", messages=ASK, stream=True))
    assert upstream.app.last["messages"] == ASK
    for exchange in passing.kept():
        assert exchange.redactions >= 2
        content = msgspec.json.decode(exchange.request or "")["messages"][0]["content"]
        assert content == "write to [EMAIL_1] and again to [EMAIL_1], card [CARD_1]"
    for path in passing.workspace.root.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_redaction_can_be_switched_off(house: House, upstream: RunningUpstream) -> None:
    house.settings = replace(house.settings, upstream=upstream.url, redact=False)
    with house.open():
        client_of(house).chat.completions.create(model="gpt-4o-mini", messages=ASK)
    assert SECRET in (house.kept()[0].request or "")


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_learned_on_placeholders_is_asked_with_them(house: House, stream: bool) -> None:
    dataset = Dataset(
        digest="d" * 64,
        task="extract",
        answer_type=AnswerType.TEXT,
        labels=(),
        json_schema=None,
        counts={},
        provenance={},
        dropped={},
        sources=(),
        seed=0,
        redacted=True,
    )
    write_record(house.workspace.datasets / dataset.digest / "dataset.json", dataset)
    target = BaseTarget(base="tiny")
    deploy(house.store, Deployment(name="extract", target=target, evidence={"dataset": dataset.digest}), "test")
    with house.open():
        house.engines[0].words = ("the address is [EM", "AIL", "_1]", " [EMAIL_9] end")
        client = client_of(house)
        if stream:
            pieces = client.chat.completions.create(model="extract", messages=ASK, stream=True)
            answer = "".join(piece.choices[0].delta.content or "" for piece in pieces)
        else:
            answer = client.chat.completions.create(model="extract", messages=ASK).choices[0].message.content or ""
    assert answer == f"the address is {SECRET} [EMAIL_9] end"
    hidden = Redaction().hide(ASK[0]["content"])
    renderer = Renderer(house.workspace.models / "tiny")
    assert house.engines[0].requests[0].prompt == renderer.encode(f"<|user|>{hidden}<|end|><|assistant|>")


def test_a_workspaces_own_patterns_hide_too_and_are_followed(house: House, upstream: RunningUpstream) -> None:
    own = house.workspace.root / "redaction.json"
    own.write_text('{"STAFF_NUMBER": "B-[0-9]{4}"}')
    house.settings = replace(house.settings, upstream=upstream.url)
    with house.open():
        client, ask = client_of(house), [{"role": "user", "content": "B-1234 and B-9999, then B-1234; C-77"}]
        client.chat.completions.create(model="gpt-4o-mini", messages=ask)  # type: ignore[arg-type]
        first = house.kept()[0].request or ""
        assert "[STAFF_NUMBER_1] and [STAFF_NUMBER_2], then [STAFF_NUMBER_1]; C-77" in first
        own.write_text('{"STAFF_NUMBER": "B-[0-9]{4}", "LOCKER": "C-[0-9]+"}')
        time.sleep(1.1)
        client.chat.completions.create(model="gpt-4o-mini", messages=ask)  # type: ignore[arg-type]
        assert "[LOCKER_1]" in (house.kept()[0].request or "")
        own.write_text("not json")
        time.sleep(1.1)
        client.chat.completions.create(model="gpt-4o-mini", messages=ask)  # type: ignore[arg-type]
        assert "[LOCKER_1]" in (house.kept()[0].request or "")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[1]", "docs/data.md shows one"),
        ('{"staff": "x"}', "must be capital letters"),
        ('{"STAFF": "("}', "is not a regular expression"),
        ('{"STAFF": "x*"}', "matches the empty text"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_at_the_start(house: House, content: str, says: str) -> None:
    (house.workspace.root / "redaction.json").write_text(content)
    with pytest.raises(UserError, match=says), house.open():
        pass
