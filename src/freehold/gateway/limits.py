"""What a key may still do now: its rate, its tokens, its budget. Reserve before the call, settle after it.

Between the two the whole reservation counts as spent, so that requests at the same time cannot overrun a budget
together. A minute's allowance is a token bucket: full at first, and filled again at an even rate.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from freehold.gateway.faults import GatewayError
from freehold.store.keys import Key

_DAY_US = 86_400 * 1_000_000


class Bucket:
    """An allowance a minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = float(per_minute)
        self._level = float(per_minute)
        self._clock = clock
        self._seen = clock()

    def wait_s(self, amount: int) -> float:
        """How long until this amount is there (0: now)."""
        now = self._clock()
        self._level = min(self._size, self._level + (now - self._seen) * self._size / 60)
        self._seen = now
        return max(0.0, (min(amount, self._size) - self._level) * 60 / self._size)

    def take(self, amount: int) -> None:
        self._level -= amount


@dataclass(slots=True)
class Reservation:
    """What a request may cost at most, held until it is settled."""

    tokens: int = 0
    cost: int = 0
    period: str = ""
    most: int | None = None  # what it may cost at most; None is unknown


class Allowed:
    """The state of one key's limits."""

    def __init__(self, key: Key, spent: Callable[[int], int], clock: Callable[[], float] = time.monotonic) -> None:
        allowance = key.allowance
        self.key = key
        self._spent_since = spent
        self._requests = Bucket(allowance.requests_per_minute, clock) if allowance.requests_per_minute else None
        self._tokens = Bucket(allowance.tokens_per_minute, clock) if allowance.tokens_per_minute else None
        self._period = ""
        self._known = ("", -1)  # a kind of period, and the day (UTC, since 1970) for which it is known
        self._spent = 0
        self._reserved = 0

    @property
    def is_limited(self) -> bool:
        """Whether there is anything to count."""
        limits = self.key.allowance
        return limits.budget is not None or bool(limits.requests_per_minute or limits.tokens_per_minute)

    def may_use(self, model: str) -> None:
        """Raises `GatewayError` of 403 where the key is not for this model."""
        models = self.key.allowance.models
        if models is not None and model not in models:
            what = f"this key may use {', '.join(models)}, and not {model}"
            raise GatewayError(403, what, code="model_not_allowed", param="model")

    def reserve(self, tokens: int, cost: int | None, now_us: int) -> Reservation:
        """Hold what a request may take; `cost` None is unknown. Raises `GatewayError` of 402 or 429."""
        self._check_rate(self._requests, 1, "requests")
        self._check_rate(self._tokens, tokens, "tokens")
        held = Reservation(tokens=tokens, period=self._turn(now_us))
        if self.key.allowance.budget is not None:
            held.cost = self._affordable(cost, now_us)
            self._reserved += held.cost
        if self._requests:
            self._requests.take(1)
        if self._tokens:
            self._tokens.take(tokens)
        return held

    def settle(self, held: Reservation, tokens: int, cost: int) -> None:
        """Exchange a reservation for what it really came to."""
        if self._tokens:
            self._tokens.take(tokens - held.tokens)
        if self.key.allowance.budget is not None and held.period == self._period:
            self._reserved -= held.cost
            self._spent += cost

    def _check_rate(self, bucket: Bucket | None, amount: int, what: str) -> None:
        wait = bucket.wait_s(amount) if bucket else 0.0
        if wait > 0:
            raise GatewayError(
                429,
                f"this key's limit of {what} a minute is reached",
                code="rate_limit_exceeded",
                retry_after_s=math.ceil(wait),
            )

    def _affordable(self, cost: int | None, now_us: int) -> int:
        allowance = self.key.allowance
        assert allowance.budget is not None
        if cost is None:
            what = "no price is known for this model, and this key has a budget; name its price in prices.json"
            raise GatewayError(402, what, code="unknown_price")
        if self._spent + self._reserved + cost > allowance.budget:
            raise GatewayError(
                402,
                f"this key's budget of a {allowance.period} is used up"
                if self._spent >= allowance.budget
                else f"what is left of this key's budget of a {allowance.period} does not cover this request",
                code="insufficient_quota",
                retry_after_s=_until_next(allowance.period, now_us),
            )
        return cost

    def _turn(self, now_us: int) -> str:
        """The current period; when a new one begins, what was spent is counted again from the rows."""
        known = self.key.allowance.period, now_us // _DAY_US
        if known == self._known:
            return self._period
        moment = datetime.fromtimestamp(now_us / 1e6, UTC)
        period = {"day": moment.date().isoformat(), "month": moment.strftime("%Y-%m"), "ever": "ever"}
        current = period[self.key.allowance.period]
        if current != self._period:
            begin = {"day": f"{current}", "month": f"{current}-01", "ever": "1970-01-01"}[self.key.allowance.period]
            start = datetime.fromisoformat(begin).replace(tzinfo=UTC)
            spent = self._spent_since(int(start.timestamp() * 1e6)) if self.key.allowance.budget else 0
            self._period, self._reserved, self._spent = current, 0, spent  # last: a store that is down counts nothing
        self._known = known
        return current


class Limits(Protocol):
    """Where reservations are held: in this process, or for several workers in their house."""

    async def reserve(self, allowed: Allowed, exchange: str, held: Reservation, now_us: int) -> Reservation | None:
        """Hold what is wanted; raises `GatewayError` of 402 or 429. None where there is nothing to settle."""

    def settle(self, allowed: Allowed, exchange: str, held: Reservation, spent: tuple[int, int]) -> None:
        """Exchange a reservation for the tokens and pico-units that it came to."""


class OwnLimits:
    """The limits of a gateway that is one process."""

    async def reserve(self, allowed: Allowed, exchange: str, held: Reservation, now_us: int) -> Reservation | None:
        return allowed.reserve(held.tokens, held.most, now_us)

    def settle(self, allowed: Allowed, exchange: str, held: Reservation, spent: tuple[int, int]) -> None:
        allowed.settle(held, *spent)


def _until_next(period: str, now_us: int) -> int | None:
    """Seconds until the next period begins, None where there is none."""
    moment = datetime.fromtimestamp(now_us / 1e6, UTC)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return math.ceil(86400 - (moment - midnight).total_seconds())
    if period == "month":
        year, month = (moment.year + 1, 1) if moment.month == 12 else (moment.year, moment.month + 1)
        return math.ceil((midnight.replace(year=year, month=month, day=1) - moment).total_seconds())
    return None
