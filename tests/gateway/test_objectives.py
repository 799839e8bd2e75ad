"""Service objectives: the error budget that is left, counted from the rows."""

import json
from collections.abc import Callable

import pytest
from gateway_house import House
from msgspec.structs import replace

from freehold.gateway.objectives import WINDOW_DAYS, budgets
from freehold.store.deployments import Objectives, current
from freehold.store.exchanges import Entry, Exchange, record

NOW = 2_000_000_000_000_000


def serve(house: House, count: int, prefix: str, at: int = NOW, **fields: object) -> None:
    base = Exchange(id="", at=at, endpoint="chat.completions", model="plain", answered_by="x", latency_ms=10.0)
    record(house.store, [Entry(replace(base, id=f"{prefix}{n}", **fields), ()) for n in range(count)])


def test_the_budget_is_what_failures_leave_of_what_may_fail(house: House) -> None:
    serve(house, 990, "good")
    serve(house, 3, "error", status=503)
    serve(house, 1, "torn", finished=False)
    serve(house, 6, "slow", latency_ms=900.0)
    serve(house, 50, "left", status=499, finished=False)
    serve(house, 50, "shadow", status=500, shadow_of="good1")
    serve(house, 50, "old", at=NOW - (WINDOW_DAYS + 1) * 86_400_000_000, status=500)
    deployment = replace(current(house.store, "plain"), slo=Objectives(p95_ms=500.0, availability=0.99))
    answered, quick = budgets(house.store, deployment, NOW)
    assert (answered.n, answered.failed, answered.left) == (1000, 4, pytest.approx(0.6))
    assert (quick.n, quick.failed, quick.left) == (996, 6, pytest.approx(1 - 6 / 49.8))


def test_an_overspent_budget_is_below_nothing_and_an_unasked_one_unknown(house: House) -> None:
    deployment = replace(current(house.store, "plain"), slo=Objectives(availability=0.9))
    assert budgets(house.store, deployment, NOW)[0].left is None
    serve(house, 10, "error", status=500)
    assert budgets(house.store, deployment, NOW)[0].left == pytest.approx(-9)


def test_the_command_sets_shows_and_ends_objectives(
    house: House, freehold: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FREEHOLD_HOME", str(house.workspace.root))
    assert freehold("deploy", "slo", "plain", "--p95-ms", "500", "--availability", "99.5%", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["slo"] == {"p95_ms": 500.0, "availability": 0.995}
    assert [each["objective"] for each in shown["budgets"]] == ["availability 0.995", "p95 500 ms"]
    assert freehold("deploy", "slo", "plain") == 0
    assert "budget left" in capsys.readouterr().out
    assert freehold("deploy", "slo", "plain", "--availability", "100%") == 2
    assert freehold("deploy", "slo", "plain", "--p95-ms", "0") == 2
    assert freehold("deploy", "slo", "plain", "--off") == 0
    assert current(house.store, "plain").slo is None
