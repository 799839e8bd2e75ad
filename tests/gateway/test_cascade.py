"""The confidence cascade: sure answers are given, unsure requests go on, and the share is counted from the rows."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest
from gateway_house import House, RunningUpstream
from msgspec.structs import replace

from freehold.gateway.backends import Backends
from freehold.records import AnswerType, Dataset, Example, Message, Provenance, Split
from freehold.store.deployments import ClassifierTarget, Deployment, RemoteTarget, current, deploy
from freehold.store.workspace import write_atomically, write_record

DATASET = "d" * 64


class SaysHowSure:
    """A classifier that answers the first word, as sure as the second says."""

    def answer(self, text: str) -> tuple[str, float]:
        word, sure = text.split()[:2]
        return word, float(sure)


def freeze_dataset(house: House, texts: list[tuple[str, str]]) -> None:
    """A frozen dataset of validation examples: what was asked, and what is right."""
    folder = house.workspace.datasets / DATASET
    record = Dataset(
        digest=DATASET,
        task="triage",
        answer_type=AnswerType.LABEL,
        labels=("payroll", "safety"),
        json_schema=None,
        counts={Split.VALIDATION: len(texts)},
        provenance={},
        dropped={},
        sources=(),
        seed=0,
    )
    examples = [
        Example(
            id=f"{at:064x}",
            salt="s",
            split=Split.VALIDATION,
            messages=(Message(role="user", content=text),),
            reference=right,
            provenance=Provenance.HUMAN,
            origin=f"t.csv:{at}",
        )
        for at, (text, right) in enumerate(texts)
    ]
    write_record(folder / "dataset.json", record)
    write_atomically(folder / "examples.jsonl", b"".join(msgspec.json.encode(each) + b"\n" for each in examples))


@pytest.fixture
def cascading(house: House, upstream: RunningUpstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> House:
    """An owned classifier whose answers are right when it says it is sure, and an incumbent behind an API."""
    house.backends = Backends(engine_for=house.backends.engine_for, load_classifier=lambda _: SaysHowSure())
    sure = [("payroll 0.95", "payroll")] * 45
    unsure = [("payroll 0.4", "safety" if at % 2 else "payroll") for at in range(40)]
    freeze_dataset(house, sure + unsure)
    owned = Deployment(
        name="sorter",
        target=ClassifierTarget(digest="a" * 64, folder="models/plain"),
        answer_type=AnswerType.LABEL,
        labels=("payroll", "safety"),
        evidence={"dataset": DATASET},
    )
    deploy(house.store, owned, "test")
    incumbent = RemoteTarget(base_url=upstream.url, model="gpt-4o-mini")
    deploy(house.store, Deployment(name="rented", target=incumbent), "test")
    monkeypatch.setenv("FREEHOLD_HOME", str(house.workspace.root))
    monkeypatch.setattr("freehold.gateway.backends.of", lambda _: house.backends)
    return house


def ask(house: House, text: str, stream: bool = False) -> str:
    client = openai.OpenAI(base_url=f"{house.url}/v1", api_key="k", max_retries=0, timeout=20)
    messages: Any = [{"role": "user", "content": text}]
    reply = client.chat.completions.create(model="sorter", messages=messages, stream=stream)
    if stream:
        return "".join(each.choices[0].delta.content or "" for each in reply if each.choices)
    return str(reply.choices[0].message.content)


@pytest.mark.parametrize("stream", [False, True])
def test_sure_answers_are_given_and_the_others_passed_on(
    cascading: House, freehold: Callable[..., int], capsys: pytest.CaptureFixture[str], stream: bool
) -> None:
    assert freehold("deploy", "cascade", "sorter", "--to", "rented", "--accuracy", "90%", "--json") == 0
    chosen = json.loads(capsys.readouterr().out)
    assert (chosen["cascade"]["n"], chosen["cascade"]["kept"], chosen["cascade"]["right"]) == (85, 45, 45)
    assert chosen["escalated"]["value"] == pytest.approx(40 / 85)
    with cascading.open():
        assert ask(cascading, "payroll 0.97", stream) == "payroll"
        assert ask(cascading, "safety 0.95", stream) == "safety"
        assert len(ask(cascading, "payroll 0.5", stream).split()) == 12, "the incumbent's answer"
    rows = cascading.attempts()
    assert [row.outcome for row in rows] == ["ok", "ok", "unsure", "ok"]
    kept = cascading.kept()
    assert kept[0].answered_by.endswith("#gpt-4o-mini"), "the newest exchange is the one that was passed on"
    capsys.readouterr()
    assert freehold("deploy", "list", "--json") == 0
    shown = {each["name"]: each["escalated"] for each in json.loads(capsys.readouterr().out)}
    assert shown["rented"] is None
    assert (shown["sorter"]["n"], shown["sorter"]["value"]) == (3, pytest.approx(1 / 3))
    assert freehold("deploy", "list") == 0
    assert "33.3%" in capsys.readouterr().out


def test_where_the_incumbent_fails_too_the_client_is_told(
    cascading: House, upstream: RunningUpstream, freehold: Callable[..., int]
) -> None:
    assert freehold("deploy", "cascade", "sorter", "--to", "rented") == 0
    upstream.turn(errors=1.0)
    with cascading.open(), pytest.raises(openai.InternalServerError):
        ask(cascading, "payroll 0.5")
    assert [row.outcome for row in cascading.attempts()] == ["unsure", "server", "server"]


def test_it_is_changed_while_the_gateway_runs(cascading: House, freehold: Callable[..., int]) -> None:
    with cascading.open():
        assert ask(cascading, "payroll 0.1") == "payroll"
        assert freehold("deploy", "cascade", "sorter", "--to", "rented") == 0
        end = time.monotonic() + 10
        while ask(cascading, "payroll 0.1") == "payroll" and time.monotonic() < end:
            time.sleep(0.1)
        assert ask(cascading, "payroll 0.1") != "payroll"
        assert freehold("deploy", "cascade", "sorter", "--off") == 0
        while ask(cascading, "payroll 0.1") != "payroll" and time.monotonic() < end:
            time.sleep(0.1)
        assert ask(cascading, "payroll 0.1") == "payroll"


def test_another_target_under_the_name_is_not_held_to_its_threshold(
    cascading: House, freehold: Callable[..., int]
) -> None:
    assert freehold("deploy", "cascade", "sorter", "--to", "rented") == 0
    standing = current(cascading.store, "sorter")
    other = ClassifierTarget(digest="b" * 64, folder="models/plain")
    deploy(cascading.store, replace(standing, target=other), "another")
    with cascading.open():
        assert ask(cascading, "payroll 0.1") == "payroll"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["sorter", "--to", "rented", "--accuracy", "99.9%"], 4, "for no threshold"),
        (["sorter", "--to", "rented", "--accuracy", "lots"], 2, "not a share"),
        (["sorter", "--to", "sorter"], 2, "already"),
        (["sorter"], 2, "--to"),
        (["rented", "--to", "sorter"], 2, "free text"),
        (["triage", "--to", "rented"], 2, "no dataset"),
        (["sorter", "--to", "rentd"], 2, "did you mean rented"),
    ],
)
def test_what_cannot_be_chosen_is_refused_in_one_sentence(
    cascading: House,
    freehold: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    assert freehold("deploy", "cascade", *arguments) == code
    said = capsys.readouterr().err
    assert message in said and len(said.strip().splitlines()) == 1
