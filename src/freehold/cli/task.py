"""`freehold init`, `plan` and `spec`: the task file."""

from pathlib import Path
from typing import Annotated

import typer

from freehold import spec as task_spec
from freehold.cli.output import as_json, say, table
from freehold.errors import UserError
from freehold.records import AnswerType, Split
from freehold.store.workspace import Workspace, write_atomically

TaskFileArgument = Annotated[Path, typer.Argument(help="The task file.", metavar="[TASKFILE]")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

DEFAULT_TASK_FILE = Path("freehold.yaml")

_TEMPLATE = """\
task: {name}
description: Say in one sentence what the model is asked to do; it becomes part of the prompt.

answer:                        # what an accepted answer is
  type: label                  # label | json | text
  # labels: [one, another]     # left out: taken from the data

data:
  source: messages.csv         # CSV, JSONL or Parquet of pairs, or JSONL of recorded exchanges
  input: text                  # column names, for pairs
  answer: category
  provenance: human            # whose answers these are: human | corrected | accepted | incumbent

# incumbent:                   # who answers today
#   model: gpt-4o-mini
#   base_url: https://api.openai.com/v1
#   api_key: ${{OPENAI_API_KEY}}
#   price: {{input: 0.15, output: 0.60, per: 1M, currency: USD}}

use:                           # how the model will be used: the rights gate reads this
  commercial: true

candidates: [smollm2-135m-instruct]
tune: {{method: lora}}
decide: {{margin: 0.05, confidence: 0.95}}   # fixed before any result is seen
"""


def init(path: TaskFileArgument = DEFAULT_TASK_FILE, name: str = "my-task") -> None:
    """Write a new task file, never over an old one."""
    if path.exists():
        raise UserError(f"{path}: exists already; name another file or delete it first")
    write_atomically(path, _TEMPLATE.format(name=name).encode())
    say(f"wrote {path}; next: put your data beside it, then `freehold plan {path}`")


def plan(path: TaskFileArgument = DEFAULT_TASK_FILE, json: JsonOption = False) -> None:
    """Show every resolved value and where it came from, and what the held-out examples can show."""
    file = task_spec.load(path)
    rows, outlook = task_spec.resolved(file), _outlook(file)
    if json:
        fields = [{"field": row.field, "value": row.value, "source": row.source} for row in rows]
        as_json([*fields, {"field": "power", "value": outlook, "source": "decide"}])
    else:
        table(["field", "value", "source"], [[row.field, row.value, row.source] for row in rows])
        say(f"\n  power      {outlook}")


def _outlook(file: task_spec.TaskFile) -> str:
    """What the plan takes; how many pairs there are is known once the data has been frozen."""
    from freehold.decision import power
    from freehold.records import Plan

    task = file.task
    decide = Plan(metric=task.metric, margin=task.decide.margin, confidence=task.decide.confidence, seed=task.seed)
    return power.outlook(decide, _held_out(file), comparisons=_comparisons(task))


def _comparisons(task: task_spec.Task) -> int:
    """How many tests share the error (`decision/certificate.py`): each base as it is and tuned, and the classifier."""
    bases = len(task.candidates) if isinstance(task.candidates, tuple) else 1
    ways = bases * (2 if isinstance(task.tune, task_spec.LoraSettings) else 1)
    candidates = ways + (task.answer_type is AnswerType.LABEL)
    return max(1, candidates - (0 if task.incumbent else 1))


def _held_out(file: task_spec.TaskFile) -> int | None:
    from freehold.data import build
    from freehold.store import stages
    from freehold.store.database import connect

    workspace = Workspace.beside(file.path)
    if not workspace.root.exists():
        return None
    found = stages.finished(connect(workspace.database_url), file.task.task).get("data")
    return build.read(workspace, found.output).counts[Split.HELD_OUT] if found else None


def spec(
    path: Annotated[Path | None, typer.Argument(help="A task file to check.", metavar="[TASKFILE]")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the task file's JSON Schema.")] = False,
) -> None:
    """Check a task file, or print its JSON Schema."""
    if schema:
        as_json(task_spec.schema())
    elif path is None:
        raise UserError("name a task file to check, or give --schema")
    else:
        task_spec.load(path)
        say(f"{path}: no fault found")
