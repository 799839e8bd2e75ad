"""What was trained on data that has since been forgotten: it must not be deployed, and its mark says why."""

from freehold.errors import RefusedError
from freehold.records import Record
from freehold.store.workspace import Workspace, read_record, write_record

_FOLDER = "tainted"


class Taint(Record, frozen=True, kw_only=True):
    """The mark on an adapter or classifier: the dataset it learned from, and how many of its examples are forgotten."""

    digest: str
    kind: str
    dataset: str
    examples: int


def mark(workspace: Workspace, taint: Taint) -> None:
    """Mark something as tainted, for good."""
    write_record(workspace.root / _FOLDER / f"{taint.digest}.json", taint)


def require_clean(workspace: Workspace, digest: str) -> None:
    """Raise `RefusedError` where an adapter or classifier is tainted."""
    path = workspace.root / _FOLDER / f"{digest}.json"
    if path.exists():
        taint = read_record(path, Taint)
        raise RefusedError(
            f"{taint.kind} {digest[:12]} learned from {taint.examples} examples that were forgotten since; "
            "`freehold run` trains one without them"
        )
