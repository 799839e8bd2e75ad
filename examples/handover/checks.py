"""Checks of a line that need no judge: is it short, and does every number in it stand in the reference too?"""

import re

WORDS = 14


def short(answer: str, reference: str) -> float:
    """1 where the line is not empty and has at most 14 words on one line."""
    return float(0 < len(answer.split()) <= WORDS and "\n" not in answer.strip())


def numbers_kept(answer: str, reference: str) -> float:
    """1 where the line holds exactly the figures of the reference: none invented, none lost."""
    return float(sorted(re.findall(r"\d+", answer)) == sorted(re.findall(r"\d+", reference)))
