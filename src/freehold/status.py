"""What a workspace holds, task by task, and what to do next."""

import time

from freehold.errors import NotFoundError
from freehold.records import Record, Split
from freehold.store import decisions, deployments, stages
from freehold.store.database import Store, connect
from freehold.store.workspace import Workspace


class Line(Record, frozen=True, kw_only=True):
    """One thing and its state (`ready`, `running`, `stopped`, `none`); `next` is the command that goes on."""

    what: str
    state: str
    detail: str
    next: str = ""


class TaskStatus(Record, frozen=True, kw_only=True):
    task: str
    lines: tuple[Line, ...]

    @property
    def next(self) -> str:
        """The first thing to do."""
        return next((line.next for line in self.lines if line.next), "")


def status(workspace: Workspace) -> list[TaskStatus]:
    """Every task of the workspace; raises `NotFoundError` where there is no workspace yet."""
    if not workspace.root.is_dir():
        raise NotFoundError(f"{workspace.root}: there is no workspace yet; `freehold run TASKFILE` makes one")
    return of_store(workspace, connect(workspace.database_url))


def of_store(workspace: Workspace, store: Store) -> list[TaskStatus]:
    """Every task of a workspace whose store is open already."""
    return [_of(task, workspace, store) for task in stages.tasks(store)]


def _of(task: str, workspace: Workspace, store: Store) -> TaskStatus:
    done = stages.finished(store, task)
    lines = (
        _data(workspace, done),
        _tuning(task, workspace, done),
        _decision(task, workspace, done),
        _served(task, store),
    )
    return TaskStatus(task=task, lines=lines)


def _data(workspace: Workspace, done: dict[str, stages.Finished]) -> Line:
    from freehold.data import freeze

    if "data" not in done:
        return Line(what="data", state="none", detail="", next="freehold run")
    dataset = freeze.read(workspace, done["data"].output)
    examples = sum(dataset.counts.values())
    held_out = dataset.counts[Split.HELD_OUT]
    detail = f"dataset {dataset.digest[:12]} · {examples:,} examples, {held_out:,} of them held out"
    return Line(what="data", state="ready", detail=detail)


def _tuning(task: str, workspace: Workspace, done: dict[str, stages.Finished]) -> Line:
    from freehold.tuning.adapter import unfinished

    running = workspace.at_work(f"run-{task}")
    interrupted = unfinished(workspace)
    if interrupted:
        state, kept = interrupted[0]
        ago = _ago(time.time() - kept)
        detail = f"at step {state.step:,} of about {state.steps:,} (kept {ago} ago)"
        if running:
            return Line(what="tuning", state="running", detail=detail)
        detail += f"; freehold run goes on from step {state.step:,}"
        return Line(what="tuning", state="stopped", detail=detail, next="freehold run")
    adapters = [each.output for name, each in done.items() if name.startswith("tune ")]
    if not adapters:
        return Line(
            what="tuning", state="running" if running else "none", detail="", next="" if running else "freehold run"
        )
    detail = " · ".join(f"adapter {digest[:12]}" for digest in adapters)
    return Line(what="tuning", state="ready", detail=detail)


def _decision(task: str, workspace: Workspace, done: dict[str, stages.Finished]) -> Line:
    if "decision" not in done:
        running = workspace.at_work(f"run-{task}")
        return Line(what="decision", state="none", detail="", next="" if running else "freehold run")
    decision = decisions.read(workspace, done["decision"].output)
    detail = f"{decision.verdict}" + (f" to {decision.candidate}" if decision.verdict == "switch" else "")
    return Line(what="decision", state="ready", detail=f"{detail} · {decision.digest[:12]}")


def _served(task: str, store: Store) -> Line:
    names = [name for name in deployments.all_current(store) if name == task or name.startswith(f"{task}:")]
    if not names:
        return Line(what="served", state="none", detail="")
    return Line(what="served", state="ready", detail=" · ".join(names), next=f'freehold ask {names[0]} "…"')


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than a minute"
