"""The task files of a workspace: those beside it, by the task that they declare."""

from pathlib import Path

from freehold import spec
from freehold.errors import NotFoundError, UserError
from freehold.store.workspace import Workspace


def found(workspace: Workspace) -> dict[str, Path]:
    """Every readable task file beside the workspace or in the current folder, by its task's name."""
    known: dict[str, Path] = {}
    for folder in dict.fromkeys((workspace.root.resolve().parent, Path.cwd())):
        for path in sorted((*folder.glob("*.yaml"), *folder.glob("*.yml"))):
            try:
                known.setdefault(spec.load(path).task.task, path)
            except UserError:
                continue  # another YAML file, or a task file that `freehold plan` explains
    return known


def of(workspace: Workspace, task: str) -> Path:
    """A task's file; raises `NotFoundError`."""
    known = found(workspace)
    if task not in known:
        raise NotFoundError(f"{task}: no task file beside {workspace.root} declares this task; put one there")
    return known[task]
