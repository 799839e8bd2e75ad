"""How long raw exchanges are kept: what is older loses its words, everywhere in the workspace.

The rows stay, and so does the bill. Examples that were made of them leave their datasets, whose tombstones keep the
digests whole; an adapter that learned from them is not tainted, since nobody took back a permission.
"""

import re
import time

from freehold.data import erasure, freeze
from freehold.errors import UserError
from freehold.records import Record
from freehold.store import exchanges
from freehold.store.database import connect
from freehold.store.workspace import Workspace, read_record, write_record

_FILE = "retention.json"
_DAY = 86_400


class Retention(Record, frozen=True, kw_only=True):
    """The policy of a workspace: how many days a raw exchange is kept."""

    days: int


class Expired(Record, frozen=True, kw_only=True):
    """What went. `before` is UTC in seconds since 1970: everything older is gone."""

    days: int
    before: int
    exchanges: int
    examples: dict[str, int]
    reports: int


def days(given: str) -> int:
    """`90d`, `12w` or `2y` in days; raises `UserError`."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})([dwy])", given)
    if found is None:
        raise UserError(f"--keep {given}: write a number with d, w or y, such as 90d")
    return int(found[1]) * {"d": 1, "w": 7, "y": 365}[found[2]]


def policy(workspace: Workspace) -> Retention | None:
    """What holds, or None where everything is kept."""
    path = workspace.root / _FILE
    return read_record(path, Retention) if path.exists() else None


def set_policy(workspace: Workspace, count: int) -> None:
    """Keep raw exchanges for so many days from now on."""
    write_record(workspace.root / _FILE, Retention(days=count))


def apply(workspace: Workspace) -> Expired | None:
    """Erase what is older than the policy allows; None where there is no policy."""
    holds = policy(workspace)
    if holds is None:
        return None
    before = int(time.time()) - holds.days * _DAY
    store = connect(workspace.database_url)
    try:
        old = exchanges.older_than(store, before * 1_000_000)
        touched = _made_of(workspace, set(old)) if old else {}
        reports = erasure.erase_examples(workspace, touched)
        exchanges.erase(store, old)
    finally:
        store.dispose()
    counts = {dataset: len(mine) for dataset, mine in touched.items()}
    return Expired(days=holds.days, before=before, exchanges=len(old), examples=counts, reports=len(reports))


def _made_of(workspace: Workspace, ids: set[str]) -> erasure.Touched:
    found = {
        dataset: [each for each in freeze.examples(workspace, dataset) if each.origin.removeprefix("exchange ") in ids]
        for dataset in freeze.datasets(workspace)
    }
    return {dataset: mine for dataset, mine in found.items() if mine}
