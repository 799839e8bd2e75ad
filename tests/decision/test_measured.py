"""What a report knows is filled in, and what a person said stands."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from freehold.decision.cost_sheet import Sheet
from freehold.decision.measured import fill
from freehold.records import CandidateKind

KINDS = {CandidateKind.TUNED: [1.0] * 8 + [0.0] * 2, CandidateKind.INCUMBENT: [1.0] * 10}


def measured(material: Callable[..., Any], **option: Any) -> Any:  # noqa: ANN401
    made = material(KINDS)
    rows = {
        name: [replace(row, input_tokens=40, output_tokens=at % 2 * 4, latency_ms=150.0) for at, row in enumerate(each)]
        for name, each in made.rows.items()
    }
    sheet = Sheet.model_validate({"currency": "USD", "options": {"tuned": option, "incumbent": {}, "other": {}}})
    return fill(sheet, made.report, rows).options


def test_tokens_time_and_acceptance_come_from_the_report(material: Callable[..., Any]) -> None:
    tuned = measured(material)["tuned"]
    assert tuned.input_tokens.value == 40
    assert tuned.output_tokens.value == 2
    assert tuned.seconds.value == Decimal("0.15")
    assert tuned.accepted.value == Decimal("0.8")
    assert "accuracy, n = 10" in tuned.accepted.source


def test_a_rented_model_gives_no_machine_time(material: Callable[..., Any]) -> None:
    assert measured(material)["incumbent"].seconds is None


def test_a_figure_in_the_sheet_stands(material: Callable[..., Any]) -> None:
    assert measured(material, accepted=0.5)["tuned"].accepted.value == Decimal("0.5")


def test_an_option_that_was_not_measured_stays_unknown(material: Callable[..., Any]) -> None:
    assert measured(material)["other"].accepted is None
