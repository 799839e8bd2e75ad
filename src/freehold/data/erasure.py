"""Taking examples out of what was built on them: datasets, reports, people's verdicts."""

from collections.abc import Mapping, Sequence

import msgspec

from freehold.data import corrections, freeze
from freehold.records import Example, Report
from freehold.store.workspace import Workspace, read_record, write_atomically

Touched = Mapping[str, Sequence[Example]]  # by the dataset's digest


def erase_examples(workspace: Workspace, touched: Touched) -> list[Report]:
    """Erase examples, reports first, so that what stops half-way is found again; returns the reports stripped."""
    reports = reports_on(workspace, touched)
    for report in reports:
        _strip(workspace, report, {each.id for each in touched[report.dataset]})
    for dataset, mine in touched.items():
        corrections.withdraw(workspace, freeze.read(workspace, dataset).task, mine)
        freeze.erase(workspace, dataset, {each.id for each in mine})
    return reports


def reports_on(workspace: Workspace, touched: Touched) -> list[Report]:
    """The reports that were measured on these datasets."""
    found = [read_record(path, Report) for path in sorted(workspace.reports.glob("report-*.json"))]
    return [report for report in found if report.dataset in touched]


def _strip(workspace: Workspace, report: Report, ids: set[str]) -> None:
    """A report's figures stay; its page, which quotes messages, goes, and so do the rows of these examples."""
    stem = f"report-{report.digest[:12]}"
    (workspace.reports / f"{stem}.html").unlink(missing_ok=True)
    for path in workspace.reports.glob(f"{stem}*.jsonl"):
        kept = [line for line in path.read_bytes().splitlines() if msgspec.json.decode(line)["example"] not in ids]
        write_atomically(path, b"".join(line + b"\n" for line in kept))
