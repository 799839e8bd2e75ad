"""The certificate over the past: had we switched on day X, what would have been served, and at what cost.

Past requests are answered again by the owned model and set beside what was served. Where somebody judged the served
answer there is a reference: the answer itself where it was accepted, the correction where it was corrected. Answers
that were only rejected have none. Accepted references favour what was served, since it was what people saw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from freehold.decision.cost_sheet import Estimate, Sheet
from freehold.decision.costs import lines_of, spread
from freehold.decision.ranges import Range, exactly
from freehold.decision.traffic import DAYS_A_MONTH, PICO, Seen, days
from freehold.errors import DataError, UndeterminedError
from freehold.evaluation.statistics import pairs, tango, wilson
from freehold.records import Interval

_SHOWN = 10


@dataclass(frozen=True)
class Replayed:
    """One past request: what was served, what would have been, and what was right where somebody said so."""

    id: str
    message: str
    served: str
    owned: str
    reference: str | None


@dataclass(frozen=True)
class Backtest:
    """What a switch would have come to. Money is over the whole time, in `currency`; None is unknown.

    `difference` is owned minus served on the judged requests; `mistakes` are judged ones that the owned model would
    have got wrong, `different` the share that would have read otherwise.
    """

    requests: int
    days: int
    different: Interval
    judged: int
    served_right: Interval | None
    owned_right: Interval | None
    difference: Interval | None
    served_cost: Decimal | None
    owned_cost: Range | None
    currency: str | None
    mistakes: tuple[Replayed, ...]


def backtest(seen: Sequence[Seen], answers: Mapping[str, str], owned_cost: Range | None = None) -> Backtest:
    """Set the owned model's `answers` (by request id) beside what was served; raises `DataError` without one."""
    replayed = [_replayed(each, answers) for each in seen if each.answer is not None]
    if not replayed:
        raise DataError("there is no answered request on or after that day; choose an earlier one")
    judged = [each for each in replayed if each.reference is not None]
    served = [float(same(each.served, each.reference or "")) for each in judged]
    owned = [float(same(each.owned, each.reference or "")) for each in judged]
    differing = sum(not same(each.served, each.owned) for each in replayed)
    cost, currency = _served_cost(seen)
    return Backtest(
        requests=len(replayed),
        days=days(seen),
        different=wilson(differing, len(replayed)),
        judged=len(judged),
        served_right=wilson(sum(served), len(served)) if judged else None,
        owned_right=wilson(sum(owned), len(owned)) if judged else None,
        difference=tango(pairs(owned, served)) if judged else None,
        served_cost=cost,
        owned_cost=owned_cost,
        currency=currency,
        mistakes=tuple(each for each, right in zip(judged, owned, strict=True) if not right)[:_SHOWN],
    )


def owned_cost(sheet: Sheet, option: str, seen: Sequence[Seen]) -> Range:
    """What an option would have cost over the days seen, at their volume; raises `UndeterminedError`."""
    covered = days(seen)
    if covered == 0:
        raise UndeterminedError("no day was seen: there is no volume to reckon with")
    months = Decimal(covered) / DAYS_A_MONTH
    jobs = Decimal(len(seen)) / months
    at_volume = Estimate(low=jobs, value=jobs, high=jobs, source="the traffic itself")
    made = sheet.model_copy(update={"traffic": sheet.traffic.model_copy(update={"jobs": at_volume})})
    return spread(lines_of(option, made, exactly(jobs)), made).scaled(months)


def reference(served: str, verdict: str | None, correction: str | None) -> str | None:
    """What was right: the served answer where it was accepted, the correction where there is one, else unknown."""
    return {"accepted": served, "corrected": correction}.get(verdict or "")


def same(one: str, other: str) -> bool:
    """Whether two answers are the same: as JSON where both are, else to the letter but for the space around them."""
    if one.strip() == other.strip():
        return True
    first, second = _structure(one), _structure(other)
    return first is not None and first == second


def _replayed(each: Seen, answers: Mapping[str, str]) -> Replayed:
    if each.id not in answers:
        raise DataError(f"request {each.id} was not answered again; `freehold decision backtest` goes on where it was")
    right = reference(each.answer or "", each.verdict, each.correction)
    return Replayed(each.id, each.user, each.answer or "", answers[each.id], right)


def _served_cost(seen: Sequence[Seen]) -> tuple[Decimal | None, str | None]:
    currencies = {each.currency for each in seen if each.cost is not None}
    if len(currencies) != 1 or any(each.cost is None for each in seen):
        return None, None
    return Decimal(sum(each.cost or 0 for each in seen)) / PICO, currencies.pop()


def _structure(text: str) -> object:
    try:
        found = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return None
    return found if isinstance(found, dict | list) else None
