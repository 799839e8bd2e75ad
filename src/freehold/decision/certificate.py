"""The decision: switch, keep, or need more data, from one report and a plan that was fixed before it.

Three rules hold here. A switch needs references that are independent of the incumbent (DESIGN.md, Truth): the others
are left out of every comparison. Every bound is the one the test uses, so the interval and the verdict cannot disagree.
And the chance that a wrong candidate is named stays below 1 − confidence over all candidates together:

- With an incumbent, each of K candidates is tested against it at level α/K (Bonferroni).
- Without one, a candidate qualifies when it is non-inferior to *every* other. That is an intersection-union test
  (Berger 1982): each candidate's tests stand at one level without sharing it, and since it is held against all, the
  best included, picking the best on the same data costs nothing. At most K − 1 candidates can qualify wrongly (the true
  best cannot), so the level is α/(K − 1).

Of those that qualify the simplest is named (`simplicity.burden`). What may not take over at all (`refusals.py`) is no
candidate, and no rival either; the tests that were planned still share the error.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from msgspec.structs import asdict, replace

from freehold.decision.comparison import Scored, compare, scored
from freehold.decision.power import about, achieved, pairs_needed, percent, points
from freehold.decision.refusals import refusals
from freehold.decision.simplicity import burden, times_cheaper
from freehold.records import (
    CandidateFigures,
    CandidateKind,
    Comparison,
    Decision,
    Example,
    Interval,
    Plan,
    Provenance,
    Report,
    Row,
    Verdict,
    digest,
)

PLAN_CHANGED = "the plan was changed after results on this dataset had been seen"
_BESIDE = {"digest", "times_cheaper"}


def decide(
    report: Report,
    rows: Mapping[str, Sequence[Row]],
    plan: Plan,
    examples: Sequence[Example],
    earlier: Sequence[Decision] = (),
) -> Decision:
    """Decide on one report.

    `rows` are by candidate digest, `examples` the held-out ones (they say whose answer each reference is, and which
    share a session), and `earlier` this task's decisions so far, oldest first: the new one succeeds the last, and says
    so where the plan was changed after results had been seen. Raises `FreeholdError` where a candidate was not scored
    on every example.
    """
    case = Case(report, rows, plan, examples)
    if not case.compared:
        finding = _without_truth(case)
    elif not case.comparisons:
        finding = _without_rival(case)
    elif not case.open:
        finding = _all_refused(case)
    elif case.incumbent:
        finding = _against_incumbent(case)
    else:
        finding = _among_candidates(case)
    return _sealed(case, finding, earlier)


def intact(decision: Decision) -> bool:
    """Whether a decision is what its digest says."""
    return decision.digest == _digest(decision)


def headline(decision: Decision) -> str:
    """The decision in one line, for a terminal."""
    openings = {
        Verdict.SWITCH: f"switch to {decision.candidate}",
        Verdict.KEEP: f"keep {decision.against}",
        Verdict.NEED_MORE_DATA: "need more data",
    }
    cheaper = decision.times_cheaper
    tail = f" and {cheaper:,.0f} times cheaper" if cheaper and cheaper >= 2 else ""
    return f"{openings[decision.verdict]}: {decision.reasons[0]}{tail}"


@dataclass(frozen=True)
class Case:
    """What is before the judge: the report's candidates and their scores on the references that count."""

    report: Report
    rows: Mapping[str, Sequence[Row]]
    plan: Plan
    examples: Sequence[Example]

    @cached_property
    def incumbent(self) -> CandidateFigures | None:
        return next((each for each in self.report.figures if each.candidate.kind is CandidateKind.INCUMBENT), None)

    @cached_property
    def candidates(self) -> list[CandidateFigures]:
        return [each for each in self.report.figures if each.candidate.kind is not CandidateKind.INCUMBENT]

    @cached_property
    def compared(self) -> list[Example]:
        """Those whose reference is independent and, where there is an incumbent, that it has answered."""
        independent = [example for example in self.examples if example.provenance.independent]
        if self.incumbent is None:
            return independent
        answered = {row.example for row in self.rows.get(self.incumbent.candidate.digest, ())}
        return [example for example in independent if example.id in answered]

    @property
    def pairs(self) -> int:
        return len(self.compared)

    @cached_property
    def scored(self) -> dict[str, Scored]:
        return {
            each.candidate.name: scored(each.candidate, self.rows.get(each.candidate.digest, ()), self.compared)
            for each in self.report.figures
        }

    @cached_property
    def sharing(self) -> int:
        """How many tests share the error."""
        return max(1, len(self.candidates) - (0 if self.incumbent else 1))

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Every candidate against the incumbent, or against every other where there is none."""
        mine = [each.candidate.name for each in self.candidates]
        rivals = [self.incumbent.candidate.name] if self.incumbent else mine
        return tuple(
            compare(self.scored[name], self.scored[rival], self.compared, self.plan, self.sharing)
            for name in mine
            for rival in rivals
            if name != rival
        )

    @cached_property
    def refused(self) -> dict[str, tuple[str, ...]]:
        """Candidates that may not take over, and why."""
        found = {each.candidate.name: refusals(each.candidate, self.report, self.plan) for each in self.candidates}
        return {name: reasons for name, reasons in found.items() if reasons}

    @cached_property
    def open(self) -> tuple[Comparison, ...]:
        """The comparisons of candidates that may take over, with rivals that stand."""
        return tuple(each for each in self.comparisons if not {each.candidate, each.against} & self.refused.keys())

    def effect(self, name: str) -> float:
        """How much better than always giving the commonest answer somebody does, as a share of 1."""
        values = self.scored[name].values
        commonest = max(Counter(example.reference for example in self.compared).values())
        return (sum(values) - commonest) / len(values)

    def figures(self, name: str) -> CandidateFigures:
        return next(each for each in self.report.figures if each.candidate.name == name)


@dataclass(frozen=True)
class Finding:
    """A verdict, the comparison that carries it, and why."""

    verdict: Verdict
    comparison: Comparison | None
    reasons: tuple[str, ...]
    needed: int | None = None


def _against_incumbent(case: Case) -> Finding:
    passed = [each for each in case.open if each.non_inferior]
    if passed:
        chosen = min(passed, key=lambda each: burden(case.figures(each.candidate)))
        return _switch(case, chosen, len(passed))
    nearest = max(case.open, key=lambda each: each.difference.low)
    if all(each.difference.high < -case.plan.margin for each in case.open):
        what = f"no candidate is within {points(case.plan.margin)} of it (the nearest, {nearest.candidate}: "
        return Finding(Verdict.KEEP, nearest, (f"{what}difference {spell(nearest.difference)})", _rule(case)))
    return _undecided(case, nearest)


def _among_candidates(case: Case) -> Finding:
    """The simplest that is non-inferior to every other; told against the best of the others."""
    held = {name: [each for each in case.open if each.candidate == name] for name in _standing(case)}
    passed = [name for name, tests in held.items() if all(each.non_inferior for each in tests)]
    if passed:
        chosen = min(passed, key=lambda name: burden(case.figures(name)))
        return _switch(case, _against_best(case, held[chosen]), len(passed))
    weakest = [min(tests, key=lambda each: each.difference.low) for tests in held.values()]
    return _undecided(case, max(weakest, key=lambda each: each.difference.low))


def _switch(case: Case, chosen: Comparison, passed: int) -> Finding:
    better = chosen.difference.low > 0
    if not better and case.effect(chosen.against) <= case.plan.margin:
        return _margin_too_wide(case, chosen)
    how = f"better than {chosen.against}" if better else f"within {points(case.plan.margin)} of {chosen.against}"
    first = f"it is {how} (difference {spell(chosen.difference)})"
    reasons = [first, _rule(case)]
    if not case.incumbent and len(_standing(case)) > 2:
        others = "every other candidate that may take over" if case.refused else "every other candidate measured"
        reasons.append(f"it is within the margin of {others}; {chosen.against} is the best of them")
    if passed > 1:
        reasons.append(f"{passed} candidates are good enough; it is the simplest and cheapest of them to run")
    return Finding(Verdict.SWITCH, chosen, tuple(reasons))


def _margin_too_wide(case: Case, chosen: Comparison) -> Finding:
    """A margin as wide as the effect lets through a candidate that understands nothing (cf. ICH E10)."""
    why = (
        f"a margin of {points(case.plan.margin)} can decide nothing here: {chosen.against} is only "
        f"{points(max(0.0, case.effect(chosen.against)))} better than always giving the commonest answer"
    )
    how = "decide on a margin that is smaller than that: decide.margin in the task file"
    return Finding(Verdict.NEED_MORE_DATA, chosen, (why, how, _rule(case)))


def _undecided(case: Case, nearest: Comparison) -> Finding:
    needed = pairs_needed(case.plan, variance=nearest.variance, comparisons=case.sharing)
    have = case.pairs
    first = (
        f"{have:,} pairs do not settle whether {nearest.candidate} is within {points(case.plan.margin)} "
        f"of {nearest.against} (difference {spell(nearest.difference)})"
    )
    if needed > have:
        hope = f"about {about(needed)} independent references are needed if both are equally good; there are {have:,}"
        return Finding(Verdict.NEED_MORE_DATA, nearest, (first, hope, _rule(case)), needed)
    hope = f"{have:,} pairs would have been enough if both were equally good: {nearest.candidate} is probably worse"
    return Finding(Verdict.NEED_MORE_DATA, nearest, (first, hope, _rule(case)))


def _without_truth(case: Case) -> Finding:
    needed = pairs_needed(case.plan, comparisons=case.sharing)
    independent = sum(example.provenance.independent for example in case.examples)
    if independent:
        why = f"the incumbent has answered none of the {independent:,} examples whose reference is independent of it"
    else:
        why = (
            f"all {len(case.examples):,} references are the incumbent's own answers: "
            f"{case.report.metric} on them is agreement with it, and no agreement can support a switch"
        )
    want = f"about {about(needed)} independent references (human, corrected or accepted) are needed; there are 0"
    return Finding(Verdict.NEED_MORE_DATA, None, (why, want), needed)


def _without_rival(case: Case) -> Finding:
    why = "there is nothing to compare with: the report holds one candidate and no incumbent"
    return Finding(Verdict.NEED_MORE_DATA, None, (why, "name an incumbent or a second candidate in the task file"))


def _all_refused(case: Case) -> Finding:
    """Nothing may take over, or one candidate alone, with nothing left to hold it against."""
    if case.incumbent:
        nearest = max(case.comparisons, key=lambda each: each.difference.low)
        return Finding(Verdict.KEEP, nearest, ("no candidate may take over",))
    left = ", ".join(each.candidate.name for each in case.candidates if each.candidate.name not in case.refused)
    what = (
        f"only {left} may take over, and nothing is left to compare it with" if left else "no candidate may take over"
    )
    return Finding(Verdict.NEED_MORE_DATA, None, (what,))


def _standing(case: Case) -> list[str]:
    """Candidates that may take over, in the report's order."""
    return list(dict.fromkeys(each.candidate for each in case.open))


