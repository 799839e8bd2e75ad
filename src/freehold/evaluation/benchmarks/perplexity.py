"""Perplexity on general text, before and after tuning: what rises there was forgotten.

Text is one document a line. The perplexity is that of the average document (the exponential of the mean negative
log-likelihood a token, documents counting alike), and the interval resamples documents.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from freehold.errors import DataError
from freehold.evaluation.benchmarks.sitting import Sitting
from freehold.evaluation.statistics import bootstrap_mean, paired_bootstrap
from freehold.progress import SILENT, Progress
from freehold.records import Interval

LONGEST = 1024
_LEAST = 20


class Surprises(Protocol):
    """Whatever can say how unlikely it finds a text (`continuations.Continuations`)."""

    def surprise(self, ids: Sequence[int]) -> float: ...


def read(path: Path) -> list[str]:
    """The documents of a file, one a line; raises `DataError` where there are fewer than 20."""
    try:
        documents = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text") from None
    if len(documents) < _LEAST:
        raise DataError(f"{path}: holds {len(documents)} documents, one a line; an interval needs at least {_LEAST}")
    return documents


def surprises(sitting: Sitting[Surprises], documents: Sequence[str], progress: Progress = SILENT) -> list[float]:
    """Nats a token of every document, of its first 1,024 tokens at most; to four digits, which any machine finds."""
    encoded = [sitting.encodes.encode(document)[:LONGEST] for document in documents]
    with progress.step(f"perplexity {sitting.model}", len(documents)) as step:
        found = sitting.found(
            [ids for ids in encoded if len(ids) > 1], lambda ids: f"{sitting.scores.surprise(ids):.4f}", step
        )
        return [float(each) for each in found]


def perplexity(nats: Sequence[float]) -> Interval:
    """The perplexity, with its interval."""
    return _exponential(bootstrap_mean(nats))


def change(before: Sequence[float], after: Sequence[float]) -> Interval:
    """Perplexity after over before, on the same documents: 1.05 is five per cent more surprised."""
    return _exponential(paired_bootstrap(after, before))


def _exponential(nats: Interval) -> Interval:
    return replace(nats, value=math.exp(nats.value), low=math.exp(nats.low), high=math.exp(nats.high))
