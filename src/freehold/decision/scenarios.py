"""What if: the same sheet with one thing changed. Every function gives a new sheet and leaves the old one alone."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from freehold.decision.cost_sheet import (
    Estimate,
    HoursPrice,
    MachinePrice,
    Option,
    PeriodPrice,
    PriceForm,
    RequestPrice,
    SeatPrice,
    Sheet,
    TokenPrice,
    TuningPrice,
)
from freehold.errors import NotFoundError, did_you_mean

_VENDOR = (TokenPrice, RequestPrice, SeatPrice, PeriodPrice)


def vendor_price(sheet: Sheet, option: str, factor: Decimal) -> Sheet:
    """What the vendor of an option asks, so many times as high; fees already paid, machines and people stay."""

    def change(price: PriceForm) -> PriceForm:
        return _scaled_price(price, factor) if isinstance(price, _VENDOR) else price

    return _with_prices(sheet, option, change)


def traffic(sheet: Sheet, factor: Decimal) -> Sheet:
    """So many times the jobs."""
    jobs = sheet.traffic.jobs
    changed = sheet.traffic.model_copy(update={"jobs": jobs.scaled(factor) if jobs else None})
    return sheet.model_copy(update={"traffic": changed})


def staff_time(sheet: Sheet, option: str, factor: Decimal) -> Sheet:
    """So many times the people's hours."""

    def change(price: PriceForm) -> PriceForm:
        if isinstance(price, HoursPrice):
            return price.model_copy(update={"hours": price.hours.scaled(factor)})
        return price

    return _with_prices(sheet, option, change)


def machine_price(sheet: Sheet, option: str, factor: Decimal) -> Sheet:
    """So many times what a machine costs an hour, for answering and for tuning."""

    def change(price: PriceForm) -> PriceForm:
        if isinstance(price, MachinePrice | TuningPrice):
            return price.model_copy(update={"per_hour": price.per_hour.scaled(factor)})
        return price

    return _with_prices(sheet, option, change)


def bigger_base(sheet: Sheet, option: str, factor: Decimal) -> Sheet:
    """A base with so many times the parameters: machine time and tuning time grow with it.

    A pass takes about 2 floating-point operations a parameter and token (Kaplan et al. 2020, section 2.1), so both grow
    in proportion. Whether it is better is for a report to say: the accepted share is left as it is.
    """

    def change(price: PriceForm) -> PriceForm:
        if isinstance(price, TuningPrice):
            return price.model_copy(update={"hours": price.hours.scaled(factor)})
        return price

    return _with_seconds(_with_prices(sheet, option, change), option, factor)


def another_machine(sheet: Sheet, option: str, name: str) -> Sheet:
    """The option on a row of the user's table of machines; raises `NotFoundError` where there is no such row."""
    if name not in sheet.machines:
        raise NotFoundError(f"no machine {name} in the sheet's table{did_you_mean(name, sheet.machines)}")
    machine = sheet.machines[name]

    def change(price: PriceForm) -> PriceForm:
        if isinstance(price, MachinePrice):
            return price.model_copy(update={"per_hour": machine.per_hour})
        if isinstance(price, TuningPrice):
            hours = price.hours.scaled(1 / machine.speed)
            return price.model_copy(update={"per_hour": machine.per_hour, "hours": hours})
        return price

    return _with_seconds(_with_prices(sheet, option, change), option, 1 / machine.speed)


def _with_prices(sheet: Sheet, option: str, change: Callable[[PriceForm], PriceForm]) -> Sheet:
    prices = tuple(change(price) for price in _option(sheet, option).prices)
    return _with_option(sheet, option, prices=prices)


def _with_seconds(sheet: Sheet, option: str, factor: Decimal) -> Sheet:
    seconds = _option(sheet, option).seconds
    return _with_option(sheet, option, seconds=seconds.scaled(factor)) if seconds else sheet


def _with_option(sheet: Sheet, name: str, **changes: Any) -> Sheet:  # noqa: ANN401 (fields of Option)
    options = {**sheet.options, name: _option(sheet, name).model_copy(update=changes)}
    return sheet.model_copy(update={"options": options})


def _option(sheet: Sheet, name: str) -> Option:
    if name not in sheet.options:
        raise NotFoundError(f"no option {name} in the sheet{did_you_mean(name, sheet.options)}")
    return sheet.options[name]


def _scaled_price(price: PriceForm, factor: Decimal) -> PriceForm:
    """Every amount of money in a vendor's price, tiers included."""
    update: dict[str, Any] = {
        name: value.scaled(factor)
        for name, value in price
        if isinstance(value, Estimate) and name in {"input", "output", "price"}
    }
    if isinstance(price, TokenPrice):
        update["tiers"] = tuple(
            tier.model_copy(update={"input": tier.input * factor, "output": tier.output * factor})
            for tier in price.tiers
        )
    return price.model_copy(update=update)
