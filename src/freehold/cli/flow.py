"""`freehold run` and `freehold demo`: the whole flow, and what came of it on one screen."""

import shutil
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from freehold import spec
from freehold.cli.demo_traffic import record_day
from freehold.cli.evaluation import print_report
from freehold.cli.output import as_json, say
from freehold.cli.progress import Terminal
from freehold.cli.task import DEFAULT_TASK_FILE, JsonOption, TaskFileArgument
from freehold.decision.certificate import headline
from freehold.errors import RefusedError
from freehold.pipeline import Outcome
from freehold.pipeline import run as run_flow
from freehold.store.workspace import Workspace


def run(path: TaskFileArgument = DEFAULT_TASK_FILE, json: JsonOption = False) -> None:
    """Run the whole flow on a task file; skips what is done, and goes on where it was interrupted."""
    _run(path, json)


def _run(path: Path, json: bool) -> None:
    file = spec.load(path)
    workspace = Workspace.beside(path)
    progress = Terminal()
    progress.headline(f"Freehold · task {file.task.task} · workspace {_short(workspace.root)}")
    outcome = run_flow(file, workspace, progress)
    if json:
        as_json(_summary(outcome))
    else:
        _print(outcome)
    if outcome.refused:
        raise RefusedError("; ".join(outcome.refused))


def demo(
    folder: Annotated[
        Path | None, typer.Option(help="Where it is laid out: examples/frontline, or examples/traffic.")
    ] = None,
    traffic: Annotated[
        bool, typer.Option("--traffic", help="Instead record an invented day of traffic, for a first look.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Run the whole flow on the bundled task, or record an invented day of traffic."""
    if traffic:
        return record_day(folder or Path("examples/traffic"), json)
    folder = folder or Path("examples/frontline")
    if not (folder / "freehold.yaml").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("freehold.yaml", "messages.csv", "README.md"):
            with (files("freehold") / "bundled" / name).open("rb") as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target)
    _run(folder / "freehold.yaml", json)


def _summary(outcome: Outcome) -> dict[str, object]:
    return {
        "task": outcome.dataset.task,
        "stages": [{"stage": each.name, "result": each.message, "seconds": each.seconds} for each in outcome.stages],
        "dataset": outcome.dataset.digest,
        "report": outcome.report.digest,
        "decision": outcome.decision.digest,
        "verdict": outcome.decision.verdict,
        "served": outcome.served,
        "page": str(outcome.page),
        "refused": outcome.refused,
    }


def _print(outcome: Outcome) -> None:
    say()
    print_report(outcome.report)
    say()
    say(f"  decision   {headline(outcome.decision)}")
    for reason in outcome.decision.reasons[1:]:
        say(f"             {reason}")
    say(f"             power: {outcome.decision.power}")
    say()
    say(f"  report     {_short(outcome.page)}")
    for at, line in enumerate(_next(outcome)):
        say(f"  {'next' if at == 0 else '':<10} {line}")


def _next(outcome: Outcome) -> list[str]:
    message = "the walk-in freezer alarm is going again" if outcome.dataset.task == "frontline-triage" else "…"
    return [
        f'freehold ask {outcome.served[0]} "{message}"',
        "freehold serve        then point OPENAI_BASE_URL at http://127.0.0.1:8400/v1",
    ]


def _short(path: Path) -> str:
    """A path as short as it can be typed from here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
