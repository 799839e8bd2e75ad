"""Which rows belong together: those of one `session`, and those linked by `parent`, however the links run.

Threads are found by union-find (Tarjan 1975), to which a link that runs in a circle, or to a row that is not there, is
nothing special: all that hangs together is one session.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from freehold.data.row import Row, optional_text


class Sessions:
    """The threads of all rows. Links are collected first, then every row learns its session."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}
        self._of_row: dict[int, str] = {}

    def link(self, row: Row, fields: Mapping[str, Any]) -> None:
        """Hear a row's `id`, `parent` and `session`."""
        parent = optional_text(fields.get("parent"))
        known = optional_text(fields.get("id"))
        if parent is None and known is None:
            return
        mine = f"row {known}" if known is not None else f"index {row.index}"
        self._of_row[row.index] = mine
        if parent is not None:
            self._join(mine, f"row {parent}")
        if row.session is not None:
            self._join(mine, f"session {row.session}")

    def settle(self, parts: Sequence[list[Row]]) -> None:
        """Name the session of every row that is linked to another, in place."""
        roots = {row.index: root for rows in parts for row in rows if (root := self._root_of(row)) is not None}
        size = Counter(roots.values())
        for rows in parts:
            for at, row in enumerate(rows):
                root = roots.get(row.index)
                if root is not None and (size[root] > 1 or row.session is not None):
                    rows[at] = replace(row, session=root.removeprefix("session "))

    def _root_of(self, row: Row) -> str | None:
        mine = self._of_row.get(row.index)
        if mine is not None:
            return self._root(mine)
        return self._root(f"session {row.session}") if row.session is not None else None

    def _join(self, first: str, second: str) -> None:
        """The smaller name is the root, but a named session always is: so that names stay, in any order of rows."""
        roots = sorted(
            (self._root(first), self._root(second)), key=lambda name: (not name.startswith("session "), name)
        )
        if roots[0] != roots[1]:
            self._above[roots[1]] = roots[0]

    def _root(self, name: str) -> str:
        while (above := self._above.get(name)) is not None:
            self._above[name] = self._above.get(above, above)
            name = above
        return name
