"""From which volume, and from which day, owning pays; and what that depends on.

Both sides are reckoned for the same number of accepted answers: where the owned model's are accepted less often, the
rented one is charged only for as many as the owned one gets accepted. Bounds pair what is best for owning with what is
worst for renting, and the reverse. Nothing here is only a point.
"""

import calendar
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from freehold.decision import scenarios
from freehold.decision.cost_sheet import Sheet
from freehold.decision.costs import accepted_of, jobs_of, lines_of, spread
from freehold.decision.ranges import ONE, Range, exactly, total
from freehold.errors import UndeterminedError

HORIZON_MONTHS = 120
_WIDEST = 1000  # volumes are looked at from a thousandth to a thousand times today's
_STEPS = 61
_HALF, _DOUBLE = Decimal("0.5"), Decimal(2)


@dataclass(frozen=True)
class Span:
    """When owning pays: at best, as expected, at worst; None where it does not, as far as was looked."""

    best: Decimal | None
    expected: Decimal | None
    worst: Decimal | None


@dataclass(frozen=True)
class Sensitivity:
    """Months to break-even, were one thing half or twice what it is."""

    driver: str
    halved: Decimal | None
    doubled: Decimal | None


@dataclass(frozen=True)
class Point:
    """Both monthly costs at one volume (jobs a month), one-off costs spread."""

    jobs: Decimal
    rented: Range
    owned: Range


@dataclass(frozen=True)
class BreakEven:
    """`volume` is in jobs a month, `months` from the start, `dates` those months on the calendar where it is known."""

    rented: str
    owned: str
    currency: str
    jobs: Range
    volume: Span
    months: Span
    dates: tuple[date | None, date | None, date | None]
    curve: tuple[Point, ...]
    sensitivity: tuple[Sensitivity, ...]


def break_even(sheet: Sheet, owned: str, rented: str | None = None) -> BreakEven:
    """Reckon it; raises `UndeterminedError` where a price, the traffic or the rented side is unknown."""
    rented = rented or sheet.rented
    if rented is None:
        raise UndeterminedError("which option is rented today is unknown: name it with `incumbent:` in the sheet")
    contest = _Contest(sheet, rented, owned, jobs_of(sheet))
    months = contest.months()
    return BreakEven(
        rented=rented,
        owned=owned,
        currency=sheet.currency,
        jobs=contest.today,
        volume=contest.volume(),
        months=months,
        dates=(_day(sheet, months.best), _day(sheet, months.expected), _day(sheet, months.worst)),
        curve=tuple(contest.curve()),
        sensitivity=tuple(_sensitivity(sheet, rented, owned)),
    )


@dataclass(frozen=True)
class _Contest:
    """Two options of one sheet."""

    sheet: Sheet
    rented: str
    owned: str
    today: Range

    def at(self, jobs: Decimal) -> Point:
        rented = spread(lines_of(self.rented, self.sheet, exactly(jobs)), self.sheet)
        owned = spread(lines_of(self.owned, self.sheet, exactly(jobs)), self.sheet)
        return Point(jobs, rented.times(self.fairness()), owned)

    def fairness(self) -> Range:
        """How many of the rented side's accepted answers the owned side matches; 1 where either is unknown."""
        mine, theirs = accepted_of(self.owned, self.sheet), accepted_of(self.rented, self.sheet)
        if mine is None or theirs is None or theirs.low == 0:
            return ONE
        return mine.over(theirs)

    def curve(self) -> list[Point]:
        """Volumes from a hundredth to a hundred times today's, evenly on a logarithmic scale."""
        return [self.at(self.today.value * _power(step)) for step in range(-20, 21)]

    def volume(self) -> Span:
        return Span(
            best=self._volume(lambda point: point.owned.low <= point.rented.high),
            expected=self._volume(lambda point: point.owned.value <= point.rented.value),
            worst=self._volume(lambda point: point.owned.high <= point.rented.low),
        )

    def _volume(self, pays: Callable[[Point], bool]) -> Decimal | None:
        """The volume from which it pays at every larger one that was looked at, to 0.1 %."""
        grid = [self.today.value * _WIDEST ** (Decimal(2 * step) / (_STEPS - 1) - 1) for step in range(_STEPS)]
        failing = [at for at, jobs in enumerate(grid) if not pays(self.at(jobs))]
        if not failing:
            return grid[0]
        if failing[-1] == _STEPS - 1:
            return None
        low, high = grid[failing[-1]], grid[failing[-1] + 1]
        while high / low > Decimal("1.001"):
            middle = (low * high).sqrt()
            low, high = (low, middle) if pays(self.at(middle)) else (middle, high)
        return high

    def months(self) -> Span:
        """Until what was saved has paid back what was spent once."""
        jobs = self.today
        best = max(jobs.low, jobs.high, key=lambda each: self._saving(each, 2))
        worst = min(jobs.low, jobs.high, key=lambda each: self._saving(each, 0))
        return Span(self._months(best, 2), self._months(jobs.value, 1), self._months(worst, 0))

    def _months(self, jobs: Decimal, case: int) -> Decimal | None:
        owed = self._once(2 - case)
        if owed <= 0 and self._saving(jobs, case) >= 0:
            return Decimal(0)
        growth = 1 + self.sheet.traffic.growth
        for month in range(1, HORIZON_MONTHS + 1):
            saved = self._saving(jobs, case)
            if saved >= owed:
                return month - 1 + owed / saved if saved > 0 else Decimal(month)
            owed -= saved
            jobs *= growth
        return None

    def _saving(self, jobs: Decimal, case: int) -> Decimal:
        """A month's saving without one-off costs: 0 at worst, 1 as expected, 2 at best."""
        rented = self._running(self.rented, jobs).times(self.fairness())
        return rented[case] - self._running(self.owned, jobs)[2 - case]

    def _running(self, name: str, jobs: Decimal) -> Range:
        return total([line.amount for line in lines_of(name, self.sheet, exactly(jobs)) if not line.once])

    def _once(self, bound: int) -> Decimal:
        """What must be spent on owning before the first answer; what renting once cost is gone either way."""
        lines = lines_of(self.owned, self.sheet, exactly(self.today.value))
        return total([line.amount for line in lines if line.once])[bound]


def _sensitivity(sheet: Sheet, rented: str, owned: str) -> list[Sensitivity]:
    def months(changed: Sheet) -> Decimal | None:
        return _Contest(changed, rented, owned, jobs_of(changed)).months().expected

    drivers: dict[str, Callable[[Decimal], Sheet]] = {
        f"price of {rented}": lambda factor: scenarios.vendor_price(sheet, rented, factor),
        "traffic": lambda factor: scenarios.traffic(sheet, factor),
        "people's time": lambda factor: scenarios.staff_time(sheet, owned, factor),
        "machine price": lambda factor: scenarios.machine_price(sheet, owned, factor),
    }
    return [Sensitivity(name, months(change(_HALF)), months(change(_DOUBLE))) for name, change in drivers.items()]


def _day(sheet: Sheet, months: Decimal | None) -> date | None:
    """So many months after the start, a part of a month counted as a whole one."""
    if sheet.start is None or months is None:
        return None
    count = sheet.start.month - 1 + math.ceil(months)
    year, month = sheet.start.year + count // 12, count % 12 + 1
    return date(year, month, min(sheet.start.day, calendar.monthrange(year, month)[1]))


def _power(step: int) -> Decimal:
    return Decimal(10) ** (Decimal(step) / 10)
