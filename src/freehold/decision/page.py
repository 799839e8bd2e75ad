"""The certificate as one self-contained page for whoever has to sign: no script, no outside request.

Names come from task files and sheets and are escaped; the pictures are made here and are not.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from freehold import pages
from freehold.decision import pictures
from freehold.decision.break_even import BreakEven, Span
from freehold.decision.certificate import headline, spell
from freehold.decision.costs import Cost
from freehold.decision.power import about, percent, points
from freehold.decision.ranges import Range
from freehold.records import Decision

if TYPE_CHECKING:
    from jinja2 import Environment


def page(decision: Decision, costs: Sequence[Cost] = (), break_evens: Sequence[BreakEven] = ()) -> str:
    """The whole page; without costs it says that they are unknown."""
    from markupsafe import Markup

    drawn = pictures.forest(decision.comparisons, decision.plan.margin) if decision.comparisons else ""
    return (
        _environment()
        .get_template("certificate.html")
        .render(
            decision=decision,
            verdict=decision.verdict.value,
            headline=headline(decision),
            forest=Markup(drawn),
            costs=costs,
            break_evens=break_evens,
            wrong_once_in=round(1 / (1 - decision.plan.confidence)),
        )
    )


def money(amount: Range | None) -> str:
    """`12.30 [10.10, 15.00]`; small amounts keep three figures."""
    if amount is None:
        return "unknown"
    low, value, high = (_amount(each) for each in amount)
    return value if low == high else f"{value} [{low}, {high}]"


def thousand(amount: Range | None) -> str:
    """What a thousand cost."""
    return money(amount.scaled(Decimal(1000)) if amount else None)


def pays(found: BreakEven) -> str:
    """Volume and date in one sentence, with their ranges."""
    today = f"today's {found.jobs.value:,.0f}"
    if found.volume.best is None:
        return f"At no volume that was looked at, up to a thousand times {today} jobs a month."
    volume = f"From {span(found.volume, lambda value: f'{value:,.0f}')} jobs a month on."
    if found.months.best is None:
        return f"{volume} At {today} it does not pay back within ten years."
    months = span(found.months, lambda value: f"{value:,.1f}")
    best, expected, worst = (each.isoformat() if each else "never" for each in found.dates)
    when = f", on {expected} [{best}, {worst}]" if any(found.dates) else ""
    return f"{volume} At {today} what is spent once has been paid back after {months} months{when}."


def span(found: Span, spelled: Callable[[Decimal], str]) -> str:
    """`expected [best, worst]`, with never where it does not."""
    best, expected, worst = (
        "never" if each is None else spelled(each) for each in (found.best, found.expected, found.worst)
    )
    return f"{expected} [{best}, {worst}]"


def _amount(value: Decimal) -> str:
    if value.is_infinite():
        return "unbounded"
    if value == 0 or abs(value) >= 1:
        return f"{value:,.2f}"
    return f"{float(value):.3g}"


@lru_cache(maxsize=1)
def _environment() -> "Environment":
    from markupsafe import Markup

    environment = pages.environment("decision")
    environment.filters |= {
        "about": about,
        "curve": lambda found: Markup(pictures.break_even_curve(found)),
        "difference": spell,
        "money": money,
        "pays": pays,
        "points": points,
        "share": percent,
        "thousand": thousand,
        "tornado": lambda found: Markup(pictures.tornado(found)),
    }
    return environment
