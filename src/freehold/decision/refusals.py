"""Why a candidate may not take over, however good it is at the task: what it breaks, and what tuning took from it.

A loss is held to its bound, not to its figure: a candidate is refused unless the interval shows that less was lost than
the plan allows. What was not measured was not shown.
"""

from collections.abc import Iterator

from freehold.decision.power import points
from freehold.records import Candidate, CandidateKind, Change, Kept, Plan, Report


def refusals(candidate: Candidate, report: Report, plan: Plan) -> tuple[str, ...]:
    """Every reason, each naming the candidate; none where it may take over."""
    return tuple(f"{candidate.name} is refused: {reason}" for reason in _reasons(candidate, report, plan))


def _reasons(candidate: Candidate, report: Report, plan: Plan) -> Iterator[str]:
    for each in report.pins:
        if each.candidate == candidate.name and each.broken:
            yield f"it breaks {len(each.broken)} of {each.holds + len(each.broken)} pinned cases"
    if candidate.kind is not CandidateKind.TUNED:
        return
    measured = {each.what: each for each in report.changes if each.candidate == candidate.name}
    for what, allowed in sorted(plan.may_lose.items()):
        if what not in measured:
            yield f"what tuning took of {what} was not measured"
        elif measured[what].lost.high >= allowed:
            yield _lost(measured[what], allowed)


def _lost(change: Change, allowed: float) -> str:
    lost = change.lost
    if change.what is Kept.LANGUAGE:
        bound, limit = f"{lost.high:+.1%}", f"{allowed:.0%}"
        return f"perplexity on general text rose by {lost.value:+.1%}, or by up to {bound}; {limit} is the most"
    return (
        f"tuning took {points(lost.value)} of {change.what}, or up to {points(lost.high)} "
        f"(from {change.before.value:.1%} to {change.after.value:.1%}); {points(allowed)} is the most"
    )
