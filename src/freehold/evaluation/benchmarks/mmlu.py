"""MMLU, 5-shot (Hendrycks et al. 2021, "Measuring Massive Multitask Language Understanding").

The published format: a line that names the subject, five worked questions, the question, and "Answer:"; the answer is
the likeliest of " A", " B", " C", " D". The figure is the micro average: every question counts alike. Answers are kept
as they come, so that a run that was stopped goes on, and a larger sample asks only what the smaller one did not.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

from freehold.errors import DataError
from freehold.evaluation.benchmarks.continuations import shared_prefix
from freehold.evaluation.benchmarks.sitting import Sitting
from freehold.evaluation.statistics import pairs, tango, wilson
from freehold.progress import SILENT, Progress, Step
from freehold.records import Interval, Record

LETTERS = "ABCD"
PUBLISHED = {
    "smollm2-135m-instruct": "29.3 % (model card, HuggingFaceTB/SmolLM2-135M-Instruct), in the cloze form and without "
    "examples: another protocol, in which answers are not letters; chance is 25 % in both",
}
"""Figures that the publisher of a base gives, with their protocol; shown beside ours, never compared to them."""
_SHOTS = 5
_COLUMNS = ["question", "choice0", "choice1", "choice2", "choice3", "answer"]


class Scores(Protocol):
    """Whatever can say which token comes next (`continuations.Continuations`)."""

    def likeliest(self, prefix: Sequence[int], rest: Sequence[int], choices: Sequence[int]) -> int: ...


@dataclass(frozen=True)
class Question:
    """One question; `answer` is the place of the right choice."""

    subject: str
    number: int
    question: str
    choices: tuple[str, ...]
    answer: int

    def text(self, answered: bool) -> str:
        lines = [self.question, *(f"{letter}. {choice}" for letter, choice in zip(LETTERS, self.choices, strict=True))]
        return "\n".join(lines) + "\nAnswer:" + (f" {LETTERS[self.answer]}\n\n" if answered else "")


class Answered(Record, frozen=True, kw_only=True):
    """One question's row."""

    subject: str
    number: int
    answer: str
    right: bool


class Result(Record, frozen=True, kw_only=True):
    """The micro average, each subject's share, and the rows. `asked` of `all` questions: fewer where sampled."""

    model: str
    micro: Interval
    subjects: dict[str, Interval]
    asked: int
    all: int
    rows: tuple[Answered, ...]


def read(folder: Path) -> tuple[dict[str, list[Question]], dict[str, list[Question]]]:
    """Worked examples and questions by subject, from `dev/SUBJECT_dev.csv` and `test/SUBJECT_test.csv`."""
    dev = {path.stem.removesuffix("_dev"): _questions(path) for path in sorted((folder / "dev").glob("*_dev.csv"))}
    test = {path.stem.removesuffix("_test"): _questions(path) for path in sorted((folder / "test").glob("*_test.csv"))}
    missing = sorted(test.keys() - dev.keys())
    if not test or missing:
        what = f"{missing[0]} has no worked examples in dev/" if missing else "there is no test/SUBJECT_test.csv"
        raise DataError(f"{folder}: {what}; MMLU is read from dev/ and test/, one CSV a subject")
    return dev, test


def sample(test: Mapping[str, Sequence[Question]], count: int | None, seed: int) -> list[Question]:
    """All questions, or a simple random sample of them, which holds every smaller sample of the same seed."""
    every = [question for questions in test.values() for question in questions]
    if count is None or count >= len(every):
        return every
    Random(seed).shuffle(every)
    return every[:count]


def measure(
    sitting: Sitting[Scores],
    asked: Sequence[Question],
    dev: Mapping[str, Sequence[Question]],
    progress: Progress = SILENT,
) -> list[Answered]:
    """Ask every question, subject by subject, so that the worked examples are computed once a subject."""
    rows: list[Answered] = []
    with progress.step(f"mmlu {sitting.model}", len(asked)) as step:
        for subject in sorted({question.subject for question in asked}):
            questions = [question for question in asked if question.subject == subject]
            prompts = [sitting.encodes.encode(_prompt(question, dev[subject])) for question in questions]
            letters = _letters(sitting, prompts, step)
            rows += [_answered(question, letter) for question, letter in zip(questions, letters, strict=True)]
    return rows


def _letters(sitting: Sitting[Scores], prompts: Sequence[tuple[int, ...]], step: Step) -> Iterator[str]:
    """The letter that is likeliest after each prompt of one subject."""
    choices = [sitting.encodes.encode(f" {letter}")[-1] for letter in LETTERS]
    shared = shared_prefix(prompts) if len(prompts) > 1 else 0
    return sitting.found(
        prompts, lambda ids: LETTERS[sitting.scores.likeliest(ids[:shared], ids[shared:], choices)], step
    )


def summed(model: str, rows: Sequence[Answered], every: int) -> Result:
    """The figures of a model's rows; `every` is how many questions there are in all."""
    subjects = sorted({row.subject for row in rows})
    return Result(
        model=model,
        micro=_share(rows),
        subjects={name: _share([row for row in rows if row.subject == name]) for name in subjects},
        asked=len(rows),
        all=every,
        rows=tuple(rows),
    )


def change(before: Result, after: Result) -> Interval:
    """What tuning changed, on the same questions: share right after less before (Tango's paired interval)."""
    return tango(pairs([float(row.right) for row in after.rows], [float(row.right) for row in before.rows]))


def _prompt(question: Question, dev: Sequence[Question]) -> str:
    head = f"The following are multiple choice questions (with answers) about {question.subject.replace('_', ' ')}.\n\n"
    return head + "".join(each.text(answered=True) for each in dev[:_SHOTS]) + question.text(answered=False)


def _answered(question: Question, letter: str) -> Answered:
    right = LETTERS[question.answer] == letter
    return Answered(subject=question.subject, number=question.number, answer=letter, right=right)


def _share(rows: Sequence[Answered]) -> Interval:
    return wilson(sum(row.right for row in rows), len(rows))


def _questions(path: Path) -> list[Question]:
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.reader(handle)
        if next(reader, None) != _COLUMNS:
            raise DataError(f"{path}:1: the columns are not {','.join(_COLUMNS)}")
        return list(_rows(path, reader))


def _rows(path: Path, reader: Iterator[list[str]]) -> Iterator[Question]:
    subject = path.stem.removesuffix("_dev").removesuffix("_test")
    for number, row in enumerate(reader, 1):
        if len(row) != len(_COLUMNS) or row[5] not in ("0", "1", "2", "3"):
            raise DataError(f"{path}: question {number} needs four choices and an answer from 0 to 3")
        yield Question(subject, number, row[0], tuple(row[1:5]), int(row[5]))
