"""What an owned model costs: the time its machine works, at the price of an hour of that machine."""

from dataclasses import dataclass
from decimal import Decimal

from freehold.gateway.prices import PICO

_MICROSECONDS_AN_HOUR = 3_600_000_000


@dataclass(frozen=True, slots=True)
class MachinePrice:
    """`per_hour` in the currency's own unit."""

    per_hour: Decimal
    currency: str

    def cost(self, seconds: float) -> int:
        """Pico-units of this much machine time, to the microsecond."""
        return round(seconds * 1_000_000) * int(self.per_hour * PICO) // _MICROSECONDS_AN_HOUR
