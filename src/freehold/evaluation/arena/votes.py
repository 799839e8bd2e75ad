"""Votes: which of two models a person preferred, as a CSV file with the columns `left,right,winner`.

`winner` is `left`, `right`, `tie` or `both-bad` (which rates as a tie does). Other columns are kept for whoever asks
for them (`voter`, `left_length`, …).
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from freehold.errors import DataError, UndeterminedError, did_you_mean

if TYPE_CHECKING:
    import _csv

    from numpy import float64, int64
    from numpy.typing import NDArray

COLUMNS = ("left", "right", "winner")
TIE, LEFT, RIGHT = 0, 1, 2
_WINNERS = {"left": LEFT, "right": RIGHT, "tie": TIE, "both-bad": TIE}


@dataclass(frozen=True)
class Votes:
    """Votes as numbers: places in `models` (sorted by name), and `TIE`, `LEFT` or `RIGHT`."""

    models: tuple[str, ...]
    left: "NDArray[int64]"
    right: "NDArray[int64]"
    winner: "NDArray[int64]"
    columns: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.left)

    def wins(self) -> "NDArray[float64]":
        """Models × models: how often the row's model beat the column's; a tie is half a win for each."""
        import numpy as np

        total = np.zeros((len(self.models), len(self.models)))
        tied = self.winner == TIE
        np.add.at(total, (self.left, self.right), np.where(tied, 0.5, self.winner == LEFT))
        np.add.at(total, (self.right, self.left), np.where(tied, 0.5, self.winner == RIGHT))
        return total

    def games(self) -> "NDArray[int64]":
        """How many votes each model took part in."""
        import numpy as np

        count = len(self.models)
        return np.bincount(self.left, minlength=count) + np.bincount(self.right, minlength=count)


def read(path: Path, keep: Sequence[str] = ()) -> Votes:
    """Read votes, and the further columns in `keep`; raises `DataError` naming the line that is wrong."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            return _read(path, handle, keep)
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text; votes are a CSV file in UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file: {error}") from None


def of(rows: Sequence[tuple[str, str, str]]) -> Votes:
    """Votes from (left, right, winner) triples."""
    return _built([row[0] for row in rows], [row[1] for row in rows], [_WINNERS[row[2]] for row in rows], {})


def together(votes: Votes) -> None:
    """Raise `UndeterminedError` where the models fall into groups that never met: no scale joins those."""
    from scipy.sparse.csgraph import connected_components

    met = votes.wins()
    count, group = connected_components(met + met.T, directed=False)
    if count > 1:
        parts = [[name for name, at in zip(votes.models, group, strict=True) if at == each] for each in range(count)]
        shown = " and ".join("{" + ", ".join(part[:4]) + (", …" if len(part) > 4 else "") + "}" for part in parts[:3])
        raise UndeterminedError(
            f"the models fall into {count} groups that never met, {shown}: no rating compares them; "
            "collect votes across the groups, or rank each group alone"
        )


def _read(path: Path, handle: TextIO, keep: Sequence[str]) -> Votes:
    reader = csv.reader(handle)
    header = next(reader, None)
    if header is None:
        raise DataError(f"{path}: is empty; the first line names the columns left,right,winner")
    places = [_place(path, header, name) for name in (*COLUMNS, *keep)]
    left: list[str] = []
    right: list[str] = []
    winner: list[int] = []
    kept: dict[str, list[str]] = {name: [] for name in keep}
    for row in _rows(path, reader, len(header)):
        a, b, won, *rest = [row[at] for at in places]
        if won not in _WINNERS:
            raise DataError(f"{path}:{reader.line_num}: winner is {won!r}; it is {', '.join(_WINNERS)}")
        if a == b or not a or not b:
            what = f"{a} plays itself" if a and b else "a model's name is empty"
            raise DataError(f"{path}:{reader.line_num}: {what}; a vote needs two different models")
        left.append(a)
        right.append(b)
        winner.append(_WINNERS[won])
        for name, value in zip(keep, rest, strict=True):
            kept[name].append(value)
    if not left:
        raise DataError(f"{path}: holds no votes")
    return _built(left, right, winner, kept)


def _rows(path: Path, reader: "_csv.Reader", width: int) -> Iterator[list[str]]:
    for row in reader:
        if len(row) == width:
            yield row
        elif row:
            raise DataError(f"{path}:{reader.line_num}: has {len(row)} fields where the header names {width}")


def _place(path: Path, header: Sequence[str], name: str) -> int:
    if name not in header:
        raise DataError(f"{path}: has no column {name}{did_you_mean(name, header)}; it has: {', '.join(header)}")
    return header.index(name)


def _built(left: list[str], right: list[str], winner: list[int], columns: dict[str, list[str]]) -> Votes:
    import numpy as np

    models = tuple(sorted({*left, *right}))
    places = {name: at for at, name in enumerate(models)}
    return Votes(
        models=models,
        left=np.array([places[name] for name in left], dtype=np.int64),
        right=np.array([places[name] for name in right], dtype=np.int64),
        winner=np.array(winner, dtype=np.int64),
        columns=columns,
    )
