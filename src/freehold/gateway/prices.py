"""What models cost, by date. Money is integer pico-units (10⁻¹²) of a currency, and never a float.

The list that ships holds public list prices with their source; `prices.json` in the workspace adds to it and wins,
since what a company pays is in its contract. A model without a price costs an unknown amount, never nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import msgspec

from freehold.errors import UserError
from freehold.gateway.tokens import Tokens

log = logging.getLogger(__name__)

PICO = 10**12
_DAY_US = 86_400 * 1_000_000
PRICES_FILE = "prices.json"
_DATED = "-0000-00-00"

_HALF = Decimal("0.5")


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `per` tokens of each kind cost since a day (UTC). Reasoning tokens cost what output does unless named.

    `verified` is False where nobody has held the figure against its `source` (what ships was written from memory).
    """

    model: str
    since: str
    input: Decimal
    output: Decimal
    currency: str
    per: int = 1_000_000
    cached_input: Decimal | None = None
    reasoning: Decimal | None = None
    source: str = ""
    verified: bool = True

    def cost(self, tokens: Tokens) -> int:
        """Pico-units: each kind of token counted apart, rounded half up once, at the end."""
        total = self.input * (tokens.input - tokens.cached) + self.output * (tokens.output - tokens.reasoning)
        if tokens.cached:
            total += tokens.cached * (self.input if self.cached_input is None else self.cached_input)
        if tokens.reasoning:
            total += tokens.reasoning * (self.output if self.reasoning is None else self.reasoning)
        return int((total * PICO / self.per + _HALF) // 1)


class Prices:
    """Every known price, the newest of a model that holds at a time."""

    def __init__(self, known: Iterable[Price]) -> None:
        self._by_model: dict[str, list[Price]] = {}
        for price in known:
            self._by_model.setdefault(price.model, []).append(price)
        for prices in self._by_model.values():
            prices.sort(key=lambda price: price.since)
        self._now: dict[tuple[str, int], Price | None] = {}

    def of(self, model: str, at_us: int) -> Price | None:
        """The price of a model (a dated name stands for its undated one) at a time in microseconds."""
        day = at_us // _DAY_US
        if (model, day) not in self._now:
            if len(self._now) > 10_000:  # names come from callers
                self._now.clear()
            self._now[model, day] = self._find(model, datetime.fromtimestamp(day * 86_400, UTC).date().isoformat())
        return self._now[model, day]

    def _find(self, model: str, day: str) -> Price | None:
        known = self._by_model.get(model) or self._by_model.get(_undated(model)) or []
        return next((price for price in reversed(known) if price.since <= day), None)


def read(root: Path) -> Prices:
    """The prices that ship and the workspace's own; raises `UserError` where that file is not right."""
    shipped = msgspec.json.decode(files("freehold.gateway").joinpath(PRICES_FILE).read_bytes(), type=list[Price])
    own = root / PRICES_FILE
    if not own.is_file():
        return Prices(shipped)
    try:
        mine = msgspec.json.decode(own.read_bytes(), type=list[Price])
    except msgspec.MsgspecError as error:
        raise UserError(f"{own}: is not a list of prices ({error}); docs/gateway.md shows one") from None
    replaced = {price.model for price in mine}
    return Prices([*(price for price in shipped if price.model not in replaced), *mine])


async def follow(root: Path, adopt: Callable[[Prices], None], every_s: float) -> None:
    """Read the workspace's prices again whenever its file changes; one that is not right changes nothing."""
    seen = _changed_at(root)
    while True:
        await asyncio.sleep(every_s)
        found = _changed_at(root)
        if found == seen:
            continue
        seen = found
        try:
            adopt(read(root))
        except (UserError, OSError) as error:
            log.error("the prices changed but cannot be read, and those before still hold: %s", error)


def _changed_at(root: Path) -> int:
    path = root / PRICES_FILE
    return path.stat().st_mtime_ns if path.is_file() else 0


def money(pico: int, currency: str) -> str:
    """An amount for people, rounded to cents only where it has that many."""
    exact = Decimal(pico) / PICO
    shown = exact.quantize(Decimal("0.01") if abs(exact) >= 1 else Decimal("0.000001"))
    return f"{shown} {currency}"


def _undated(model: str) -> str:
    """`gpt-4o-2024-08-06` is a `gpt-4o`."""
    tail = model[-len(_DATED) :]
    shape = "".join("0" if letter.isdigit() else letter for letter in tail)
    return model[: -len(_DATED)] if shape == _DATED else model
