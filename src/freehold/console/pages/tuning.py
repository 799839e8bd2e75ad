"""Runs of the flow: started, watched, stopped and resumed here, each as a child process; and the adapters they made."""

import re
import time
from collections.abc import Sequence

from markupsafe import Markup
from starlette.responses import Response

from freehold.console import charts, task_files
from freehold.console.charts import Line
from freehold.console.house import Visit
from freehold.console.page import Page
from freehold.console.works import Event
from freehold.records import AdapterManifest, LossPoint, Record
from freehold.store import jobs
from freehold.store.users import Role
from freehold.store.workspace import read_record

STEP = "tune"
_LOSS = re.compile(r"loss (\d+(?:\.\d+)?)")  # as the trainer says it while it works
_LOOK_BACK_S = 60.0


class Pace(Record, frozen=True, kw_only=True):
    """How far the newest step is. `left_s` is None while nobody can tell."""

    step: str
    done: int
    total: int | None
    note: str
    left_s: float | None


def show(visit: Visit) -> Response:
    """Tasks that can be run, their runs, and what the workspace's adapters are."""
    task = visit.query.get("task") or None
    works = visit.house.works
    return visit.page(
        "tuning.html",
        files=task_files.found(visit.workspace),
        task=task,
        runs=[works.looked_at(each) for each in jobs.newest(visit.store, 30, task, "run")],
        adapters=[read_record(path, AdapterManifest) for path in visit.workspace.adapters.glob("*/manifest.json")],
    )


def one(visit: Visit) -> Response:
    """One run, live while it works."""
    works = visit.house.works
    job = works.looked_at(jobs.find(visit.store, visit.params["id"]))
    events = works.events(job)
    losses = losses_of(events)
    return visit.page(
        "run.html",
        job=job,
        running=job.outcome is None,
        pace=pace(events) if job.outcome is None else None,
        steps=[each for each in events if each.total is None and each.note],
        curve=loss_curve(losses),
        losses=losses,
        resources=works.resources(job),
        printed=works.printed(job),
    )


def adapter(visit: Visit) -> Response:
    """One adapter: what it was made from, and how its loss fell."""
    path = visit.workspace.adapters / visit.params["digest"].replace("/", "") / "manifest.json"
    manifest = read_record(path, AdapterManifest)
    return visit.page("adapter.html", manifest=manifest, curve=_kept_curve(manifest.losses, manifest.best_step))


def start(visit: Visit) -> Response:
    """Begin a run of a task, or go on with one that was stopped: finished work is not done again."""
    task = visit.form.need("task", "the task")
    path = task_files.of(visit.workspace, task)
    job = visit.house.works.start("run", task, path, visit.user.user)
    visit.log("run started", task, job.id)
    return visit.go(f"/tuning/{job.id}")


def ask_stop(visit: Visit) -> Response:
    """Is that meant?"""
    job = jobs.find(visit.store, visit.params["id"])
    return visit.page(
        "confirm.html",
        title=f"Stop this run of {job.task}?",
        lines=["What is finished stays finished; tuning goes on from its last checkpoint when you resume."],
        action=f"/tuning/{job.id}/stop",
        fields=[],
        word="Stop it",
        back=f"/tuning/{job.id}",
    )


def stop(visit: Visit) -> Response:
    """Ask a run to end."""
    job = jobs.find(visit.store, visit.params["id"])
    visit.house.works.stop(job)
    visit.log("run stopped", job.task, job.id)
    return visit.go(f"/tuning/{job.id}", "it was asked to stop")


def pace(events: Sequence[Event]) -> Pace | None:
    """The newest step's progress; the time left follows from its last minute."""
    if not events:
        return None
    last = events[-1]
    since = [each for each in events if each.step == last.step and each.at >= last.at - _LOOK_BACK_S]
    done, spent = last.done - since[0].done, last.at - since[0].at
    known = last.total is not None and done > 0 and spent > 0
    left = (last.total - last.done) * spent / done - (time.time() - last.at) if known and last.total else None
    return Pace(
        step=last.step,
        done=last.done,
        total=last.total,
        note=last.note,
        left_s=None if left is None else max(0.0, left),
    )


def losses_of(events: Sequence[Event]) -> list[tuple[float, float]]:
    """(examples seen, loss) as the trainer said them."""
    return [
        (float(each.done), float(found[1]))
        for each in events
        if each.step == STEP and (found := _LOSS.search(each.note))
    ]


def loss_curve(losses: Sequence[tuple[float, float]]) -> Markup:
    """How the loss falls while it is trained."""
    curve = Line(name="training loss", points=losses)
    return charts.lines([curve], "examples seen", "loss, nats a token", "Training loss")


def _kept_curve(losses: Sequence[LossPoint], best: int) -> Markup:
    train = Line(name="training", points=[(each.step, each.train) for each in losses])
    seen = [(each.step, each.validation) for each in losses if each.validation is not None]
    validation = Line(name="validation", points=seen, colour="two")
    return charts.lines([train, validation], "steps", "loss, nats a token", "Training and validation loss", mark=best)


PAGES = (
    Page("/tuning", show),
    Page("/tuning", start, method="POST", role=Role.EDITOR),
    Page("/tuning/adapters/{digest}", adapter),
    Page("/tuning/{id}", one),
    Page("/tuning/{id}/stop", ask_stop, role=Role.EDITOR),
    Page("/tuning/{id}/stop", stop, method="POST", role=Role.EDITOR),
)
