"""The cost sheet: what Freehold cannot measure and a person must say, typed, each figure with its source.

A figure is a number, a pair of bounds, or `{low, value, high, source}`. What a sheet leaves out is filled in from
measurements (`measured.py`), and what neither knows stays unknown. See docs/costs.md.
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from freehold.decision.ranges import Range, exactly
from freehold.errors import TaskFileError, UserError
from freehold.spec import Section, field_lines

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code.")]
ASKED = "the cost sheet"


class Estimate(Section):
    """A figure that is nowhere negative, its bounds, and who says so."""

    low: Decimal = Field(ge=0, allow_inf_nan=False)
    value: Decimal = Field(ge=0, allow_inf_nan=False)
    high: Decimal = Field(ge=0, allow_inf_nan=False)
    source: str = ASKED

    @model_validator(mode="before")
    @classmethod
    def _from_short_forms(cls, given: Any) -> Any:  # noqa: ANN401 (what YAML holds)
        if isinstance(given, bool):
            raise ValueError("is not a number")
        if isinstance(given, int | float | str | Decimal):
            return {"low": str(given), "value": str(given), "high": str(given)}
        if isinstance(given, list) and len(given) == 2:
            low, high = (Decimal(str(each)) for each in given)
            return {"low": low, "value": (low + high) / 2, "high": high}
        if isinstance(given, dict) and "value" in given:
            return {"low": given["value"], "high": given["value"], **given}
        return given

    @model_validator(mode="after")
    def _in_order(self) -> "Estimate":
        if not self.low <= self.value <= self.high:
            raise ValueError(f"runs from {self.low} over {self.value} to {self.high}; write them in rising order")
        return self

    @property
    def range(self) -> Range:
        return Range(self.low, self.value, self.high)

    def scaled(self, factor: Decimal) -> "Estimate":
        """The same figure, so many times as large, and saying so."""
        bounds = self.range.scaled(factor)
        return Estimate(low=bounds.low, value=bounds.value, high=bounds.high, source=f"{self.source}, x {factor}")


class Share(Estimate):
    """An estimate between 0 and 1."""

    high: Decimal = Field(ge=0, le=1)


class _Price(Section):
    """A price. `source` says where it was read; `currency` is the sheet's where it is left out."""

    currency: Currency | None = None
    source: str = ASKED


class TokenTier(Section):
    """What tokens cost from a monthly number of them on."""

    above: int = Field(gt=0, description="Tokens of that kind a month from which these prices hold.")
    input: Decimal = Field(ge=0)
    output: Decimal = Field(ge=0)


class TokenPrice(_Price):
    """So much a token, by the million or thousand; graduated where tiers are given."""

    form: Literal["tokens"]
    input: Estimate
    output: Estimate
    per: Literal["1K", "1M"] = "1M"
    free_input: int = Field(0, ge=0, description="Input tokens a month that cost nothing.")
    free_output: int = Field(0, ge=0, description="Output tokens a month that cost nothing.")
    tiers: tuple[TokenTier, ...] = ()


class RequestPrice(_Price):
    """So much a request."""

    form: Literal["request"]
    price: Estimate
    free: int = Field(0, ge=0, description="Requests a month that cost nothing.")


class SeatPrice(_Price):
    """So much for each person who may use it, whether they do or not."""

    form: Literal["seat"]
    price: Estimate
    seats: int = Field(gt=0)
    per: Literal["month", "year"] = "month"


class PeriodPrice(_Price):
    """So much a month or a year: a subscription, a licence, a reservation."""

    form: Literal["period"]
    what: str = "subscription"
    price: Estimate
    per: Literal["month", "year"] = "month"


class FeePrice(_Price):
    """So much once: a licence, a customisation, a set-up fee."""

    form: Literal["fee"]
    what: str
    price: Estimate


