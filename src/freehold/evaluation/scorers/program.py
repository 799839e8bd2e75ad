"""Programs: an answer is right when its tests pass, run in a child process on a short leash (`leash.py`)."""

import math
import re

from freehold.evaluation.scorers import leash

_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)```", re.S)


def passes(answer: str, reference: str) -> float:
    """1 where the program in `answer` runs, and then the tests in `reference`, without an error; else 0."""
    return float(leash.runs(f"{program(answer)}\n\n{reference}\n"))


def program(answer: str) -> str:
    """The code of an answer: what stands in its first fence, or all of it."""
    fenced = _FENCE.search(answer)
    return fenced.group(1) if fenced else answer


def pass_at_k(samples: int, right: int, k: int) -> float:
    """The chance that one of k samples passes, from `right` of `samples` that did (Chen et al. 2021, unbiased)."""
    if samples - right < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / each for each in range(samples - right + 1, samples + 1))
