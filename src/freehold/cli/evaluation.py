"""`freehold report`: what was measured."""

from collections.abc import Sequence
from typing import Annotated

import typer

from freehold.cli.output import as_json, say, table
from freehold.errors import NotFoundError
from freehold.evaluation import beside
from freehold.evaluation import report as reports
from freehold.evaluation.report_html import METRIC_WORDS
from freehold.records import CandidateFigures, Change, Interval, Kept, Report
from freehold.store.database import connect
from freehold.store.documents import Documents
from freehold.store.workspace import Workspace

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
TaskOption = Annotated[str | None, typer.Option("--task", help="Of this task; left out: of whichever is newest.")]


def report(
    json: JsonOption = False,
    html: Annotated[bool, typer.Option("--html", help="Print the path of the page instead.")] = False,
    task: TaskOption = None,
) -> None:
    """Show the newest report."""
    workspace = Workspace.here()
    found = newest_report(workspace, task)
    faults = beside.faults(found, reports.read_rows(workspace, found))
    if json:
        as_json(reports.summary(found) | {"faults": faults})
    elif html:
        say(str(reports.page_path(workspace, found)))
    else:
        print_report(found)
        for each in faults:
            say(
                f"  scorer     {each.scorer} failed on {each.rows} of {each.of} answers of {each.candidate}: {each.why}"
            )
        say(f"\n  page       {reports.page_path(workspace, found)}")


def newest_report(workspace: Workspace, task: str | None = None) -> Report:
    """The newest report of the workspace; raises `NotFoundError` where there is none."""
    of_task = f" of {task}" if task else ""
    missing = NotFoundError(f"{workspace.root}: there is no report{of_task} yet; `freehold run` makes one")
    if not workspace.root.exists():
        raise missing
    document = Documents(connect(workspace.database_url)).newest("report", task)
    if document is None:
        raise missing
    return reports.read(workspace, document.digest)


def print_report(found: Report) -> None:
    """The report's table, best candidate first."""
    order = sorted(found.figures, key=lambda each: -each.metric.value)
    table(
        [
            "candidate",
            found.metric.replace("_", " "),
            f"{found.confidence:.0%} interval",
            "free",
            "n",
            "tokens a request",
            "p50",
        ],
        [_line(each) for each in order],
    )
    _print_beside(order)
    whose = " · ".join(f"{count} {provenance.value}" for provenance, count in sorted(found.references.items()))
    say(f"\n  references {whose}")
    dropped = " · ".join(f"{count} {reason}" for reason, count in sorted(found.dropped.items()) if count)
    say(f"  dropped    {dropped or 'nothing'}")
    if found.leaks is not None:
        say(f"  leaks      {found.leaks} held-out examples with a near-duplicate in training")
    for each in found.pins:
        say(f"  pinned     {each.candidate}: {each.holds} hold, {len(each.broken)} broken")
    if found.changes:
        say("\n  what tuning took away\n")
        print_changes(found.changes)


def _print_beside(order: Sequence[CandidateFigures]) -> None:
    """The scores that stand beside the metric and decide nothing, each with its interval and n."""
    names = list(dict.fromkeys(name for each in order for name in each.secondary))
    rows = [
        [METRIC_WORDS.get(name, name.replace("_", " ")), each.candidate.name, *_beside(name, each.secondary[name])]
        for name in names
        for each in order
        if name in each.secondary
    ]
    if rows:
        say()
        table(["beside the metric", "candidate", "value", "interval", "n"], rows)


def _beside(name: str, figure: Interval) -> list[str]:
    """A share in per cent; a cost is none."""
    form = "{:.4g}" if name.startswith("cost:") else "{:.1%}"
    interval = f"[{form.format(figure.low)}, {form.format(figure.high)}]"
    return [form.format(figure.value), interval, str(figure.n)]


def print_changes(found: Sequence[Change]) -> None:
    """Each figure before and after tuning, and what was lost."""
    table(["tuned model", "figure", "before", "after", "lost", "95 % interval", "n"], [_change(each) for each in found])


def _change(each: Change) -> list[object]:
    figure = "{:.2f}" if each.what is Kept.LANGUAGE else "{:.1%}"
    lost = each.lost
    return [
        each.candidate,
        each.what.value,
        figure.format(each.before.value),
        figure.format(each.after.value),
        f"{lost.value:+.1%}",
        f"[{lost.low:+.1%}, {lost.high:+.1%}]",
        each.before.n,
    ]


def _line(each: CandidateFigures) -> list[object]:
    metric = each.metric
    return [
        each.candidate.name,
        f"{metric.value:.1%}",
        f"[{metric.low:.1%}, {metric.high:.1%}]",
        f"{each.free.value:.1%}" if each.free else "–",
        str(metric.n),
        f"{each.tokens_per_request:.0f}" if each.tokens_per_request else "–",
        latency(each.latency_p50_ms if each.latency_p95_ms else None),
    ]


def latency(milliseconds: float | None) -> str:
    """A latency for a table; a dash where it is unknown."""
    if milliseconds is None:
        return "–"
    return f"{milliseconds:.0f} ms" if milliseconds >= 1 else "<1 ms"
