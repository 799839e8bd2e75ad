"""Where everything stands: each task's way along the flow with what is next, and what was used lately."""

import time
from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from freehold import status
from freehold.console import charts
from freehold.console.house import Visit
from freehold.console.page import Page
from freehold.gateway.prices import PICO
from freehold.store import deployments, exchanges, totals
from freehold.store.totals import Total

DAYS = 14
FIRST = datetime(1970, 1, 1, tzinfo=UTC)


def show(visit: Visit) -> Response:
    """The page that one lands on."""
    today = int(time.time() // 86_400)
    used = totals.days(visit.store, today - DAYS + 1)
    days = list(range(today - DAYS + 1, today + 1))
    requests = [(day_name(day), float(sum(each.requests for each in used if each.day == day))) for day in days]
    return visit.page(
        "overview.html",
        tasks=status.of_store(visit.workspace, visit.store),
        served=deployments.all_current(visit.store),
        newest=exchanges.listed(visit.store, 5),
        requests=requests,
        requests_chart=charts.bars(requests, "requests a day", f"Requests a day, the last {DAYS} days"),
        costs=spending(used),
        failed=sum(each.failed for each in used),
        attempts=sum(each.attempts for each in used),
    )


def spending(used: list[Total]) -> dict[str, int]:
    """What was spent, by currency, in pico-units; two currencies are never added."""
    costs: dict[str, int] = {}
    for each in used:
        if each.currency:
            costs[each.currency] = costs.get(each.currency, 0) + each.cost
    return costs


def day_name(day: int, year: bool = False) -> str:
    """A day counted since 1970, as `11-23` or `2026-11-23`."""
    return (FIRST + timedelta(days=day)).strftime("%Y-%m-%d" if year else "%m-%d")


def units(pico: int) -> float:
    """Pico-units as units of the currency, for drawing only."""
    return pico / float(PICO)


PAGES = (Page("/", show),)