class MachinePrice(_Price):
    """A machine by the hour. It is paid whether it works or waits; what it waits is shown apart.

    More machines are counted when the work of a month would keep one busy beyond `busiest`.
    """

    form: Literal["machine"]
    per_hour: Estimate
    hours: Estimate = Field(default_factory=lambda: _estimate(730), description="Hours a month that it is up.")
    busiest: Decimal = Field(Decimal("0.6"), gt=0, le=1, description="Share of the time that it may be busy.")
    watts: Estimate | None = Field(None, description="Electric power, where energy is paid apart.")
    per_kwh: Estimate | None = Field(None, description="Price of a kilowatt-hour.")

    @model_validator(mode="after")
    def _energy_is_whole(self) -> "MachinePrice":
        if (self.watts is None) != (self.per_kwh is None):
            raise ValueError("energy needs both `watts` and `per_kwh`")
        return self


class HoursPrice(_Price):
    """People's hours, once (labelling, moving over) or every month (running it)."""

    form: Literal["hours"]
    what: str
    hours: Estimate
    rate: Estimate
    per: Literal["once", "month"] = "month"


class CallsPrice(_Price):
    """Extra calls beside the answers: shadow traffic, a judge."""

    form: Literal["calls"]
    what: str
    share: Share = Field(description="Of the requests that are followed by such a call.")
    price: Estimate = Field(description="For one call.")


class TuningPrice(_Price):
    """Making the model: machine hours, as often as it is made anew."""

    form: Literal["tuning"]
    hours: Estimate
    per_hour: Estimate
    times_a_year: Estimate | None = Field(None, description="How often it is tuned again; left out: once.")


PriceForm = Annotated[
    TokenPrice
    | RequestPrice
    | SeatPrice
    | PeriodPrice
    | FeePrice
    | MachinePrice
    | HoursPrice
    | CallsPrice
    | TuningPrice,
    Field(discriminator="form"),
]


class Option(Section):
    """One way to have the task done: the incumbent, a candidate, a closed model hosted privately."""

    prices: tuple[PriceForm, ...] = Field((), description="Left out: what it costs stays unknown.")
    accepted: Share | None = Field(None, description="Share of the jobs whose answer is accepted.")
    input_tokens: Estimate | None = Field(None, description="A request.")
    output_tokens: Estimate | None = Field(None, description="A request.")
    seconds: Estimate | None = Field(None, description="Machine time a request.")
    attempts: Estimate = Field(default_factory=lambda: _estimate(1), description="Upstream attempts a request.")
    turns: Estimate = Field(default_factory=lambda: _estimate(1), description="Requests a job, follow-ups included.")
    escalated: Share | None = Field(None, description="Share of the jobs that a person or another model must finish.")
    escalation: Estimate | None = Field(None, description="What finishing one of them costs.")

    @model_validator(mode="after")
    def _counts_are_at_least_one(self) -> "Option":
        for name in ("attempts", "turns"):
            if getattr(self, name).low < 1:
                raise ValueError(f"{name} is below 1; every job takes one request, and every request one attempt")
        return self


class Traffic(Section):
    """How much work there is."""

    jobs: Estimate | None = Field(None, description="A month; a job is one request and its follow-ups.")
    active_users: Estimate | None = Field(None, description="People who used it in a month.")
    growth: Decimal = Field(Decimal(0), gt=-1, le=1, description="A month: 0.05 is five per cent more every month.")


class Cascade(Section):
    """Two options in a row: the first keeps what it is sure of, the second answers the rest."""

    first: str
    second: str
    deployment: str | None = Field(None, description="The public name that runs it; its share is measured there.")
    kept: Share | None = Field(
        None, description="Share of the jobs that the first answers for good; left out: measured."
    )
    accepted: Share | None = Field(None, description="Of all jobs, by both together.")


class Machine(Section):
    """A row of the user's own table of machines, for scenarios."""

    per_hour: Estimate
    speed: Decimal = Field(gt=0, description="Against the machine that was measured on: 2 is twice as fast.")


