"""A text as the search index sees it: every run of three characters inside its words, in any script.

Trigrams find what stands inside a word: Chinese has no spaces, and Arabic writes its article and prepositions onto the
next word. The end of a word gives shorter ones, so that words of one or two characters (退款) are found as beginnings.
Case, width, accents and vowel signs do not count (Unicode NFKD, casefold, marks dropped).
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import msgspec

SIZE = 3
_WORD = re.compile(r"[^\W_]+")
_TATWEEL = "\u0640"
# Names, not texts: everybody's exchange has them.
_NAMES = frozenset(("model", "id", "object", "role", "type", "finish_reason", "system_fingerprint", "tool_call_id"))


def words(text: str) -> list[str]:
    """The words of a text in the form in which they are compared."""
    return _WORD.findall(plain(text))


def plain(text: str) -> str:
    """A text in the form in which it is compared."""
    if text.isascii():
        return text.lower()
    apart = unicodedata.normalize("NFKD", text.casefold())
    return "".join(each for each in apart if each != _TATWEEL and unicodedata.category(each) != "Mn")


def grams(text: str) -> set[str]:
    """What a text is found by."""
    return {word[at : at + SIZE] for word in words(text) for at in range(len(word))}


def query(text: str) -> str:
    """What finds a text that holds all these words, in FTS5's language; empty where there is no word.

    It may find a little more (the pieces of a word apart from each other): whoever reads the results checks them.
    """
    return " AND ".join(dict.fromkeys(_pieces(text)))


def holds(text: str, wanted: str) -> bool:
    """Whether a text holds all the words, inside longer ones too."""
    searched = " ".join(words(text))
    return all(word in searched for word in words(wanted))


def may_hold(content: str, looked_for: list[str]) -> bool:
    """Whether a JSON text may hold all these words: quick, and never wrong where it says no."""
    if "\\u" in content:
        return True  # letters may be written as escapes
    searched = plain(content)
    return all(word in searched for word in looked_for)


def spoken(request: str | None, answer: str | None) -> str:
    """What was said in an exchange: every text of its request and answer."""
    return "\n".join(piece for each in (request, answer) if each for piece in _texts(_document(each)))


def _pieces(text: str) -> Iterator[str]:
    for word in words(text):
        if len(word) < SIZE:
            yield f'"{word}"*'
        else:
            yield from (f'"{word[at : at + SIZE]}"' for at in range(len(word) - SIZE + 1))


def _document(content: str) -> Any:  # noqa: ANN401 (any JSON value)
    try:
        return msgspec.json.decode(content)
    except msgspec.MsgspecError:
        return content


def _texts(value: Any) -> Iterator[str]:  # noqa: ANN401
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            if name not in _NAMES:
                yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
