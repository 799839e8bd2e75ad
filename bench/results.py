"""Are the published reports whole, and do they say what was promised? `python bench/results.py`.

A report's digest covers its content: one that was edited by hand is refused by `reports.read`.
"""

from pathlib import Path

from freehold.evaluation import report as reports
from freehold.records import CandidateFigures, CandidateKind, Report, from_json
from freehold.store.workspace import Workspace

FOLDER = Path(__file__).parents[1] / "docs" / "results"
PROMISED = {"banking77": 0.90, "banking77-1500": 0.75}  # accuracy of the tuned model, constrained


def published() -> list[Report]:
    """Every published report; raises `NotFoundError` where one was altered."""
    named = [from_json(path.read_bytes(), Report).digest for path in sorted(FOLDER.glob("reports/*.json"))]
    return [reports.read(Workspace(FOLDER), digest) for digest in named]


def line(figures: CandidateFigures) -> str:
    """One candidate's figures, as the pages show them."""
    metric, free = figures.metric, figures.free
    beside = [f"free {free.value:.1%}"] if free else []
    beside += [f"{name} {each.value:.3f}" for name, each in figures.secondary.items()]
    return (
        f"{figures.candidate.name}: {metric.value:.1%} [{metric.low:.1%}, {metric.high:.1%}] n {metric.n}  "
        + ", ".join(beside)
    )


def main() -> None:
    broken = set(PROMISED)
    for report in published():
        print(f"{report.task}  {report.metric}  report {report.digest[:12]}  leaks {report.leaks}")
        for figures in report.figures:
            print(f"  {line(figures)}")
            tuned = figures.candidate.kind is CandidateKind.TUNED
            if tuned and figures.metric.value >= PROMISED.get(report.task, 2):
                broken.discard(report.task)
    if broken:
        raise SystemExit(f"not shown: {', '.join(sorted(broken))}")


if __name__ == "__main__":
    main()
