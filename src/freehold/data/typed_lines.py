"""JSONL files in a form of our own: one record a line, and an error that names the line which is none."""

from pathlib import Path
from typing import TypeVar

import msgspec

from freehold.errors import DataError

S = TypeVar("S", bound=msgspec.Struct)


def read(path: Path, kind: type[S], what: str) -> list[tuple[str, S]]:
    """The records of a file, each with its place (`FILE:LINE`); `what` names them in the plural.

    Raises `DataError` where the file is missing, is not UTF-8, holds nothing, or a line is no such record.
    """
    form = f"{what} are JSONL, a line is {form_of(kind)}"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {form}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text; {form}") from None
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append((f"{path}:{number}", msgspec.json.decode(line, type=kind)))
            except msgspec.MsgspecError as error:
                raise DataError(f"{path}:{number}: {error}; {form}") from None
    if not found:
        raise DataError(f"{path}: holds no {what}; {form}")
    return found


def form_of(kind: type[msgspec.Struct]) -> str:
    """A record's fields, as a person would write them down."""
    return "{" + ", ".join(kind.__struct_fields__) + "}"
