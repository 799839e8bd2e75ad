"""Vote-rigging checks: does somebody vote unlike everybody else, always for one model, or always for one side?

Each check of a voter is an exact test; p-values are corrected for the number of voters and checks (Holm), so an honest
crowd is seldom accused: by design at most one file in twenty names anybody. A `p` of None marks no test at all.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from freehold.evaluation.arena.votes import LEFT, RIGHT, TIE, Votes
from freehold.evaluation.statistics import holm
from freehold.records import Record

MOST_VOTES_A_VOTER = 0.2
_LEVEL = 0.05
_LEAST = 10


class Suspicion(Record, frozen=True, kw_only=True):
    """Something about the votes that an honest crowd would hardly show; `p` is corrected for having looked often."""

    voter: str
    what: str
    p: float | None
    votes: int


def suspicions(votes: Votes, voters: Sequence[str]) -> list[Suspicion]:
    """What stands out, most telling first. `voters` names who cast each vote."""
    found = list(_tests(votes, voters))
    adjusted = holm([each.p or 0.0 for each in found])
    kept = [(p, replace(each, p=p)) for each, p in zip(found, adjusted, strict=True) if p < _LEVEL]
    return [each for _, each in sorted(kept, key=lambda pair: pair[0])] + list(_ballot_boxes(voters))


def _tests(votes: Votes, voters: Sequence[str]) -> Iterator[Suspicion]:
    everybody = _outcomes(votes, range(len(votes)))
    by_voter: dict[str, list[int]] = {}
    for at, voter in enumerate(voters):
        by_voter.setdefault(voter, []).append(at)
    for voter, places in by_voter.items():
        if len(places) < _LEAST:
            continue
        mine = _outcomes(votes, places)
        others = everybody - mine
        yield _one_side(voter, votes, places)
        for model in range(len(votes.models)):
            yield from _one_model(voter, votes.models[model], (model, mine, others))


def _outcomes(votes: Votes, places: Sequence[int]) -> Counter[tuple[int, bool]]:
    """How often each model was preferred, and how often it was not, ties left out."""
    counts: Counter[tuple[int, bool]] = Counter()
    for at in places:
        if votes.winner[at] != TIE:
            counts[int(votes.left[at]), bool(votes.winner[at] == LEFT)] += 1
            counts[int(votes.right[at]), bool(votes.winner[at] == RIGHT)] += 1
    return counts


def _one_side(voter: str, votes: Votes, places: Sequence[int]) -> Suspicion:
    """Sides are drawn at random, so left should win half of the decided votes (exact binomial test)."""
    left = sum(bool(votes.winner[at] == LEFT) for at in places)
    decided = sum(bool(votes.winner[at] != TIE) for at in places)
    side = "left" if left * 2 >= decided else "right"
    p = _binomial(max(left, decided - left), decided)
    return Suspicion(
        voter=voter, what=f"chose {side} in {max(left, decided - left)} of {decided} votes", p=p, votes=len(places)
    )


def _one_model(
    voter: str, name: str, counts: tuple[int, Counter[tuple[int, bool]], Counter[tuple[int, bool]]]
) -> Iterator[Suspicion]:
    """A model preferred by one voter far more often than by the others (Fisher's exact test, one-sided)."""
    from scipy.stats import fisher_exact

    model, mine, others = counts
    won, lost = mine[model, True], mine[model, False]
    if won + lost >= _LEAST and others[model, True] + others[model, False]:
        table = [[won, lost], [others[model, True], others[model, False]]]
        p = float(fisher_exact(table, alternative="greater").pvalue)
        yield Suspicion(voter=voter, what=f"preferred {name} in {won} of {won + lost} votes", p=p, votes=won + lost)


def _ballot_boxes(voters: Sequence[str]) -> Iterator[Suspicion]:
    """No test, but worth a look: one voter who cast more than a fifth of all votes."""
    for voter, count in Counter(voters).most_common():
        if count > max(_LEAST, MOST_VOTES_A_VOTER * len(voters)) and len(set(voters)) > 5:
            yield Suspicion(voter=voter, what=f"cast {count} of all {len(voters)} votes", p=None, votes=count)


def _binomial(most: int, n: int) -> float:
    """Two-sided exact p of `most` or more on one side of `n` tosses."""
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(most, n + 1)) / 2**n) if n else 1.0
