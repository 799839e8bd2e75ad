"""What was believed when, and what reality said since.

A decision is held against the feedback on what its task was answered with from then until the next decision: the share
of judged answers that were accepted, beside the share that the report had promised. Both come with their intervals, and
only intervals that do not meet contradict each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from freehold.decision.traffic import Seen
from freehold.evaluation.statistics import wilson
from freehold.records import CandidateFigures, Decision, Interval, Report, Verdict


@dataclass(frozen=True)
class Believed:
    """One decision, what its report promised of the model it names, and what came of it.

    `decided_at` is UTC in microseconds since 1970. `reality` is the accepted share of `judged` answers since.
    """

    decided_at: int
    decision: Decision
    promised: Interval | None
    requests: int
    judged: int
    reality: Interval | None
    says: str


def history(
    decided: Sequence[tuple[int, Decision]], reports: Mapping[str, Report], seen: Sequence[Seen]
) -> list[Believed]:
    """Every decision, oldest first. `reports` are by digest, `seen` the live traffic of their tasks by model name."""
    return [_held_against(at, decision, _until(at, decision, decided), reports, seen) for at, decision in decided]


def _held_against(
    at: int, decision: Decision, until: float, reports: Mapping[str, Report], seen: Sequence[Seen]
) -> Believed:
    served = [each for each in seen if each.model == decision.task and at <= each.at < until]
    judged = [each for each in served if each.verdict is not None]
    reality = wilson(sum(each.verdict == "accepted" for each in judged), len(judged)) if judged else None
    figures = _named(decision, reports.get(decision.evidence.get("report", "")))
    promised = figures.metric if figures else None
    return Believed(at, decision, promised, len(served), len(judged), reality, _says(promised, reality))


def _until(at: int, decision: Decision, decided: Sequence[tuple[int, Decision]]) -> float:
    """When the task's next decision was made."""
    later = [other for other, each in decided if each.task == decision.task and other > at]
    return min(later, default=float("inf"))


def _named(decision: Decision, report: Report | None) -> CandidateFigures | None:
    """The figures of what the decision puts in charge: its candidate, or what it keeps."""
    if report is None or decision.verdict is Verdict.NEED_MORE_DATA:
        return None
    name = decision.candidate if decision.verdict is Verdict.SWITCH else decision.against
    return next((each for each in report.figures if each.candidate.name == name), None)


def _says(promised: Interval | None, reality: Interval | None) -> str:
    if reality is None:
        return "nothing was judged since"
    if promised is None:
        return "nothing was promised"
    if reality.high < promised.low:
        return "worse than was believed"
    return "better than was believed" if reality.low > promised.high else "as was believed"
