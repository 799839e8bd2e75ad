"""From a scorer's name to the function that makes it for a task. A stranger's scorer comes in through the same dict."""

from collections.abc import Callable
from pathlib import Path

from freehold.engines.llamacpp_embedder import embedder_of
from freehold.errors import UserError, did_you_mean
from freehold.evaluation.scorers import custom, similarity, spent
from freehold.evaluation.scorers.bleu import bleu
from freehold.evaluation.scorers.chrf import chrf
from freehold.evaluation.scorers.exact import exact_match
from freehold.evaluation.scorers.json_fields import canonical_match, field_accuracy, schema_valid
from freehold.evaluation.scorers.language import same_language
from freehold.evaluation.scorers.program import passes
from freehold.evaluation.scorers.refusal import refused
from freehold.evaluation.scorers.rouge import rouge_l
from freehold.evaluation.scorers.spent import Spent
from freehold.records import AnswerType
from freehold.spec import JsonAnswer, Task

Scorer = Callable[[str, str], float]
"""Answer and reference → a score in 0..1, more being better."""


def _exact(task: Task) -> Scorer:
    return canonical_match if task.answer_type is AnswerType.JSON else exact_match


def _schema_valid(task: Task) -> Scorer:
    if not isinstance(task.answer, JsonAnswer):
        raise UserError(f"schema_valid needs answer.type json; {task.task} answers with {task.answer.type}")
    schema = task.answer.json_schema
    return lambda answer, _reference: schema_valid(answer, schema)


SCORERS: dict[str, Callable[[Task], Scorer]] = {
    "accuracy": _exact,
    "exact_match": _exact,
    "field_accuracy": lambda _task: field_accuracy,
    "schema_valid": _schema_valid,
    "rouge_l": lambda _task: rouge_l,
    "chrf": lambda _task: chrf,
    "bleu": lambda _task: bleu,
    "language": lambda _task: same_language,
    "answered": lambda _task: lambda answer, _reference: float(not refused(answer)),
    "tests_pass": lambda _task: passes,
}
CUSTOM: dict[str, Callable[[str, Task], Scorer]] = {
    "regex": lambda pattern, _task: custom.regex(pattern),
    "python": lambda named, task: custom.python(named, task.beside),
}
SPENT: dict[str, Callable[[str], Spent]] = {"latency": spent.latency, "cost": spent.cost}
"""Scorers of what an answer took: they see the row, not the text."""

_BESIDE_THE_METRIC = {
    AnswerType.LABEL: (),
    AnswerType.JSON: ("field_accuracy", "schema_valid"),
    AnswerType.TEXT: ("exact_match", "rouge_l"),
}


def scorer(name: str, task: Task) -> Scorer:
    """The scorer of that name for a task, or the user's own (`regex:…`, `python:…`); raises `UserError`."""
    kind, colon, rest = name.partition(":")
    if colon and kind in CUSTOM:
        return CUSTOM[kind](rest, task)
    if name not in SCORERS:
        known = [*SCORERS, similarity.NAME, *(f"{each}:…" for each in (*CUSTOM, *SPENT))]
        raise UserError(f"{name} is not a scorer{did_you_mean(name, known)}; there are: {', '.join(sorted(known))}")
    return SCORERS[name](task)


def beside_the_metric(task: Task, models: Path) -> dict[str, Scorer]:
    """The scores of texts that are shown next to the task's metric; `models` holds the pulled embedding model."""
    wanted = (*_BESIDE_THE_METRIC[task.answer_type], *task.scorers)
    names = [name for name in wanted if name != task.metric and name.partition(":")[0] not in SPENT]
    return {name: _similar(models) if name == similarity.NAME else scorer(name, task) for name in names}


def beside_the_text(task: Task) -> dict[str, Spent]:
    """The scores of what answers took that the task file asks for."""
    parts = {name: name.partition(":") for name in task.scorers}
    return {name: SPENT[kind](rest) for name, (kind, _, rest) in parts.items() if kind in SPENT}


def check(task: Task, models: Path) -> None:
    """Raise `UserError` for a scorer of the task file that is none: better before an hour of tuning than after."""
    beside_the_metric(task, models)
    beside_the_text(task)


def _similar(models: Path) -> Scorer:
    return similarity.Similarity(lambda: embedder_of(models / similarity.MODEL))
