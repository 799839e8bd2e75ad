"""Reports, rows and examples made from lists of right and wrong answers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pytest

from freehold.decision.certificate import decide
from freehold.records import (
    Candidate,
    CandidateFigures,
    CandidateKind,
    Decision,
    Example,
    Interval,
    Message,
    Plan,
    Provenance,
    Report,
    Row,
    Split,
    digest,
)

PARAMETERS = {CandidateKind.PROMPTED: 135_000_000, CandidateKind.TUNED: 135_000_000}
TOKENS = {CandidateKind.PROMPTED: 412.0, CandidateKind.TUNED: 41.0, CandidateKind.CLASSIFIER: 0.0}
LATENCY = {CandidateKind.CLASSIFIER: 1.0, CandidateKind.TUNED: 40.0}


class Material(NamedTuple):
    """What `decide` is given."""

    report: Report
    rows: dict[str, list[Row]]
    plan: Plan
    examples: list[Example]

    def decide(self, earlier: Sequence[Decision] = ()) -> Decision:
        return decide(self.report, self.rows, self.plan, self.examples, earlier)


def example(at: int, provenance: Provenance, session: str | None = None) -> Example:
    return Example(
        id=f"e{at:05}",
        salt="",
        split=Split.HELD_OUT,
        messages=(Message(role="user", content=f"message {at}"),),
        reference=f"answer {at % 12}",
        provenance=provenance,
        origin="test",
        session=session,
    )


def figures(kind: CandidateKind, scores: Sequence[float]) -> CandidateFigures:
    mean = sum(scores) / len(scores)
    return CandidateFigures(
        candidate=Candidate(name=kind.value, kind=kind, digest=digest(kind.value), parameters=PARAMETERS.get(kind)),
        metric=Interval(value=mean, low=0.0, high=1.0, n=len(scores), method="test"),
        free=None,
        labels=(),
        confusion=(),
        tokens_per_request=TOKENS.get(kind, 500.0),
        latency_p50_ms=LATENCY.get(kind, 100.0),
        latency_p95_ms=200.0,
        errors=0,
    )


def build(
    scores: Mapping[CandidateKind, Sequence[float]],
    margin: float = 0.1,
    provenance: Callable[[int], Provenance] = lambda at: Provenance.HUMAN,
    session: Callable[[int], str | None] = lambda at: None,
    **facts: Any,  # noqa: ANN401
) -> Material:
    n = len(next(iter(scores.values())))
    examples = [example(at, provenance(at), session(at)) for at in range(n)]
    every = tuple(figures(kind, each) for kind, each in scores.items())
    rows = {
        each.candidate.digest: [
            Row(candidate=each.candidate.digest, example=examples[at].id, answer="a", score=score)
            for at, score in enumerate(scores[each.candidate.kind])
        ]
        for each in every
    }
    report = Report(
        digest=digest([facts.get("salt", ""), {kind: list(each) for kind, each in scores.items()}]),
        task="triage",
        dataset=facts.get("dataset", "d" * 64),
        metric="accuracy",
        references={},
        figures=every,
        rows_sha256="r" * 64,
    )
    plan = Plan(metric="accuracy", margin=margin, confidence=facts.get("confidence", 0.95), seed=0)
    return Material(report, rows, plan, examples)


@pytest.fixture
def material() -> Callable[..., Material]:
    return build
