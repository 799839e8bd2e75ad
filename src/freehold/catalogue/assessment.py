"""One's own judgment of a model that no index lists: answer, evidence and name, kept in the workspace.

The dimensions are those of the first index, so that an own judgment stands beside published ones.
"""

from freehold.catalogue import openness
from freehold.catalogue.openness import Degree, Dimension, Index, Judgment
from freehold.errors import NotFoundError, UserError, did_you_mean
from freehold.records import Record
from freehold.store.workspace import Workspace, read_record, write_record


class Assessment(Record, frozen=True, kw_only=True):
    """What has been judged of one model so far."""

    model: str
    judgments: dict[str, Judgment] = {}  # noqa: RUF012 (msgspec copies it)

    @property
    def score(self) -> float:
        return openness.score(dimensions_of(), self.judgments)

    @property
    def open_questions(self) -> tuple[Dimension, ...]:
        """Dimensions without an answer yet, in the index's order."""
        return tuple(each for each in dimensions_of().dimensions if each.name not in self.judgments)


def dimensions_of() -> Index:
    """The index whose dimensions are asked."""
    return openness.index(openness.FIRST)


def load(workspace: Workspace, model: str) -> Assessment:
    """What is kept of a model's assessment; empty where it was never begun."""
    try:
        return read_record(workspace.root / "openness" / f"{model}.json", Assessment)
    except NotFoundError:
        return Assessment(model=model)


def answer(workspace: Workspace, model: str, dimension: str, judgment: Judgment) -> Assessment:
    """Keep one answer at once, so that an interrupted walk goes on where it was.

    Raises `UserError` where an answer other than unknown has no evidence, or nobody stands behind it.
    """
    names = [each.name for each in dimensions_of().dimensions]
    if dimension not in names:
        raise UserError(f"{dimension}: no such dimension{did_you_mean(dimension, names)}; known: {', '.join(names)}")
    if not judgment.by.strip():
        raise UserError("an answer needs the name of who gives it")
    if judgment.answer is not Degree.UNKNOWN and not judgment.evidence.startswith(("http://", "https://")):
        raise UserError(f"{dimension}: an answer needs a link to its evidence; where there is none, answer unknown")
    kept = load(workspace, model)
    changed = Assessment(model=model, judgments={**kept.judgments, dimension: judgment})
    write_record(workspace.root / "openness" / f"{model}.json", changed)
    return changed
