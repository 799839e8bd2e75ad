"""The checks that a guardrail can make: each a class whose settings are its keywords, called with a text.

A check answers None where there is nothing to find, else a `Finding`. A stranger's check, `python:FILE.py:NAME`, comes
in through the same door: a class (or function that makes one) called as `NAME(ground, **settings)`. Checks run in child
processes (`check_child.py`), so one that hangs or breaks costs that child only. `why` never repeats the text.
"""

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from freehold.data.language import is_in_another, language, require_known
from freehold.errors import DataError, FreeholdError, UserError, did_you_mean
from freehold.evaluation.scorers.custom import module_at
from freehold.store.guardrails import MODEL, PYTHON


class Finding(msgspec.Struct, frozen=True):
    """What a check found, and where (from, to) in the text; without places it is the whole text."""

    why: str
    spans: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Ground:
    """Where a check stands: the workspace's folder."""

    root: Path


Check = Callable[[str], Finding | None]
Make = Callable[..., Check]


class Pattern:
    """Finds what a regular expression matches."""

    def __init__(self, ground: Ground, pattern: str, ignore_case: str = "no") -> None:
        flags = re.IGNORECASE if _yes(ignore_case, "ignore_case") else re.NOFLAG
        try:
            self._pattern = re.compile(pattern, flags)
        except re.error as error:
            raise UserError(f"pattern is not a regular expression: {error}") from None

    def __call__(self, text: str) -> Finding | None:
        return _found("the pattern", self._pattern, text)


class Deny:
    """Finds words and phrases, whole and in any case; they stand a line each, or with commas."""

    def __init__(self, ground: Ground, words: str) -> None:
        listed = [each.strip() for each in re.split(r"[\n,]", words) if each.strip()]
        if not listed:
            raise UserError("words is empty; name at least one, or words=@FILE with one a line")
        either = "|".join(re.escape(each) for each in sorted(listed, key=len, reverse=True))
        self._pattern = re.compile(rf"(?<!\w)(?:{either})(?!\w)", re.IGNORECASE)

    def __call__(self, text: str) -> Finding | None:
        return _found("a word of the list", self._pattern, text)


class Length:
    """Finds a text that is longer, or shorter, than it may be; in `characters` or `words`."""

    def __init__(
        self, ground: Ground, most: str | None = None, least: str | None = None, unit: str = "characters"
    ) -> None:
        if most is None and least is None:
            raise UserError("name most, least or both")
        if unit not in ("characters", "words"):
            raise UserError(f"unit is {unit!r}; it may be characters or words")
        self._most = _whole(most, "most") if most is not None else None
        self._least = _whole(least, "least") if least is not None else 0
        self._unit = unit

    def __call__(self, text: str) -> Finding | None:
        size = len(text) if self._unit == "characters" else len(text.split())
        if self._most is not None and size > self._most:
            return Finding(f"{size:,} {self._unit}; at most {self._most:,}")
        if size < self._least:
            return Finding(f"{size:,} {self._unit}; at least {self._least:,}")
        return None


class Language:
    """Finds a text that is certainly in none of the allowed languages (`English, German`). A short one is not."""

    def __init__(self, ground: Ground, allowed: str) -> None:
        self._allowed = [each.strip() for each in allowed.split(",") if each.strip()]
        for each in self._allowed:
            try:
                require_known(each)
            except DataError as error:
                raise UserError(
                    str(error).replace("data.language", "allowed").replace("`input` or one", "one")
                ) from None
        if not self._allowed:
            raise UserError("allowed is empty; name languages such as 'English, German'")

    def __call__(self, text: str) -> Finding | None:
        if all(is_in_another(text, text, each) for each in self._allowed):
            return Finding(f"{language(text) or 'another script'}, and not {' or '.join(self._allowed)}")
        return None


class Schema:
    """Finds a text that is no JSON, or JSON that does not fit a JSON Schema."""

    def __init__(self, ground: Ground, schema: str) -> None:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError

        try:
            document = json.loads(schema)
            Draft202012Validator.check_schema(document)
        except (json.JSONDecodeError, SchemaError) as error:
            raise UserError(f"schema is not a JSON Schema: {str(error).splitlines()[0]}") from None
        self._validator = Draft202012Validator(document)

    def __call__(self, text: str) -> Finding | None:
        try:
            document = json.loads(text)
        except json.JSONDecodeError:
            return Finding("not JSON")
        error = next(iter(self._validator.iter_errors(document)), None)
        if error is None:
            return None
        return Finding(f"not what the schema asks for ({error.validator})")


