"""The independent check that nothing leaks: no held-out example has a near-duplicate, or its session, elsewhere.

It shares no code path with `duplicates.py` but the definition of likeness: an exact set-similarity join by prefix
filtering (Chaudhuri et al. 2006; Bayardo et al. 2007, "Scaling up all pairs similarity search"), which misses no pair.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from freehold.data.shingles import alike, normal, shingles


class Located(Protocol):
    """A row or an example: what it says, which session it came from, and where it stood."""

    @property
    def text(self) -> str: ...

    @property
    def session(self) -> str | None: ...

    @property
    def origin(self) -> str: ...


def leaks(held_out: Sequence[Located], others: Sequence[Located]) -> list[tuple[str, str]]:
    """Origins of (held-out, other) rows that must not stand on both sides; none is what is right."""
    sessions = {row.session: row for row in held_out if row.session is not None}
    shared = [(sessions[row.session].origin, row.origin) for row in others if row.session in sessions]
    return shared + [(first.origin, second.origin) for first, second in _near(held_out, others)]


def _near(held_out: Sequence[Located], others: Sequence[Located]) -> Iterator[tuple[Located, Located]]:
    mine = [shingles(normal(row.text)) for row in held_out]
    theirs = [shingles(normal(row.text)) for row in others]
    seen = Counter(gram for grams in (*mine, *theirs) for gram in grams)
    index: defaultdict[str, list[int]] = defaultdict(list)
    for at, grams in enumerate(theirs):
        for gram in _prefix(grams, seen):
            index[gram].append(at)
    for row, grams in zip(held_out, mine, strict=True):
        candidates = {at for gram in _prefix(grams, seen) for at in index.get(gram, ())}
        yield from ((row, others[at]) for at in sorted(candidates) if alike(grams, theirs[at]))


def _prefix(grams: Iterable[str], seen: Counter[str]) -> list[str]:
    """The rarest grams: two sets with Jaccard ≥ 0.8 share one among their n - ⌈0.8 n⌉ + 1 rarest."""
    rarest = sorted(grams, key=lambda gram: (seen[gram], gram))
    return rarest[: len(rarest) - -(-4 * len(rarest) // 5) + 1]
