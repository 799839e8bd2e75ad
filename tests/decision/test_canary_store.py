"""A canary in the store: it goes back by itself, once, with a row that says why and a queue to review."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from freehold.gateway.rollback import ReviewQueue, ruling, watch_once
from freehold.records import Bounds
from freehold.store.database import Store, connect
from freehold.store.deployments import Deployment, RemoteTarget, Share, canary_since, current, deploy, revision
from freehold.store.exchanges import Attempt, Entry, Exchange, Feedback, record, say
from freehold.store.workspace import Workspace, read_record

RENTED = RemoteTarget(base_url="https://rented/v1", model="big")
OWNED = RemoteTarget(base_url="http://127.0.0.1:9/v1/", model="small")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """`triage` is answered by a rented model, with an owned one as its canary."""
    workspace = Workspace(tmp_path / ".freehold")
    store = connect(workspace.database_url)
    deploy(store, Deployment(name="triage", target=RENTED), "first")
    deploy(store, Deployment(name="triage", target=RENTED, shares=(Share(target=OWNED, share=0.5),)), "canary")
    return workspace


def answered(
    store: Store, at: int, target: str, outcome: str = "ok", verdict: str | None = None, **facts: float
) -> None:
    """One request that was tried at a target, and answered by the rented model where that failed."""
    since = canary_since(store, "triage")
    name = f"e{at:04}"
    by = target if outcome == "ok" else "https://rented/v1#big"
    exchange = Exchange(id=name, at=since + at, endpoint="chat", model="triage", answered_by=by)
    attempt = Attempt(
        exchange=name,
        attempt=1,
        at=since + at,
        model="m",
        target=target,
        outcome=outcome,
        seconds=facts.get("seconds", 0.1),
    )
    record(store, [Entry(exchange, (attempt,))])
    if verdict:
        said = Feedback(exchange=name, verdict=verdict, correction="x" if verdict == "corrected" else None)
        say(store, said)


CANARY, MAIN = "http://127.0.0.1:9/v1#small", "https://rented/v1#big"


@pytest.mark.parametrize(
    ("outcome", "seconds", "word"), [("server", 0.1, "errors"), ("timeout", 0.1, "errors"), ("ok", 9.0, "latency")]
)
def test_it_goes_back_once_and_says_why(workspace: Workspace, outcome: str, seconds: float, word: str) -> None:
    store = connect(workspace.database_url)
    for at in range(40):
        answered(store, at, CANARY, outcome=outcome, seconds=seconds)
    before = revision(store)
    assert watch_once(workspace, store) == ["triage"]
    assert watch_once(workspace, store) == []
    assert current(store, "triage").shares == ()
    assert current(store, "triage").target == RENTED
    assert revision(store) == before + 1
    queue = read_record(workspace.root / "review" / f"triage-{before + 1}.json", ReviewQueue)
    assert queue.reasons[0].startswith(word)
    assert len(queue.exchanges) == (40 if word == "errors" else 0)


def test_judged_answers_are_paired_in_order(workspace: Workspace) -> None:
    store = connect(workspace.database_url)
    for at in range(0, 300, 2):
        answered(store, at, CANARY, verdict="rejected" if at % 4 else "accepted")
        answered(store, at + 1, MAIN, verdict="accepted")
    found = ruling(store, current(store, "triage"))
    assert found.back
    assert found.reasons == ("quality: worse by more than 5 points, on 150 pairs",)


@pytest.mark.parametrize("outcome", ["request", "context_length", "hung_up"])
def test_a_target_is_not_blamed_for_its_callers(workspace: Workspace, outcome: str) -> None:
    store = connect(workspace.database_url)
    for at in range(60):
        answered(store, at, CANARY, outcome=outcome)
    assert watch_once(workspace, store) == []


def test_what_the_main_target_does_is_not_held_against_the_canary(workspace: Workspace) -> None:
    store = connect(workspace.database_url)
    for at in range(60):
        answered(store, at, MAIN, outcome="server")
    assert watch_once(workspace, store) == []


def test_a_change_beside_the_shares_does_not_start_the_canary_anew(workspace: Workspace) -> None:
    store = connect(workspace.database_url)
    began = canary_since(store, "triage")
    deploy(store, replace(current(store, "triage"), bounds=Bounds(margin=0.2)), "bounds")
    assert canary_since(store, "triage") == began
    deploy(store, replace(current(store, "triage"), shares=(Share(target=OWNED, share=0.9),)), "more")
    assert canary_since(store, "triage") > began


def test_a_dry_run_explains_and_changes_nothing(
    workspace: Workspace, freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    store = connect(workspace.database_url)
    for at in range(40):
        answered(store, at, CANARY, outcome="server")
    before = revision(store)
    assert freehold("deploy", "rollback", "triage", "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["back"] is True
    assert revision(store) == before
    assert freehold("deploy", "rollback", "triage") == 0
    assert "canary     goes back" in capsys.readouterr().out
    assert current(store, "triage").shares == ()


def test_bounds_are_fixed_on_the_command_line(
    workspace: Workspace, freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert freehold("deploy", "bounds", "triage", "margin=0.1", "latency_ms=500") == 0
    assert capsys.readouterr().out.startswith("margin=0.1  error_rate=0.02  latency_ms=500")
    for wrong in ("margin=2", "margin", "speed=1", "error_rate=x"):
        assert freehold("deploy", "bounds", "triage", wrong) == 2
