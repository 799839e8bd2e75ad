"""What was measured: candidates with their intervals, where they go wrong, what changed between two, and the board."""

from functools import lru_cache
from pathlib import Path

from starlette.responses import Response

from freehold.console import charts
from freehold.console.charts import Measured
from freehold.console.house import Visit
from freehold.console.page import Page
from freehold.data import freeze
from freehold.errors import NotFoundError
from freehold.evaluation import compare, leaderboard
from freehold.evaluation import report as reports
from freehold.evaluation.compare import Diff, Measurement
from freehold.evaluation.mistakes import confusions
from freehold.evaluation.report_html import METRIC_WORDS
from freehold.records import CandidateFigures, Example, Report, Row
from freehold.store.documents import Document, Documents
from freehold.store.workspace import Workspace

MATRIX_UP_TO = 30
FLIPS = 40


def show(visit: Visit) -> Response:
    """Every report, and all candidates over all tasks."""
    listed = list(reversed(Documents(visit.store).all("report")))
    found = [(each, kept) for each in listed if (kept := _report_or_none(visit.workspace, each))]
    return visit.page(
        "evaluation.html",
        reports=found,
        boards=leaderboard.boards([report for _, report in found]),
        metric=metric_name,
    )


def one(visit: Visit) -> Response:
    """One report."""
    report = reports.read(visit.workspace, visit.params["digest"])
    ordered = sorted(report.figures, key=lambda each: (-each.metric.value, each.candidate.name))
    chosen = _named(ordered, visit.query.get("candidate")) or ordered[0]
    drawn = [
        Measured(each.candidate.name, 100 * each.metric.value, 100 * each.metric.low, 100 * each.metric.high)
        for each in ordered
    ]
    name = metric_name(report.metric)
    return visit.page(
        "report.html",
        report=report,
        figures=ordered,
        chosen=chosen,
        metric=name,
        chart=charts.intervals(drawn, f"{name}, per cent", f"{name} of every candidate with its interval"),
        matrix=_matrix(chosen),
        confusions=confusions(chosen),
        diff=_diff(visit, report, ordered),
        most_flips=FLIPS,
    )


def page_file(visit: Visit) -> Response:
    """The report's own page, one file, to keep or pass on."""
    report = reports.read(visit.workspace, visit.params["digest"])
    path = reports.page_path(visit.workspace, report)
    if not path.is_file():
        raise NotFoundError(f"the page of report {report.digest[:12]} is gone; a run makes it anew")
    name = f"attachment; filename=report-{report.digest[:12]}.html"
    return Response(path.read_bytes(), media_type="text/html", headers={"content-disposition": name})


def metric_name(metric: str) -> str:
    """A metric in plain words."""
    return METRIC_WORDS.get(metric, metric.replace("_", " "))


def _diff(visit: Visit, report: Report, ordered: list[CandidateFigures]) -> Diff | None:
    """The two that are asked for, else the two best, example by example."""
    left = _named(ordered, visit.query.get("left")) or ordered[0]
    right = _named(ordered, visit.query.get("right")) or next((each for each in ordered if each is not left), None)
    if right is None or right is left:
        return None
    try:
        rows = read_rows(visit.workspace.root, report.digest)
        examples = held_out(visit.workspace.root, report.dataset)
    except NotFoundError:
        return None
    sides = [Measurement(each.candidate, report, rows.get(each.candidate.digest, ())) for each in (left, right)]
    if not all(each.rows for each in sides):
        return None
    return compare.diff(sides[0], sides[1], examples, report.confidence)


@lru_cache(maxsize=8)
def read_rows(root: Path, digest: str) -> dict[str, list[Row]]:
    """A report's rows by candidate; a report never changes, so it is read once."""
    workspace = Workspace(root)
    return reports.read_rows(workspace, reports.read(workspace, digest))


@lru_cache(maxsize=8)
def held_out(root: Path, dataset: str) -> dict[str, Example]:
    """A dataset's examples by id."""
    return {each.id: each for each in freeze.examples(Workspace(root), dataset)}


def _matrix(figures: CandidateFigures) -> list[list[tuple[int, str]]] | None:
    """Counts with the shade of their share of the row; None where there are no labels, or too many to read."""
    if not figures.confusion or len(figures.confusion) > MATRIX_UP_TO:
        return None
    return [
        [(count, _shade(count / max(1, sum(line)), at == row)) for at, count in enumerate(line)]
        for row, line in enumerate(figures.confusion)
    ]


def _shade(share: float, right: bool) -> str:
    if share == 0:
        return "zero"
    return f"{'right' if right else 'wrong'}{2 if share >= 0.5 else 1}"


def _named(figures: list[CandidateFigures], name: str) -> CandidateFigures | None:
    return next((each for each in figures if each.candidate.name == name), None)


def _report_or_none(workspace: Workspace, document: Document) -> Report | None:
    try:
        return reports.read(workspace, document.digest)
    except NotFoundError:
        return None  # its file was taken away; `freehold doctor` says so


PAGES = (
    Page("/evaluation", show),
    Page("/evaluation/{digest}", one),
    Page("/evaluation/{digest}/page", page_file),
)
