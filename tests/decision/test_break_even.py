"""When owning pays: by hand, by simulation of the months, and as a picture."""

from datetime import date
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import pytest

from freehold.decision.break_even import break_even
from freehold.decision.cost_sheet import Sheet
from freehold.decision.pictures import break_even_curve, tornado
from freehold.errors import UndeterminedError


def sheet(**changes: Any) -> Sheet:  # noqa: ANN401
    """Renting costs 0.01 a job; owning 50 a month and 500 once."""
    content: dict[str, Any] = {
        "currency": "USD",
        "traffic": {"jobs": 10_000},
        "start": date(2026, 1, 31),
        "options": {
            "incumbent": {"prices": [{"form": "request", "price": 0.01}], "accepted": 0.9},
            "tuned": {
                "prices": [
                    {"form": "period", "price": 50},
                    {"form": "fee", "what": "labelling", "price": 500},
                    {"form": "hours", "what": "running it", "hours": 0, "rate": 60},
                ],
                "accepted": 0.9,
            },
        },
    }
    return Sheet.model_validate({**content, **changes})


def test_volume_and_date_by_hand() -> None:
    result = break_even(sheet(), "tuned")
    # 50 a month and 500 over 12 months are 91.67, which 9,167 jobs at 0.01 come to.
    assert result.volume.expected is not None
    assert 9166 < result.volume.expected < 9176
    # Saved: 100 − 50 a month, against 500.
    assert result.months.expected == 10
    assert result.dates[1] == date(2026, 11, 30)


def test_growth_pays_back_sooner() -> None:
    growing = break_even(sheet(traffic={"jobs": 10_000, "growth": 0.1}), "tuned").months.expected
    assert growing is not None
    owed, jobs, months = Decimal(500), Decimal(10_000), 0
    while owed > 0:
        owed -= jobs / 100 - 50
        jobs *= Decimal("1.1")
        months += 1
    assert months - 1 < growing <= months < 10


def test_it_is_never_only_a_point() -> None:
    result = break_even(sheet(traffic={"jobs": [8_000, 12_000]}), "tuned")
    months = result.months
    assert months.best is not None and months.expected is not None and months.worst is not None
    assert months.best < months.expected < months.worst
    assert result.dates[0] is not None and result.dates[2] is not None
    assert result.dates[0] < result.dates[2]


def test_never_is_said_and_not_a_date() -> None:
    result = break_even(sheet(traffic={"jobs": 4_000}), "tuned")
    assert result.months.expected is None
    assert result.dates == (None, None, None)


def test_answers_that_are_accepted_less_often_replace_fewer_rented_ones() -> None:
    worse = sheet()
    options = {**worse.options, "tuned": worse.options["tuned"].model_copy(update={"accepted": None})}
    unknown = break_even(worse.model_copy(update={"options": options}), "tuned")
    poorer = Sheet.model_validate(
        {
            "currency": "USD",
            "traffic": {"jobs": 10_000},
            "options": {
                "incumbent": {"prices": [{"form": "request", "price": 0.01}], "accepted": 0.9},
                "tuned": {"prices": [{"form": "period", "price": 50}], "accepted": 0.45},
            },
        }
    )
    assert unknown.months.expected == 10
    found = break_even(poorer, "tuned").volume.expected
    assert found is not None
    assert 9990 < found < 10_010


def test_sensitivity_to_price_traffic_and_peoples_time() -> None:
    found = {each.driver: each for each in break_even(sheet(), "tuned").sensitivity}
    assert found["price of incumbent"].halved is None  # 50 a month saves nothing
    assert found["price of incumbent"].doubled == Decimal(500) / 150
    assert found["traffic"].doubled == Decimal(500) / 150
    assert found["people's time"].doubled == 10


@pytest.mark.parametrize("draw", [break_even_curve, tornado])
def test_the_pictures_are_whole_svg_and_escape_names(draw: Any) -> None:  # noqa: ANN401
    options = {"a<b>&": sheet().options["incumbent"], "tuned": sheet().options["tuned"]}
    result = break_even(sheet(options=options), "tuned", "a<b>&")
    root = ElementTree.fromstring(draw(result))
    words = " ".join(node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text"))
    assert "a<b>&" in words


def test_a_free_side_draws_a_sentence_instead_of_a_curve() -> None:
    options = {
        "incumbent": {"prices": [{"form": "request", "price": 0}]},
        "tuned": {"prices": [{"form": "request", "price": 1}]},
    }
    assert "nothing to draw" in break_even_curve(break_even(sheet(options=options), "tuned"))


def test_an_unknown_price_is_an_unknown_break_even() -> None:
    with pytest.raises(UndeterminedError, match="no price is given"):
        break_even(sheet(options={"incumbent": {}, "tuned": {"prices": [{"form": "request", "price": 1}]}}), "tuned")
    with pytest.raises(UndeterminedError, match="which option is rented"):
        break_even(sheet(options={"tuned": {"prices": [{"form": "request", "price": 1}]}}), "tuned")
