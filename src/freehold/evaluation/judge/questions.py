"""Questions of one or more turns, as MT-Bench publishes its own (Zheng et al. 2023): JSONL, one question a line."""

from pathlib import Path

import msgspec

from freehold.errors import DataError

_FORM = "a line is {question_id, turns, category, reference}"


class Question(msgspec.Struct, frozen=True):
    """A question of one or more turns; `reference` holds an answer for each turn, or None where a turn has none."""

    question_id: int | str
    turns: tuple[str, ...]
    category: str = "all"
    reference: tuple[str | None, ...] | None = None

    def reference_of(self, turn: int) -> str | None:
        """What a right answer to that turn looks like; None where nobody wrote one."""
        return (self.reference[turn] or None) if self.reference else None


def read(path: Path) -> list[Question]:
    """The questions of a file; raises `DataError` naming the line that is wrong."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; questions are JSONL, and {_FORM}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text") from None
    found = [_question(f"{path}:{number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise DataError(f"{path}: holds no questions")
    twice = {each.question_id for each in found if sum(other.question_id == each.question_id for other in found) > 1}
    if twice:
        raise DataError(f"{path}: question_id {min(map(str, twice))} stands twice; each question needs its own")
    return found


def _question(where: str, line: str) -> Question:
    try:
        question = msgspec.json.decode(line, type=Question)
    except msgspec.MsgspecError as error:
        raise DataError(f"{where}: {error}; {_FORM}") from None
    if not question.turns or (question.reference and len(question.reference) != len(question.turns)):
        raise DataError(
            f"{where}: needs at least one turn, and one reference a turn (null where there is none) or none"
        )
    return question
