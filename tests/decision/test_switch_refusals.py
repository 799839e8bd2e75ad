"""A candidate that breaks pinned cases or lost too much besides the task may not take over."""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from freehold.decision.certificate import decide
from freehold.records import CandidateKind, Change, Decision, Interval, Kept, PinCheck, Verdict

INCUMBENT, TUNED, CLASSIFIER = CandidateKind.INCUMBENT, CandidateKind.TUNED, CandidateKind.CLASSIFIER
Make = Callable[..., Any]
RIGHT = [1.0] * 200
WORSE = [0.0] * 60 + [1.0] * 140


def figure(value: float, low: float, high: float) -> Interval:
    return Interval(value=value, low=low, high=high, n=222, method="test")


def lost(value: float, high: float, what: Kept = Kept.GENERAL) -> Change:
    before, after = figure(0.5, 0.4, 0.6), figure(0.5 - value, 0.3, 0.6)
    return Change(candidate="tuned", what=what, before=before, after=after, lost=figure(value, -0.05, high))


def decided(
    material: Any,  # noqa: ANN401
    changes: Sequence[Change] = (),
    may_lose: dict[Kept, float] | None = None,
    broken: int = 0,
) -> Decision:
    pins = tuple(PinCheck(candidate="tuned", holds=9, broken=tuple("abc"[:broken]), unmeasured=0) for _ in range(1))
    report = replace(material.report, changes=tuple(changes), pins=pins)
    plan = replace(material.plan, may_lose=may_lose or {})
    return decide(report, material.rows, plan, material.examples)


def test_a_loss_within_its_bound_stands_in_nobodys_way(material: Make) -> None:
    made = material({INCUMBENT: RIGHT, TUNED: RIGHT})
    decision = decided(made, [lost(0.02, 0.09)], {Kept.GENERAL: 0.10})
    assert (decision.verdict, decision.candidate) == (Verdict.SWITCH, "tuned")


def test_a_loss_that_may_be_too_large_is_refused_and_the_incumbent_stays(material: Make) -> None:
    made = material({INCUMBENT: RIGHT, TUNED: RIGHT})
    decision = decided(made, [lost(0.08, 0.14)], {Kept.GENERAL: 0.10})
    assert (decision.verdict, decision.against) == (Verdict.KEEP, "incumbent")
    assert decision.reasons[0] == "no candidate may take over"
    assert decision.reasons[1] == (
        "tuned is refused: tuning took 8 points of general questions, or up to 14 points "
        "(from 50.0% to 42.0%); 10 points is the most"
    )


def test_what_was_not_measured_was_not_shown(material: Make) -> None:
    made = material({INCUMBENT: RIGHT, TUNED: RIGHT})
    decision = decided(made, [], {Kept.HARMFUL: 0.10})
    assert decision.verdict is Verdict.KEEP
    assert "harmful asks refused was not measured" in decision.reasons[1]


def test_without_a_guard_nothing_is_refused(material: Make) -> None:
    decision = decided(material({INCUMBENT: RIGHT, TUNED: RIGHT}), [lost(0.5, 0.6)])
    assert decision.verdict is Verdict.SWITCH


def test_perplexity_is_told_as_a_rise(material: Make) -> None:
    change = lost(0.31, 0.36, Kept.LANGUAGE)
    decision = decided(material({INCUMBENT: RIGHT, TUNED: RIGHT}), [change], {Kept.LANGUAGE: 0.20})
    assert "perplexity on general text rose by +31.0%, or by up to +36.0%; 20% is the most" in decision.reasons[1]


def test_a_broken_pin_refuses_and_the_next_best_is_judged_without_it(material: Make) -> None:
    made = material({TUNED: RIGHT, CLASSIFIER: WORSE, CandidateKind.PROMPTED: WORSE})
    decision = decided(made, broken=2)
    assert (decision.verdict, decision.candidate) == (Verdict.SWITCH, "classifier")
    assert "tuned is refused: it breaks 2 of 11 pinned cases" in decision.reasons
    assert decided(made).candidate == "tuned"


def test_one_candidate_alone_is_not_a_comparison(material: Make) -> None:
    decision = decided(material({TUNED: RIGHT, CLASSIFIER: WORSE}), broken=1)
    assert (decision.verdict, decision.candidate) == (Verdict.NEED_MORE_DATA, None)
    assert decision.reasons[0] == "only classifier may take over, and nothing is left to compare it with"
