"""Words of any script, for scores that compare words.

Text is NFKC-casefolded. Scripts that write no spaces (Han, kana, Thai, Lao, Khmer, Burmese) give one token a character,
as multilingual ROUGE does; every other script gives one token a run of letters, marks and digits.
"""

import re
import unicodedata
from functools import lru_cache

_UNSPACED = (
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    # Marks (Mn, Mc) belong to the letter before them; `\w` leaves them out.
    marks = "".join(chr(code) for code in range(0x20000) if unicodedata.category(chr(code)) in ("Mn", "Mc"))
    marks = re.sub(f"[{_UNSPACED}]", "", marks)
    return re.compile(f"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[\\w{re.escape(marks)}])+")


def words(text: str) -> list[str]:
    """The tokens of a text, in order; punctuation is left out."""
    return _pattern().findall(unicodedata.normalize("NFKC", text).casefold())
