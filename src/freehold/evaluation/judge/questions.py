"""Questions of one or more turns, as MT-Bench publishes its own (Zheng et al. 2023): JSONL, one question a line."""

from pathlib import Path

import msgspec

from freehold.data import typed_lines
from freehold.errors import DataError


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
    found = typed_lines.read(path, Question, "questions")
    seen = set()
    for where, each in found:
        if not each.turns or (each.reference and len(each.reference) != len(each.turns)):
            raise DataError(
                f"{where}: needs at least one turn, and one reference a turn (null where there is none) or none"
            )
        if each.question_id in seen:
            raise DataError(f"{where}: question_id {each.question_id} stands twice; each question needs its own")
        seen.add(each.question_id)
    return [each for _, each in found]
