"""Judged shadow traffic feeds the watch; what nobody judged, or did not finish, does not."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.store.database import connect
from freehold.store.exchanges import Entry, Exchange, Feedback, record, say
from freehold.store.workspace import Workspace


def exchange(name: str, answer: str, **facts: object) -> Entry:
    body = json.dumps({"choices": [{"message": {"content": answer}}]})
    fields = {"id": name, "at": 1, "endpoint": "chat", "model": "triage", "answered_by": "up", "answer": body, **facts}
    return Entry(Exchange(**fields), ())  # type: ignore[arg-type]


def pair(store: object, at: int, served: str, shadow: str, verdict: Feedback | None, **facts: object) -> None:
    name = f"e{at}"
    record(store, [exchange(name, served, at=at), exchange(f"{name}s", shadow, at=at, shadow_of=name, **facts)])  # type: ignore[arg-type]
    if verdict:
        say(store, verdict)  # type: ignore[arg-type]


def test_only_judged_and_finished_pairs_count(
    freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = connect(Workspace(tmp_path / ".freehold").database_url)
    pair(store, 0, "a", "a", Feedback(exchange="e0", verdict="accepted"))
    pair(store, 1, "a", "b", Feedback(exchange="e1", verdict="accepted"))  # the shadow would have been wrong
    pair(store, 2, "a", "b", Feedback(exchange="e2", verdict="corrected", correction="b"))  # and here right
    pair(store, 3, "a", "b", Feedback(exchange="e3", verdict="corrected", correction="c"))
    pair(store, 4, "a", "b", Feedback(exchange="e4", verdict="rejected"))  # what is right is unknown
    pair(store, 5, "a", "b", None)
    pair(store, 6, "a", "b", Feedback(exchange="e6", verdict="accepted"), finished=False)
    assert freehold("decision", "watch", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n"], found["difference"], found["verdict"]) == (4, 0.0, "need-more-data")
    assert freehold("decision", "watch", "--model", "other", "--json") == 0
    assert json.loads(capsys.readouterr().out)["n"] == 0


def test_no_traffic_is_a_sentence(
    freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert freehold("decision", "watch") == 2
    assert "no traffic was captured yet" in capsys.readouterr().err
