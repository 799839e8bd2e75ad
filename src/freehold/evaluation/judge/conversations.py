"""A model's conversations on questions of several turns: each turn builds on the answers before it.

Answers are decoded greedily, so that a run can be repeated, and kept as they come, so that one that was stopped goes
on. A turn whose answer failed ends its conversation: it is counted, and nothing is made up for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from freehold.engines.chat import Chat
from freehold.engines.engine import Sampling
from freehold.errors import DataError
from freehold.evaluation.asking import Asked
from freehold.evaluation.judge.questions import Question
from freehold.progress import SILENT, Progress
from freehold.records import Example, Message, Row


@dataclass(frozen=True)
class Conversation:
    """A question and the answers to its first turns: to all of them, unless one failed (`error`)."""

    question: Question
    answers: tuple[str, ...]
    error: str | None = None

    def messages(self, turns: int) -> tuple[Message, ...]:
        """The first so many turns, question and answer alternating."""
        spoken: list[Message] = []
        for text, answer in zip(self.question.turns[:turns], self.answers, strict=False):
            spoken += [Message(role="user", content=text), Message(role="assistant", content=answer)]
        return tuple(spoken)


def converse(
    model: Asked, questions: Sequence[Question], longest: int, progress: Progress = SILENT
) -> list[Conversation]:
    """Every question, turn by turn; an answer has `longest` tokens at most."""
    talks = [Conversation(question, ()) for question in questions]
    sampling = Sampling(max_tokens=longest)
    for turn in range(max(len(question.turns) for question in questions)):
        going = [at for at, talk in enumerate(talks) if turn < len(talk.question.turns) and not talk.error]
        requests = [Chat(messages=_until(talks[at], turn), sampling=sampling) for at in going]
        for at, answered in zip(going, model.all(requests, progress), strict=True):
            talk = talks[at]
            answers = talk.answers if answered.error else (*talk.answers, answered.text)
            talks[at] = Conversation(talk.question, answers, answered.error)
    return talks


def of_rows(rows: Sequence[Row], examples: Mapping[str, Example]) -> list[Conversation]:
    """A candidate's kept answers as conversations of one turn, with their references."""
    known = [(row, examples[row.example]) for row in rows if row.error is None and row.example in examples]
    if not known:
        raise DataError("no answer is left whose example is still here; `freehold run` measures anew")
    return [
        Conversation(Question(row.example, (example.text,), reference=(example.reference,)), (row.answer,))
        for row, example in known
    ]


def _until(talk: Conversation, turn: int) -> tuple[Message, ...]:
    return (*talk.messages(turn), Message(role="user", content=talk.question.turns[turn]))
