"""When a canary goes back by itself: once, with a reason, and with what to look at next.

Three things are watched, each anytime-valid (`sequence.py`), so that looking at every request spends no error: paired
quality, the share of requests that failed, and the share that were slower than the limit. They share the error
(Bonferroni). The rule reads counts and never a clock: an observation whose time jumps counts like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from freehold.decision.power import percent, points
from freehold.decision.sequence import Watch, observe, refutes_at_least, refutes_at_most
from freehold.records import Bounds, Record

_WATCHED = 3


class Observation(Record, frozen=True, kw_only=True):
    """One request that the canary answered; `score` and `against` are set where both answers could be scored."""

    id: str
    latency_ms: float
    failed: bool = False
    score: float | None = None
    against: float | None = None

    @property
    def disputed(self) -> bool:
        """A request that failed, or that the two sides were scored differently on."""
        return self.failed or (self.score is not None and self.score != self.against)


@dataclass(frozen=True)
class Ruling:
    """Whether to go back, why, and what a person should review next; `told` says how each watch stands."""

    back: bool
    reasons: tuple[str, ...]
    told: tuple[str, ...]
    review: tuple[str, ...]


def rule(bounds: Bounds, seen: Sequence[Observation], gone_back: bool = False) -> Ruling:
    """Rule on a canary from everything it has answered so far; once it has gone back there is nothing left to undo."""
    level = 1 - (1 - bounds.confidence) / _WATCHED
    pairs = [each.score - each.against for each in seen if each.score is not None and each.against is not None]
    quality = observe(Watch(level), pairs)
    errors = observe(Watch(level, floor=0.0), [float(each.failed) for each in seen])
    slow = observe(Watch(level, floor=0.0), [float(each.latency_ms > bounds.latency_ms) for each in seen])
    reasons = []
    if refutes_at_least(quality, -bounds.margin):
        reasons.append(f"quality: worse by more than {points(bounds.margin)}, on {quality.n:,} pairs")
    if refutes_at_most(errors, bounds.error_rate):
        reasons.append(f"errors: more than {percent(bounds.error_rate)} of {errors.n:,} requests fail")
    if refutes_at_most(slow, bounds.slow_rate):
        limit = f"{bounds.latency_ms:,.0f} ms"
        reasons.append(f"latency: more than {percent(bounds.slow_rate)} of {slow.n:,} requests take over {limit}")
    return Ruling(
        back=bool(reasons) and not gone_back,
        reasons=tuple(reasons),
        told=(
            _told("quality", quality, f"goes back below −{points(bounds.margin)}", signed=True),
            _told("errors", errors, f"goes back above {percent(bounds.error_rate)}"),
            _told("latency", slow, f"goes back above {percent(bounds.slow_rate)} over {bounds.latency_ms:,.0f} ms"),
        ),
        review=tuple(each.id for each in seen if each.disputed),
    )


def _told(name: str, watch: Watch, bound: str, signed: bool = False) -> str:
    """`errors: 0.4 [0.1, 1.9] % of 812; goes back above 2 %`."""
    if watch.mean is None:
        return f"{name}: nothing to judge by yet; {bound}"
    value, low, high = (f"{share * 100:{'+' if signed else ''}.1f}" for share in (watch.mean, watch.low, watch.high))
    unit = "points" if signed else "%"
    return f"{name}: {value} [{low}, {high}] {unit} of {watch.n:,}; {bound}".replace("-", "−")
