"""Which of several good candidates to own: the one that is simplest and cheapest to run.

The order uses only facts that repeat exactly (kind, parameters, tokens), so that a decision's digest never depends on
how busy a machine was; machine time is told beside it.
"""

import math

from freehold.records import CandidateFigures, CandidateKind

# A classifier needs no engine; what runs here is paid once; what runs elsewhere is paid a request and can be withdrawn.
_RANK = {
    CandidateKind.CLASSIFIER: 0,
    CandidateKind.PROMPTED: 1,
    CandidateKind.TUNED: 1,
    CandidateKind.REMOTE: 2,
    CandidateKind.INCUMBENT: 3,
}
_LOCAL = 1


def burden(figures: CandidateFigures) -> tuple[int, float, str]:
    """A sort key: the kind first, then the work a request is (parameters x tokens), then the name."""
    candidate = figures.candidate
    work = math.inf if candidate.parameters is None else candidate.parameters * figures.tokens_per_request
    return _RANK[candidate.kind], work, candidate.name


def times_cheaper(chosen: CandidateFigures, other: CandidateFigures) -> float | None:
    """How many times less machine time a request takes, at the median; None unless both ran on this machine."""
    ran_here = all(_RANK[each.candidate.kind] <= _LOCAL for each in (chosen, other))
    if not ran_here or chosen.latency_p50_ms <= 0:
        return None
    return other.latency_p50_ms / chosen.latency_p50_ms
