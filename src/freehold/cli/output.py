"""What commands print with: one JSON document for machines, tables for people, never both."""

import sys
from collections.abc import Sequence
from typing import Any

import msgspec


def as_json(value: Any) -> None:  # noqa: ANN401 (any JSON-able value)
    """One JSON document and nothing else on standard output."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    sys.stdout.write(text + "\n")


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns; numbers to the right."""
    from rich.cells import cell_len

    cells = [[str(value) for value in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(headers, *cells, strict=True)]
    right = [_numeric(row[at] for row in rows) for at in range(len(headers))]

    def line(values: Sequence[str]) -> str:
        padded = []
        for value, width, numeric in zip(values, widths, right, strict=True):
            space = " " * (width - cell_len(value))
            padded.append(space + value if numeric else value + space)
        return ("  " + "   ".join(padded)).rstrip()

    say(line(list(headers)))
    for row in cells:
        say(line(row))


def _numeric(values: Any) -> bool:  # noqa: ANN401
    present = list(values)
    return bool(present) and all(isinstance(value, int | float) for value in present)


def say(text: str = "") -> None:
    """One line for a person."""
    sys.stdout.write(text + "\n")
