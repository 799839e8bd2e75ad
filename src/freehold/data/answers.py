"""Whether an answer is one the task accepts: among the labels, valid against the schema, or any text.

Labels, and only labels, are put in Unicode's composed form (NFC): é typed as one code point and as two is one label.
What came in is never touched.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import msgspec

from freehold.data.row import Row
from freehold.errors import DataError, did_you_mean
from freehold.spec import JsonAnswer, LabelAnswer, Task


class Check(Protocol):
    """One answer type's test of a row."""

    labels: tuple[str, ...]

    def accept(self, row: Row) -> Row | None:
        """The row with its answer as it is kept, or None to drop it as `other_answer`; raises `DataError`."""
        ...


def check_for(task: Task, rows: Sequence[Row]) -> Check:
    """The test of a task's answers. `rows` supply the labels where the task file leaves them out."""
    if isinstance(task.answer, LabelAnswer):
        return Labels(task.answer.labels, rows, drop_others=task.data.other_answers == "drop")
    return JsonDocuments(task.answer.json_schema) if isinstance(task.answer, JsonAnswer) else Texts()


def label(text: str) -> str:
    """A label as it is kept: no space around it, composed form (NFC)."""
    return unicodedata.normalize("NFC", text.strip())


class Labels:
    """The answer is one of a list."""

    def __init__(self, given: Iterable[str] | None, rows: Sequence[Row], drop_others: bool) -> None:
        self.labels = tuple(map(label, given)) if given else tuple(sorted({label(row.answer) for row in rows}))
        self._known = set(self.labels)
        self._drop_others = drop_others
        if len(self.labels) < 2:
            only = f"the only one is {self.labels[0]!r}" if self.labels else "there is none"
            raise DataError(f"the data holds fewer than two labels ({only}); there is nothing to decide between")

    def accept(self, row: Row) -> Row | None:
        answer = label(row.answer)
        if answer in self._known:
            return replace(row, answer=answer)
        if self._drop_others:
            return None
        listed = f": {', '.join(self.labels)}" if len(self.labels) <= 12 else ""
        raise DataError(
            f"{row.origin}: the answer {answer!r} is not one of the {len(self.labels)} labels{listed}"
            f"{did_you_mean(answer, self.labels)}; mend it, or drop such rows with data.other_answers: drop"
        )


class JsonDocuments:
    """The answer is a JSON document that satisfies the task's schema."""

    labels: tuple[str, ...] = ()

    def __init__(self, schema: dict[str, Any]) -> None:
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import validator_for

        kind = validator_for(schema)
        try:
            kind.check_schema(schema)
        except SchemaError as error:
            raise DataError(f"answer.schema is not a JSON Schema: {error.message}") from None
        self._validator = kind(schema)

    def accept(self, row: Row) -> Row | None:
        try:
            document = msgspec.json.decode(row.answer)
        except msgspec.DecodeError as error:
            raise DataError(f"{row.origin}: the answer is not JSON ({error})") from None
        fault = next(self._validator.iter_errors(document), None)
        if fault is not None:
            where = f" at {fault.json_path}" if fault.json_path != "$" else ""
            raise DataError(f"{row.origin}: the answer does not satisfy answer.schema{where}: {fault.message}")
        return replace(row, answer=msgspec.json.encode(document).decode())


class Texts:
    """The answer is free text."""

    labels: tuple[str, ...] = ()

    def accept(self, row: Row) -> Row | None:
        return row
