"""What an answer took: its time and its price. They are read off the row, not off the text.

In the task file, under `scorers`: `latency:MS` (1 where the answer came within so many milliseconds), `cost:IN,OUT`
(its tokens at these prices a million) or `cost:HOUR` (its machine time at this price an hour). A cost is per thousand
answers, in whatever currency the prices are in.
"""

import math
from collections.abc import Callable

from freehold.errors import UserError
from freehold.records import Row

Spent = Callable[[Row], float]
_THOUSAND, _MILLION, _HOUR_MS = 1e3, 1e6, 3.6e6


def latency(limit: str) -> Spent:
    """A scorer: 1 where the answer came within `limit` milliseconds."""
    (most,) = _numbers("latency", limit, (1,))

    def within(row: Row) -> float:
        if row.latency_ms <= 0:
            raise ValueError("no latency is known")
        return float(row.latency_ms <= most)

    return within


def cost(prices: str) -> Spent:
    """A scorer: what a thousand answers like this one cost."""
    values = _numbers("cost", prices, (1, 2))
    if len(values) == 1:
        return lambda row: _THOUSAND * _timed(row) / _HOUR_MS * values[0]
    into, out = values
    return lambda row: _THOUSAND * (_tokens(row, row.input_tokens) * into + row.output_tokens * out) / _MILLION


def by_the_clock(name: str) -> bool:
    """Whether a scorer's figure depends on how fast a machine was: such figures lie outside every digest."""
    kind, _, rest = name.partition(":")
    return kind == "latency" or (kind == "cost" and "," not in rest)


def _timed(row: Row) -> float:
    if row.latency_ms <= 0:
        raise ValueError("no machine time is known")
    return row.latency_ms


def _tokens(row: Row, count: int) -> int:
    if not row.input_tokens + row.output_tokens:
        raise ValueError("no tokens are known")
    return count


def _numbers(kind: str, text: str, counts: tuple[int, ...]) -> list[float]:
    try:
        values = [float(each) for each in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in counts or not all(math.isfinite(each) and each >= 0 for each in values):
        right = "latency:MS" if kind == "latency" else "cost:IN,OUT (a million tokens) or cost:HOUR (a machine's hour)"
        raise UserError(f"scorers: {kind}:{text} is not {right}")
    return values
