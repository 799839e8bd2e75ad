"""Raw exchanges older than the policy lose their words everywhere; rows, bill and tombstones stay."""

import json
import time
from collections.abc import Callable

import pytest
from data_room import Room

from freehold.data import forget, freeze, retention
from freehold.store import exchanges
from freehold.store.database import connect
from freehold.store.exchanges import Attempt, Entry, Exchange, Feedback

DAY = 86_400_000_000
INCUMBENT = {"model": "m"}


def entry(number: int, age_days: float) -> Entry:
    text = f"{number * 7919:x} {'abcdefgh'[number % 8] * 9} {number}"
    answer = {"choices": [{"message": {"role": "assistant", "content": ("pay", "rota")[number % 2]}}]}
    exchange = Exchange(
        id=f"x{number:03}",
        at=time.time_ns() // 1000 - round(age_days * DAY),
        endpoint="chat",
        model="m",
        answered_by="up",
        session=f"s{number}",
        request=json.dumps({"messages": [{"role": "user", "content": text}]}),
        answer=json.dumps(answer),
    )
    attempt = Attempt(exchange=exchange.id, attempt=1, at=exchange.at, model="m", target="up", input_tokens=7)
    return Entry(exchange, (attempt,))


@pytest.fixture
def traffic(room: Room) -> Room:
    store = connect(room.workspace.database_url)
    exchanges.record(store, [entry(number, 100.0 if number < 30 else 1.0) for number in range(60)])
    exchanges.say(store, Feedback(exchange="x001", verdict="corrected", correction="pay"))
    store.dispose()
    room.build({"source": "captured", "provenance": "incumbent"}, incumbent=INCUMBENT)
    return room


def test_without_a_policy_everything_is_kept(traffic: Room) -> None:
    assert retention.apply(traffic.workspace) is None
    assert len(traffic.examples()) == 60


def test_what_is_older_goes_everywhere_and_tombstones_stay(traffic: Room) -> None:
    assert traffic.dataset is not None
    digest = traffic.dataset.digest
    retention.set_policy(traffic.workspace, 90)
    done = retention.apply(traffic.workspace)
    assert done is not None and (done.exchanges, done.examples, done.days) == (30, {digest: 30}, 90)
    assert {each.origin for each in traffic.examples()} == {f"exchange x{number:03}" for number in range(30, 60)}
    assert len(freeze.tombstones(traffic.workspace, digest)) == 30
    store = connect(traffic.workspace.database_url)
    kept, attempts, said = exchanges.found(store, "x001")
    assert (kept.request, kept.answer, kept.session) == (None, None, None)
    assert attempts[0].input_tokens == 7 and said[0].correction is None
    assert exchanges.found(store, "x030")[0].request is not None
    store.dispose()
    assert b"aaaaaaaaa 0" not in (traffic.workspace.root / "freehold.db").read_bytes()
    again = retention.apply(traffic.workspace)
    assert again is not None and (again.exchanges, again.examples) == (0, {})


def test_a_forgotten_person_of_rows_imported_from_captures_is_found(room: Room) -> None:
    """The gateway keeps a pseudonym; a file written from its captures holds that, and hashing it again is no other."""
    from freehold.data.subject import Subjects

    pseudonym = Subjects(room.workspace).pseudonym("anna")
    rows = [
        {"text": f"{at * 7919:x} {'abcdefgh'[at % 8] * 9}", "answer": ("pay", "rota")[at % 2], "subject": pseudonym}
        for at in range(40)
    ]
    room.jsonl("x.jsonl", [{**row, "subject": row["subject"] if at < 4 else "b"} for at, row in enumerate(rows)])
    room.build({"source": "x.jsonl"})
    mine = {each.id for each in room.examples() if each.origin in {f"x.jsonl:{line}" for line in range(1, 5)}}
    done = forget.forget(room.workspace, "anna")
    assert mine and {each for ids in done.examples.values() for each in ids} == mine
    assert room.build({"source": "x.jsonl"}).dropped["forgotten"] == 4


def test_the_command(freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert freehold("retention") == 0 and "everything is kept" in capsys.readouterr().out
    assert freehold("retention", "--keep", "soon") == 2 and "such as 90d" in capsys.readouterr().err
    assert freehold("retention", "--keep", "12w", "--json") == 0
    assert json.loads(capsys.readouterr().out)["days"] == 84
