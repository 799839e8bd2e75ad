"""`freehold tune`: the tuning alone, and the search for a better recipe."""

from collections.abc import Sequence
from typing import Annotated

import typer

from freehold import pipeline, spec
from freehold.cli.output import as_json, say, table
from freehold.cli.progress import Terminal
from freehold.cli.task import DEFAULT_TASK_FILE, JsonOption, TaskFileArgument
from freehold.store.workspace import Workspace
from freehold.tuning.recipe import UpperLoraRecipe
from freehold.tuning.search import Trial


def tune(
    path: TaskFileArgument = DEFAULT_TASK_FILE,
    search: Annotated[
        int | None, typer.Option(help="Try so many recipes by validation loss, and say which won.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Tune the task's bases and stop there; goes on where it was interrupted."""
    file, workspace = spec.load(path), Workspace.beside(path)
    if search is not None:
        found = pipeline.search(file, workspace, Terminal(), search)
        if json:
            as_json({base: {"trials": trials, "best": trials[-1].recipe} for base, trials in found.items()})
            return
        for base, trials in found.items():
            _print(base, trials)
        return
    manifests = pipeline.tune(file, workspace, Terminal())
    if json:
        as_json(manifests)
        return
    for each in manifests:
        say(
            f"  adapter {each.digest[:12]} of {each.base}: {each.seconds:,.0f} s, "
            f"{each.tokens_per_second:,.0f} tokens/s, peak {each.peak_memory_bytes / 1e6:,.0f} MB"
        )


def _print(base: str, trials: Sequence[Trial]) -> None:
    say(f"\n  {base}: {len(trials)} trials, by validation loss; held-out examples were not looked at")
    rows = [
        (
            trial.rung + 1,
            f"{trial.examples:,}",
            trial.recipe.rank,
            f"{trial.recipe.learning_rate:g}",
            trial.recipe.batch_tokens,
            f"{trial.validation_loss:.4f}",
            f"{trial.seconds:,.0f} s",
        )
        for trial in trials
    ]
    table(("rung", "examples", "rank", "learning rate", "batch", "validation loss", "time"), rows)
    best = trials[-1].recipe
    method = "upper-lora" if isinstance(best, UpperLoraRecipe) else "lora"
    say(
        f"\n  for the task file   tune: {{method: {method}, rank: {best.rank}, learning_rate: {best.learning_rate:g}, "
        f"batch_tokens: {best.batch_tokens}}}"
    )
