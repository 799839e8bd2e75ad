"""Exact match: the answer is the reference, and nothing else.

Surrounding white space does not count, and both sides are in Unicode's NFC: one word may be typed in two ways.
"""

import unicodedata


def exact_match(answer: str, reference: str) -> float:
    """1 where the answer is the reference, else 0."""
    return float(_plain(answer) == _plain(reference))


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())
