"""What is in each task's dataset: its card, the labels that may be wrong, and how it grows with more examples."""

from msgspec.structs import replace
from starlette.responses import Response

from freehold.console import charts, dataset_look, task_files
from freehold.console.charts import Line
from freehold.console.dataset_look import Look
from freehold.console.house import Visit
from freehold.console.page import Page
from freehold.data import freeze, verdicts
from freehold.data.enough import Enough
from freehold.errors import NotFoundError
from freehold.records import Dataset
from freehold.store import jobs, stages
from freehold.store.users import Role

AT_ONCE = 20


def show(visit: Visit) -> Response:
    """Every task that has a dataset."""
    found = {task: stages.finished(visit.store, task).get("data") for task in stages.tasks(visit.store)}
    datasets = {task: freeze.read(visit.workspace, done.output) for task, done in found.items() if done}
    return visit.page("datasets.html", datasets=datasets)


def one(visit: Visit) -> Response:
    """One task's dataset; what takes long is prepared by a job, and shown when it is there."""
    task = visit.params["task"]
    dataset = _dataset(visit, task)
    look = dataset_look.read(visit.workspace, dataset.digest)
    job = next((visit.house.works.looked_at(each) for each in jobs.newest(visit.store, 1, task, "look")), None)
    number = visit.query.number("page", "page", 1) or 1
    suspects = look.suspects if look else ()
    return visit.page(
        "dataset.html",
        task=task,
        dataset=dataset,
        look=look,
        job=job,
        suspects=suspects[(number - 1) * AT_ONCE : number * AT_ONCE],
        number=number,
        last=max(1, -(-len(suspects) // AT_ONCE)),
        curve=drawn(look.curve) if look and look.curve else "",
    )


def prepare(visit: Visit) -> Response:
    """Start the job that looks at the dataset."""
    task = visit.params["task"]
    path = task_files.of(visit.workspace, task)
    visit.house.works.start("look", task, path, visit.user.user)
    visit.log("dataset looked at", task)
    return visit.go(f"/data/{task}", "looking; this page shows what is found as soon as it is there")


def decide(visit: Visit) -> Response:
    """Keep a person's verdict on one label; the next run's dataset uses it."""
    task, id = visit.params["task"], visit.form.get("id")
    dataset = _dataset(visit, task)
    found = next((each for each in freeze.examples(visit.workspace, dataset.digest) if each.id == id), None)
    if found is None:
        raise NotFoundError(f"{task}: the example {id[:12]} is not in this dataset any more; open the page again")
    answer = visit.form.need("answer", "the label")
    verdicts.keep(visit.workspace, dataset, found, answer)
    look = dataset_look.read(visit.workspace, dataset.digest)
    if look is not None:
        dataset_look.keep(visit.workspace, _without(look, id))
    visit.log("label decided", task, f"{id[:12]}: {found.reference} → {answer}")
    return visit.go(f"/data/{task}#review", f"kept: {answer}; the next run uses it")


def drawn(curve: Enough) -> str:
    """The learning curve: measured points with the range of draws, forecast ones dashed."""
    measured = Line(
        name="measured",
        points=[(each.n, 100 * each.value) for each in curve.measured],
        spread=[(each.n, 100 * each.low, 100 * each.high) for each in curve.measured],
    )
    forecast = Line(
        name="forecast",
        points=[(each.n, 100 * each.value) for each in curve.forecast],
        spread=[(each.n, 100 * each.low, 100 * each.high) for each in curve.forecast],
        colour="two",
        dashed=True,
    )
    return charts.lines([measured, forecast], "training examples", "accuracy, per cent", "Accuracy with more examples")


def _without(look: Look, id: str) -> Look:
    return replace(look, suspects=tuple(each for each in look.suspects if each.id != id))


def _dataset(visit: Visit, task: str) -> Dataset:
    done = stages.finished(visit.store, task).get("data")
    if done is None:
        raise NotFoundError(f"{task}: there is no dataset yet; a run makes one")
    return freeze.read(visit.workspace, done.output)


PAGES = (
    Page("/data", show),
    Page("/data/{task}", one),
    Page("/data/{task}/look", prepare, method="POST", role=Role.VOTER),
    Page("/data/{task}/verdict", decide, method="POST", role=Role.VOTER),
)
