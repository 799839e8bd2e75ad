"""Which writing system a text is in, and a guess at its language where the script alone does not tell.

The guess counts function words; it needs two of one language and fewer of every other, and says None otherwise: short
messages often stay unknown, and unknown is shown as such.
"""

import unicodedata
from collections import Counter
from functools import lru_cache

from freehold.data.words import words

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


@lru_cache(maxsize=4096)
def _script_of(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").split()[0]
