"""Which writing system a text is in, and a guess at its language where the script alone does not tell.

The guess counts function words; it needs two of one language and fewer of every other, and says None otherwise: short
messages often stay unknown, and unknown is shown as such.
"""

import unicodedata
from collections import Counter
from functools import lru_cache

from freehold.data.words import words
from freehold.errors import DataError, did_you_mean

INPUT = "input"

_FUNCTION_WORDS = {
    "English": "the and is are was to of in it my we you not have has this that for with on at be do can please when",
    "German": "der die das und ist nicht ich wir sie ein eine mit auf für von zu wann bitte mein habe den dem kann wie",
    "French": "le la les et est pas je nous vous un une avec sur pour de du des mon ma quand que qui dans il",
    "Spanish": "el la los las y es no yo un una con por para de del mi cuando que en se está hay lo",
    "Italian": "il lo la gli e è non io un una con per di del mio quando che in si sono ho della",
    "Portuguese": "o a os as e é não eu um uma com por para de do da meu quando que em se está no na",
    "Dutch": "de het een en is niet ik wij met op voor van te mijn wanneer dat die heb kan zijn naar",
    "Polish": "i jest nie w na do z się to że jak mój kiedy proszę dla od czy mam po ale",
    "Swedish": "och är inte jag vi en ett med på för av till min när det att som har kan den",
    "Indonesian": "yang dan di ke dari ini itu tidak saya kami untuk dengan ada bisa kapan sudah belum pak gaji",
    "Turkish": "ve bir bu şu için ile değil ben biz ne zaman var yok mi mı de da çok",
}
_BY_SCRIPT = {"HANGUL": "Korean", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "THAI": "Thai", "HEBREW": "Hebrew"}
_LANGUAGES = {language: frozenset(listed.split()) for language, listed in _FUNCTION_WORDS.items()}
_SCRIPTS = {
    **dict.fromkeys(_LANGUAGES, frozenset({"LATIN"})),
    "Korean": {"HANGUL"},
    "Japanese": {"HIRAGANA", "KATAKANA", "CJK"},
    "Thai": {"THAI"},
    "Hebrew": {"HEBREW"},
    "Chinese": {"CJK"},
    "Greek": {"GREEK"},
    "Hindi": {"DEVANAGARI"},
    **dict.fromkeys(("Arabic", "Persian", "Urdu"), frozenset({"ARABIC"})),
    **dict.fromkeys(("Russian", "Ukrainian", "Bulgarian"), frozenset({"CYRILLIC"})),
}
_FEWEST_LETTERS = 12


def script(text: str) -> str | None:
    """The writing system of most of a text's letters, in Unicode's words (`LATIN`, `CJK`); None without letters."""
    counts = Counter(_script_of(letter) for letter in text if letter.isalpha())
    if counts.keys() & {"HIRAGANA", "KATAKANA"}:
        return "HIRAGANA"
    return counts.most_common(1)[0][0] if counts else None


def language(text: str) -> str | None:
    """A guess at the language; None where there is too little to tell."""
    found = script(text)
    if found != "LATIN":
        return _BY_SCRIPT.get(found or "")
    present = words(text)
    scores = ((sum(word in listed for word in present), name) for name, listed in _LANGUAGES.items())
    (second, _), (best, name) = sorted(scores)[-2:]
    return name if best >= 2 and best > second else None


def require_known(name: str) -> None:
    """Raise `DataError` where answers cannot be told to be in this language."""
    if name != INPUT and name not in _SCRIPTS:
        near = did_you_mean(name, _SCRIPTS)
        raise DataError(f"data.language is {name!r}{near}; it is `input` or one of {', '.join(sorted(_SCRIPTS))}")


def is_in_another(answer: str, text: str, name: str) -> bool:
    """Whether an answer to a text is certainly in another language than `name` (or the text's own, for `input`).

    Certain is a guess that says another language, or a dozen letters of a script that the language is not written in.
    """
    said = language(answer)
    wanted = language(text) if name == INPUT else name
    if said is not None and wanted is not None:
        return said != wanted
    written = script(answer) if sum(letter.isalpha() for letter in answer) >= _FEWEST_LETTERS else None
    permitted = _SCRIPTS[wanted] if wanted is not None else {script(text)} - {None}
    return written is not None and bool(permitted) and written not in permitted


@lru_cache(maxsize=4096)
def _script_of(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").split()[0]
