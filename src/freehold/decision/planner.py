"""Which task to own first: by what would be saved, by the data at hand, and by what could go wrong.

Nothing is guessed that the traffic does not show. A saving needs a price for the rented side (metered), a machine's
price for the owned side (the user's), and references that somebody stood behind: without feedback it is unknown whether
an owned model would be good enough, and so is the saving.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import msgspec

from freehold.decision.power import about, pairs_needed
from freehold.decision.ranges import Range
from freehold.decision.tasks import OTHER, Group
from freehold.decision.traffic import PICO, Seen, accepted, days
from freehold.records import Plan

ENOUGH_TO_TUNE = 500
_HELD_OUT = 0.2
_MOST_LABELS = 100
_LABELS_COVER = 0.9
_INDEPENDENT = {"accepted", "corrected"}


@dataclass(frozen=True)
class Prospect:
    """One task of the traffic. Money is a day's, in `currency`; None is unknown, and `advice` says what settles it.

    `references` are distinct messages whose answer somebody stood behind, `references_needed` those it takes when a
    fifth of them is held out.
    """

    task: str
    by: str
    requests: int
    days: int
    spend: Range | None
    currency: str | None
    answer: str
    distinct: int
    references: int
    references_needed: int
    rejected: float | None
    saving: Range | None
    data: str
    first: bool
    advice: str


def prospects(groups: Sequence[Group], plan: Plan, machine_per_day: Range | None) -> list[Prospect]:
    """Every task, the one to own first on top."""
    whole = days([each for group in groups for each in group.seen])
    found = [_prospect(group, plan, machine_per_day, whole) for group in groups]
    return sorted(found, key=_order)


def _prospect(group: Group, plan: Plan, machine_per_day: Range | None, whole: int) -> Prospect:
    spend, currency = _spend(group.seen, whole)
    distinct = len({each.user for each in group.seen if each.answer})
    references = len({each.user for each in group.seen if each.verdict in _INDEPENDENT})
    needed = math.ceil(pairs_needed(plan) / _HELD_OUT)
    saving = None
    if spend is not None and machine_per_day is not None and references:
        saving = spend.minus(machine_per_day)
    share = accepted(group.seen)
    found = Prospect(
        task=group.name,
        by=group.by,
        requests=len(group.seen),
        days=whole,
        spend=spend,
        currency=currency,
        answer=_answer_type(group.seen),
        distinct=distinct,
        references=references,
        references_needed=needed,
        rejected=1 - float(share.value) if share else None,
        saving=saving,
        data=_data(distinct),
        first=False,
        advice="",
    )
    advice = _advice(found)
    return replace(found, first=advice == "yes", advice=advice)


def _spend(seen: Sequence[Seen], whole: int) -> tuple[Range | None, str | None]:
    """A day's spend with a 95 % range for how many requests happen to come (compound Poisson: variance Σ cost²)."""
    currencies = {each.currency for each in seen if each.cost is not None}
    if len(currencies) != 1 or any(each.cost is None for each in seen):
        return None, None
    costs = [each.cost or 0 for each in seen]
    total, spread = sum(costs), Decimal("1.96") * Decimal(math.isqrt(sum(cost * cost for cost in costs)))
    low, value, high = (
        max(Decimal(0), each) / PICO / whole for each in (total - spread, Decimal(total), total + spread)
    )
    return Range(low, value, high), currencies.pop()


def _data(distinct: int) -> str:
    if distinct >= ENOUGH_TO_TUNE:
        return "enough"
    return f"need ~{about(ENOUGH_TO_TUNE - distinct)}"


def _advice(found: Prospect) -> str:
    """`yes`, or the one thing that stands most in the way."""
    if found.task == OTHER:
        return "no: not one task"
    if found.saving is not None and found.saving.high <= 0:
        return "no: a machine costs more than is spent"
    if found.distinct < ENOUGH_TO_TUNE:
        return "collect more traffic"
    if found.references == 0:
        return "collect feedback"
    if found.references < found.references_needed:
        return f"collect feedback: {found.references:,} of about {about(found.references_needed)}"
    if found.spend is None:
        return "unknown: what it costs today has no price"
    if found.saving is None:
        return "unknown: give a machine's price with --machine"
    return "yes" if found.saving.low > 0 else "perhaps: the saving may be nothing"


def _answer_type(seen: Sequence[Seen]) -> str:
    """`label` where few answers cover nearly all, `json` where they parse as objects, else `text`."""
    answers = [each.answer.strip() for each in seen if each.answer]
    if not answers:
        return "unknown"
    common = Counter(answers).most_common(_MOST_LABELS)
    covered = sum(count for _, count in common if count > 1)
    if covered >= _LABELS_COVER * len(answers):
        return "label"
    return "json" if sum(map(_is_object, answers)) >= _LABELS_COVER * len(answers) else "text"


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict | list)
    except msgspec.MsgspecError:
        return False


def _order(each: Prospect) -> tuple[int, Decimal, int, str]:
    """Those that are ready by their saving, then the others by what is spent on them."""
    worth = each.saving.low if each.saving and each.first else (each.spend.value if each.spend else Decimal(0))
    return (0 if each.first else 2 if each.task == OTHER else 1, -worth, -each.requests, each.task)
