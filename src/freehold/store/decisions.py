"""Decisions: one file each under the workspace, listed in the store in the order they were made, never edited."""

from pathlib import Path

from freehold.errors import NotFoundError
from freehold.records import Decision
from freehold.store.database import Store, connect
from freehold.store.documents import Documents
from freehold.store.workspace import Workspace, read_record, write_record

_KIND = "decision"


def keep(workspace: Workspace, store: Store, decision: Decision) -> Path:
    """Write a decision and list it; returns its path. One that is kept already stays as it was."""
    path = path_of(workspace, decision.digest, "json")
    if not path.exists():
        write_record(path, decision)
    Documents(store).add(_KIND, decision.digest, decision.task)
    return path


def every(workspace: Workspace, store: Store, task: str | None = None) -> list[tuple[int, Decision]]:
    """Every decision with when it was made (microseconds since 1970, UTC), oldest first."""
    return [(each.created_at, read(workspace, each.digest)) for each in Documents(store).all(_KIND, task)]


def read(workspace: Workspace, digest: str) -> Decision:
    """The decision of that digest; raises `NotFoundError` where its file is missing or holds another."""
    path = path_of(workspace, digest, "json")
    decision = read_record(path, Decision)
    if decision.digest != digest:
        raise NotFoundError(f"{path}: holds another decision than the one listed; `freehold run` decides anew")
    return decision


def here(workspace: Workspace, task: str | None = None) -> list[tuple[int, Decision]]:
    """As `every`, for a reader: raises `NotFoundError` where there is none, and makes no workspace to look in."""
    found = every(workspace, connect(workspace.database_url), task) if workspace.root.exists() else []
    if not found:
        of_task = f" of {task}" if task else ""
        raise NotFoundError(f"{workspace.root}: there is no decision{of_task} yet; `freehold run` makes one")
    return found


def path_of(workspace: Workspace, digest: str, ending: str) -> Path:
    """Where a decision's record (`json`) or page (`html`) lies."""
    return workspace.root / "decisions" / f"{digest}.{ending}"
