"""Texts → words and their hashes, many megabytes a second.

A word is a run of letters, marks and digits after NFKC and casefolding, with punctuation and symbols taken out. In
scripts without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan) every character is a word, so that
n-grams of words are n-grams of characters there. A NUL is a word that keeps texts apart: no benchmark holds one.
"""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from freehold.data.shingles import mixed, normal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]

BETWEEN = "\0"
_NOTHING, _SPACE, _LETTER, _ALONE = range(4)
_WITHOUT_SPACES = (
    (0x0E00, 0x0FFF),  # Thai, Lao, Tibetan
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64


def words(text: str) -> list[str]:
    """The words of one text, in order."""
    kinds = _kinds()
    spaced = []
    for letter in normal(text):
        kind = kinds[ord(letter)]
        if kind == _ALONE:
            spaced.append(f" {letter} ")
        elif kind != _NOTHING:
            spaced.append(letter if kind == _LETTER else " ")
    return "".join(spaced).split()


def word_hashes(texts: Sequence[str]) -> "Hashes":
    """64-bit hashes of the words of all texts in order, one `between()` before, between and after them.

    The hash of a word is a polynomial over its code points, taken from running sums: no word is looked at alone.
    """
    import numpy as np

    codes = _codes(BETWEEN + BETWEEN.join(normal(text) for text in texts) + BETWEEN)
    kind = _kinds()[codes]
    kept = kind != _NOTHING
    codes, kind = codes[kept], kind[kept]
    letter = kind == _LETTER
    first = letter.copy()
    first[1:] &= ~letter[:-1]
    starts = np.flatnonzero(first | (kind == _ALONE))
    powers, inverses = _powers(len(codes))
    values = (codes.astype(np.uint64) + np.uint64(1)) * powers[: len(codes)]
    values[kind == _SPACE] = 0
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(values, dtype=np.uint64)])
    ends = np.append(starts[1:], len(codes))
    return mixed((sums[ends] - sums[starts]) * inverses[starts])


@lru_cache(maxsize=1)
def between() -> int:
    """The hash of the word that keeps texts apart."""
    return int(word_hashes([])[0])


def _codes(text: str) -> "npt.NDArray[np.uint8] | npt.NDArray[np.uint32]":
    import numpy as np

    if text.isascii():
        return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


@lru_cache(maxsize=1)
def _kinds() -> "npt.NDArray[np.uint8]":
    """What every code point is: nothing, a space, a letter, or a word alone."""
    import numpy as np

    kinds = np.zeros(0x110000, dtype=np.uint8)
    for code in range(0x20000):
        letter = chr(code)
        if letter.isspace():
            kinds[code] = _SPACE
        elif unicodedata.category(letter)[0] in "LMN":
            kinds[code] = _LETTER
    for low, high in _WITHOUT_SPACES:
        block = kinds[low : high + 1]
        block[(block == _LETTER) if high < 0x20000 else slice(None)] = _ALONE
    kinds[ord(BETWEEN)] = _ALONE
    return kinds


_power_cache: "list[tuple[Hashes, Hashes]]" = []


def _powers(count: int) -> "tuple[Hashes, Hashes]":
    """Powers of the multiplier and of its inverse modulo 2^64, at least `count` of each."""
    import numpy as np

    if not _power_cache or len(_power_cache[0][0]) < count:
        size = max(1 << 16, 1 << (count - 1).bit_length())
        inverse = pow(_MULTIPLIER, -1, 1 << 64)
        bases = (np.full(size, base, dtype=np.uint64) for base in (_MULTIPLIER, inverse))
        made = [np.concatenate([np.ones(1, dtype=np.uint64), np.cumprod(base[1:], dtype=np.uint64)]) for base in bases]
        _power_cache[:] = [(made[0], made[1])]
    return _power_cache[0]
