"""Blind side-by-side votes on kept answers: nobody sees whose answer is whose before, or after, voting.

Nothing is asked anew: the answers are the newest report's rows, so people vote on the task's own held-out examples.
"""

from collections.abc import Mapping, Sequence
from random import Random, SystemRandom
from typing import TYPE_CHECKING

from freehold.errors import UndeterminedError
from freehold.evaluation.arena.pairing import draw
from freehold.evaluation.arena.style import markers
from freehold.records import Example, Record, Report, Row
from freehold.store.bouts import Bout, Bouts

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

_TRIES = 50


class Shown(Record, frozen=True, kw_only=True):
    """What a voter sees."""

    id: str
    question: str
    left: str
    right: str


class Ballot:
    """Deals comparisons of one report's candidates and takes the votes."""

    def __init__(
        self,
        report: Report,
        rows: Mapping[str, Sequence[Row]],
        examples: Mapping[str, Example],
        bouts: Bouts,
        random: Random | None = None,
    ) -> None:
        self._task, self._bouts, self._examples = report.task, bouts, examples
        self._random = random or SystemRandom()
        self._names = [each.candidate.name for each in report.figures]
        self._answers = [
            {
                row.example: row.answer
                for row in rows[each.candidate.digest]
                if not row.error and row.example in examples
            }
            for each in report.figures
        ]

    def deal(self) -> Shown:
        """The next comparison; raises `UndeterminedError` where no two candidates answered anything differently."""
        for _ in range(_TRIES):
            left, right = (
                draw(wins(self._bouts.votes(self._task), self._names), self._random) if len(self._names) > 1 else (0, 0)
            )
            mine, theirs = self._answers[left], self._answers[right]
            differing = sorted(example for example in mine if example in theirs and mine[example] != theirs[example])
            if differing:
                example = self._random.choice(differing)
                id = self._bouts.deal(self._task, example, self._names[left], self._names[right])
                return Shown(id=id, question=self._examples[example].text, left=mine[example], right=theirs[example])
        raise UndeterminedError(f"{self._task}: no two candidates answered an example differently: nothing to vote on")

    def cast(self, id: str, winner: str, voter: str) -> None:
        """Keep a vote on what was dealt."""
        self._bouts.cast(id, winner, voter)

    def lines(self) -> list[dict[str, object]]:
        """The votes as rows for `freehold arena rank`, `style` and `check`."""
        return [self._line(vote) for vote in self._bouts.votes(self._task)]

    def _line(self, vote: Bout) -> dict[str, object]:
        line: dict[str, object] = {
            "left": vote.left_model,
            "right": vote.right_model,
            "winner": vote.winner,
            "voter": vote.voter,
            "example": vote.example,
        }
        for side, name in (("left", vote.left_model), ("right", vote.right_model)):
            known = name in self._names
            answer = self._answers[self._names.index(name)].get(vote.example, "") if known else ""
            line |= {f"{side}_{style}": count for style, count in markers(answer).items()}
        return line


def wins(votes: Sequence[Bout], names: Sequence[str]) -> "NDArray[float64]":
    """Names × names: how often the row's model was preferred; where neither was, half a win for each."""
    import numpy as np

    found = np.zeros((len(names), len(names)))
    places = {name: at for at, name in enumerate(names)}
    for vote in votes:
        if vote.left_model in places and vote.right_model in places:
            left, right = places[vote.left_model], places[vote.right_model]
            score = {"left": 1.0, "right": 0.0}.get(vote.winner or "tie", 0.5)
            found[left, right] += score
            found[right, left] += 1 - score
    return found