def _rule(case: Case) -> str:
    each = percent(1 - (1 - case.plan.confidence) / case.sharing)
    if case.sharing == 1:
        return f"each bound holds at {each}, one-sided; one comparison was planned"
    against = "the incumbent" if case.incumbent else "every other, so that choosing the best adds no error"
    return (
        f"each bound holds at {each}, one-sided: {len(case.candidates)} candidates share an error of "
        f"{percent(1 - case.plan.confidence)} (Bonferroni), each held against {against}"
    )


def _sealed(case: Case, finding: Finding, earlier: Sequence[Decision]) -> Decision:
    chosen = finding.comparison
    decision = Decision(
        digest="",
        task=case.report.task,
        verdict=finding.verdict,
        candidate=chosen.candidate if chosen else None,
        against=chosen.against if chosen else None,
        difference=chosen.difference if chosen else None,
        reasons=finding.reasons + _remarks(case, earlier),
        power=_power(case, chosen),
        plan=case.plan,
        evidence=_evidence(case, chosen),
        comparisons=case.comparisons if case.compared else (),
        references=_counted(case),
        pairs_needed=finding.needed,
        times_cheaper=_cheaper(case, finding),
        succeeds=earlier[-1].digest if earlier else None,
    )
    return replace(decision, digest=_digest(decision))


