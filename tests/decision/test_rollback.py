"""A canary goes back once, for a reason, and never on a whim."""

from typing import Any

import numpy as np
import pytest

from freehold.decision.rollback import Observation, rule
from freehold.records import Bounds


def request(at: int, **facts: Any) -> Observation:  # noqa: ANN401
    return Observation(id=f"r{at}", **{"latency_ms": 100.0, **facts})


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"failed": True}, "errors"),
        ({"latency_ms": 9000.0}, "latency"),
        ({"score": 0.0, "against": 1.0}, "quality"),
    ],
)
def test_each_bound_sends_it_back_with_its_reason(facts: dict[str, Any], word: str) -> None:
    seen = [request(at, **(facts if at % 4 == 0 else {"score": 1.0, "against": 1.0})) for at in range(300)]
    ruling = rule(Bounds(), seen)
    assert ruling.back
    assert [reason.split(":")[0] for reason in ruling.reasons] == [word]


def test_it_goes_back_once() -> None:
    seen = [request(at, failed=True) for at in range(50)]
    assert rule(Bounds(), seen).back
    again = rule(Bounds(), seen, gone_back=True)
    assert not again.back
    assert again.reasons


def test_what_was_disputed_is_the_next_review_queue() -> None:
    seen = [request(0, score=1.0, against=1.0), request(1, score=0.0, against=1.0), request(2, failed=True), request(3)]
    assert rule(Bounds(), seen).review == ("r1", "r2")


def test_a_dry_run_tells_how_every_watch_stands() -> None:
    told = rule(Bounds(), [request(at, score=1.0, against=1.0) for at in range(200)]).told
    assert [line.split(":")[0] for line in told] == ["quality", "errors", "latency"]
    assert told[1].endswith("of 200; goes back above 2 %")
    assert rule(Bounds(), []).told[0].startswith("quality: nothing to judge by yet")


def test_a_canary_on_its_bounds_goes_back_by_chance_in_under_five_per_cent() -> None:
    random = np.random.default_rng(2)
    bounds, wrong, rounds = Bounds(), 0, 60
    for _ in range(rounds):
        seen = [
            request(at, failed=bool(random.random() < 0.02), latency_ms=3000.0 if random.random() < 0.05 else 1.0)
            for at in range(400)
        ]
        wrong += any(rule(bounds, seen[:upto]).back for upto in range(20, 401, 20))
    assert wrong / rounds < 0.1


def test_one_early_failure_is_no_reason() -> None:
    assert not rule(Bounds(), [request(0, failed=True)]).back
