"""A figure that is known only within bounds, and its arithmetic.

A range runs from the most to the least favourable of everything that went into it, taken together: it is wider than a
95 % interval would be, and never narrower than the facts allow. Amounts are exact decimals; they are rounded where they
are printed and nowhere else.
"""

from decimal import Decimal
from typing import NamedTuple

INFINITE = Decimal("Infinity")
_ZERO = Decimal(0)


class Range(NamedTuple):
    """`low` and `high` bound what `value` may be; a high of `INFINITE` says that nothing bounds it."""

    low: Decimal
    value: Decimal
    high: Decimal

    def plus(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.value + other.value, self.high + other.high)

    def minus(self, other: "Range") -> "Range":
        return Range(self.low - other.high, self.value - other.value, self.high - other.low)

    def times(self, other: "Range") -> "Range":
        """The product of two ranges that are nowhere negative."""
        return Range(self.low * other.low, self.value * other.value, self.high * other.high)

    def over(self, other: "Range") -> "Range":
        """The quotient of two ranges that are nowhere negative; unbounded where the divisor may be nothing."""
        return Range(_divided(self.low, other.high), _divided(self.value, other.value), _divided(self.high, other.low))

    def scaled(self, factor: Decimal) -> "Range":
        return Range(self.low * factor, self.value * factor, self.high * factor)


def exactly(value: Decimal | int) -> Range:
    """A figure that is known."""
    return Range(Decimal(value), Decimal(value), Decimal(value))


def total(ranges: "list[Range]") -> Range:
    """The sum of ranges; nothing sums to nothing."""
    result = NOTHING
    for each in ranges:
        result = result.plus(each)
    return result


def hull(ranges: "list[Range]", value: Decimal) -> Range:
    """From the lowest low to the highest high, told with the given value."""
    return Range(min(each.low for each in ranges), value, max(each.high for each in ranges))


def _divided(one: Decimal, by: Decimal) -> Decimal:
    if by == _ZERO:
        return INFINITE
    return _ZERO if by == INFINITE else one / by


NOTHING = exactly(0)
ONE = exactly(1)
