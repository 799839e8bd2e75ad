"""`freehold demo --traffic`: a day that looks like one, redacted, billed to the last pico-unit, not among real ones."""

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from freehold.cli.flow import demo
from freehold.errors import UserError
from freehold.gateway import demo_traffic
from freehold.gateway.demo_jobs import JOBS
from freehold.store import exchanges
from freehold.store.database import Store, connect
from freehold.store.usage import lines
from freehold.store.workspace import Workspace

DAY_US = 86_400_000_000


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Store, demo_traffic.Made]:
    workspace = Workspace(tmp_path_factory.mktemp("day") / ".freehold")
    store = connect(workspace.database_url)
    return workspace, store, demo_traffic.make(workspace, store, requests=1500)


Day = tuple[Workspace, Store, demo_traffic.Made]


def test_it_is_a_day_of_several_jobs_models_keys_and_sessions(day: Day) -> None:
    _, store, made = day
    kept = exchanges.listed(store, 10_000)
    assert made.exchanges == len(kept) == 1500
    assert kept[0].at - kept[-1].at > DAY_US * 0.7
    assert kept[0].at - kept[-1].at <= DAY_US
    tags = [exchanges.tags_of(each.tags) for each in kept]
    assert {each["task"] for each in tags} == {job.name for job in JOBS}
    assert {each["demo"] for each in tags} == {"traffic"}
    assert len({each.key for each in kept}) == 3
    assert len({each.model for each in kept}) >= 3
    sessions = Counter(each.session for each in kept)
    assert max(sessions.values()) > 1
    assert sum(each.stream for each in kept) > 100
    hours = Counter(each.at // 3_600_000_000 for each in kept)
    assert max(hours.values()) > 3 * min(hours.get(hour, 0) for hour in range(min(hours), max(hours) + 1))


def test_some_of_it_fails_is_tried_again_and_is_judged(day: Day) -> None:
    _, store, made = day
    kept = exchanges.listed(store, 10_000)
    failed = [each for each in kept if each.status >= 400 or not each.finished]
    assert 0 < len(failed) < 150
    assert made.failed == len(failed)
    assert made.attempts > made.exchanges
    assert {said.verdict for each in kept for said in exchanges.found(store, each.id)[2]} == set(exchanges.VERDICTS)


def test_nothing_personal_is_in_the_store_and_the_bill_adds_up(day: Day) -> None:
    workspace, store, _ = day
    kept = exchanges.listed(store, 10_000)
    assert any("[EMAIL_1]" in (each.request or "") for each in kept)
    assert all(b"@example.com" not in path.read_bytes() for path in workspace.root.glob("freehold.db*"))
    rows = store.connect().exec_driver_sql("SELECT cost FROM usage").scalars().all()
    assert sum(line.cost for line in lines(store, ["key", "model"])) == sum(cost or 0 for cost in rows) > 0


def test_invented_traffic_does_not_go_among_real_one(day: Day) -> None:
    workspace, store, _ = day
    with pytest.raises(UserError, match="holds 1,500 exchanges already"):
        demo_traffic.make(workspace, store)


def test_the_command_says_what_to_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    monkeypatch.delenv("FREEHOLD_HOME", raising=False)
    monkeypatch.delenv("FREEHOLD_DATABASE", raising=False)
    app = typer.Typer()
    app.command()(demo)
    ran = CliRunner().invoke(app, ["--traffic", "--folder", str(tmp_path / "here"), "--json"])
    assert ran.exit_code == 0, ran.output
    said = json.loads(ran.output)
    assert said["exchanges"] == 3000
    assert (tmp_path / "here" / ".freehold" / "freehold.db").exists()