class Sheet(Section):
    """Everything that a cost is reckoned from."""

    currency: Currency
    rates: dict[str, Decimal] = Field({}, description="What one unit of another currency is in the sheet's.")
    traffic: Traffic = Field(default_factory=lambda: Traffic())
    amortise_months: int = Field(12, ge=1, le=120, description="Over how long one-off costs are spread.")
    start: date | None = Field(None, description="The day that owning would begin; break-even is counted from it.")
    incumbent: str | None = Field(None, description="Which option is rented today; left out: the one named incumbent.")
    options: dict[str, Option] = Field(min_length=1)
    cascades: dict[str, Cascade] = Field({}, description="Mixes of two options.")
    machines: dict[str, Machine] = Field({}, description="The user's own table of machines, for scenarios.")

    @field_validator("rates")
    @classmethod
    def _positive_rates(cls, rates: dict[str, Decimal]) -> dict[str, Decimal]:
        for name, rate in rates.items():
            if rate <= 0:
                raise ValueError(f"{name} stands at {rate}; a rate is above 0")
        return rates

    @model_validator(mode="after")
    def _names_and_currencies_are_known(self) -> "Sheet":
        if self.incumbent is not None and self.incumbent not in self.options:
            raise ValueError(f"incumbent: {self.incumbent} is none of the options ({', '.join(self.options)})")
        for name, cascade in self.cascades.items():
            for part in (cascade.first, cascade.second):
                if part not in self.options:
                    raise ValueError(f"cascades.{name}: {part} is none of the options ({', '.join(self.options)})")
        for name, option in self.options.items():
            for price in option.prices:
                if price.currency not in (None, self.currency, *self.rates):
                    raise ValueError(
                        f"options.{name} has a price in {price.currency}, and the sheet is in {self.currency}: "
                        f"add `rates: {{{price.currency}: …}}`, what one {price.currency} is in {self.currency}"
                    )
        return self

    @property
    def rented(self) -> str | None:
        """The option that answers today."""
        return self.incumbent or ("incumbent" if "incumbent" in self.options else None)

    def rate(self, currency: str | None) -> Range:
        """What one unit of a currency is in the sheet's."""
        return exactly(1 if currency in (None, self.currency) else self.rates[currency or ""])


def parse(text: str, path: Path) -> Sheet:
    """Read a sheet; raises `TaskFileError` that names every wrong field with its line."""
    try:
        content, node = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise TaskFileError(f"{where}: not YAML: {getattr(error, 'problem', None) or 'unreadable'}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: a cost sheet is a list of `field: value` lines; docs/costs.md shows one")
    lines = dict(field_lines(node, path))
    try:
        return Sheet.model_validate(content)
    except ValidationError as error:
        raise TaskFileError("\n".join(dict.fromkeys(_sentences(error, lines, path)))) from None


def _sentences(error: ValidationError, lines: dict[str, int], path: Path) -> Iterator[str]:
    for item in error.errors():
        place = [str(part) for part in item["loc"]]
        parts = [part for at, part in enumerate(place) if at < 2 or place[at - 2] != "prices"]  # no union's tag
        field = ".".join(parts)
        if parts and parts[-1] in {"low", "value", "high"} and field not in lines:  # written as one number
            field = ".".join(parts[:-1])
        line = next((lines[at] for at in _upwards(parts) if at in lines), None)
        where = f"{path}:{line}" if line else str(path)
        message = item["msg"].removeprefix("Value error, ").replace("Input", "it")
        given = f"is {item['input']!r}, but " if isinstance(item.get("input"), int | float | str) else ""
        if item["type"] == "extra_forbidden":
            given, message = "", "is not a field; docs/costs.md lists them"
        yield f"{where}: {field + ' ' if field else ''}{given}{message[0].lower()}{message[1:]}"


def _upwards(parts: list[str]) -> Iterator[str]:
    while parts:
        yield ".".join(parts)
        parts = parts[:-1]


def _estimate(value: int) -> Estimate:
    """What is taken where a sheet says nothing."""
    return Estimate.model_validate({"value": value, "source": "assumed"})
