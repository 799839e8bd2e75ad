"""When a row happened: ISO 8601 with its zone, or seconds since 1970. Without a zone it would be many moments."""

import re
from datetime import datetime

from freehold.errors import DataError


def moment(value: object, field: str, origin: str) -> float:
    """Seconds since 1970, UTC; raises `DataError` for anything that is not one moment."""
    if isinstance(value, bool) or value is None or value == "":
        raise DataError(f"{origin}: has no time; {field} (data.time) is empty")
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, datetime):
        return _zoned(value, str(value), field, origin)
    text = str(value).strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return float(text)
    try:
        return _zoned(datetime.fromisoformat(text), text, field, origin)
    except ValueError:
        raise DataError(f"{origin}: {field} is {text!r}; a time is ISO 8601, such as 2026-11-23T14:30:00Z") from None


def _zoned(when: datetime, text: str, field: str, origin: str) -> float:
    if when.tzinfo is None:
        raise DataError(f"{origin}: {field} is {text!r}, which has no zone; write Z or an offset such as +01:00")
    return when.timestamp()
