"""The user's own scorers: a regular expression, or a Python function in a file of theirs.

In the task file, under `scorers`: `regex:PATTERN` (1 where the whole answer matches) or `python:FILE.py:FUNCTION`, a
function of the answer and the reference that gives a number in 0..1. The file is the user's code and runs as such.
"""

import importlib.util
import math
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from freehold.errors import UserError


def regex(pattern: str) -> Callable[[str, str], float]:
    """A scorer: 1 where the whole answer matches, white space around it aside."""
    try:
        compiled = re.compile(pattern, re.S)
    except re.error as error:
        raise UserError(f"scorers: regex:{pattern} is not a regular expression: {error}") from None
    return lambda answer, _reference: float(compiled.fullmatch(answer.strip()) is not None)


def python(path_and_name: str, beside: Callable[[str], Path] = Path) -> Callable[[str, str], float]:
    """A scorer from `FILE.py:FUNCTION`, the file as `beside` finds it; what it gives is checked to be in 0..1."""
    named, _, name = path_and_name.rpartition(":")
    path = beside(named)
    if not named or not path.is_file():
        raise UserError(f"scorers: python:{path_and_name}: {path} is no file; write python:FILE.py:FUNCTION")
    function = getattr(module_at(str(path), "scorers: "), name, None)
    if not callable(function):
        raise UserError(f"scorers: {path} has no function {name}")

    def score(answer: str, reference: str) -> float:
        value = float(function(answer, reference))
        if not math.isfinite(value) or not 0 <= value <= 1:
            raise ValueError(f"{name} gave {value}; a score is in 0..1")
        return value

    return score


def module_at(path: str, about: str = "") -> ModuleType:
    """A stranger's Python file, run as a module; raises `UserError`, which begins with `about`, where it cannot be."""
    spec = importlib.util.spec_from_file_location(f"freehold_stranger_{Path(path).stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{about}{path} cannot be loaded: {type(error).__name__}: {error}") from error
    return module
