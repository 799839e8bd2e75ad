"""Trying other recipes: successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943) on validation loss.

Every setting trains on a small share of the training examples; the better half goes on with twice as many, until one is
left. Held-out examples are never looked at. A finished trial is kept on disk; an unfinished one goes on from its
checkpoint.
"""

import math
import random
import shutil
from collections.abc import Sequence

from msgspec.structs import replace

from freehold.errors import DataError, NotFoundError, UserError
from freehold.progress import Progress
from freehold.records import Example, Record, digest
from freehold.store.workspace import Workspace, read_record, write_record
from freehold.tuning.adapter import CHECKPOINT_FILE, UNFINISHED, Tuning, training_job
from freehold.tuning.recipe import LoraRecipe, UpperLoraRecipe
from freehold.tuning.train import TrainingJob, train

SEARCHES = ".searches"
LEAST_EXAMPLES = 32


class Trial(Record, frozen=True, kw_only=True):
    """One setting on one rung: the lowest validation loss that it reached with so many training examples."""

    rung: int
    examples: int
    recipe: LoraRecipe | UpperLoraRecipe
    validation_loss: float
    seconds: float


def search(
    tuning: Tuning, examples: Sequence[Example], workspace: Workspace, count: int, progress: Progress
) -> list[Trial]:
    """Try `count` settings, the tuning's own among them; returns every trial, the winner last.

    Raises `UserError` where fewer than two are asked for, `DataError` where there is nothing to validate on.
    """
    if count < 2:
        raise UserError(f"--search {count}: at least 2 settings are needed, one to compare with the other")
    job = training_job(tuning, examples, workspace)
    if not job.validation:
        raise DataError("there are no validation examples to compare settings on; give more data")
    rungs = math.ceil(math.log2(count))
    standing = settings(tuning.recipe, count, tuning.seed)
    trials: list[Trial] = []
    for rung in range(rungs):
        share = max(min(LEAST_EXAMPLES, len(job.train)), len(job.train) >> (rungs - 1 - rung))
        here = [_trial(_with(job, recipe, share), rung, workspace, progress) for recipe in standing]
        here.sort(key=lambda trial: -trial.validation_loss)
        trials += here
        standing = [trial.recipe for trial in here[len(here) // 2 :]] if rung < rungs - 1 else []
    return trials


def settings(recipe: LoraRecipe, count: int, seed: int) -> list[LoraRecipe]:
    """The recipe itself and others around it, all different, drawn by the seed."""
    chance = random.Random(seed)
    found = [recipe]
    while len(found) < count:
        rank = max(1, round(recipe.rank * chance.choice((0.5, 1, 2))))
        rate = float(f"{recipe.learning_rate * 10 ** chance.uniform(-0.6, 0.4):.2g}")
        batch = max(64, round(recipe.batch_tokens * chance.choice((0.5, 1, 2))))
        drawn = replace(recipe, rank=rank, alpha=2.0 * rank, learning_rate=rate, batch_tokens=batch)
        if drawn not in found:
            found.append(drawn)
    return found


def _with(job: TrainingJob, recipe: LoraRecipe, examples: int) -> TrainingJob:
    """The job with another recipe on the first so many examples; its name says both."""
    return TrainingJob(
        digest([job.name, recipe, examples]), job.base_folder, job.train[:examples], job.validation, recipe, job.seed
    )


def _trial(job: TrainingJob, rung: int, workspace: Workspace, progress: Progress) -> Trial:
    """Train, or read what came of it when it was trained before."""
    kept = workspace.adapters / SEARCHES / f"{job.name}.json"
    try:
        return read_record(kept, Trial)
    except NotFoundError:
        pass
    checkpoint = workspace.adapters / UNFINISHED / job.name / CHECKPOINT_FILE
    state = train(job, checkpoint, progress).state
    assert state.best_loss is not None, "there are validation examples"
    trial = Trial(
        rung=rung,
        examples=len(job.train),
        recipe=job.recipe,
        validation_loss=state.best_loss,
        seconds=round(state.seconds, 1),
    )
    write_record(kept, trial)
    if checkpoint.parent.exists():  # a short trial has kept no state
        shutil.rmtree(checkpoint.parent)
    return trial
