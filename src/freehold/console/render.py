"""How values look on a page: the templates, and the filters that they share."""

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from freehold import pages
from freehold.console import assets
from freehold.gateway.prices import money

if TYPE_CHECKING:
    from jinja2 import Environment

NAVIGATION = (
    ("/", "Overview"),
    ("/traffic", "Traffic"),
    ("/data", "Data"),
    ("/models", "Models"),
    ("/tuning", "Tuning"),
    ("/evaluation", "Evaluation"),
    ("/arena", "Arena"),
    ("/decision", "Decision"),
    ("/deployments", "Deployments"),
    ("/keys", "Keys and usage"),
    ("/playground", "Playground"),
    ("/people", "People"),
)


@lru_cache(maxsize=1)
def templates() -> "Environment":
    """The console's templates."""
    environment = pages.environment("console")
    environment.globals |= {"navigation": NAVIGATION, "asset": assets.address}
    environment.filters |= {
        "moment": moment,
        "ago": ago,
        "count": count,
        "short": lambda digest: str(digest)[:12],
        "share": lambda value: f"{100 * value:.1f}\u00a0%",
        "percent": lambda value: f"{100 * value:.3g}",
        "milliseconds": milliseconds,
        "money": lambda pico, currency: "unknown" if pico is None or not currency else money(pico, currency),
        "megabytes": lambda size: f"{size / 1e6:,.0f} MB",
        "duration": duration,
        "link": lambda text: next((each for each in text.split() if each.startswith(("https://", "http://"))), ""),
    }
    return environment


def moment(microseconds: int) -> str:
    """`2026-11-23 04:05:06`, UTC."""
    return datetime.fromtimestamp(microseconds / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")


def ago(microseconds: int) -> str:
    """`3 min ago`."""
    return f"{duration(max(0.0, time.time() - microseconds / 1e6))} ago"


def duration(seconds: float) -> str:
    """The largest unit that fits, in words."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def count(value: float) -> str:
    """`12,345`."""
    return f"{value:,.0f}"


def milliseconds(value: float | None) -> str:
    """`12 ms`, `1.2 s`; a dash where nothing was measured."""
    if value is None or value <= 0:
        return "–"
    return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"
