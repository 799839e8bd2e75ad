"""Everything that is fixed before any result is seen: each resolved value with its source, and what it can show."""

from freehold.data import build as data
from freehold.decision import power
from freehold.errors import UserError
from freehold.evaluation.scorers import registry
from freehold.progress import Progress
from freehold.records import AnswerType, Dataset, Plan, Record, Split
from freehold.spec import LoraSettings, Resolved, Task, TaskFile, resolved
from freehold.store.workspace import Workspace
from freehold.tuning import recipe


class Planned(Record, frozen=True, kw_only=True):
    """`values` in the task file's order, then what follows from the data; `outlook` is the power, in words."""

    values: tuple[Resolved, ...]
    outlook: str
    unread: str | None


def of_task(task: Task) -> Plan:
    """The plan that a task file fixes."""
    decide = task.decide
    return Plan(
        metric=task.metric,
        margin=decide.margin,
        confidence=decide.confidence,
        seed=task.seed,
        may_lose=task.guard.may_lose() if task.guard else {},
    )


def plan(file: TaskFile, workspace: Workspace, progress: Progress) -> Planned:
    """Resolve a task file against its data. Data that cannot be read yet leaves its values unknown, and says why."""
    registry.check(file.task, workspace.models)
    stated = {row.field: row for row in resolved(file)}
    stated["decide.metric"] = _metric(file, stated["decide.metric"])
    try:
        dataset = data.build(file, workspace, progress)
    except UserError as error:
        outlook = power.outlook(of_task(file.task), None, comparisons=_comparisons(file.task))
        return Planned(values=tuple(stated.values()), outlook=outlook, unread=str(error))
    stated |= {row.field: row for row in _derived(file, dataset)}
    outlook = power.outlook(of_task(file.task), dataset.counts[Split.HELD_OUT], comparisons=_comparisons(file.task))
    return Planned(values=tuple(stated.values()), outlook=outlook, unread=None)


def _comparisons(task: Task) -> int:
    """How many tests share the error (`decision/certificate.py`): each base as it is and tuned, and the classifier."""
    bases = len(task.candidates) if isinstance(task.candidates, tuple) else 1
    ways = bases * (2 if isinstance(task.tune, LoraSettings) else 1)
    candidates = ways + (task.answer_type is AnswerType.LABEL)
    return max(1, candidates - (0 if task.incumbent else 1))


def _metric(file: TaskFile, row: Resolved) -> Resolved:
    if row.value is not None:
        return row
    return Resolved(row.field, file.task.metric, f"default for answer.type {file.task.answer.type}")


def _derived(file: TaskFile, dataset: Dataset) -> list[Resolved]:
    """What follows from the data: the labels, the split, and the recipe."""
    rows = [Resolved(f"data.examples.{split}", dataset.counts[split], "from the data") for split in Split]
    if dataset.labels and getattr(file.task.answer, "labels", None) is None:
        source = f"from the data: {len(dataset.labels)} distinct answers"
        rows.append(Resolved("answer.labels", list(dataset.labels), source))
    if isinstance(file.task.tune, LoraSettings):
        _, chosen = recipe.choose(file.task.tune, dataset.counts[Split.TRAIN], len(dataset.labels))
        rows += [row for row in chosen if row.source != "task file"]
    return rows
