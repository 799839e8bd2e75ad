"""A judge against people: how often they agree, and what people would say of everything, estimated from both.

A judge sees everything and may be biased; people are right by definition and few. Prediction-powered inference uses the
people's votes to measure the judge's bias and takes it off, in one interval that holds however biased the judge is.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from msgspec.structs import replace

from freehold.errors import DataError
from freehold.evaluation.arena.votes import LEFT, RIGHT, TIE, Votes, read
from freehold.evaluation.statistics import alpha, bootstrap_mean, bootstrap_of, kappa, ppi_mean
from freehold.records import Interval, Record

ENOUGH = 8
_POINTS = {LEFT: 1.0, TIE: 0.5, RIGHT: 0.0}


class Estimate(Record, frozen=True, kw_only=True):
    """The share of comparisons that something wins (a tie is half a win): by people alone, by the judge, by both.

    `items` is on how many the judge spoke; `people.n` on how many people did. None where people spoke
    on fewer than `ENOUGH` items.
    """

    what: str
    people: Interval | None
    judge: Interval
    corrected: Interval | None
    items: int


class Agreement(Record, frozen=True, kw_only=True):
    """How a judge's verdicts stand to people's.

    `kappa` is Cohen's, judge against the people's majority; `among_people` is Krippendorff's alpha of the people among
    themselves: a judge can hardly agree with them better than they do with one another (None: one vote an item only).
    """

    items: int
    votes: int
    agreement: Interval
    kappa: Interval
    among_people: float | None
    left: Estimate
    models: tuple[Estimate, ...]


@dataclass(frozen=True)
class Item:
    """One pair of answers: which models, the judge's verdict, and people's (none where nobody was asked)."""

    left: str
    right: str
    judge: int
    people: tuple[int, ...]

    @property
    def majority(self) -> int:
        """What most people said; a tie where no verdict has most votes."""
        ranked = Counter(self.people).most_common(2)
        return TIE if len(ranked) > 1 and ranked[0][1] == ranked[1][1] else ranked[0][0]

    def points(self, verdicts: Sequence[int], model: str | None) -> float:
        """The mean score of a model in these verdicts; of the left side where no model is named."""
        score = sum(_POINTS[each] for each in verdicts) / len(verdicts)
        return 1 - score if model is not None and model == self.right else score


def items(people: Path, judge: Path, key: str, labelled: int | None = None, seed: int = 0) -> list[Item]:
    """Join two votes files by the column `key`. With `labelled`, people's votes are kept on that many items only.

    Raises `DataError` where the judge speaks twice on an item, or the two files name other models for it.
    """
    ours, theirs = read(judge, [key]), read(people, [key])
    votes: dict[str, list[tuple[str, str, int]]] = {}
    for name, vote in _named(theirs, key):
        votes.setdefault(name, []).append(vote)
    found: dict[str, Item] = {}
    for name, (left, right, verdict) in _named(ours, key):
        if name in found:
            raise DataError(f"{judge}: item {name} is judged twice; the judge gives one verdict an item")
        spoken = tuple(_turned(vote, left, right, people, name) for vote in votes.get(name, ()))
        found[name] = Item(left, right, verdict, spoken)
    every = list(found.values())
    if labelled is None:
        return every
    asked = [at for at, item in enumerate(every) if item.people]
    kept = set(Random(seed).sample(asked, min(labelled, len(asked))))
    return [item if at in kept else Item(item.left, item.right, item.judge, ()) for at, item in enumerate(every)]


def agree(every: Sequence[Item], confidence: float = 0.95, seed: int = 0) -> Agreement:
    """Measure the judge; raises `DataError` where people spoke on fewer than two of the judge's items."""
    shared = [item for item in every if item.people]
    if len(shared) < 2:
        raise DataError(f"people judged {len(shared)} of the judge's items; at least two are needed to compare")
    same = [sum(vote == item.judge for vote in item.people) / len(item.people) for item in shared]
    verdicts = [(item.judge, item.majority) for item in shared]
    several = [item.people for item in shared if len(item.people) > 1]
    names = sorted({name for item in every for name in (item.left, item.right)})
    return Agreement(
        items=len(shared),
        votes=sum(len(item.people) for item in shared),
        agreement=bootstrap_mean(same, confidence, seed),
        kappa=bootstrap_of(_kappa, verdicts, confidence, seed),
        among_people=alpha(several) if several else None,
        left=_estimate(None, every, confidence),
        models=tuple(_estimate(name, _of(name, every), confidence) for name in names),
    )


def _estimate(model: str | None, every: Sequence[Item], confidence: float) -> Estimate:
    judge = [item.points([item.judge], model) for item in every]
    spoken = [(item.points(item.people, model), mine) for item, mine in zip(every, judge, strict=True) if item.people]
    elsewhere = [mine for item, mine in zip(every, judge, strict=True) if not item.people]
    people = [score for score, _ in spoken]
    enough = len(spoken) >= ENOUGH
    return Estimate(
        what=model or "left side",
        people=_share(ppi_mean(people, [0.0] * len(people), [], confidence)) if enough else None,
        judge=bootstrap_mean(judge, confidence),
        corrected=_share(ppi_mean(people, [mine for _, mine in spoken], elsewhere, confidence)) if enough else None,
        items=len(every),
    )


def _share(figure: Interval) -> Interval:
    """A share lies in 0..1."""
    return replace(figure, low=max(0.0, figure.low), high=min(1.0, figure.high))


def _kappa(verdicts: Sequence[tuple[Hashable, Hashable]]) -> float:
    return kappa([mine for mine, _ in verdicts], [theirs for _, theirs in verdicts])


def _of(name: str, every: Sequence[Item]) -> list[Item]:
    return [item for item in every if name in (item.left, item.right)]


def _named(votes: Votes, key: str) -> list[tuple[str, tuple[str, str, int]]]:
    models = votes.models
    sides = zip(votes.left.tolist(), votes.right.tolist(), votes.winner.tolist(), strict=True)
    named = [(models[left], models[right], won) for left, right, won in sides]
    return list(zip(votes.columns[key], named, strict=True))


def _turned(vote: tuple[str, str, int], left: str, right: str, path: Path, name: str) -> int:
    """A vote as if the sides had been the judge's."""
    a, b, won = vote
    if (a, b) == (left, right):
        return won
    if (a, b) == (right, left):
        return won if won == TIE else LEFT + RIGHT - won
    raise DataError(f"{path}: item {name} is {a} against {b}, but the judge saw {left} against {right}")
