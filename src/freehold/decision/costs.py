"""What an accepted answer costs, for every option, as a range with its lines and their sources.

Cost per accepted answer = everything that a month costs / the jobs whose answer was accepted. Work that was not
accepted is in the numerator (its calls, and its escalation) and not in the denominator. What cannot be known is None,
with why.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from freehold.decision.cost_sheet import Estimate, Option, Sheet
from freehold.decision.prices import Line, Work, lines
from freehold.decision.ranges import ONE, Range, exactly, hull, total
from freehold.errors import UndeterminedError

_UNPRICED = "no price is given"


@dataclass(frozen=True)
class Input:
    """A quantity that a cost was reckoned with, and who says so."""

    name: str
    amount: Range
    source: str


@dataclass(frozen=True)
class Cost:
    """What one option costs. Amounts are in the sheet's currency; `monthly` has one-off costs spread over it.

    `unknown` says why there is no figure; the verdict on quality stands without one.
    """

    option: str
    currency: str
    lines: tuple[Line, ...]
    running: Range | None
    once: Range | None
    monthly: Range | None
    per_accepted: Range | None
    per_active_user: Range | None
    unknown: str | None = None
    inputs: tuple[Input, ...] = ()


_QUANTITIES = ("accepted", "input_tokens", "output_tokens", "seconds", "attempts", "turns", "escalated")


def costs(sheet: Sheet) -> list[Cost]:
    """Every option of a sheet, in the sheet's order."""
    return [cost(name, sheet) for name in (*sheet.options, *sheet.cascades)]


def cost(name: str, sheet: Sheet) -> Cost:
    """One option's or cascade's cost; never raises for what is unknown, but says so."""
    inputs = tuple(_inputs(name, sheet))
    try:
        jobs = jobs_of(sheet)
        items = tuple(lines_of(name, sheet, jobs))
    except UndeterminedError as error:
        return Cost(name, sheet.currency, (), None, None, None, None, None, str(error), inputs)
    running = total([line.amount for line in items if not line.once])
    once = total([line.amount for line in items if line.once])
    monthly = spread(items, sheet)
    per_accepted, unknown = _per_accepted(name, sheet, jobs)
    users = sheet.traffic.active_users
    per_user = monthly.over(users.range) if users and users.low > 0 else None
    return Cost(name, sheet.currency, items, running, once, monthly, per_accepted, per_user, unknown, inputs)


def lines_of(name: str, sheet: Sheet, jobs: Range) -> list[Line]:
    """The lines of an option's or a cascade's bill for so many jobs a month; raises `UndeterminedError`."""
    if name not in sheet.cascades:
        return _lines(sheet.options[name], sheet, jobs)
    cascade = sheet.cascades[name]
    if cascade.kept is None:
        raise UndeterminedError(f"what {cascade.first} keeps is unknown: give kept, or the deployment that measures it")
    kept = cascade.kept.range
    passed = Range(1 - kept.high, 1 - kept.value, 1 - kept.low)
    return [
        replace(line, item=f"{part}: {line.item}")
        for part, share in ((cascade.first, ONE), (cascade.second, passed))
        for line in _lines(sheet.options[part], sheet, jobs.times(share))
    ]


def accepted_of(name: str, sheet: Sheet) -> Range | None:
    """The share of the jobs whose answer is accepted; None where nobody knows."""
    share = (sheet.cascades.get(name) or sheet.options[name]).accepted
    return share.range if share else None


def spread(items: Sequence[Line], sheet: Sheet) -> Range:
    """A month's total, with one-off costs spread over the months that the sheet says."""
    months = Decimal(sheet.amortise_months)
    return total([line.amount.scaled(1 / months) if line.once else line.amount for line in items])


def jobs_of(sheet: Sheet) -> Range:
    """Jobs a month; raises `UndeterminedError` where nobody knows how many."""
    if sheet.traffic.jobs is None:
        raise UndeterminedError("the traffic is unknown: give traffic.jobs (a month), or record some")
    return sheet.traffic.jobs.range


def _lines(option: Option, sheet: Sheet, jobs: Range) -> list[Line]:
    if not option.prices:
        raise UndeterminedError("no price is given")
    work = Work(
        jobs=jobs,
        turns=option.turns.range,
        attempts=option.attempts.range,
        input_tokens=_known(option.input_tokens),
        output_tokens=_known(option.output_tokens),
        seconds=_known(option.seconds),
        active_users=_known(sheet.traffic.active_users),
    )
    items = [line for price in option.prices for line in lines(price, work, sheet.rate(price.currency))]
    if option.escalation is not None:
        if option.escalated is None:
            raise UndeterminedError("escalation has a price and no share: give escalated")
        amount = jobs.times(option.escalated.range).times(option.escalation.range)
        items.append(Line("escalations", amount, option.escalation.source))
    return items


def _inputs(name: str, sheet: Sheet) -> Iterator[Input]:
    """The quantities of an option (of both, for a cascade), measured or given; prices have their own sources."""
    traffic = {"jobs a month": sheet.traffic.jobs, "active users": sheet.traffic.active_users}
    yield from _stated("", traffic)
    cascade = sheet.cascades.get(name)
    if cascade is not None:
        yield from _stated("", {"kept": cascade.kept, "accepted": cascade.accepted})
    for part in (cascade.first, cascade.second) if cascade else (name,):
        option = sheet.options[part]
        fields = {field.replace("_", " "): getattr(option, field) for field in _QUANTITIES}
        yield from _stated(f"{part}: " if cascade else "", fields)


def _stated(prefix: str, estimates: Mapping[str, Estimate | None]) -> Iterator[Input]:
    for name, estimate in estimates.items():
        if estimate is not None:
            yield Input(prefix + name, estimate.range, estimate.source)


def _known(estimate: Estimate | None) -> Range | None:
    return estimate.range if estimate else None


def _per_accepted(name: str, sheet: Sheet, jobs: Range) -> tuple[Range | None, str | None]:
    """The same month's jobs stand above and below the line, so each bound of the traffic is reckoned by itself."""
    accepted = accepted_of(name, sheet)
    if accepted is None:
        return None, "the share of accepted answers is unknown: give accepted, or collect feedback"
    if accepted.value == 0 or jobs.value == 0:
        return None, "no answer was accepted, so there is nothing to divide by"
    each = []
    for count in jobs:
        at = exactly(count)
        each.append(spread(lines_of(name, sheet, at), sheet).over(at.times(accepted)))
    return hull(each, each[1].value), None
