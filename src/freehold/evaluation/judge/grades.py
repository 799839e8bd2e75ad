"""Grades from 1 to 10 for single answers, and for either turn of MT-Bench's conversations (Zheng et al. 2023).

Each answer is graded with the conversation so far before the judge's eyes, and the reference where there is one.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from freehold.evaluation.judge.conversations import Conversation
from freehold.evaluation.judge.judge import Judge
from freehold.evaluation.judge.wording import grade, grading
from freehold.evaluation.statistics import bootstrap_mean
from freehold.progress import SILENT, Progress
from freehold.records import Interval, Record


class Grade(Record, frozen=True, kw_only=True):
    """One turn. `answer` is None where the model gave none, `grade` there and where no verdict could be read."""

    item: str
    category: str
    turn: int
    answer: str | None
    grade: float | None
    with_reference: bool


class Grades(Record, frozen=True, kw_only=True):
    """A model's grades: the mean over all, by turn and by category, each None where nothing could be read.

    `unanswered` turns got no answer from the model, `failed` ones none from the judge, `nonsense` ones a verdict that
    could not be read: none of them counts in a mean.
    """

    judge: str
    model: str
    mean: Interval | None
    turns: tuple[Interval | None, ...]
    categories: dict[str, Interval | None]
    nonsense: int
    failed: int
    unanswered: int
    without_reference: int
    rows: tuple[Grade, ...]


def graded(judge: Judge, model: str, talks: Sequence[Conversation], progress: Progress = SILENT) -> Grades:
    """Grade every turn of every conversation."""
    places = [(talk, turn) for talk in talks for turn in range(len(talk.question.turns))]
    answered = [(talk, turn) for talk, turn in places if turn < len(talk.answers)]
    prompts = [
        grading(talk.messages(turn + 1), judge.rubric, talk.question.reference_of(turn)) for talk, turn in answered
    ]
    said = judge.say(prompts, progress) if prompts else []
    read = {
        (talk.question.question_id, turn): grade(text or "") for (talk, turn), text in zip(answered, said, strict=True)
    }
    rows = [_row(talk, turn, read.get((talk.question.question_id, turn))) for talk, turn in places]
    return _summed(judge.name, model, rows, failed=sum(text is None for text in said))


def _row(talk: Conversation, turn: int, found: float | None) -> Grade:
    return Grade(
        item=str(talk.question.question_id),
        category=talk.question.category,
        turn=turn + 1,
        answer=talk.answers[turn] if turn < len(talk.answers) else None,
        grade=found,
        with_reference=talk.question.reference_of(turn) is not None,
    )


def _summed(judge: str, model: str, rows: Sequence[Grade], failed: int) -> Grades:
    return Grades(
        judge=judge,
        model=model,
        mean=_mean(rows),
        turns=tuple(_mean([row for row in rows if row.turn == turn]) for turn in sorted({row.turn for row in rows})),
        categories={
            name: _mean([row for row in rows if row.category == name])
            for name in sorted({row.category for row in rows})
        },
        nonsense=sum(row.grade is None and row.answer is not None for row in rows) - failed,
        failed=failed,
        unanswered=sum(row.answer is None for row in rows),
        without_reference=sum(not row.with_reference for row in rows),
        rows=tuple(rows),
    )


def _mean(rows: Sequence[Grade]) -> Interval | None:
    """The mean grade; turns of one question are resampled together. Grades are 1..10, so they are bounded as shares."""
    read = [(row.grade, row.item) for row in rows if row.grade is not None]
    if not read:
        return None
    shares = [(value - 1) / 9 for value, _ in read]
    items = [item for _, item in read]
    several = len(set(items)) < len(items)
    share = bootstrap_mean(shares, clusters=items if several else None)
    return replace(share, value=1 + 9 * share.value, low=1 + 9 * share.low, high=1 + 9 * share.high)
