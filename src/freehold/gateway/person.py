"""Whose request it is: OpenAI's `user` and `safety_identifier`, Anthropic's `metadata.user_id`.

What is recorded holds the person's pseudonym in their place; what goes on to an upstream is left as it came.
"""

from collections.abc import Callable
from typing import Any

import msgspec

_MARKS = (b'"user"', b'"safety_identifier"', b'"user_id"')
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def anonymous(content: bytes, pseudonym: Callable[[str], str]) -> tuple[bytes, str | None]:
    """The request with the person's pseudonym in the place of their id, and that pseudonym; None where it names nobody.

    A body that is no JSON object names nobody.
    """
    if not any(mark in content for mark in _MARKS):
        return content, None
    try:
        fields = _FIELDS.decode(content)
    except msgspec.MsgspecError:
        return content, None
    found = None
    for name in ("safety_identifier", "user"):
        found = _replace(fields, name, pseudonym) or found
    if "metadata" in fields:
        inner = _object(fields["metadata"])
        found = _replace(inner, "user_id", pseudonym) or found
        fields["metadata"] = _raw(inner) if "user_id" in inner else fields["metadata"]
    return (msgspec.json.encode(fields), found) if found else (content, None)


def _replace(fields: dict[str, msgspec.Raw], name: str, pseudonym: Callable[[str], str]) -> str | None:
    """Put a pseudonym into a field that names somebody."""
    value: Any = msgspec.json.decode(fields.get(name) or b"null")
    if not isinstance(value, str) or not value:
        return None
    named = pseudonym(value)
    fields[name] = _raw(named)
    return named


def _object(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return _FIELDS.decode(raw)
    except msgspec.ValidationError:
        return {}


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
