"""Language: is the answer in the language of its reference?

By writing system, and by function words where both texts hold enough of them (`data/language.py`): a short answer in
the right script passes, since nothing speaks against it.
"""

from freehold.data.language import language, script


def same_language(answer: str, reference: str) -> float:
    """1 where nothing tells the two apart: neither their scripts nor, where both can be told, their languages."""
    if script(answer) != script(reference):
        return 0.0
    given, wanted = language(answer), language(reference)
    return float(given is None or wanted is None or given == wanted)
