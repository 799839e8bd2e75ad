"""What the pipeline has finished: one row a task and stage, with the digest of what went into it.

A stage whose inputs have the recorded digest is done; anything else is not.
"""

import time
from typing import NamedTuple

from sqlalchemy import Engine, delete, insert, select

from freehold.store.schema import stages


class Finished(NamedTuple):
    """A finished stage. `seconds` is how long it took, `finished_at` when it ended (microseconds since 1970, UTC)."""

    stage: str
    inputs: str
    output: str
    finished_at: int
    seconds: float


def finished(engine: Engine, task: str) -> dict[str, Finished]:
    """A task's finished stages by name, oldest first."""
    columns = (stages.c.stage, stages.c.inputs, stages.c.output, stages.c.finished_at, stages.c.seconds)
    query = select(*columns).where(stages.c.task == task).order_by(stages.c.finished_at)
    with engine.connect() as connection:
        return {row.stage: Finished(*row) for row in connection.execute(query)}


def finish(engine: Engine, task: str, stage: str, inputs: str, output: str, seconds: float) -> None:
    """Record a stage as done; an earlier record of it is replaced in the same transaction."""
    row = {
        "task": task,
        "stage": stage,
        "inputs": inputs,
        "output": output,
        "finished_at": time.time_ns() // 1000,
        "seconds": seconds,
    }
    with engine.begin() as connection:
        connection.execute(delete(stages).where(stages.c.task == task, stages.c.stage == stage))
        connection.execute(insert(stages).values(row))


def tasks(engine: Engine) -> list[str]:
    """Every task that has a finished stage."""
    with engine.connect() as connection:
        return [name for (name,) in connection.execute(select(stages.c.task).distinct().order_by(stages.c.task))]
