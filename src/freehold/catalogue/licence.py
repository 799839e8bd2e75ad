"""Licences as data: conditions with their clauses (`licences/`), and which models each covers (`grants/`).

A licence belongs to a model at a size and a revision, never to a family: a grant names the models it covers and the
dates between which a copy must have been obtained.
"""

from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from freehold.errors import UserError
from freehold.records import Record

HERE = Path(__file__).parent
Effect = Literal["forbidden", "unknown", "conditional", "duty"]
T = TypeVar("T", bound=Record)


class When(Record, frozen=True, kw_only=True):
    """What a rule applies to; every condition that is given must hold. `*` stands for anything stated."""

    commercial: bool | None = None
    users_over: int | None = None
    hosted_service: bool | None = None
    redistribute: bool | None = None
    train_on_outputs: bool | None = None
    territory: tuple[str, ...] = ()
    field: tuple[str, ...] = ()
    multimodal: bool | None = None


class Rule(Record, frozen=True, kw_only=True):
    """One condition of a licence. `unless`: what would lift it."""

    effect: Effect
    sentence: str
    clause: str
    unless: str = ""
    when: When = When()


class Licence(Record, frozen=True, kw_only=True):
    """The terms of one licence text.

    `notice`: the line that it wants to see word for word in a Notice file; `notice_source`: where that wording was
    read, empty where nobody has compared it with the text.
    """

    name: str
    title: str
    spdx: str
    osi_approved: bool
    source: str
    read_on: str
    date: str = ""
    notice: str = ""
    notice_source: str = ""
    rules: tuple[Rule, ...] = ()


class Grant(Record, frozen=True, kw_only=True):
    """Models that one licence covers, by name, `*` standing for any ending. `service`: a rented API's terms."""

    name: str
    title: str
    covers: tuple[str, ...]
    licence: str
    source: str
    confidence: str
    since: str = ""
    until: str = ""
    note: str = ""
    service: bool = False

    def matches(self, model: str) -> int:
        """How exactly this grant names a model: 0 not at all, else longer is more exact."""
        return max((len(pattern) for pattern in self.covers if fnmatchcase(model, pattern)), default=0)

    def holds(self, revision: str) -> bool:
        """Whether a copy obtained on a date (YYYY-MM-DD; empty: today) falls under this grant."""
        if not revision:
            return not self.until
        return self.since <= revision and (not self.until or revision < self.until)


@lru_cache(maxsize=1)
def licences() -> dict[str, Licence]:
    """Every licence that ships, by name."""
    return {each.name: each for each in _all("licences", Licence)}


@lru_cache(maxsize=1)
def grants() -> tuple[Grant, ...]:
    """Every grant that ships."""
    return tuple(_all("grants", Grant))


def granted(model: str, revision: str = "") -> Grant | None:
    """The grant that names a model most exactly, for a copy obtained on `revision`."""
    fitting = [grant for grant in grants() if grant.holds(revision) and grant.matches(model)]
    return max(fitting, key=lambda grant: grant.matches(model), default=None)


def family(prefix: str) -> tuple[Grant, ...]:
    """Grants whose models begin with a name: a family that must be told apart."""
    return tuple(grant for grant in grants() if any(each.startswith(prefix) for each in grant.covers))


def _all(folder: str, kind: type[T]) -> list[T]:
    return [read(path, kind) for path in sorted((HERE / folder).glob("*.toml"))]


def read(path: Path, kind: type[T]) -> T:
    """One file of licence data; raises `UserError` that names the field which is not right."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: is not a {kind.__name__.lower()}: {error}; see docs/rights.md") from None
