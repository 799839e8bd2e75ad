"""Cost per accepted answer: the arithmetic by hand, the bounds by brute force, and what is unknown."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.decision.cost_sheet import Sheet, parse
from freehold.decision.costs import cost, costs
from freehold.decision.measured import fill_cascades
from freehold.errors import UserError
from freehold.evaluation.statistics import wilson


def sheet(**option: Any) -> Sheet:  # noqa: ANN401
    """One option called `it`, on 1,000 jobs a month unless told otherwise."""
    top = {key: option.pop(key) for key in ("traffic", "rates", "amortise_months", "cascades") if key in option}
    return Sheet.model_validate({"currency": "USD", "traffic": {"jobs": 1000}, **top, "options": {"it": option}})


def amounts(made: Sheet) -> dict[str, Decimal]:
    return {line.item: line.amount.value for line in cost("it", made).lines}


TOKENS = {"form": "tokens", "input": 0.15, "output": 0.60}


def test_tokens_follow_ups_and_retries_are_lines_of_their_own() -> None:
    found = amounts(sheet(prices=[TOKENS], input_tokens=400, output_tokens=100, turns=1.5, attempts=1.1, accepted=1))
    first = Decimal(1000) * (400 * Decimal("0.15") + 100 * Decimal("0.60")) / 1_000_000
    assert found["tokens"] == first == Decimal("0.12")
    assert found["follow-ups until accepted"] == first / 2
    assert found["retries"] == first * Decimal("0.15")


def test_cost_per_accepted_answer_charges_what_was_not_accepted() -> None:
    made = sheet(prices=[{"form": "request", "price": 0.01}], accepted=0.8, escalated=0.2, escalation=1.5)
    found = cost("it", made)
    assert found.per_accepted is not None
    assert found.per_accepted.value == (10 + 200 * Decimal("1.5")) / 800


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        ({"form": "request", "price": 0.01, "free": 400}, {"requests": 6}),
        ({"form": "seat", "price": 240, "per": "year", "seats": 30}, {"25 seats in use": 500, "5 seats unused": 100}),
        ({"form": "period", "what": "licence", "price": 1200, "per": "year"}, {"licence": 100}),
        ({"form": "fee", "what": "customisation", "price": 5000}, {"customisation": 5000}),
        ({"form": "hours", "what": "labelling", "hours": 10, "rate": 40, "per": "once"}, {"people: labelling": 400}),
        ({"form": "calls", "what": "judge", "share": 0.05, "price": 0.02}, {"judge": 1}),
        ({"form": "tuning", "hours": 2, "per_hour": 3, "times_a_year": 6}, {"tuning": 3}),
        ({"form": "tuning", "hours": 2, "per_hour": 3}, {"tuning": 6}),
    ],
)
def test_every_form_of_price(price: dict[str, Any], expected: dict[str, int]) -> None:
    found = amounts(sheet(prices=[price], accepted=1, traffic={"jobs": 1000, "active_users": 25}))
    assert found == {name: Decimal(amount) for name, amount in expected.items()}


def test_a_machine_is_paid_while_it_waits_and_for_its_energy() -> None:
    machine = {"form": "machine", "per_hour": 2, "hours": 100, "watts": 500, "per_kwh": 0.4}
    found = amounts(sheet(prices=[machine], seconds=36, accepted=1))
    assert found == {"machine at work": 20, "machine waiting": 180, "energy": 20}


def test_more_work_than_one_machine_may_do_needs_a_second() -> None:
    machine = {"form": "machine", "per_hour": 1, "hours": 100, "busiest": 0.5}
    found = amounts(sheet(prices=[machine], seconds=216, accepted=1))  # 60 hours of work, 50 to a machine
    assert found == {"machine at work": 60, "machine waiting": 140}


def test_graduated_prices_hold_from_their_step_on_and_free_tokens_come_first() -> None:
    price = {
        **TOKENS,
        "input": 10,
        "output": 0,
        "free_input": 100_000,
        "tiers": [{"above": 400_000, "input": 2, "output": 0}],
    }
    assert amounts(sheet(prices=[price], input_tokens=1000, output_tokens=0, accepted=1)) == {
        "tokens": Decimal("0.3") * 10 + Decimal("0.6") * 2
    }


def test_one_off_costs_are_spread_over_the_months_that_the_sheet_says() -> None:
    made = sheet(prices=[{"form": "fee", "what": "licence", "price": 2400}], accepted=1, amortise_months=24)
    assert cost("it", made).monthly.value == 100  # type: ignore[union-attr]


def test_unused_licences_show_per_active_user() -> None:
    found = cost(
        "it", sheet(prices=[{"form": "seat", "price": 10, "seats": 100}], traffic={"jobs": 5, "active_users": 8})
    )
    assert found.per_active_user is not None
    assert found.per_active_user.value == 125


def test_other_currencies_are_converted_at_the_rate_given() -> None:
    made = sheet(prices=[{"form": "request", "price": 1, "currency": "EUR"}], rates={"EUR": 1.25}, accepted=1)
    assert amounts(made) == {"requests": 1250}


def test_a_cascade_pays_the_first_for_all_and_the_second_for_the_rest() -> None:
    made = Sheet.model_validate(
        {
            "currency": "USD",
            "traffic": {"jobs": 1000},
            "options": {
                "small": {"prices": [{"form": "request", "price": 0.001}]},
                "large": {"prices": [{"form": "request", "price": 0.1}]},
            },
            "cascades": {"both": {"first": "small", "second": "large", "kept": 0.7, "accepted": 0.9}},
        }
    )
    found = {line.item: line.amount.value for line in cost("both", made).lines}
    assert found == {"small: requests": 1, "large: requests": 30}
    assert cost("both", made).per_accepted.value == Decimal(31) / 900  # type: ignore[union-attr]


def cascade(**facts: Any) -> Sheet:  # noqa: ANN401
    options = {name: {"prices": [{"form": "request", "price": 1}]} for name in ("small", "large")}
    mix = {"first": "small", "second": "large", **facts}
    return Sheet.model_validate(
        {"currency": "USD", "traffic": {"jobs": 1000}, "options": options, "cascades": {"mix": mix}}
    )


def test_what_a_cascade_keeps_is_measured_where_its_deployment_is_named() -> None:
    measured = {"triage": wilson(30, 100), "other": wilson(1, 100)}
    made = fill_cascades(cascade(deployment="triage"), measured)
    found = {line.item: line.amount for line in cost("mix", made).lines}
    assert found["large: requests"].value == 300
    assert found["large: requests"].low < 300 < found["large: requests"].high
    kept = next(each for each in cost("mix", made).inputs if each.name == "kept")
    assert kept.source == "triage: passed on of 100 requests"


def test_a_share_that_is_given_stands_and_one_that_nobody_knows_is_unknown() -> None:
    given = fill_cascades(cascade(deployment="triage", kept=0.5), {"triage": wilson(30, 100)})
    assert {line.item: line.amount.value for line in cost("mix", given).lines}["large: requests"] == 500
    assert "what small keeps is unknown" in str(cost("mix", fill_cascades(cascade(deployment="triage"), {})).unknown)


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ({"accepted": 1}, "no price is given"),
        ({"prices": [TOKENS], "accepted": 1}, "tokens a request are unknown"),
        ({"prices": [{"form": "machine", "per_hour": 1}], "accepted": 1}, "machine time a request is unknown"),
        ({"prices": [{"form": "request", "price": 1}]}, "the share of accepted answers is unknown"),
        ({"prices": [{"form": "request", "price": 1}], "accepted": 0}, "no answer was accepted"),
        ({"prices": [{"form": "request", "price": 1}], "accepted": 1, "traffic": {}}, "the traffic is unknown"),
    ],
)
def test_what_cannot_be_known_is_none_and_says_why(option: dict[str, Any], why: str) -> None:
    found = cost("it", sheet(**option))
    assert found.per_accepted is None
    assert found.unknown is not None
    assert why in found.unknown


def test_a_share_that_may_be_nothing_leaves_the_cost_unbounded() -> None:
    found = cost("it", sheet(prices=[{"form": "request", "price": 1}], accepted={"low": 0, "value": 0.5, "high": 1}))
    assert found.per_accepted is not None
    assert found.per_accepted.value == 2
    assert found.per_accepted.high.is_infinite()


bounds = st.tuples(st.integers(1, 500), st.integers(0, 500)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@settings(max_examples=40, deadline=None)
@given(
    jobs=bounds, price=bounds, hours=bounds, seconds=bounds, share=st.tuples(st.integers(1, 50), st.integers(50, 100))
)
def test_no_point_within_the_inputs_falls_outside_the_range(
    jobs: tuple[int, int],
    price: tuple[int, int],
    hours: tuple[int, int],
    seconds: tuple[int, int],
    share: tuple[int, int],
) -> None:
    def made(pick: Callable[[tuple[int, int]], Any]) -> Sheet:
        return sheet(
            traffic={"jobs": pick(jobs)},
            prices=[
                {"form": "request", "price": pick(price)},
                {"form": "hours", "what": "running", "hours": pick(hours), "rate": 1},
                {"form": "machine", "per_hour": 1, "hours": 100},
            ],
            seconds=pick(seconds),
            accepted=[each / 100 for each in share] if pick is list else pick(share) / 100,
        )

    whole = cost("it", made(list)).per_accepted
    assert whole is not None
    for pick in (min, max, lambda ends: ends[0] + (ends[1] - ends[0]) // 3):
        point = cost("it", made(pick)).per_accepted
        assert point is not None
        assert whole.low <= point.value <= whole.high


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "currency: USD\noptions:\n  a:\n    prices:\n      - {form: request, price: -3}\n",
            ":5: options.a.prices.0.price",
        ),
        (
            "currency: USD\noptions:\n  a: {prices: [{form: request, price: 1, currency: EUR}]}\n",
            "what one EUR is in USD",
        ),
        ("currency: USD\noptions:\n  a: {acepted: 0.5}\n", ":3: options.a.acepted is not a field"),
        ("currency: USD\noptions:\n  a: {accepted: [0.9, 0.2]}\n", "write them in rising order"),
        ("currency: USD\noptions:\n  a: {accepted: 90}\n", "less than or equal to 1"),
        ("currency: USD\noptions:\n  a: {turns: 0.5}\n", "turns is below 1"),
        ("currency: USD\nrates: {EUR: 0}\noptions: {a: {}}\n", "a rate is above 0"),
        ("currency: USD\noptions: {}\n", "options"),
        ("[1, 2]\n", "a cost sheet is a list"),
        ("currency: [\n", "not YAML"),
        ("currency: USD\nincumbent: b\noptions: {a: {}}\n", "b is none of the options"),
    ],
)
def test_a_wrong_sheet_is_told_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        parse(text, Path("costs.yaml"))
    assert str(error.value).startswith("costs.yaml:")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_every_option_is_reckoned_even_where_one_is_unknown() -> None:
    made = Sheet.model_validate(
        {
            "currency": "USD",
            "traffic": {"jobs": 10},
            "options": {"rented": {}, "owned": {"prices": [{"form": "request", "price": 1}], "accepted": 1}},
        }
    )
    assert [(each.option, each.per_accepted is None) for each in costs(made)] == [("rented", True), ("owned", False)]
