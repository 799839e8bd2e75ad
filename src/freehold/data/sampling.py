"""Which examples without a trusted reference are the most useful to label.

For training: those whose answer a quick model that has not seen them is least sure of (the margin of the answer at
hand over its best rival, as `quality.py` ranks them), spread out so that no two say much the same (farthest-first
traversal, the greedy of Sener and Savarese 2018). For other answers than labels there is no such model: only spread.
For proof: held-out examples drawn by the seed, because a figure that is to stand for the traffic may not be measured
on the hard ones.
"""

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from freehold.data.linear import features
from freehold.data.quality import suspects
from freehold.errors import DataError
from freehold.records import AnswerType, Dataset, Example, Record, Split, digest

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Purpose = Literal["training", "proof"]
_POOL = 2  # so many times as many doubtful examples are looked at as are asked for


class Pick(Record, frozen=True, kw_only=True):
    """An example for a person to label. `margin` is the lead of the answer at hand; None where nobody asked a model."""

    id: str
    origin: str
    text: str
    incumbent: str
    margin: float | None


def sample(dataset: Dataset, examples: Sequence[Example], count: int, purpose: Purpose) -> list[Pick]:
    """The most useful examples to label, the most useful first; raises `DataError` where every reference is trusted."""
    held_out = purpose == "proof"
    side = [each for each in examples if (each.split is Split.HELD_OUT) == held_out]
    pool = [each for each in side if not each.provenance.independent]
    if not pool:
        raise DataError(f"every example for {purpose} has a trusted reference already; there is nothing to label")
    if held_out:
        drawn = sorted(pool, key=lambda each: digest([dataset.seed, each.id]))
        return [_pick(each, None) for each in drawn[:count]]
    margins = _margins(dataset, side)
    unsure = sorted(pool, key=lambda each: (margins.get(each.id, 0.0), each.id))[: _POOL * count if margins else None]
    spread = _spread(features([each.text for each in unsure]), count)
    return [_pick(unsure[at], margins.get(unsure[at].id)) for at in spread]


def table(picks: Sequence[Pick]) -> bytes:
    """A CSV with an empty `answer` column to fill in; `freehold data review --apply` takes it back."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["id", "text", "answer", "incumbent", "origin", "margin"])
    for each in picks:
        writer.writerow(
            [each.id, each.text, "", each.incumbent, each.origin, "" if each.margin is None else each.margin]
        )
    return out.getvalue().encode()


def _margins(dataset: Dataset, side: Sequence[Example]) -> dict[str, float]:
    """By id, how far the answer at hand leads in the eyes of a model that has not seen it; empty but for labels."""
    if dataset.answer_type is not AnswerType.LABEL:
        return {}
    return {each.id: each.margin for each in suspects(side, dataset.seed)}


def _spread(matrix: "csr_matrix", count: int) -> list[int]:
    """Rows from the first on, each the farthest (by cosine) from all that were taken; ties go to the earlier."""
    import numpy as np

    taken = [0]
    nearest = np.asarray((matrix @ matrix[0].T).todense()).ravel()
    nearest[0] = np.inf
    while len(taken) < min(count, matrix.shape[0]):
        at = int(nearest.argmin())
        taken.append(at)
        nearest = np.maximum(nearest, np.asarray((matrix @ matrix[at].T).todense()).ravel())
        nearest[taken] = np.inf
    return taken


def _pick(example: Example, margin: float | None) -> Pick:
    return Pick(id=example.id, origin=example.origin, text=example.text, incumbent=example.reference, margin=margin)
