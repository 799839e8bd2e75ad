"""Redaction: personal and secret values → placeholders, the same value the same placeholder inside one exchange.

Training and serving go through this one function (invariant 2): a model that learned on `[EMAIL_1]` is asked with
`[EMAIL_1]`, and `restore` fills the value in again in its answer. Numbers count first appearances, so text that is
redacted already comes out unchanged; a placeholder that a user typed is itself a value, restored to what was typed.
"""

import re
from bisect import bisect
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import msgspec

from freehold.data.detectors import DETECTORS, Detector
from freehold.data.row import Row
from freehold.data.screen import Screen
from freehold.records import Message

_BLANK = "\x1f"
_LONGEST_PLACEHOLDER = 40
_PREPARED_KEPT = 8  # a running gateway follows its patterns as they change, and an automaton takes memory
_UNFINISHED = re.compile(r"\[(?:[A-Z][A-Z_]*(?:_[0-9]*)?)?$")


class Redaction:
    """The placeholders of one exchange. `counts` says how many values of each kind were hidden."""

    def __init__(self, detectors: Sequence[Detector] = DETECTORS) -> None:
        self.counts: Counter[str] = Counter()
        self._detectors = detectors
        self._screen, self._placeholder = _prepared(tuple(detectors))
        self._named: dict[str, dict[str, str]] = {}
        self._values: dict[str, str] = {}

    def hide(self, text: str) -> str:
        """The text with placeholders."""
        parts, at = [], 0
        for start, end, kind in self._claims(text):
            parts += [text[at:start], self._name(kind, text[start:end])]
            at = end
        return "".join([*parts, text[at:]]) if parts else text

    def hide_all(self, value: Any) -> Any:  # noqa: ANN401 (any JSON value)
        """A JSON value with placeholders in every text of it; keys stay as they are."""
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, list):
            return [self.hide_all(each) for each in value]
        if isinstance(value, dict):
            return {key: self.hide_all(each) for key, each in value.items()}
        return value

    def restore(self, text: str) -> str:
        """The text with the values in the place of this exchange's placeholders; others stay."""
        if "[" not in text or not self._values:
            return text
        return self._placeholder.sub(lambda match: self._values.get(match.group(), match.group()), text)

    def restoring(self) -> "Restoring":
        """For an answer that comes in pieces."""
        return Restoring(self)

    def _claims(self, text: str) -> list[tuple[int, int, str]]:
        """Places to hide, in order, none overlapping. What one detector claims, the later ones do not see."""
        taken: list[tuple[int, int, str]] = []
        if "[" in text:
            text = _claim(taken, [(*match.span(), match.group(1)) for match in self._placeholder.finditer(text)], text)
        for at in self._screen.worth_asking(text):
            kind, find, _ = self._detectors[at]
            found = [(start, end, kind) for start, end in find(text)]
            text = _claim(taken, found, text) if found else text
        return taken

    def _name(self, kind: str, value: str) -> str:
        names = self._named.setdefault(kind, {})
        if value not in names:
            names[value] = f"[{kind}_{len(names) + 1}]"
            self._values[names[value]] = value
        if not self._placeholder.fullmatch(value):
            self.counts[kind] += 1
        return names[value]


@lru_cache(_PREPARED_KEPT)
def _prepared(detectors: tuple[Detector, ...]) -> tuple[Screen, re.Pattern[str]]:
    """What every exchange shares: which detectors to ask of a text, and what a placeholder looks like."""
    kinds = "|".join(dict.fromkeys(detector.kind for detector in detectors))
    return Screen([detector.sign for detector in detectors]), re.compile(rf"\[({kinds})_[0-9]+\]")


class Restoring:
    """Fills values in again while an answer streams: what may be the start of a placeholder waits for the rest."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction
        self._waiting = ""

    def feed(self, piece: str) -> str:
        """What can be passed on now."""
        text = self._waiting + piece
        unfinished = _UNFINISHED.search(text, max(0, len(text) - _LONGEST_PLACEHOLDER))
        cut = unfinished.start() if unfinished else len(text)
        self._waiting = text[cut:]
        return self._redaction.restore(text[:cut])

    def finish(self) -> str:
        """What was still waiting."""
        text, self._waiting = self._waiting, ""
        return self._redaction.restore(text)


def redacted(row: Row, redaction: Redaction) -> Row:
    """A row with one exchange's placeholders in its turns and answers; an answer that is JSON stays JSON."""
    return replace(
        row,
        messages=tuple(Message(role=message.role, content=redaction.hide(message.content)) for message in row.messages),
        answer=_answer(row.answer, redaction),
        incumbent_answer=None if row.incumbent_answer is None else _answer(row.incumbent_answer, redaction),
    )


def _answer(text: str, redaction: Redaction) -> str:
    if not text.startswith(("{", "[")):
        return redaction.hide(text)
    try:
        return msgspec.json.encode(redaction.hide_all(msgspec.json.decode(text))).decode()
    except msgspec.DecodeError:
        return redaction.hide(text)


def _claim(taken: list[tuple[int, int, str]], found: list[tuple[int, int, str]], text: str) -> str:
    """Add what overlaps nothing taken, which stays sorted; returns the text with what was found blanked."""
    fresh = []
    for start, end, kind in found:
        at = bisect(taken, (start, end, kind))
        free_before = at == 0 or taken[at - 1][1] <= start
        if free_before and (at == len(taken) or end <= taken[at][0]):
            taken.insert(at, (start, end, kind))
            fresh.append((start, end))
    if not fresh:
        return text
    parts, at = [], 0
    for start, end in sorted(fresh):
        parts += [text[at:start], _BLANK * (end - start)]
        at = end
    return "".join([*parts, text[at:]])
