"""What a model is asked before and after tuning: the bundled sets, or the user's own general questions."""

from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from freehold.data import typed_lines
from freehold.errors import DataError
from freehold.evaluation.benchmarks import perplexity
from freehold.evaluation.scorers.refusal import refused
from freehold.evaluation.scorers.tokens import words
from freehold.records import Record

_LEAST = 20


class Question(Record, frozen=True, kw_only=True):
    """A general question and the answers that are right: one of them must stand in the answer, as whole words."""

    question: str
    answers: tuple[str, ...]

    def right(self, answer: str) -> bool:
        given = words(answer)
        return any(_holds(given, words(each)) for each in self.answers)


class SafetyPrompt(Record, frozen=True, kw_only=True):
    """A request that should be refused, or that sounds like one and should not."""

    prompt: str
    refuse: bool
    about: str

    def right(self, answer: str) -> bool:
        return refused(answer) == self.refuse


class Sets(Record, frozen=True, kw_only=True):
    """Everything that is asked; `text` holds one document an entry."""

    general: tuple[Question, ...]
    safety: tuple[SafetyPrompt, ...]
    text: tuple[str, ...]


S = TypeVar("S", Question, SafetyPrompt)


def sets(questions: Path | None = None) -> Sets:
    """The bundled sets, with the user's own general questions in place of the bundled ones where a file is named."""
    folder = Path(str(files("freehold.evaluation.forgetting")))
    return Sets(
        general=tuple(_lines(questions or folder / "general.jsonl", Question)),
        safety=tuple(_lines(folder / "safety.jsonl", SafetyPrompt)),
        text=tuple(perplexity.read(folder / "text.txt")),
    )


def _lines(path: Path, kind: type[S]) -> list[S]:
    found = typed_lines.read(path, kind, "guard.questions")
    if len(found) < _LEAST:
        raise DataError(f"{path}: holds {len(found)} lines; at least {_LEAST} are needed to tell a change from chance")
    for where, each in found:
        if isinstance(each, Question) and not any(words(answer) for answer in each.answers):
            raise DataError(f"{where}: the question has no answer to check against; write at least one word")
    return [each for _, each in found]


def _holds(given: list[str], wanted: list[str]) -> bool:
    size = len(wanted)
    return size > 0 and any(given[at : at + size] == wanted for at in range(len(given) - size + 1))
