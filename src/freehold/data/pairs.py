"""Pairs (what came in, what should come out) in named columns → rows."""

from collections.abc import Mapping
from typing import Any

import msgspec

from freehold.data.row import Judged, Row, judged, optional_text
from freehold.errors import DataError, did_you_mean
from freehold.records import Message
from freehold.spec import DataSpec


def to_row(fields: Mapping[str, Any], index: int, origin: str, spec: DataSpec) -> tuple[Row, Judged]:
    """One pair as a row; raises `DataError` where a column is missing, empty or not text."""
    text = _cell(fields, spec.input, "input", origin)
    if not isinstance(text, str):
        raise DataError(f"{origin}: column {spec.input} holds {_kind(text)}, not text")
    if not text.strip():
        raise DataError(f"{origin}: has no input; column {spec.input} is empty")
    answer = _answer(_cell(fields, spec.answer, "answer", origin))
    heard = judged(fields, answer, spec.provenance, origin)
    if not heard.answer:
        raise DataError(f"{origin}: has no answer; column {spec.answer} is empty")
    row = Row(
        index=index,
        origin=origin,
        messages=(Message(role="user", content=text),),
        answer=heard.answer,
        provenance=heard.provenance,
        incumbent_answer=heard.incumbent_answer,
        session=optional_text(fields.get("session")),
        subject=optional_text(fields.get("subject")),
    )
    return row, heard


def _cell(fields: Mapping[str, Any], column: str, field: str, origin: str) -> object:
    if column not in fields:
        present = ", ".join(fields) or "none"
        raise DataError(
            f"{origin}: there is no column {column!r} (data.{field}); the columns are {present}"
            f"{did_you_mean(column, fields)}"
        )
    value: object = fields[column]
    return "" if value is None else value


def _answer(value: object) -> str:
    """Text as it is; numbers, lists and objects as compact JSON in their own key order."""
    return value.strip() if isinstance(value, str) else msgspec.json.encode(value).decode()


def _kind(value: object) -> str:
    return {"list": "a list", "dict": "an object"}.get(type(value).__name__, f"a {type(value).__name__}")
