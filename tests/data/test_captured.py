"""What the gateway recorded becomes a dataset, and answers that must not be learned fall out with their reason."""

from typing import Any

import msgspec
import pytest
from data_room import Room

from freehold.data import build, curate
from freehold.records import Provenance
from freehold.store import exchanges
from freehold.store.database import connect
from freehold.store.exchanges import Entry, Exchange, Feedback

INCUMBENT = {"model": "gpt-4o-mini"}


def answer(text: str | None, **choice: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop", **choice}]}


def exchange(at: int, text: str, response: Any, **fields: Any) -> Entry:  # noqa: ANN401
    request = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
    return Entry(
        Exchange(
            id=f"x{at:03}",
            at=at,
            endpoint="chat",
            model=fields.pop("model", "gpt-4o-mini"),
            answered_by="https://api.example.com",
            request=msgspec.json.encode(request).decode(),
            answer=msgspec.json.encode(response).decode(),
            **fields,
        ),
        (),
    )


def texts(count: int) -> list[str]:
    from data_room import pairs

    return [line.split(",")[0] for line in pairs(count).splitlines()[1:]]


def fill(room: Room, extra: list[Entry]) -> None:
    """Thirty good exchanges over two labels, and the given ones."""
    store = connect(room.workspace.database_url)
    good = [exchange(at, text, answer(("pay", "rota")[at % 2])) for at, text in enumerate(texts(30))]
    exchanges.record(store, [*good, *extra])
    exchanges.say(store, Feedback(exchange="x000", verdict="corrected", correction="rota"))
    exchanges.say(store, Feedback(exchange="x001", verdict="accepted"))
    exchanges.say(store, Feedback(exchange="x002", verdict="rejected"))
    store.dispose()


def test_captured_exchanges_become_a_dataset(room: Room) -> None:
    extra = [
        exchange(100, "cut off in the middle", answer("pay", finish_reason="length")),
        exchange(101, "would not answer", answer("I'm sorry, but I can't help with that.")),
        exchange(102, "a tool was called", answer(None)),
        exchange(103, "of another task", answer("pay"), tags='{"task":"other"}'),
        exchange(104, "of another model", answer("pay"), model="gpt-4o"),
        exchange(105, "the owned model said this", answer("pay"), model="t", subject="anna", session="s1"),
        exchange(106, "broke off", answer("pay"), finished=False),
    ]
    fill(room, extra)
    dataset = room.build({"source": "captured", "provenance": "incumbent"}, incumbent=INCUMBENT)
    assert dataset.dropped == {"no_answer": 1, "refusal": 1, "rejected": 1, "truncated": 1}
    assert dataset.provenance == {Provenance.CORRECTED: 1, Provenance.ACCEPTED: 1, Provenance.INCUMBENT: 28}
    by_origin = {each.origin: each for each in room.examples()}
    assert by_origin["exchange x000"].reference == "rota" and by_origin["exchange x000"].incumbent_answer == "pay"
    assert by_origin["exchange x105"].session == "s1" and by_origin["exchange x105"].subject not in (None, "anna")
    assert dataset.sources[0].name == "captured" and not dataset.redacted


def test_a_captured_dataset_is_the_same_until_more_is_recorded_or_said(room: Room) -> None:
    fill(room, [exchange(200, "a hidden [EMAIL_1]", answer("pay"), redactions=1)])
    data = {"source": "captured", "provenance": "incumbent"}
    first = room.build(data, incumbent=INCUMBENT)
    before = build.inputs(room.task(data, incumbent=INCUMBENT), room.workspace)
    assert first.redacted and room.build(data, incumbent=INCUMBENT) == first
    store = connect(room.workspace.database_url)
    exchanges.say(store, Feedback(exchange="x004", verdict="accepted"))
    store.dispose()
    assert build.inputs(room.task(data, incumbent=INCUMBENT), room.workspace) != before
    assert room.build(data, incumbent=INCUMBENT).provenance[Provenance.ACCEPTED] == 2


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"request": {}, "response": {"error": {"message": "overloaded"}}}, "error"),
        ({"request": {}, "response": None}, "error"),
        ({"request": {}, "response": {"choices": []}}, "no_answer"),
        ({"request": {}, "response": answer("")}, "no_answer"),
        ({"request": {}, "response": answer("pay", finish_reason="content_filter")}, "truncated"),
        ({"request": {}, "response": answer("抱歉，我无法回答")}, "refusal"),
        ({"request": {}, "response": answer("Es tut mir leid, aber ich kann das nicht")}, "refusal"),
        ({"request": {}, "response": answer("Sorry for the delay, your shift is at nine.")}, None),
        (
            {"request": {}, "response": answer("pay", finish_reason="length"), "feedback": {"verdict": "corrected"}},
            None,
        ),
        ({"messages": []}, None),
    ],
)
def test_answers_that_must_not_be_learned(fields: dict[str, Any], reason: str | None) -> None:
    assert curate.fault(fields) == reason
