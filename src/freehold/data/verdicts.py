"""A person's verdicts on examples: checked against the task's answers, then kept as corrections."""

from collections.abc import Sequence
from pathlib import Path

from freehold.data import corrections, files
from freehold.data.answers import label
from freehold.errors import DataError, did_you_mean
from freehold.records import AnswerType, Dataset, Example
from freehold.store.workspace import Workspace


def keep(workspace: Workspace, dataset: Dataset, example: Example, answer: str) -> None:
    """Keep one verdict; raises `DataError` where the answer is not one of the labels."""
    corrections.add(workspace, dataset.task, example, _checked(dataset, answer, example.origin))


def apply(workspace: Workspace, dataset: Dataset, examples: Sequence[Example], path: Path) -> int:
    """Keep the verdicts of a file with `id` (or how it begins) and `answer`; all are checked before one is kept.

    A row whose answer was left blank is one that nobody has looked at yet.
    """
    verdicts = []
    for line, fields in files.read(path):
        where = f"{path.name}:{line}"
        if not fields.get("id") or "answer" not in fields:
            raise DataError(f"{where}: needs an `id` and an `answer`; the columns are {', '.join(fields)}")
        if fields["answer"] in (None, ""):
            continue
        found = [each for each in examples if each.id.startswith(str(fields["id"]))]
        if len(found) != 1:
            raise DataError(f"{where}: {len(found)} examples have an id that begins with {fields['id']!r}; name one")
        verdicts.append((found[0], _checked(dataset, str(fields["answer"]), where)))
    for example, answer in verdicts:
        corrections.add(workspace, dataset.task, example, answer)
    return len(verdicts)


def _checked(dataset: Dataset, answer: str, where: str) -> str:
    if dataset.answer_type is not AnswerType.LABEL:
        return answer
    if label(answer) not in dataset.labels:
        raise DataError(f"{where}: {answer!r} is not one of the labels{did_you_mean(answer, dataset.labels)}")
    return label(answer)
