"""Ids of imported rows: one that comes again with the same content is the same row, exported twice.

With another content it is nobody's to choose between, and an error.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from freehold.errors import DataError
from freehold.records import canonical

_SAID = ("messages", "request", "response", "feedback", "correction")


class Ids:
    """The ids seen so far, by 64-bit hash: about 100 bytes each."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}

    def again(self, fields: Mapping[str, Any], place: str) -> bool:
        """Whether a row's `id` stood before with the same content; raises `DataError` where with another."""
        known = fields.get("id")
        if known is None:
            return False
        name, content = _hash(str(known).encode()), _hash(canonical([fields.get(part) for part in _SAID]))
        first = self._seen.get(name)
        if first is None:
            self._seen[name] = content
        elif first != content:
            raise DataError(f"{place}: the id {str(known)!r} stands earlier with another content; keep one of the two")
        return first is not None


def _hash(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
