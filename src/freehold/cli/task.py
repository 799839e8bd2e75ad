"""`freehold init`, `plan` and `spec`: the task file."""

from pathlib import Path
from typing import Annotated

import typer

from freehold import spec as task_spec
from freehold.cli.output import as_json, say, table
from freehold.errors import UserError
from freehold.store.workspace import Workspace, write_atomically

TaskFileArgument = Annotated[Path, typer.Argument(help="The task file.", metavar="[TASKFILE]")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

DEFAULT_TASK_FILE = Path("freehold.yaml")

_WIDEST = 60

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
    """Show every resolved value, where it came from, and what the held-out examples can show."""
    from freehold.cli.progress import Terminal
    from freehold.plan import plan as plan_of

    planned = plan_of(task_spec.load(path), Workspace.beside(path), Terminal())
    if json:
        rows = [{"field": row.field, "value": row.value, "source": row.source} for row in planned.values]
        as_json([*rows, {"field": "power", "value": planned.outlook, "source": "decide"}])
        return
    table(["field", "value", "source"], [[row.field, _plain(row.value), row.source] for row in planned.values])
    say(f"\n  power      {planned.outlook}")
    if planned.unread:
        say(f"  data       not read yet: {planned.unread}")


def _plain(value: object) -> str:
    """A value on one line: a long list as its length and beginning, what is left out as a dash."""
    if value is None:
        return "–"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


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