class Labelled:
    """Finds a text that a plain classifier of this workspace gives one of `labels`, at least so surely (0..1)."""

    def __init__(self, ground: Ground, classifier: str, labels: str, least: str = "0.5") -> None:
        from freehold.evaluation.classifier import Classifier

        self._classifier = Classifier.load(_classifier_folder(ground.root, classifier))
        self._labels = [each.strip() for each in labels.split(",") if each.strip()]
        known = self._classifier.manifest.labels
        for each in self._labels:
            if each not in known:
                raise UserError(f"labels: {each!r} is not one of this classifier's{did_you_mean(each, known)}")
        self._least = _share(least)

    def __call__(self, text: str) -> Finding | None:
        label, sure = self._classifier.answer(text)
        return Finding(f"{label} ({sure:.2f})") if label in self._labels and sure >= self._least else None


CHECKS: dict[str, Make] = {
    "pattern": Pattern,
    "deny": Deny,
    "length": Length,
    "language": Language,
    "schema": Schema,
    "classifier": Labelled,
}


def make(root: Path, check: str, settings: Mapping[str, str]) -> Check:
    """The check of that name with its settings; raises `UserError` that names what is wrong with them."""
    maker = _stranger(check) if check.startswith(PYTHON) else CHECKS.get(check)
    if maker is None:
        known = (*CHECKS, MODEL)
        raise UserError(f"there is no check {check!r}{did_you_mean(check, known)}; it may be {', '.join(known)}, or "
                        "python:FILE.py:NAME")  # fmt: skip
    try:
        inspect.signature(maker).bind(Ground(root), **settings)
    except TypeError as error:
        raise UserError(f"{check}: {error}; its settings are {_settings(maker)}") from None
    try:
        return maker(Ground(root), **settings)
    except FreeholdError as error:
        raise UserError(f"{check}: {error}") from None


def made_of(check: str) -> float:
    """When a stranger's file was last written (seconds since 1970), so that a changed one is read again; else 0."""
    path = Path(check.removeprefix(PYTHON).rpartition(":")[0])
    return path.stat().st_mtime if check.startswith(PYTHON) and path.is_file() else 0.0


def said(found: Any) -> Finding | None:  # noqa: ANN401 (whatever a stranger's check gives)
    """What a check gave as a `Finding`: a sentence, or True, do as well."""
    if found is None or found is False:
        return None
    if isinstance(found, Finding):
        return found
    return Finding(found if isinstance(found, str) else "found")


def _stranger(check: str) -> Make:
    path, _, name = check.removeprefix(PYTHON).rpartition(":")
    if not path or not Path(path).is_file():
        raise UserError(f"{check}: no such file; write python:FILE.py:NAME")
    found = getattr(module_at(path), name, None)
    if not callable(found):
        raise UserError(f"{path} has no {name} that can be called")
    maker: Make = found
    return maker


def _classifier_folder(root: Path, named: str) -> Path:
    """By folder (the workspace's, or any), or by the beginning of its digest."""
    from freehold.evaluation.classifier import CLASSIFIER_FILE, ClassifierManifest
    from freehold.store.workspace import read_record

    for folder in (root / named, Path(named)):
        if (folder / CLASSIFIER_FILE).is_file():
            return folder
    if re.fullmatch("[0-9a-f]{8,64}", named):
        for path in sorted(root.rglob(CLASSIFIER_FILE)):
            if read_record(path, ClassifierManifest).digest.startswith(named):
                return path.parent
    raise UserError(f"{named} is no classifier's folder or digest in {root}")


def _found(what: str, pattern: "re.Pattern[str]", text: str) -> Finding | None:
    spans = tuple((match.start(), match.end()) for match in pattern.finditer(text))
    return Finding(f"{what}, {len(spans)} times" if len(spans) > 1 else what, spans) if spans else None


def _settings(maker: Make) -> str:
    return ", ".join(list(inspect.signature(maker).parameters)[1:]) or "none"


def _yes(text: str, name: str) -> bool:
    if text not in ("yes", "no"):
        raise UserError(f"{name} is {text!r}; it may be yes or no")
    return text == "yes"


def _whole(text: str, name: str) -> int:
    if not text.isdigit():
        raise UserError(f"{name} is {text!r}; write a whole number")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UserError(f"least is {text!r}; write a number in 0..1")
    return share
