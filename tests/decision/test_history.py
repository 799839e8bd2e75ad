"""Later reality is held against what was believed."""

from collections.abc import Callable
from typing import Any

import pytest

from freehold.decision.history import history
from freehold.decision.traffic import Seen
from freehold.records import CandidateKind

SCORES = {CandidateKind.TUNED: [1.0] * 180 + [0.0] * 20, CandidateKind.CLASSIFIER: [1.0] * 178 + [0.0] * 22}


def live(at: int, verdict: str | None, model: str = "triage") -> Seen:
    return Seen(id=f"{at}{model}", at=at, model=model, system="", user="", verdict=verdict)


def believed(material: Callable[..., Any], seen: list[Seen]) -> Any:  # noqa: ANN401
    made = material(SCORES)
    first, second = made.decide(), material(SCORES, margin=0.2).decide()
    # The conftest's figures promise 0..1; a report that promises 0.85 to 0.95 can be contradicted.
    from msgspec.structs import replace

    figures = tuple(replace(each, metric=replace(each.metric, low=0.85, high=0.95)) for each in made.report.figures)
    report = replace(made.report, figures=figures)
    return history([(100, first), (500, second)], {report.digest: report}, seen)


@pytest.mark.parametrize(
    ("accepted", "says"),
    [(99, "better than was believed"), (90, "as was believed"), (50, "worse than was believed")],
)
def test_only_intervals_that_do_not_meet_contradict(accepted: int, says: str, material: Callable[..., Any]) -> None:
    seen = [live(100 + at, "accepted" if at % 100 < accepted else "corrected") for at in range(300)]
    first, second = believed(material, seen)
    assert (first.says, first.judged) == (says, 300)
    assert second.says == "nothing was judged since"


def test_a_decision_answers_for_its_own_time_and_task_only(material: Callable[..., Any]) -> None:
    seen = [
        live(99, "rejected"),
        live(100, None),
        live(499, "accepted"),
        live(500, "rejected"),
        live(200, "rejected", "x"),
    ]
    first, second = believed(material, seen)
    assert (first.requests, first.judged, first.reality.value) == (2, 1, 1.0)
    assert (second.requests, second.judged, second.reality.value) == (1, 1, 0.0)


def test_a_report_that_is_gone_promises_nothing(material: Callable[..., Any]) -> None:
    (only,) = history([(0, material(SCORES).decide())], {}, [live(1, "accepted")])
    assert (only.promised, only.says) == (None, "nothing was promised")
