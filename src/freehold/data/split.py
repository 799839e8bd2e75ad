"""Choosing rows: the newest where rows have times; else by the seed, whole sessions or in proportion to the labels."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from freehold.data.row import Row


def choose(rows: Sequence[Row], share: float, draw: str, by_answer: bool) -> tuple[list[Row], list[Row]]:
    """Part rows into about `share` of them (0..1) and the rest, both in their old order.

    Rows with times give the newest. Otherwise `draw` names the seed and the purpose, so that two draws differ: whole
    sessions, or without any a share of each answer where `by_answer`, but never its last row.
    """
    if rows and all(row.at is not None for row in rows):
        chosen = _newest(rows, share)
    elif any(row.session is not None for row in rows):
        chosen = _by_session(rows, share, draw)
    else:
        chosen = _by_answer(rows, share, draw, by_answer)
    return [row for row in rows if row.index in chosen], [row for row in rows if row.index not in chosen]


def _newest(rows: Sequence[Row], share: float) -> set[int]:
    """The newest rows. Older ones of their sessions are the caller's to keep apart."""
    ordered = sorted(rows, key=lambda row: (row.at or 0.0, row.index))
    return {row.index for row in ordered[len(rows) - round(share * len(rows)) :]}


def _by_session(rows: Sequence[Row], share: float, draw: str) -> set[int]:
    sessions: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows:
        sessions[f"session {row.session}" if row.session is not None else f"row {row.index}"].append(row.index)
    want = round(share * len(rows))
    chosen: set[int] = set()
    for name in sorted(sessions, key=lambda name: _rank(draw, name)):
        if len(chosen) + len(sessions[name]) <= want:
            chosen.update(sessions[name])
    return chosen


def _by_answer(rows: Sequence[Row], share: float, draw: str, by_answer: bool) -> set[int]:
    strata: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows:
        strata[row.answer if by_answer else ""].append(row.index)
    chosen: set[int] = set()
    passed = 0
    for answer in sorted(strata):
        ranked = sorted(strata[answer], key=lambda index: _rank(draw, str(index)))
        passed += len(ranked)
        want = int(passed * share + 0.5) - len(chosen)
        chosen.update(ranked[: max(0, min(want, len(ranked) - 1))])
    return chosen


def _rank(draw: str, name: str) -> bytes:
    return hashlib.sha256(f"{draw}\0{name}".encode()).digest()
