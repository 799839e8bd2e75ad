"""From a price and a month's work to the lines of a bill.

Tokens, requests and machines cost by the work done; seats, periods and people cost whether or not there is any; fees,
tuning and labelling are paid once and spread over the months that the sheet says.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from freehold.decision.cost_sheet import (
    CallsPrice,
    FeePrice,
    HoursPrice,
    MachinePrice,
    PeriodPrice,
    PriceForm,
    RequestPrice,
    SeatPrice,
    TokenPrice,
    TuningPrice,
)
from freehold.decision.ranges import NOTHING, ONE, Range, exactly
from freehold.errors import UndeterminedError

_SECONDS_AN_HOUR = 3600
_MONTHS_A_YEAR = 12
_PER = {"1K": Decimal(1000), "1M": Decimal(1_000_000)}


@dataclass(frozen=True)
class Work:
    """A month's work: jobs, the requests that each takes, the attempts that each request takes, and their size."""

    jobs: Range
    turns: Range
    attempts: Range
    input_tokens: Range | None
    output_tokens: Range | None
    seconds: Range | None
    active_users: Range | None = None

    @property
    def requests(self) -> Range:
        return self.jobs.times(self.turns)

    @property
    def calls(self) -> Range:
        """Upstream attempts: what a vendor bills."""
        return self.requests.times(self.attempts)


@dataclass(frozen=True)
class Line:
    """One line: what for, how much (in the sheet's currency; a month, or once), and who says so."""

    item: str
    amount: Range
    source: str
    once: bool = False


def lines(price: PriceForm, work: Work, rate: Range) -> list[Line]:
    """What one price comes to for a month's work; raises `UndeterminedError` that names a missing measurement."""
    return [replace(line, amount=line.amount.times(rate)) for line in _FORMS[type(price)](price, work)]


def _tokens(price: TokenPrice, work: Work) -> Iterator[Line]:
    """The answers, then what follow-ups and retries add: each is billed like any other call."""
    once = replace(work, turns=ONE, attempts=ONE)
    untroubled = replace(work, attempts=ONE)
    first, followed, retried = (_tokens_of(price, each) for each in (once, untroubled, work))
    yield Line("tokens", first, price.source)
    yield from _extra("follow-ups until accepted", first, followed, price.source)
    yield from _extra("retries", followed, retried, price.source)


def _tokens_of(price: TokenPrice, work: Work) -> Range:
    if work.input_tokens is None or work.output_tokens is None:
        raise UndeterminedError("tokens a request are unknown: give input_tokens and output_tokens, or run a report")
    calls, tiers = work.calls, price.tiers
    inputs = [(Decimal(0), price.input.range), *((Decimal(tier.above), exactly(tier.input)) for tier in tiers)]
    outputs = [(Decimal(0), price.output.range), *((Decimal(tier.above), exactly(tier.output)) for tier in tiers)]
    into = graduated(calls.times(work.input_tokens), Decimal(price.free_input), inputs)
    out = graduated(calls.times(work.output_tokens), Decimal(price.free_output), outputs)
    return into.plus(out).scaled(1 / _PER[price.per])


def graduated(units: Range, free: Decimal, steps: list[tuple[Decimal, Range]]) -> Range:
    """What so many units cost where each price holds from its step to the next, and the first `free` cost nothing."""
    bounds = [(max(start, free), price) for start, price in sorted(steps, key=lambda step: step[0])]
    ends = [start for start, _ in bounds[1:]]

    def at(count: Decimal, which: int) -> Decimal:
        cost = Decimal(0)
        for (start, price), end in zip(bounds, [*ends, count], strict=True):
            cost += max(Decimal(0), min(count, max(end, start)) - start) * price[which]
        return cost

    return Range(at(units.low, 0), at(units.value, 1), at(units.high, 2))


def _request(price: RequestPrice, work: Work) -> Iterator[Line]:
    once = replace(work, turns=ONE, attempts=ONE)
    untroubled = replace(work, attempts=ONE)
    steps = [(Decimal(0), price.price.range)]
    first, followed, retried = (graduated(each.calls, Decimal(price.free), steps) for each in (once, untroubled, work))
    yield Line("requests", first, price.source)
    yield from _extra("follow-ups until accepted", first, followed, price.source)
    yield from _extra("retries", followed, retried, price.source)


