"""The independent check that nothing leaks: no held-out example has a near-duplicate, or its session, elsewhere.

It finds pairs by another way than `duplicates.py`, and one that misses none: an exact set-similarity join by prefix
filtering (Bayardo et al. 2007, "Scaling up all pairs similarity search") with a bitmap filter (Sandes et al. 2017). The
two share what likeness is and how a gram is hashed, nothing else. Memory grows with the held-out side only.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from freehold.data.shingles import alike, hashed, normal, shingles

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]
    Counts = npt.NDArray[np.int64]

_CHUNK = 20_000
_BUCKETS = 1 << 22
_WORDS = 4  # of 64 bits, in a bitmap


class Located(Protocol):
    """A row or an example: what it says, which session it came from, and where it stood."""

    @property
    def text(self) -> str: ...

    @property
    def session(self) -> str | None: ...

    @property
    def origin(self) -> str: ...


class _Sets(NamedTuple):
    """Texts as sets: their sizes, the rarest grams of each with its text's place, and a bitmap of all of its grams."""

    sizes: "Counts"
    grams: "Hashes"
    places: "Counts"
    bitmaps: "Hashes"


def leaks(held_out: Sequence[Located], others: Sequence[Located]) -> list[tuple[str, str]]:
    """Origins of (held-out, other) rows that must not stand on both sides; none is what is right."""
    sessions = {row.session: row for row in held_out if row.session is not None}
    shared = [(sessions[row.session].origin, row.origin) for row in others if row.session in sessions]
    mine, theirs = [normal(row.text) for row in held_out], [normal(row.text) for row in others]
    near = sorted(_alike_across(mine, theirs))
    return shared + [(held_out[first].origin, others[second].origin) for first, second in near]


def _alike_across(mine: Sequence[str], theirs: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Places of like texts, one of each side."""
    import numpy as np

    if not mine or not theirs:
        return
    seen = _seen([mine, theirs])
    parts = [_sets(mine[start : start + _CHUNK], start, seen) for start in range(0, len(mine), _CHUNK)]
    whole = _Sets(*(np.concatenate(each) for each in zip(*parts, strict=True)))
    order = np.argsort(whole.grams, kind="stable")
    whole = whole._replace(grams=whole.grams[order], places=whole.places[order])
    for start in range(0, len(theirs), _CHUNK):
        chunk = _sets(theirs[start : start + _CHUNK], 0, seen)
        for first, second in _candidates(whole, chunk):
            if alike(shingles(mine[first]), shingles(theirs[start + second])):
                yield first, start + second


def _seen(sides: Sequence[Sequence[str]]) -> "Counts":
    """How often grams occur, by bucket of their hash: any order by rarity will do, if it is one order for all."""
    import numpy as np

    counts = np.zeros(_BUCKETS, dtype=np.int64)
    for side in sides:
        for start in range(0, len(side), _CHUNK):
            grams, _ = hashed(side[start : start + _CHUNK])
            counts += np.bincount(grams % np.uint64(_BUCKETS), minlength=_BUCKETS)
    return counts


def _sets(texts: Sequence[str], first_place: int, seen: "Counts") -> _Sets:
    """Two sets with Jaccard ≥ 0.8 share a gram among the n - ⌈0.8 n⌉ + 1 rarest of each, n being its size."""
    import numpy as np

    grams, offsets = hashed(texts)
    places = np.repeat(np.arange(len(texts)), np.diff(offsets).astype(np.int64))
    order = np.lexsort((grams, seen[grams % np.uint64(_BUCKETS)], places))
    grams, places = grams[order], places[order]
    distinct = np.ones(len(grams), dtype=bool)
    distinct[1:] = (grams[1:] != grams[:-1]) | (places[1:] != places[:-1])
    grams, places = grams[distinct], places[distinct]
    sizes = np.bincount(places, minlength=len(texts))
    starts = np.cumsum(sizes) - sizes
    rank = np.arange(len(grams)) - np.repeat(starts, sizes)
    rarest = rank <= np.repeat(sizes - (4 * sizes + 4) // 5, sizes)
    return _Sets(sizes, grams[rarest], places[rarest] + first_place, _bitmaps(grams, starts))


def _bitmaps(grams: "Hashes", starts: "Counts") -> "Hashes":
    """For each set, the parity of its grams in each of 256 places; shape (sets, 4)."""
    import numpy as np

    bits = np.uint64(1) << (grams >> np.uint64(58))
    word = (grams >> np.uint64(40)) % np.uint64(_WORDS)
    parities = [np.bitwise_xor.reduceat(np.where(word == each, bits, np.uint64(0)), starts) for each in range(_WORDS)]
    return np.stack(parities, axis=1)


def _candidates(mine: _Sets, theirs: _Sets) -> list[tuple[int, int]]:
    """Pairs whose prefixes share a gram and whose bitmaps allow Jaccard ≥ 0.8; the grams of `mine` are sorted.

    Sets that differ in d places of their bitmaps differ in at least d grams, and Jaccard ≥ 0.8 allows a ninth of both.
    """
    import numpy as np

    low = np.searchsorted(mine.grams, theirs.grams, "left")
    counts = np.searchsorted(mine.grams, theirs.grams, "right") - low
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    first, second = mine.places[np.repeat(low, counts) + within], np.repeat(theirs.places, counts)
    apart = np.bitwise_count(mine.bitmaps[first] ^ theirs.bitmaps[second]).sum(axis=1, dtype=np.int64)
    close = 9 * apart <= mine.sizes[first] + theirs.sizes[second]
    pairs = np.unique(np.stack([first[close], second[close]], axis=1), axis=0)
    return [(int(one), int(other)) for one, other in pairs]
