"""Inputs that came more than once: did their answers agree, and which holds where they did not?

The most trusted answers are asked first: people's before accepted ones, those before the incumbent's own. Among them
more than half must say the same; otherwise nobody knows, and all go.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from freehold.data.row import Dropped, Row
from freehold.data.shingles import normal
from freehold.records import Provenance

_TRUST = {Provenance.HUMAN: 2, Provenance.CORRECTED: 2, Provenance.ACCEPTED: 1, Provenance.INCUMBENT: 0}


@dataclass(frozen=True)
class Settled:
    """Rows after the rule. `repeated` inputs came more than once, `disputed` of these were answered differently."""

    kept: list[Row]
    dropped: list[Dropped]
    repeated: int
    disputed: int


def settle(rows: Sequence[Row], rule: Literal["keep", "consensus", "drop"]) -> Settled:
    """Hear every input that came more than once (the same text, NFKC and casefolded); rows stay in their order."""
    same: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        same[normal(row.text)].append(row)
    again = [group for group in same.values() if len(group) > 1]
    disputed = [group for group in again if len({row.answer for row in group}) > 1]
    dropped = [each for group in disputed for each in _losers(group, rule)] if rule != "keep" else []
    gone = {each.row.index for each in dropped}
    return Settled([row for row in rows if row.index not in gone], dropped, len(again), len(disputed))


def _losers(group: list[Row], rule: str) -> list[Dropped]:
    trusted = max(_TRUST[row.provenance] for row in group)
    votes = [row for row in group if _TRUST[row.provenance] == trusted]
    answer, count = Counter(row.answer for row in votes).most_common(1)[0]
    if rule == "drop" or 2 * count <= len(votes):
        return [
            Dropped(row, "disagreement", other.origin) for row, other in zip(group, group[1:] + group[:1], strict=True)
        ]
    winner = next(row for row in votes if row.answer == answer)
    return [Dropped(row, "outvoted", winner.origin) for row in group if row.answer != answer]
