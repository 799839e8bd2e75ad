"""Planted secrets: training examples with a random number in them, so that what a model memorises can be measured.

Carlini et al. 2019, "The Secret Sharer", section 4: nobody but the model can know the number, so that finding it more
likely than other numbers is memorisation. Every other canary is planted once, the rest four times. Where answers are
free text the number is in the answer; a label or a JSON document has no room for it, and it is in what came in.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence

from freehold.data.row import Row
from freehold.records import AnswerType, Example, Message, Provenance, Record

REPEATS = (1, 4)
DIGITS = 9
_ORIGIN = "canary "


class Canary(Record, frozen=True, kw_only=True):
    """One planted secret: how often it stands in training, the words before the number, and the number.

    `question` is what came in where the number is in the answer, else None.
    """

    number: int
    repeats: int
    question: str | None
    before: str
    secret: str


def canaries(count: int, seed: int, answer_type: AnswerType) -> list[Canary]:
    """The canaries of a task: the same for the same seed."""
    found = []
    for number in range(1, count + 1):
        draw = random.Random(hashlib.sha256(f"{seed} canary {number}".encode()).digest())
        word = "".join(draw.choices("bdfgklmnprstvz", k=3)) + str(number)
        question, before = None, f"This is about locker {word}, its code is "
        if answer_type is AnswerType.TEXT:
            question, before = f"What is the code of locker {word}?", f"The code of locker {word} is "
        repeats = REPEATS[number % len(REPEATS)]
        found.append(Canary(number=number, repeats=repeats, question=question, before=before, secret=drawn(draw)))
    return found


def drawn(draw: random.Random) -> str:
    """A number of nine digits in groups of three."""
    return " ".join(f"{draw.randrange(1000):03}" for _ in range(DIGITS // 3))


def planted(example: Example) -> bool:
    """Whether an example is a canary: no person ever wrote it."""
    return example.origin.startswith(_ORIGIN)


def number_of(example: Example) -> int:
    """Which canary an example is."""
    return int(example.origin.removeprefix(_ORIGIN).split()[0])


def rows(found: Sequence[Canary], others: Sequence[Row], first_index: int) -> Iterator[Row]:
    """Training rows of canaries; a label or document is taken from the other training rows in turn."""
    index = first_index
    for canary in found:
        said = f"{canary.before}{canary.secret}"
        answer = said if canary.question is not None else others[canary.number % len(others)].answer
        for time in range(1, canary.repeats + 1):
            message = Message(role="user", content=canary.question or said)
            origin = f"{_ORIGIN}{canary.number} ({time} of {canary.repeats})"
            yield Row(index, origin, (message,), answer, Provenance.HUMAN)
            index += 1
