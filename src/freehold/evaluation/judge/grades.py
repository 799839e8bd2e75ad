"""Grades from 1 to 10 for single answers, and MT-Bench's two turns (Zheng et al. 2023).

In the two-turn protocol a model answers a question, then a second one that builds on it; either answer is graded with
the conversation so far before the judge's eyes. Here answers are decoded greedily, so that a run can be repeated.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from freehold.engines.chat import Chat, ChatEndpoint
from freehold.engines.engine import Sampling
from freehold.errors import DataError
from freehold.evaluation.judge.judge import Judge
from freehold.evaluation.judge.wording import grade, grading
from freehold.evaluation.statistics import bootstrap_mean
from freehold.progress import SILENT, Progress
from freehold.records import Example, Interval, Message, Record, Row

_ANSWER_TOKENS = 1024
_AT_ONCE = 4


class Question(msgspec.Struct, frozen=True):
    """A question of one or more turns; `reference` holds an answer for each turn, where there is one."""

    question_id: int | str
    turns: tuple[str, ...]
    category: str = "all"
    reference: tuple[str, ...] | None = None


class Grade(Record, frozen=True, kw_only=True):
    """One graded answer; `grade` is None where the judge's verdict could not be read."""

    item: str
    category: str
    turn: int
    answer: str
    grade: float | None
    with_reference: bool


class Grades(Record, frozen=True, kw_only=True):
    """A model's grades: the mean over all, by turn and by category, each None where nothing could be read."""

    judge: str
    model: str
    mean: Interval | None
    turns: tuple[Interval | None, ...]
    categories: dict[str, Interval | None]
    nonsense: int
    without_reference: int
    rows: tuple[Grade, ...]


def questions(path: Path) -> list[Question]:
    """Read a JSONL file of questions in MT-Bench's form; raises `DataError` naming the line that is wrong."""
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            question = msgspec.json.decode(line, type=Question)
        except msgspec.MsgspecError as error:
            raise DataError(
                f"{path}:{number}: {error}; a line is {{question_id, turns, category, reference}}"
            ) from None
        if not question.turns or (question.reference and len(question.reference) != len(question.turns)):
            raise DataError(f"{path}:{number}: needs at least one turn, and one reference a turn or none")
        found.append(question)
    if not found:
        raise DataError(f"{path}: holds no questions")
    return found


def converse(model: ChatEndpoint, question: Question) -> list[Message]:
    """The model's conversation over all turns, question and answer alternating."""
    turns: list[Message] = []
    for text in question.turns:
        turns.append(Message(role="user", content=text))
        answer = model.chat(Chat(messages=tuple(turns), sampling=Sampling(max_tokens=_ANSWER_TOKENS)))
        turns.append(Message(role="assistant", content=answer.text))
    return turns


def converse_all(model: ChatEndpoint, asked: Sequence[Question], progress: Progress = SILENT) -> list[list[Message]]:
    """The model's conversations on every question, a few at a time."""
    with progress.step("answers", len(asked)) as step, ThreadPoolExecutor(_AT_ONCE) as pool:
        conversations = []
        for turns in pool.map(lambda question: converse(model, question), asked):
            conversations.append(turns)
            step.advance()
    return conversations


def of_rows(rows: Sequence[Row], examples: Mapping[str, Example]) -> tuple[list[Question], list[list[Message]]]:
    """Kept answers as one-turn questions and conversations, with their references."""
    asked, conversations = [], []
    for row in rows:
        example = examples.get(row.example)
        if example is not None and row.error is None:
            asked.append(Question(row.example, (example.text,), reference=(example.reference,)))
            answer = Message(role="assistant", content=row.answer)
            conversations.append([Message(role="user", content=example.text), answer])
    if not asked:
        raise DataError("no answer is left whose example is still here; `freehold run` measures anew")
    return asked, conversations


def graded(
    judge: Judge,
    model: str,
    asked: Sequence[Question],
    conversations: Sequence[Sequence[Message]],
    progress: Progress = SILENT,
) -> Grades:
    """Grade every turn of every conversation (`converse`)."""
    prompts, places = [], []
    for question, turns in zip(asked, conversations, strict=True):
        for turn in range(len(question.turns)):
            reference = question.reference[turn] if question.reference else None
            prompts.append(grading(turns[: 2 * turn + 2], judge.rubric, reference))
            places.append((question, turn, turns[2 * turn + 1].content))
    said = judge.say(prompts, progress)
    rows = [
        Grade(
            item=str(question.question_id),
            category=question.category,
            turn=turn + 1,
            answer=answer,
            grade=grade(text),
            with_reference=bool(question.reference),
        )
        for (question, turn, answer), text in zip(places, said, strict=True)
    ]
    return _summed(judge.name, model, rows)


def _summed(judge: str, model: str, rows: Sequence[Grade]) -> Grades:
    return Grades(
        judge=judge,
        model=model,
        mean=_mean(rows),
        turns=tuple(_mean([row for row in rows if row.turn == turn]) for turn in sorted({row.turn for row in rows})),
        categories={
            name: _mean([row for row in rows if row.category == name])
            for name in sorted({row.category for row in rows})
        },
        nonsense=sum(row.grade is None for row in rows),
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
    return msgspec.structs.replace(share, value=1 + 9 * share.value, low=1 + 9 * share.low, high=1 + 9 * share.high)
