"""What was used and what it cost, added up from the rows. A bill is the sum of its rows (invariant 3)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import Integer, String, case, cast, func, select

from freehold.store.database import Store
from freehold.store.exchanges import tags_of
from freehold.store.schema import keys, usage

By = Literal["key", "model", "day", "tag"]
_US_A_DAY = 86_400_000_000


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a bill. `cost` is in pico-units of `currency`; `unpriced` counts attempts whose price is unknown.

    `requests` counts exchanges, `attempts` what was billed upstream; `estimated` counts attempts that nobody reported.
    """

    key: str | None
    model: str | None
    day: str | None
    tag: str | None
    currency: str | None
    requests: int
    attempts: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: int
    unpriced: int
    estimated: int


def lines(store: Store, by: Sequence[By], since_us: int = 0) -> list[Line]:
    """The bill, a line for each combination of what it is asked by; two currencies are never added."""
    name = func.coalesce(keys.c.name, usage.c.key).label("key")
    day = cast(usage.c.at - usage.c.at % _US_A_DAY, String).label("day")
    tags = usage.c.tags.label("tag")
    columns = {"key": name, "model": usage.c.model.label("model"), "day": day, "tag": tags}
    groups = [columns[each] for each in by]
    query = (
        select(*groups, usage.c.currency.label("currency"), *_sums())
        .select_from(usage.outerjoin(keys, keys.c.id == usage.c.key))
        .where(usage.c.at >= since_us)
        .group_by(*groups, usage.c.currency)
        .order_by(*groups, usage.c.currency)
    )
    with store.connect() as connection:
        return [_line(dict(row)) for row in connection.execute(query).mappings()]


def _sums() -> list[Any]:
    unpriced = func.sum(case((usage.c.cost.is_(None), 1), else_=0))
    return [
        func.count(func.distinct(usage.c.exchange)).label("requests"),
        func.count().label("attempts"),
        func.sum(usage.c.input_tokens).label("input_tokens"),
        func.sum(usage.c.cached_tokens).label("cached_tokens"),
        func.sum(usage.c.output_tokens).label("output_tokens"),
        func.sum(usage.c.reasoning_tokens).label("reasoning_tokens"),
        func.coalesce(func.sum(usage.c.cost), 0).label("cost"),
        unpriced.label("unpriced"),
        func.sum(cast(usage.c.estimated, Integer)).label("estimated"),
    ]


def _line(row: dict[str, Any]) -> Line:
    if row.get("day") is not None:
        row["day"] = datetime.fromtimestamp(int(row["day"]) / 1e6, UTC).date().isoformat()
    if row.get("tag") is not None:
        row["tag"] = ", ".join(f"{name}={value}" for name, value in sorted(tags_of(row["tag"]).items()))
    counts = {name: value if name in _TEXTS else int(value) for name, value in row.items()}
    return Line(**dict.fromkeys(_TEXTS) | counts)


_TEXTS = ("key", "model", "day", "tag", "currency")
