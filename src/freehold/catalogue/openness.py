"""How open a model is, dimension by dimension, with the evidence: judgments of two published indexes and one's own.

A judgment belongs to an index at a version. Each index is scored as it scores itself; a user's own weights give a
weighted share instead. Unknown scores nothing, as closed does, and is shown as unknown.
"""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from freehold.errors import NotFoundError, UserError, did_you_mean
from freehold.records import Record, digest

FOLDER = Path(__file__).parent / "openness"
FIRST = "opening-up-chatgpt"
T = TypeVar("T", bound=Record)


class Degree(StrEnum):
    OPEN = "open"
    PARTIAL = "partial"
    CLOSED = "closed"
    UNKNOWN = "unknown"

    @property
    def points(self) -> float:
        return {Degree.OPEN: 1.0, Degree.PARTIAL: 0.5}.get(self, 0.0)

    @property
    def mark(self) -> str:
        return {Degree.OPEN: "✔", Degree.PARTIAL: "~", Degree.CLOSED: "✘"}.get(self, "?")


class Judgment(Record, frozen=True, kw_only=True):
    """One dimension's answer and the link that shows it; `by` names who judged, where it was no index."""

    answer: Degree
    evidence: str
    by: str = ""


class Dimension(Record, frozen=True, kw_only=True):
    """What is judged. `short` is the matrix's column head."""

    name: str
    short: str
    group: str
    meaning: str


class Index(Record, frozen=True, kw_only=True):
    """A published index at one version."""

    name: str
    title: str
    commit: str
    note: str
    url: str
    licence: str
    citation: str
    method: Literal["sum", "mean"]
    about: str
    dimensions: tuple[Dimension, ...]

    @property
    def version(self) -> str:
        """The index's commit; where none was recorded, the newest judgment's date and the digest of them all."""
        if self.commit:
            return f"commit {self.commit}"
        judged = projects(self.name)
        newest = max(each.date for each in judged)
        return f"{self.note}, judgments up to {newest}, digest {digest([each.judgments for each in judged])[:12]}"


class Project(Record, frozen=True, kw_only=True):
    """One project as an index judged it. `models`: the catalogue's models that it speaks of."""

    name: str
    project: str
    organisation: str
    url: str
    declared_licence: str
    date: str
    source: str
    judgments: dict[str, Judgment]
    models: tuple[str, ...] = ()
    kind: str = "text"


class Ranked(Record, frozen=True, kw_only=True):
    """A project's place. `share` is the score as a part of what could be reached, in 0..1."""

    rank: int
    project: Project
    score: float
    share: float
    index: str


@lru_cache(maxsize=4)
def index(name: str) -> Index:
    """An index by name; raises `NotFoundError`."""
    path = FOLDER / f"{name}.toml"
    known = [each.stem for each in FOLDER.glob("*.toml")]
    if name not in known:
        raise NotFoundError(f"{name}: no such index{did_you_mean(name, known)}; known: {', '.join(sorted(known))}")
    return read(path, Index)


@lru_cache(maxsize=4)
def projects(name: str) -> tuple[Project, ...]:
    """Every project of an index, unranked."""
    return tuple(read(path, Project) for path in sorted((FOLDER / name).glob("*.toml")))


def read(path: Path, kind: type[T]) -> T:
    """One file of judgments; raises `UserError` that names the field which is not right."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: is not a {kind.__name__.lower()}: {error}; see docs/openness.md") from None


def score(of: Index, judgments: Mapping[str, Judgment], weights: Mapping[str, float] | None = None) -> float:
    """The index's own score, or with weights the weighted mean of the points (0..1)."""
    points = {each.name: judgments[each.name].answer.points for each in of.dimensions if each.name in judgments}
    if weights:
        _known(of, weights)
        weighing = {each.name: weights.get(each.name, 1.0) for each in of.dimensions}
        whole = sum(weighing.values())
        return math.fsum(points.get(name, 0) * weight for name, weight in weighing.items()) / whole
    total = math.fsum(points.values())
    return total if of.method == "sum" else round(total / len(of.dimensions), 4)


def ranked(name: str = FIRST, weights: Mapping[str, float] | None = None) -> tuple[Ranked, ...]:
    """An index's projects, best first; equal scores stand in the order of their names, as the first index has them."""
    of = index(name)
    scored = [(score(of, each.judgments, weights), each) for each in projects(name)]
    scored.sort(key=lambda pair: (-pair[0], pair[1].project))
    return tuple(
        Ranked(rank=place, project=each, score=value, share=_share(of, value, weights), index=name)
        for place, (value, each) in enumerate(scored, start=1)
    )


@lru_cache(maxsize=512)
def of_model(model: str) -> tuple[Ranked, ...]:
    """What the indexes say of one model: at most one judgment each."""
    return tuple(each for name in (FIRST, "osai") for each in ranked(name) if model in each.project.models)


def find(project: str, name: str = FIRST) -> Ranked:
    """One project of an index; raises `NotFoundError` with near names."""
    by_name = {key.lower(): each for each in ranked(name) for key in (each.project.project, each.project.name)}
    wanted = project.strip().lower()
    found = by_name.get(wanted) or by_name.get(wanted.replace("-", " "))
    if found is None:
        raise NotFoundError(f"{project}: not in the index {name}{did_you_mean(wanted, by_name)}")
    return found


def weights(texts: Sequence[str]) -> dict[str, float]:
    """`["llmdata=3", "package=0"]` as weights; raises `UserError` on anything else."""
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise UserError(f"--weight {text}: write it as DIMENSION=NUMBER, such as llmdata=3") from None
    if any(not math.isfinite(value) or value < 0 for value in found.values()):
        raise UserError("--weight: a weight is a number that is not negative")
    return found


def _known(of: Index, chosen: Mapping[str, float]) -> None:
    names = [each.name for each in of.dimensions]
    for name in chosen:
        if name not in names:
            raise UserError(f"{name}: no dimension of {of.name}{did_you_mean(name, names)}; it has {', '.join(names)}")
    if not any(chosen.get(name, 1.0) for name in names):
        raise UserError("every dimension weighs nothing; give at least one a weight")


def _share(of: Index, value: float, chosen: Mapping[str, float] | None) -> float:
    return value / len(of.dimensions) if of.method == "sum" and not chosen else value
