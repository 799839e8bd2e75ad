"""The JSON and text tasks written for this project are what their READMEs say."""

import csv
import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from freehold import spec
from freehold.data.duplicates import near_pairs
from freehold.render import json_answer

EXAMPLES = Path(__file__).parents[2] / "examples"


def _rows(path: str) -> list[dict[str, str]]:
    with (EXAMPLES / path).open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_every_order_satisfies_the_schema_and_says_its_item() -> None:
    answer = spec.load(EXAMPLES / "orders" / "freehold.yaml").task.answer
    assert isinstance(answer, spec.JsonAnswer)
    rows = _rows("orders/messages.csv")
    assert len(rows) == 191
    for row in rows:
        order = _document(row["order"], answer)
        words = order["item"].split()
        assert any(word.lower().rstrip("s")[:4] in row["text"].lower() for word in words), row["text"]


def _document(order: str, answer: spec.JsonAnswer) -> dict[str, str]:

    document: dict[str, str] = json.loads(json_answer(order, answer.json_schema))
    Draft202012Validator(answer.json_schema).validate(document)
    return document


def test_every_note_has_one_short_line() -> None:
    rows = _rows("handover/notes.csv")
    assert len(rows) == 146
    assert all(len(row["line"].split()) < len(row["note"].split()) for row in rows)
    assert all("\n" not in row["line"] and len(row["line"].split()) <= 14 for row in rows)


@pytest.mark.parametrize(("path", "column"), [("orders/messages.csv", "text"), ("handover/notes.csv", "note")])
def test_no_two_are_alike(path: str, column: str) -> None:
    texts = [row[column] for row in _rows(path)]
    assert len({text.casefold() for text in texts}) == len(texts)
    assert list(near_pairs(texts)) == []
    assert len({" ".join(text.split()[:2]).lower() for text in texts}) > 0.75 * len(texts)  # no skeleton to begin with
