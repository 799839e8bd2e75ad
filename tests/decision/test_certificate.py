"""The verdict: its logic, its error rate, and the rule of truth."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold.decision.certificate import headline
from freehold.errors import FreeholdError
from freehold.records import CandidateKind, Provenance, Verdict

INCUMBENT, TUNED, CLASSIFIER = CandidateKind.INCUMBENT, CandidateKind.TUNED, CandidateKind.CLASSIFIER
PROMPTED = CandidateKind.PROMPTED
Make = Callable[..., Any]


def answers(n: int, wrong: Sequence[int]) -> list[float]:
    return [0.0 if at in set(wrong) else 1.0 for at in range(n)]


def test_the_simplest_of_the_good_ones_is_named_and_told_against_the_best(material: Make) -> None:
    decision = material(
        {
            TUNED: answers(146, range(20)),
            CLASSIFIER: answers(146, range(3, 26)),
            PROMPTED: answers(146, range(90)),
        }
    ).decide()
    assert decision.verdict is Verdict.SWITCH
    assert (decision.candidate, decision.against) == ("classifier", "tuned")
    assert headline(decision) == (
        "switch to classifier: it is within 10 points of tuned (difference −2.1 [−6.9, +2.4]) and 40 times cheaper"
    )
    assert decision.power.startswith("with 146 pairs a margin of ")
    assert "2 points would need about " in decision.power
    assert "3 candidates share an error of 5 % (Bonferroni)" in decision.reasons[1]


def test_a_winner_that_is_shown_to_be_better_is_called_better(material: Make) -> None:
    decision = material({INCUMBENT: answers(200, range(60)), TUNED: answers(200, range(10))}).decide()
    assert decision.reasons[0].startswith("it is better than incumbent (difference +25.0 [")


def test_a_worse_classifier_does_not_win(material: Make) -> None:
    decision = material({TUNED: answers(200, range(10)), CLASSIFIER: answers(200, range(60))}).decide()
    assert (decision.verdict, decision.candidate) == (Verdict.SWITCH, "tuned")


def test_keep_where_every_candidate_is_shown_to_be_worse(material: Make) -> None:
    decision = material({INCUMBENT: answers(300, []), TUNED: answers(300, range(90))}).decide()
    assert (decision.verdict, decision.candidate, decision.against) == (Verdict.KEEP, "tuned", "incumbent")
    assert headline(decision).startswith("keep incumbent: no candidate is within 10 points of it (the nearest, tuned: ")


def test_need_more_data_says_how_many_there_are_and_how_many_it_takes(material: Make) -> None:
    decision = material({INCUMBENT: answers(100, [1, 2]), TUNED: answers(100, [3, 4, 5])}, margin=0.02).decide()
    assert decision.verdict is Verdict.NEED_MORE_DATA
    assert decision.pairs_needed == 780  # (1.645 + 0.842)² · 0.0504 / 0.02²
    assert "about 780 independent references are needed if both are equally good; there are 100" in decision.reasons


def test_more_data_is_not_promised_to_a_candidate_that_is_probably_worse(material: Make) -> None:
    decision = material({INCUMBENT: answers(300, []), TUNED: answers(300, range(30))}).decide()
    assert decision.verdict is Verdict.NEED_MORE_DATA
    assert decision.pairs_needed is None
    assert "tuned is probably worse" in decision.reasons[1]


@pytest.mark.parametrize("rivals", [(INCUMBENT, TUNED), (CLASSIFIER, TUNED)])
def test_the_incumbents_own_answers_never_support_a_switch(material: Make, rivals: tuple[CandidateKind, ...]) -> None:
    perfect = {kind: answers(5000, []) for kind in rivals}
    decision = material(perfect, provenance=lambda at: Provenance.INCUMBENT).decide()
    assert decision.verdict is Verdict.NEED_MORE_DATA
    assert decision.candidate is None
    assert "all 5,000 references are the incumbent's own answers" in decision.reasons[0]
    assert "about 62 independent references" in decision.reasons[1]


def test_only_independent_references_are_compared_on(material: Make) -> None:
    # The candidate is wrong exactly where a person wrote the reference: agreement elsewhere must not hide it.
    decision = material(
        {INCUMBENT: answers(400, []), TUNED: answers(400, range(60))},
        provenance=lambda at: Provenance.HUMAN if at < 100 else Provenance.INCUMBENT,
    ).decide()
    assert decision.verdict is Verdict.KEEP
    assert decision.references == {Provenance.HUMAN: 100}
    assert any("300 references" in reason and "left out" in reason for reason in decision.reasons)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wrong=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=120),
    independent=st.booleans(),
    margin=st.sampled_from([0.02, 0.1, 0.3]),
)
def test_interval_and_verdict_never_disagree(
    material: Make, wrong: list[tuple[bool, bool]], independent: bool, margin: float
) -> None:
    provenance = Provenance.CORRECTED if independent else Provenance.INCUMBENT
    decision = material(
        {INCUMBENT: [float(a) for a, _ in wrong], TUNED: [float(b) for _, b in wrong]},
        margin=margin,
        provenance=lambda at: provenance,
    ).decide()
    if decision.verdict is Verdict.SWITCH:
        assert independent
        assert decision.difference is not None
        assert decision.difference.low > -margin
    elif decision.verdict is Verdict.KEEP:
        assert decision.difference is not None
        assert decision.difference.high < -margin
    elif decision.difference and "can decide nothing" not in decision.reasons[0]:
        assert decision.difference.low <= -margin <= decision.difference.high


def false_switches(make: Make, draw: Callable[[np.random.Generator], dict[CandidateKind, list[float]]]) -> float:
    """How often a candidate is named whose true loss is the margin: every switch of these draws is a mistake."""
    random = np.random.default_rng(7)
    rounds = 300
    wrong = 0
    for _ in range(rounds):
        decision = make(draw(random), margin=0.1).decide()
        wrong += decision.verdict is Verdict.SWITCH and decision.candidate != "tuned"
    return wrong / rounds


def test_choosing_among_candidates_names_a_wrong_one_at_most_one_time_in_twenty(material: Make) -> None:
    def draw(random: np.random.Generator) -> dict[CandidateKind, list[float]]:
        # Both rivals are exactly the margin worse than the tuned model.
        hard = random.random((3, 150))
        return {
            TUNED: [float(each < 0.8) for each in hard[0]],
            CLASSIFIER: [float(each < 0.7) for each in hard[1]],
            PROMPTED: [float(each < 0.7) for each in hard[2]],
        }

    assert false_switches(material, draw) < 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5


def test_three_candidates_against_an_incumbent_share_the_error(material: Make) -> None:
    def draw(random: np.random.Generator) -> dict[CandidateKind, list[float]]:
        rates = {INCUMBENT: 0.8, PROMPTED: 0.7, CLASSIFIER: 0.7}
        return {kind: [float(each < rate) for each in random.random(150)] for kind, rate in rates.items()}

    assert false_switches(material, draw) < 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5


def test_a_margin_wider_than_the_effect_decides_nothing(material: Make) -> None:
    # Both are hardly better than always giving the commonest of twelve answers (a twelfth of them).
    poor = {INCUMBENT: answers(240, range(200)), TUNED: answers(240, range(2, 202))}
    decision = material(poor, margin=0.3).decide()
    assert decision.verdict is Verdict.NEED_MORE_DATA
    assert "a margin of 30 points can decide nothing here: incumbent is only 8.3 points better" in decision.reasons[0]
    assert material(poor, margin=0.05).decide().verdict is Verdict.SWITCH


def test_a_changed_margin_is_told_as_a_new_plan(material: Make) -> None:
    scores = {INCUMBENT: answers(200, [1]), TUNED: answers(200, [2, 3, 4, 5])}
    strict = material(scores, margin=0.02).decide()
    loose = material(scores, margin=0.1).decide([strict])
    assert (strict.verdict, loose.verdict) == (Verdict.NEED_MORE_DATA, Verdict.SWITCH)
    assert loose.succeeds == strict.digest
    assert any("the plan was changed after results" in reason and "2 points" in reason for reason in loose.reasons)


def test_a_second_look_is_counted(material: Make) -> None:
    first = material({INCUMBENT: answers(50, []), TUNED: answers(50, [1])}, salt="a").decide()
    again = material({INCUMBENT: answers(90, []), TUNED: answers(90, [1])}, dataset="e" * 64).decide([first])
    assert "this is look 2 under the plan; each look spends the plan's error again" in again.reasons


def test_the_same_inputs_give_the_same_digest_whatever_the_machine_was_doing(material: Make) -> None:
    from msgspec.structs import replace

    made = material({TUNED: answers(146, [1]), CLASSIFIER: answers(146, [2])})
    busy = tuple(replace(each, latency_p50_ms=each.latency_p50_ms * 9 + 5) for each in made.report.figures)
    slow = made._replace(report=replace(made.report, figures=busy)).decide()
    assert slow.digest == made.decide().digest
    assert slow.times_cheaper != made.decide().times_cheaper
    assert slow.digest != material({TUNED: answers(146, [1]), CLASSIFIER: answers(146, [2, 3])}).decide().digest


def test_examples_of_one_session_are_not_counted_as_independent(material: Make) -> None:
    scores = {INCUMBENT: answers(200, []), TUNED: answers(200, range(40, 48))}
    alone = material(scores).decide().difference
    grouped = material(scores, session=lambda at: f"s{at // 8}").decide().difference
    assert grouped.method.startswith("cluster")
    assert grouped.low < alone.low


def test_one_candidate_alone_has_nothing_to_be_compared_with(material: Make) -> None:
    decision = material({TUNED: answers(20, [])}).decide()
    assert decision.verdict is Verdict.NEED_MORE_DATA
    assert "nothing to compare with" in decision.reasons[0]


def test_graded_scores_are_compared_too(material: Make) -> None:
    random = np.random.default_rng(1)
    left = [float(each) for each in random.random(300)]
    decision = material({INCUMBENT: left, TUNED: [min(1.0, each + 0.01) for each in left]}, margin=0.02).decide()
    assert decision.verdict is Verdict.SWITCH


def test_a_candidate_without_a_score_is_not_dropped_in_silence(material: Make) -> None:
    made = material({INCUMBENT: answers(20, []), TUNED: answers(20, [])})
    made.rows[made.report.figures[1].candidate.digest].pop()
    with pytest.raises(FreeholdError, match="tuned has no score for 1 of the 20 examples"):
        made.decide()
