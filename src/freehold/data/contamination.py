"""Which benchmark items stand in the training data: shared n-grams of 13 words, or the whole item where it is shorter.

The length is GPT-3's (Brown et al. 2020, appendix C). N-grams are compared as 64-bit hashes, and each finding is then
confirmed on the words themselves, so a collision cannot accuse anyone.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from freehold.data.corpus import Text
from freehold.data.words import between, word_hashes, words
from freehold.errors import DataError
from freehold.progress import Progress
from freehold.records import Record

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]

LENGTH = 13
_BATCH_CHARS = 1 << 20
_STEP = 0xD6E8FEB86659FD93  # odd multiplier between the words of an n-gram


class ContaminatedItem(Record, frozen=True, kw_only=True):
    """A benchmark item, the first training text that shares an n-gram with it, and that n-gram."""

    item: str
    found_in: str
    ngram: str
    words: int


class Contamination(Record, frozen=True, kw_only=True):
    """What was found. `contaminated` of `benchmark_items` items; items without a word cannot be judged."""

    contaminated: int
    benchmark_items: int
    without_words: int
    documents: int
    characters: int
    items: tuple[ContaminatedItem, ...]


def contamination(train: Iterable[Text], benchmark: Iterable[Text], progress: Progress) -> Contamination:
    """Search training texts for benchmark items; raises `DataError` where the benchmark holds none."""
    sought = _Sought(list(benchmark))
    found: dict[int, ContaminatedItem] = {}
    documents = characters = 0
    with progress.step("contamination") as step:
        for batch in _batches(train):
            sought.search(batch, found)
            documents += len(batch)
            characters += sum(len(text.text) for text in batch)
            step.advance(len(batch), f"{len(found):,} items found")
    return Contamination(
        contaminated=len(found),
        benchmark_items=len(sought.items),
        without_words=sought.without_words,
        documents=documents,
        characters=characters,
        items=tuple(found[number] for number in sorted(found)),
    )


def _batches(texts: Iterable[Text]) -> Iterator[list[Text]]:
    batch: list[Text] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text.text)
        if size >= _BATCH_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Sought:
    """A benchmark's n-grams by length, ready to be looked up."""

    def __init__(self, items: list[Text]) -> None:
        import numpy as np

        if not items:
            raise DataError("the benchmark holds no items")

        self.items = items
        by_length: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        hashes = word_hashes([item.text.replace("\0", " ") for item in items])
        marks = np.flatnonzero(hashes == np.uint64(between()))
        grams = np.zeros(len(hashes), dtype=np.uint64)
        counts = np.diff(marks) - 1
        self.without_words = int((counts == 0).sum())
        for length in range(1, LENGTH + 1):
            grams = _longer(grams, hashes, length)
            for number in np.flatnonzero(counts >= length if length == LENGTH else counts == length).tolist():
                for gram in set(grams[marks[number] + 1 : marks[number + 1] - length + 1].tolist()):
                    by_length[length][gram].append(number)
        self._by_length = dict(by_length)
        self._tables = {length: _Table(grams) for length, grams in by_length.items()}

    def search(self, batch: list[Text], found: dict[int, ContaminatedItem]) -> None:
        """Add the items that stand in a batch of texts, the first finding of each."""
        import numpy as np

        hashes = word_hashes([text.text for text in batch])
        bounds = _bounds(hashes, batch)
        grams = np.zeros(len(hashes), dtype=np.uint64)
        for length in range(1, max(self._tables, default=0) + 1):
            grams = _longer(grams, hashes, length)
            if length in self._tables:
                for gram, at in self._tables[length].first_seen(grams):
                    document = batch[int(np.searchsorted(bounds, at, side="right")) - 1]
                    self._confirm(self._by_length[length][gram], length, document, found)

    def _confirm(self, numbers: list[int], length: int, document: Text, found: dict[int, ContaminatedItem]) -> None:
        open_numbers = [number for number in numbers if number not in found]
        if not open_numbers:
            return
        text = f" {' '.join(words(document.text))} "
        for number in open_numbers:
            item = self.items[number]
            mine = words(item.text.replace("\0", " "))
            ngrams = (" ".join(mine[at : at + length]) for at in range(len(mine) - length + 1))
            ngram = next((ngram for ngram in ngrams if f" {ngram} " in text), None)
            if ngram is not None:
                found[number] = ContaminatedItem(item=item.origin, found_in=document.origin, ngram=ngram, words=length)


class _Table:
    """A set of 64-bit hashes, with a bit map before the binary search."""

    def __init__(self, grams: Iterable[int]) -> None:
        import numpy as np

        self._sorted = np.sort(np.fromiter(grams, dtype=np.uint64))
        bits = max(10, (16 * len(self._sorted)).bit_length())
        self._shift = np.uint64(64 - bits)
        self._map = np.zeros(1 << bits, dtype=bool)
        self._map[self._sorted >> self._shift] = True

    def first_seen(self, grams: "Hashes") -> Iterator[tuple[int, int]]:
        """Each hash of the set that is among `grams`, with its first place there."""
        import numpy as np

        places = np.flatnonzero(self._map[grams >> self._shift])
        near = np.minimum(np.searchsorted(self._sorted, grams[places]), len(self._sorted) - 1)
        places = places[self._sorted[near] == grams[places]]
        seen, first = np.unique(grams[places], return_index=True)
        return zip(seen.tolist(), places[first].tolist(), strict=True)


def _longer(grams: "Hashes", hashes: "Hashes", length: int) -> "Hashes":
    """From hashes of all (length - 1)-grams to those of all n-grams of that length."""
    import numpy as np

    count = max(0, len(hashes) - length + 1)
    return grams[:count] * np.uint64(_STEP) + hashes[length - 1 : length - 1 + count]


def _bounds(hashes: "Hashes", batch: list[Text]) -> "npt.NDArray[np.int64]":
    """Where each text's words begin. A text may hold NULs of its own, between its fields."""
    import numpy as np

    marks = np.flatnonzero(hashes == np.uint64(between()))
    inside = np.cumsum([0] + [text.text.count("\0") + 1 for text in batch[:-1]])
    bounds: npt.NDArray[np.int64] = marks[inside]
    return bounds
