"""What takes longer than a page may: a dataset's card, its suspected labels, its learning curve.

Prepared by a job, kept under `looks/` in the workspace by the dataset's digest, and read by the Data page.
"""

from pathlib import Path

from freehold.data import card as cards
from freehold.data import enough, freeze, quality
from freehold.data.card import Card
from freehold.data.enough import Enough
from freehold.data.quality import Suspect
from freehold.errors import DataError, NotFoundError
from freehold.progress import Progress
from freehold.records import AnswerType, Record
from freehold.spec import TaskFile
from freehold.store import stages
from freehold.store.database import connect
from freehold.store.workspace import Workspace, read_record, write_record

MOST_SUSPECTS = 200


class Look(Record, frozen=True, kw_only=True):
    """What was found. `curve` is None with `no_curve` saying why."""

    dataset: str
    card: Card
    suspects: tuple[Suspect, ...]
    curve: Enough | None
    no_curve: str = ""


def prepare(file: TaskFile, workspace: Workspace, progress: Progress) -> str:
    """Look at the task's newest dataset; returns what came of it in a sentence."""
    done = stages.finished(connect(workspace.database_url), file.task.task).get("data")
    if done is None:
        raise NotFoundError(f"{file.task.task}: there is no dataset yet; a run makes one")
    dataset = freeze.read(workspace, done.output)
    examples = freeze.examples(workspace, done.output)
    with progress.step("card"):
        card = cards.card(dataset, examples, file.task.data)
    suspects: tuple[Suspect, ...] = ()
    curve, no_curve = None, "a curve can be drawn for labels only"
    if dataset.answer_type is AnswerType.LABEL:
        with progress.step("suspected labels"):
            suspects = tuple(quality.suspects(examples, file.task.seed)[:MOST_SUSPECTS])
        try:
            curve, no_curve = enough.enough(examples, file.task.seed, progress), ""
        except DataError as error:
            no_curve = str(error)
    look = Look(dataset=dataset.digest, card=card, suspects=suspects, curve=curve, no_curve=no_curve)
    keep(workspace, look)
    return f"dataset {dataset.digest[:12]}: {len(suspects)} labels to look at"


def keep(workspace: Workspace, look: Look) -> None:
    """Keep what was found, in place of what was found before."""
    write_record(_path(workspace, look.dataset), look)


def read(workspace: Workspace, dataset: str) -> Look | None:
    """What was prepared for a dataset, or None."""
    path = _path(workspace, dataset)
    return read_record(path, Look) if path.exists() else None


def _path(workspace: Workspace, dataset: str) -> Path:
    return workspace.root / "looks" / f"{dataset}.json"
