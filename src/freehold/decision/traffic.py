"""Captured traffic as planner and backtest see it: one record a request, with its cost and what was said of it."""

from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from statistics import fmean

from freehold.decision.cost_sheet import Estimate, Share
from freehold.evaluation.statistics import bootstrap_mean, wilson
from freehold.records import Record

_DAY = 86_400_000_000
PICO = 10**12
DAYS_A_MONTH = 30
# A day with less than this share of the busiest day's traffic is a stray clock, not a day.
_STRAY = 0.01


class Seen(Record, frozen=True, kw_only=True):
    """One captured request. `at` is UTC in microseconds since 1970, `cost` in pico-units of `currency`, all attempts.

    `verdict` is the last word that was said of the answer: accepted, rejected or corrected, then with the `correction`.
    """

    id: str
    at: int
    model: str
    system: str
    user: str
    answer: str | None = None
    session: str | None = None
    verdict: str | None = None
    correction: str | None = None
    attempts: int = 1
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int | None = None
    currency: str | None = None


def days(seen: Sequence[Seen]) -> int:
    """How many days (UTC) the traffic covers; days that a jumping clock made up are left out."""
    counted = Counter(each.at // _DAY for each in seen)
    if not counted:
        return 0
    return sum(count >= _STRAY * max(counted.values()) for count in counted.values())


def accepted(seen: Sequence[Seen]) -> Share | None:
    """The share of judged answers that were accepted as they were, with Wilson's interval; None without feedback."""
    judged = [each for each in seen if each.verdict is not None]
    if not judged:
        return None
    found = wilson(sum(each.verdict == "accepted" for each in judged), len(judged))
    low, value, high = (_decimal(each) for each in (found.low, found.value, found.high))
    return Share(low=low, value=value, high=high, source=f"feedback on {len(judged):,} answers")


def turns(seen: Sequence[Seen]) -> Estimate | None:
    """Requests a job, from sessions: follow-ups run until an answer was accepted or the session ends.

    A session's requests up to and with each accepted answer are one job; what is left after the last is another. The
    interval is the bootstrap's over sessions. None where nothing was recorded.
    """
    if not seen:
        return None
    sessions = _sessions(seen)
    lengths = [length for session in sessions.values() for length in _jobs(session)]
    owners = [name for name, session in sessions.items() for _ in _jobs(session)]
    if len(set(lengths)) == 1:
        exact = Decimal(lengths[0])
        return Estimate(low=exact, value=exact, high=exact, source=f"{len(lengths):,} jobs")
    found = bootstrap_mean(lengths, clusters=owners)
    low, value, high = (max(Decimal(1), _decimal(each)) for each in (found.low, found.value, found.high))
    return Estimate(low=low, value=value, high=high, source=f"{len(sessions):,} sessions")


def jobs_a_month(seen: Sequence[Seen]) -> Estimate | None:
    """Jobs in 30 days at the rate of the days seen, with a 95 % range for how many happen to come (Poisson)."""
    if not seen:
        return None
    count, covered = sum(len(_jobs(session)) for session in _sessions(seen).values()), days(seen)
    spread = 1.96 * count**0.5
    low, value, high = (
        _decimal(max(0.0, each) / covered * DAYS_A_MONTH) for each in (count - spread, count, count + spread)
    )
    return Estimate(low=low, value=value, high=high, source=f"{count:,} jobs in {covered} days")


def tokens(seen: Sequence[Seen], of: Callable[[Seen], int]) -> Estimate | None:
    """The mean of an attempt's tokens; None where none were counted."""
    counted = sum(of(each) for each in seen)
    if counted == 0:
        return None
    mean = _decimal(counted / sum(each.attempts for each in seen))
    return Estimate(low=mean, value=mean, high=mean, source=f"{len(seen):,} requests")


def attempts(seen: Sequence[Seen]) -> Estimate | None:
    """Upstream attempts a request; None where nothing was recorded."""
    if not seen:
        return None
    mean = max(Decimal(1), _decimal(fmean(each.attempts for each in seen)))
    return Estimate(low=mean, value=mean, high=mean, source=f"{len(seen):,} requests")


def _sessions(seen: Sequence[Seen]) -> dict[str, list[Seen]]:
    """Requests by session, in the order they came; one without a session stands alone."""
    sessions: dict[str, list[Seen]] = {}
    for each in sorted(seen, key=lambda each: each.at):
        sessions.setdefault(each.session or each.id, []).append(each)
    return sessions


def _jobs(session: Sequence[Seen]) -> list[int]:
    lengths, running = [], 0
    for each in session:
        running += 1
        if each.verdict == "accepted":
            lengths.append(running)
            running = 0
    return [*lengths, running] if running else lengths


def _decimal(value: float) -> Decimal:
    return Decimal(f"{value:.6g}")