def _digest(decision: Decision) -> str:
    return digest({name: value for name, value in asdict(decision).items() if name not in _BESIDE})


def _remarks(case: Case, earlier: Sequence[Decision]) -> tuple[str, ...]:
    remarks = [reason for reasons in case.refused.values() for reason in reasons] if case.compared else []
    left_out = sum(not example.provenance.independent for example in case.examples)
    if left_out and case.compared:
        remarks.append(f"{left_out:,} references that are the incumbent's own answers were left out of the comparison")
    looked = [each for each in earlier if each.evidence.get("dataset") == case.report.dataset]
    changed = [each for each in looked if each.plan != case.plan]
    if changed:
        before = changed[-1].plan
        remarks.append(
            f"{PLAN_CHANGED} (margin {points(before.margin)} at "
            f"{percent(before.confidence)} in decision {changed[-1].digest[:12]}): read this as a new plan"
        )
    looks = {each.evidence["report"] for each in earlier if each.plan == case.plan} | {case.report.digest}
    if len(looks) > 1:
        remarks.append(f"this is look {len(looks)} under the plan; each look spends the plan's error again")
    return tuple(remarks)


def _power(case: Case, chosen: Comparison | None) -> str:
    if chosen is None:
        return f"{points(case.plan.margin)} would need about {about(pairs_needed(case.plan, comparisons=case.sharing))}"
    return achieved(case.plan, case.pairs, variance=chosen.variance, comparisons=case.sharing)


def _evidence(case: Case, chosen: Comparison | None) -> dict[str, str]:
    evidence = {"report": case.report.digest, "dataset": case.report.dataset, "rows": case.report.rows_sha256}
    if chosen:
        evidence["candidate"] = case.figures(chosen.candidate).candidate.digest
        evidence["against"] = case.figures(chosen.against).candidate.digest
    return evidence


def _counted(case: Case) -> dict[Provenance, int]:
    return dict(sorted(Counter(example.provenance for example in case.compared).items()))


def _cheaper(case: Case, finding: Finding) -> float | None:
    if finding.verdict is not Verdict.SWITCH or finding.comparison is None:
        return None
    return times_cheaper(case.figures(finding.comparison.candidate), case.figures(finding.comparison.against))


def _against_best(case: Case, tests: list[Comparison]) -> Comparison:
    return min(tests, key=lambda each: (each.difference.value, each.against))


def spell(difference: Interval) -> str:
    """A difference in points: `−2.1 [−6.4, +2.2]`."""
    value, low, high = (
        f"{each * 100:+.1f}".replace("-", "−") for each in (difference.value, difference.low, difference.high)
    )
    return f"{value} [{low}, {high}]"