def _seat(price: SeatPrice, work: Work) -> Iterator[Line]:
    """Used and unused seats apart, where it is known how many people used it."""
    each = price.price.range.scaled(Decimal(1) / (_MONTHS_A_YEAR if price.per == "year" else 1))
    if work.active_users is None:
        yield Line(f"{price.seats} seats", each.scaled(Decimal(price.seats)), price.source)
        return
    used = min(price.seats, math.ceil(work.active_users.value))
    yield Line(f"{used} seats in use", each.scaled(Decimal(used)), price.source)
    if used < price.seats:
        yield Line(f"{price.seats - used} seats unused", each.scaled(Decimal(price.seats - used)), price.source)


def _period(price: PeriodPrice, work: Work) -> Iterator[Line]:
    months = _MONTHS_A_YEAR if price.per == "year" else 1
    yield Line(price.what, price.price.range.scaled(Decimal(1) / months), price.source)


def _fee(price: FeePrice, work: Work) -> Iterator[Line]:
    yield Line(price.what, price.price.range, price.source, once=True)


def _machine(price: MachinePrice, work: Work) -> Iterator[Line]:
    """What the machine works and what it waits, apart; more machines where one would be too busy."""
    if work.seconds is None:
        raise UndeterminedError("machine time a request is unknown: give seconds, or run a report")
    busy = work.calls.times(work.seconds).scaled(Decimal(1) / _SECONDS_AN_HOUR)
    if price.hours.low == 0:
        raise UndeterminedError("a machine that is up for 0 hours a month answers nothing: give hours")
    up = Range(*(_hours_up(each, hours, price.busiest) for each, hours in zip(busy, price.hours.range, strict=True)))
    hourly = price.per_hour.range
    working = Range(*(min(a, b) for a, b in zip(busy, up, strict=True))).times(hourly)
    waiting = Range(*sorted(_less(up.times(hourly), working)))  # the busier it is, the less it waits
    yield Line("machine at work", working, price.source)
    yield Line("machine waiting", waiting, price.source)
    if price.watts and price.per_kwh:
        kilowatt_hours = up.times(price.watts.range).scaled(Decimal(1) / 1000)
        yield Line("energy", kilowatt_hours.times(price.per_kwh.range), price.source)


def _hours_up(busy: Decimal, hours: Decimal, busiest: Decimal) -> Decimal:
    """Hours paid: one machine's, or those of as many as keep each no busier than `busiest`."""
    return max(1, math.ceil(busy / (hours * busiest))) * hours


def _hours(price: HoursPrice, work: Work) -> Iterator[Line]:
    amount = price.hours.range.times(price.rate.range)
    yield Line(f"people: {price.what}", amount, price.source, once=price.per == "once")


def _calls(price: CallsPrice, work: Work) -> Iterator[Line]:
    yield Line(price.what, work.requests.times(price.share.range).times(price.price.range), price.source)


def _tuning(price: TuningPrice, work: Work) -> Iterator[Line]:
    amount = price.hours.range.times(price.per_hour.range)
    if price.times_a_year is None:
        yield Line("tuning", amount, price.source, once=True)
    else:
        yearly = amount.times(price.times_a_year.range)
        yield Line("tuning", yearly.scaled(Decimal(1) / _MONTHS_A_YEAR), price.source)


def _extra(item: str, before: Range, after: Range, source: str) -> Iterator[Line]:
    """What a step added, where it added anything."""
    more = _less(after, before)
    if more != NOTHING:
        yield Line(item, more, source)


def _less(one: Range, other: Range) -> Range:
    """Bound by bound: both are the same work, so the low end of one goes with the low end of the other."""
    return Range(*(a - b for a, b in zip(one, other, strict=True)))


_FORMS: dict[type, Callable[[Any, Work], Iterator[Line]]] = {
    TokenPrice: _tokens,
    RequestPrice: _request,
    SeatPrice: _seat,
    PeriodPrice: _period,
    FeePrice: _fee,
    MachinePrice: _machine,
    HoursPrice: _hours,
    CallsPrice: _calls,
    TuningPrice: _tuning,
}
