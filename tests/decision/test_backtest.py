"""Had we switched on day X: by hand, and through a real classifier on captured traffic."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from freehold.decision.backtest import backtest, owned_cost, same
from freehold.decision.cost_sheet import Sheet
from freehold.decision.traffic import Seen
from freehold.errors import DataError
from freehold.evaluation.classifier import Classifier
from freehold.records import AnswerType, Example, Message, Provenance, Split, canonical
from freehold.store.database import connect
from freehold.store.deployments import ClassifierTarget, Deployment, current, deploy
from freehold.store.exchanges import Attempt, Entry, Exchange, Feedback, record, say
from freehold.store.workspace import Workspace

DAY = 86_400_000_000


def seen(at: int, answer: str, verdict: str | None = None, correction: str | None = None) -> Seen:
    return Seen(
        id=str(at),
        at=at,
        model="m",
        system="",
        user=f"u{at}",
        answer=answer,
        verdict=verdict,
        correction=correction,
        cost=2 * 10**12,
        currency="USD",
    )


def test_what_would_have_been_served_by_hand() -> None:
    past = [
        seen(0, "a", "accepted"),
        seen(1, "a", "corrected", "b"),
        seen(2, "a", "rejected"),
        seen(3, "a"),
        seen(4, "a", "accepted"),
    ]
    found = backtest(past, {"0": "a", "1": "b", "2": "b", "3": " a ", "4": "c"})
    assert (found.requests, found.judged) == (5, 3)
    assert found.different.value == 0.6
    assert found.served_right is not None and found.owned_right is not None and found.difference is not None
    assert found.served_right.value == found.owned_right.value == pytest.approx(2 / 3)
    assert found.difference.value == 0
    assert [each.id for each in found.mistakes] == ["4"]
    assert (found.served_cost, found.currency) == (10, "USD")


def test_without_feedback_quality_is_unknown() -> None:
    found = backtest([seen(0, "a")], {"0": "a"})
    assert (found.judged, found.difference, found.owned_right) == (0, None, None)


def test_a_request_that_was_not_answered_again_is_not_dropped() -> None:
    with pytest.raises(DataError, match="request 1 was not answered again"):
        backtest([seen(0, "a"), seen(1, "a")], {"0": "a"})


def test_json_answers_are_the_same_whatever_their_spacing() -> None:
    assert same('{"a": 1, "b": [2]}', '{"b":[2],"a":1}')
    assert not same('{"a": 1}', '{"a": 2}')
    assert not same("A", "a")


def test_the_owned_side_costs_what_the_sheet_says_at_the_traffic_that_was() -> None:
    sheet = Sheet.model_validate(
        {
            "currency": "USD",
            "options": {"tuned": {"prices": [{"form": "period", "price": 30}, {"form": "request", "price": 1}]}},
        }
    )
    past = [seen(at % 3 * DAY + at, "a") for at in range(30)]
    assert owned_cost(sheet, "tuned", past).value == Decimal(3) + 30  # three days of a 30-a-month plan, 30 requests


@pytest.fixture
def past(tmp_path: Path) -> Workspace:
    """A deployed classifier, and two days of traffic that a rented model answered, wrongly one time in four."""
    words = {
        "payroll": "my pay is wrong again",
        "safety": "the floor is wet and slippery",
        "leave": "may I take a day off",
    }
    pairs = [(f"{text} {at}", label) for label, text in words.items() for at in range(12)]
    workspace = Workspace(tmp_path / ".freehold")
    classifier = Classifier.train([text for text, _ in pairs], [label for _, label in pairs], 0)
    classifier.save(workspace.root / "classifiers" / classifier.digest)
    store = connect(workspace.database_url)
    target = ClassifierTarget(digest=classifier.digest, folder=f"classifiers/{classifier.digest}")
    deployment = Deployment(name="triage", target=target, answer_type=AnswerType.LABEL, labels=tuple(words))
    deploy(store, deployment, "test")
    labels = sorted(words)
    for at in range(40):
        label = labels[at % 3]
        served = labels[(at + 1) % 3] if at % 4 == 0 else label
        body = {"messages": [{"role": "user", "content": f"Route this message, please now: {words[label]} {at}"}]}
        answer = {"choices": [{"message": {"content": served}}]}
        exchange = Exchange(
            id=f"e{at:03}",
            at=at % 2 * DAY + at,
            endpoint="chat",
            model="gpt",
            answered_by="up",
            request=json.dumps(body),
            answer=json.dumps(answer),
        )
        attempt = Attempt(exchange=exchange.id, attempt=1, at=at, model="gpt", target="up", cost=10**12, currency="USD")
        record(store, [Entry(exchange, (attempt,))])
        right = served == label
        verdict = Feedback(exchange=exchange.id, verdict="accepted") if right else None
        say(store, verdict or Feedback(exchange=exchange.id, verdict="corrected", correction=label))
    return workspace


def test_a_deployed_classifier_answers_the_past(
    past: Workspace, freehold: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert freehold("tasks", "--json") == 0
    (task,) = json.loads(capsys.readouterr().out)
    command = ("decision", "backtest", "triage", "--of", task["task"], "--on")
    assert freehold(*command, "1970-01-02", "--json") == 0
    second_day = json.loads(capsys.readouterr().out)
    assert (second_day["requests"], second_day["days"], second_day["judged"]) == (20, 1, 20)
    assert freehold(*command, "1970-01-01", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["served_right"]["value"] == 0.75
    assert found["owned_right"]["value"] == 1.0
    assert found["served_cost"] == "40"
    _nothing_is_asked_twice(monkeypatch)
    assert freehold(*command, "1970-01-01") == 0
    assert "over 2 days" in capsys.readouterr().out


def _nothing_is_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: Any) -> None:  # noqa: ANN401
        raise AssertionError("a message was asked again")

    monkeypatch.setattr("freehold.gateway.ask.ask_each", asked)


def test_what_the_model_has_learned_from_is_left_out(
    past: Workspace, freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    store = connect(past.database_url)
    learned = ["Route this message, please now: my pay is wrong again 1", "something else"]
    (past.datasets / "d").mkdir(parents=True)
    lines = [
        Example(
            id=str(at),
            salt="",
            split=Split.TRAIN,
            messages=(Message(role="user", content=text),),
            reference="payroll",
            provenance=Provenance.HUMAN,
            origin=f"row {at}",
        )
        for at, text in enumerate(learned)
    ]
    (past.datasets / "d" / "examples.jsonl").write_bytes(b"".join(canonical(each) + b"\n" for each in lines))
    deploy(store, replace(current(store, "triage"), evidence={"dataset": "d"}), "test")
    assert freehold("tasks", "--json") == 0
    (task,) = json.loads(capsys.readouterr().out)
    assert freehold("decision", "backtest", "triage", "--of", task["task"], "--on", "1970-01-01", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["left_out"] == 13  # every message about pay is a near-duplicate of the one that was learned
    assert found["requests"] == 40 - 13


def test_a_day_without_traffic_is_a_sentence(
    past: Workspace, freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert freehold("tasks", "--json") == 0
    (task,) = json.loads(capsys.readouterr().out)
    assert freehold("decision", "backtest", "triage", "--of", task["task"], "--on", "2030-01-01") == 2
    assert "choose an earlier day" in capsys.readouterr().err
