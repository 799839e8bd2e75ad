"""Keys and what they cost: made and ended by an admin; statements with charts, and as CSV; what each name keeps to."""

import csv
import io
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from starlette.responses import Response

from freehold.console import charts
from freehold.console.house import Visit
from freehold.console.page import Page
from freehold.console.pages.overview import FIRST, day_name, spending, units
from freehold.console.widget import origin_of
from freehold.errors import NotFoundError, UserError
from freehold.evaluation.statistics import wilson
from freehold.gateway.objectives import budgets
from freehold.gateway.prices import PICO
from freehold.records import Interval, Record
from freehold.store import browse, deployments, keys, totals
from freehold.store.browse import Wanted
from freehold.store.deployments import Deployment
from freehold.store.keys import Allowance, Key
from freehold.store.totals import Total
from freehold.store.users import Role

DAYS = 30
NEWEST = browse.PAGE
_COUNTS = ("requests", "attempts", "failed", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")


class Objective(Record, frozen=True, kw_only=True):
    """How a public name's newest requests keep to its bounds. Latencies in milliseconds; shares of `n`."""

    name: str
    n: int
    p95_ms: float | None
    slow: Interval | None
    failed: Interval | None
    latency_ms: float
    slow_rate: float
    error_rate: float


def show(visit: Visit) -> Response:
    """Every key, what all of them used, and how the served names keep to their bounds."""
    since = _since(visit)
    used = totals.days(visit.store, since)
    everybody = keys.every(visit.store)
    served = deployments.all_current(visit.store)
    return visit.page(
        "keys.html",
        keys=everybody,
        statement=_by_key_and_model(used, everybody),
        since=day_name(since, year=True),
        objectives=[objective(visit, each) for each in served.values()],
        budgets=[(name, budget) for name, each in served.items() for budget in budgets(visit.store, each)],
        served=list(served),
        **_drawn(used, since),
    )


def one(visit: Visit) -> Response:
    """One key, living or revoked, and what it used."""
    key = _found(visit)
    since = _since(visit)
    used = totals.days(visit.store, since, key.id)
    return visit.page(
        "key.html",
        key=key,
        statement=_by_key_and_model(used, [key]),
        spent=_spent(visit, key),
        **_drawn(used, since),
    )


def create(visit: Visit) -> Response:
    """Make a key; this page shows its secret, and no other ever does."""
    form = visit.form
    budget, days = form.get("budget"), form.number("days", "days until it expires")
    origins = tuple(origin_of(each) for each in form.get("origins").replace(",", " ").split())
    models = tuple(each.strip() for each in form.get("models").split(",") if each.strip())
    if origins and len(models) != 1:
        raise UserError("a key for a site's chat widget is limited to one deployment; name exactly one model")
    period = form.get("period") or "month"
    if period not in ("day", "month", "ever"):
        raise UserError(f"period is {period!r}; it is day, month or ever")
    allowance = Allowance(
        models=models or None,
        budget=_budget(budget) if budget else None,
        currency=(form.get("currency") or "USD").upper(),
        period=period,  # type: ignore[arg-type]  # checked above
        requests_per_minute=form.number("requests", "requests a minute"),
        tokens_per_minute=form.number("tokens", "tokens a minute"),
        expires_at=time.time_ns() // 1000 + days * 86_400_000_000 if days else None,
        origins=origins or None,
    )
    key, secret = keys.create(visit.store, form.need("name", "the key's name"), allowance)
    visit.log("key made", key.name, key.id)
    return visit.page("key_made.html", key=key, secret=secret)


def ask_end(visit: Visit) -> Response:
    """Is that meant?"""
    key = _found(visit)
    return visit.page(
        "confirm.html",
        title=f"Revoke the key {key.name}?",
        lines=["Whoever uses it is refused within a second.", "It cannot be brought back; what it used stays billed."],
        action=f"/keys/{key.id}/revoke",
        fields=[],
        word="Revoke it",
        back=f"/keys/{key.id}",
    )


def end(visit: Visit) -> Response:
    """End a key."""
    key = _found(visit)
    keys.revoke(visit.store, key.id)
    visit.log("key revoked", key.name, key.id)
    return visit.go(f"/keys/{key.id}", f"{key.name} is revoked")


def statement(visit: Visit) -> Response:
    """The statement as CSV: a line for each day, key, model and currency; amounts exact, never rounded."""
    names = {key.id: key.name for key in keys.every(visit.store)}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["day", "key", "model", *_COUNTS, "cost", "currency", "unpriced", "estimated"])
    for each in totals.days(visit.store, _since(visit), visit.query.get("key") or None):
        counts = [getattr(each, name) for name in _COUNTS]
        cost = f"{Decimal(each.cost) / PICO:f}" if each.currency else ""
        name = _plain(names.get(each.key, each.key))
        day = day_name(each.day, year=True)
        writer.writerow([day, name, _plain(each.model), *counts, cost, each.currency, each.unpriced, each.estimated])
    headers = {"content-disposition": "attachment; filename=freehold-usage.csv"}
    return Response(out.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def objective(visit: Visit, deployment: Deployment) -> Objective:
    """The newest requests of a name against its bounds, with 95 % intervals (Wilson)."""
    rows = [each.exchange for each in browse.page(visit.store, Wanted(model=deployment.name)).rows]
    bounds = deployment.bounds
    times = sorted(each.latency_ms for each in rows)
    slow, failed = sum(ms > bounds.latency_ms for ms in times), sum(each.status >= 500 for each in rows)
    return Objective(
        name=deployment.name,
        n=len(rows),
        p95_ms=times[max(0, -(-95 * len(times) // 100) - 1)] if times else None,
        slow=wilson(slow, len(rows)) if rows else None,
        failed=wilson(failed, len(rows)) if rows else None,
        latency_ms=bounds.latency_ms,
        slow_rate=bounds.slow_rate,
        error_rate=bounds.error_rate,
    )


def _drawn(used: Sequence[Total], since: int) -> dict[str, Any]:
    """Costs a day as a chart and as a table, a currency each; and the counts that cannot be priced."""
    days = range(since, int(time.time() // 86_400) + 1)
    pictures = []
    for currency in sorted(spending(list(used))):
        spent = {day: sum(e.cost for e in used if e.day == day and e.currency == currency) for day in days}
        values = [(day_name(day), units(cost)) for day, cost in spent.items()]
        title = f"{currency} a day"
        pictures.append(
            (currency, charts.bars(values, title, title), [(day_name(d, True), c) for d, c in spent.items()])
        )
    return {"charts": pictures, "unpriced": sum(each.unpriced for each in used), "days": len(days)}


def _by_key_and_model(used: Sequence[Total], everybody: Sequence[Key]) -> list[tuple[str, str, Total]]:
    """The period's lines: key, model, sum."""
    names = {key.id: key.name for key in everybody}
    found: dict[tuple[str, str, str], Total] = {}
    for each in used:
        line = (each.key, each.model, each.currency)
        found[line] = totals.added(found[line], each) if line in found else each
    return [(names.get(key, key), model, line) for (key, model, _), line in sorted(found.items())]


def _since(visit: Visit) -> int:
    """The first day of the statement, counted since 1970."""
    said = visit.query.get("since")
    if not said:
        return int(time.time() // 86_400) - DAYS + 1
    try:
        day = datetime.fromisoformat(said).replace(tzinfo=UTC)
    except ValueError:
        raise UserError(f"since is {said!r}; write a day such as 2026-11-01") from None
    return max((day - FIRST) // timedelta(days=1), int(time.time() // 86_400) - 365)


def _spent(visit: Visit, key: Key) -> int | None:
    """What a key with a budget has spent in the period that runs now."""
    allowed = key.allowance
    if allowed.budget is None:
        return None
    now = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    begin = {"day": now, "month": now.replace(day=1), "ever": FIRST}[allowed.period]
    return keys.spent(visit.store, key.id, allowed.currency, int(begin.timestamp() * 1e6))


def _budget(said: str) -> int:
    try:
        amount = Decimal(said)
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or amount < 0:
        raise UserError(f"the budget is {said!r}; write an amount such as 50 or 12.50")
    return int(amount * PICO)


def _found(visit: Visit) -> Key:
    id = visit.params["id"]
    found = next((key for key in keys.every(visit.store) if key.id == id), None)
    if found is None:
        raise NotFoundError(f"there is no key {id}; the page of all keys lists them")
    return found


def _plain(text: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


PAGES = (
    Page("/keys", show),
    Page("/keys", create, method="POST", role=Role.ADMIN),
    Page("/keys/statement.csv", statement),
    Page("/keys/{id}", one),
    Page("/keys/{id}/revoke", ask_end, role=Role.ADMIN),
    Page("/keys/{id}/revoke", end, method="POST", role=Role.ADMIN),
)
