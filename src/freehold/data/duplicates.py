"""Near-duplicates: found by MinHash and locality-sensitive hashing, each found pair verified exactly.

128 permutations in 32 bands of 4 rows: a pair with Jaccard 0.8 escapes with probability (1 - 0.8⁴)³² < 10⁻⁷
(Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4). `leakage.py` finds pairs by another way, which
misses none, and must agree.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from freehold.data.row import Dropped, Row
from freehold.data.shingles import alike, hashed, normal, shingles

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_PERMUTATIONS = 128
_BAND = 4
_CHUNK = 20_000
# A pair whose signatures agree on fewer of 128 places has Jaccard < 0.8 but for 5.7 standard deviations.
_LEAST_AGREEMENT = 77


@dataclass(frozen=True)
class Distinct:
    """Rows without duplicates. `conflicts` counts the kept pairs of like texts with different answers."""

    kept: list[Row]
    dropped: list[Dropped]
    conflicts: int


def distinct(rows: Sequence[Row]) -> Distinct:
    """Keep the first of like rows with the same answer; rows with different answers are never merged."""
    texts = [normal(row.text) for row in rows]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    near = neighbours(list(numbers))
    held: dict[int, dict[str, Row]] = defaultdict(dict)
    kept: list[Row] = []
    dropped: list[Dropped] = []
    for row, text in zip(rows, texts, strict=True):
        number = numbers[text]
        like = next((held[other][row.answer] for other in near[number] if row.answer in held[other]), None)
        if row.answer in held[number]:
            dropped.append(Dropped(row, "duplicate", held[number][row.answer].origin))
        elif like is not None:
            dropped.append(Dropped(row, "near_duplicate", like.origin))
        else:
            held[number][row.answer] = row
            kept.append(row)
    return Distinct(kept, dropped, _conflicts(held, near))


def apart(rows: Sequence[Row], others: Sequence[Row]) -> tuple[list[Row], list[tuple[Row, Row]]]:
    """Split rows into those far from all others, and those that are a near-duplicate of one, paired with it."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(normal(row.text) for row in others))}
    first = {numbers[normal(row.text)]: row for row in reversed(others)}
    count = len(numbers)
    texts = [normal(row.text) for row in rows]
    for text in texts:
        numbers.setdefault(text, len(numbers))
    near = neighbours(list(numbers))
    far: list[Row] = []
    close: list[tuple[Row, Row]] = []
    for row, text in zip(rows, texts, strict=True):
        number = numbers[text]
        hit = number if number < count else next((other for other in sorted(near[number]) if other < count), None)
        if hit is None:
            far.append(row)
        else:
            close.append((row, first[hit]))
    return far, close


def neighbours(texts: Sequence[str]) -> defaultdict[int, list[int]]:
    """For each distinct normal-form text, by position, the positions of its near-duplicates."""
    found: defaultdict[int, list[int]] = defaultdict(list)
    for first, second in near_pairs(texts):
        found[first].append(second)
        found[second].append(first)
    return found


def near_pairs(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs (i < j) of normal-form texts with Jaccard ≥ 0.8, in order, each verified on the grams themselves."""
    last, first_grams = -1, frozenset[str]()
    for first, second in _candidates(texts):
        if first != last:
            last, first_grams = first, shingles(texts[first])
        if alike(first_grams, shingles(texts[second])):
            yield first, second


def _conflicts(held: dict[int, dict[str, Row]], near: dict[int, list[int]]) -> int:
    within = sum(len(answers) * (len(answers) - 1) // 2 for answers in held.values())
    across = 0
    for number, others in near.items():
        for other in others:
            if number < other:
                mine, theirs = held.get(number, {}), held.get(other, {})
                across += len(mine) * len(theirs) - len(mine.keys() & theirs.keys())
    return within + across


def _candidates(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs that share a band and agree on enough places, sorted."""
    import numpy as np

    if len(texts) < 2:
        return []
    signatures = _signatures(texts)
    found = [np.zeros(0, dtype=np.int64)]
    for band in range(0, _PERMUTATIONS, _BAND):
        for first, second in _sharing(signatures[:, band : band + _BAND]):
            agree = (signatures[first] == signatures[second]).sum(axis=1)
            near = agree >= _LEAST_AGREEMENT
            found.append(np.unique(first[near] * len(texts) + second[near]))
    pairs = np.unique(np.concatenate(found))
    return [(int(pair) // len(texts), int(pair) % len(texts)) for pair in pairs]


def _signatures(texts: Sequence[str]) -> "npt.NDArray[np.uint32]":
    """MinHash signatures, shape (texts, 128)."""
    import numpy as np
    from rensa import RMinHash

    parts = []
    for start in range(0, len(texts), _CHUNK):
        grams, offsets = hashed(texts[start : start + _CHUNK])
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(grams, offsets, _PERMUTATIONS, 1)
        parts.append(np.array(matrix.to_rows(), dtype=np.uint32))
    return np.concatenate(parts)


def _sharing(band: "npt.NDArray[np.uint32]") -> "Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]":
    """Pairs of rows (i < j) that are the same in a band, a block of each distance apart at a time."""
    import numpy as np

    keys = np.ascontiguousarray(band).view([("", np.uint32)] * _BAND).ravel()
    order = np.argsort(keys, kind="stable")
    _, starts, counts = np.unique(keys[order], return_index=True, return_counts=True)
    for distance in range(1, int(counts.max(initial=1))):
        wide = counts > distance
        starts, counts = starts[wide], counts[wide]
        spans = counts - distance
        within = np.arange(spans.sum()) - np.repeat(np.cumsum(spans) - spans, spans)
        at = np.repeat(starts, spans) + within
        yield order[at], order[at + distance]
