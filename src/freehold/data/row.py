"""A row: one thing that came in and its answer, as read, before it is checked, split and frozen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from freehold.errors import DataError
from freehold.records import Message, Provenance


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate for an example. `index` counts all rows of all sources in reading order.

    `at` is in seconds since 1970, where the task names a column of times. `asked` is the SHA-256 of the messages as
    read, where something was cut from them. `subject` is a pseudonym once it is in the build: no later stage sees whose
    the row is.
    """

    index: int
    origin: str
    messages: tuple[Message, ...]
    answer: str
    provenance: Provenance
    incumbent_answer: str | None = None
    session: str | None = None
    subject: str | None = None
    at: float | None = None
    asked: str | None = None

    @property
    def last_user_turn(self) -> str:
        return next((message.content for message in reversed(self.messages) if message.role == "user"), "")

    @property
    def text(self) -> str:
        """What duplicates are judged on: every turn but the system's, so that a shared prompt makes nothing alike."""
        return "\n".join(message.content for message in self.messages if message.role != "system")


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that did not become an example, and why. `because` is the origin of the row that displaced it."""

    row: Row
    reason: str
    because: str | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer after its feedback was heard: the reference, whose it is, and what the incumbent had said."""

    answer: str | None
    provenance: Provenance
    incumbent_answer: str | None
    rejected: bool = False


def judged(fields: Mapping[str, Any], answer: str | None, default: Provenance, origin: str) -> Judged:
    """Hear a row's `feedback`, `correction` and `provenance` over what the task file says of the whole file.

    Raises `DataError` where one of them is not a word that is known.
    """
    verdict, correction = _feedback(fields, origin)
    if correction is not None:
        return Judged(correction, Provenance.CORRECTED, answer)
    provenance = _provenance(fields.get("provenance"), default, origin)
    if verdict == "accepted":
        return Judged(answer, Provenance.ACCEPTED, answer)
    recorded = optional_text(fields.get("incumbent_answer"))
    if recorded is None and provenance is not Provenance.HUMAN:
        recorded = answer
    return Judged(answer, provenance, recorded, rejected=verdict == "rejected")


def optional_text(value: object) -> str | None:
    """A field's text, or None where it is absent or empty."""
    return str(value) if value is not None and str(value) != "" else None


def _feedback(fields: Mapping[str, Any], origin: str) -> tuple[str | None, str | None]:
    given = fields.get("feedback")
    nested: Mapping[str, Any] = given if isinstance(given, Mapping) else {"verdict": given}
    verdict = optional_text(nested.get("verdict"))
    correction = optional_text(nested.get("correction")) or optional_text(fields.get("correction"))
    if verdict not in (None, "accepted", "rejected", "corrected"):
        raise DataError(f"{origin}: feedback is {verdict!r}; it is one of accepted, rejected, corrected")
    if verdict == "corrected" and correction is None:
        raise DataError(f"{origin}: feedback says corrected, but there is no `correction`")
    return verdict, correction


def _provenance(given: object, default: Provenance, origin: str) -> Provenance:
    text = optional_text(given)
    if text is None:
        return default
    try:
        return Provenance(text)
    except ValueError:
        raise DataError(f"{origin}: provenance is {text!r}; it is one of {', '.join(Provenance)}") from None
