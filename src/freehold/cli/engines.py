"""`freehold engines` and `freehold bench`: what answers, and how fast on this machine."""

import os
from pathlib import Path
from typing import Annotated

import typer

from freehold.cli.output import as_json, say, table
from freehold.cli.progress import Terminal
from freehold.engines.bench import Bench, Level, measure
from freehold.engines.llamacpp import LlamaCpp
from freehold.engines.plan import plan
from freehold.engines.registry import ENGINES, installed
from freehold.errors import ModelFileError, UserError
from freehold.store.layout import serving_weights
from freehold.store.workspace import Workspace, write_record

_MOST_CLIENTS = 256
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def engines(json: JsonOption = False) -> None:
    """What is installed, and the install line for what is not."""
    rows = [
        {"name": name, "what": kind.what, "installed": installed(kind), "install": kind.install or None}
        for name, kind in ENGINES.items()
    ]
    if json:
        return as_json(rows)
    table(
        ["engine", "what it is", "installed"],
        [[row["name"], row["what"], row["installed"] or f"no: {row['install']}"] for row in rows],
    )


def bench(
    base: Annotated[str, typer.Argument(help="A base that was pulled, or a GGUF file.")] = "smollm2-135m-instruct",
    clients: Annotated[str, typer.Option(help="Numbers of clients at once.")] = "1,4,16",
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each is measured.")] = 10.0,
    json: JsonOption = False,
) -> None:
    """Tokens a second and time to first token on this machine."""
    counts = _counts(clients)
    weights = _weights(Workspace.here(), base)
    engine = LlamaCpp(weights, settings=plan(0, 1024).settings)
    engine.start()
    levels: list[Level] = []
    try:
        with Terminal().step(f"bench {weights.name}", len(counts)) as step:
            for count in counts:
                levels += measure(engine, [count], seconds)
                step.advance()
    finally:
        engine.stop()
    found = Bench(
        engine="llamacpp",
        version=installed(ENGINES["llamacpp"]) or "",
        weights=weights.name,
        cores=os.cpu_count() or 1,
        levels=tuple(levels),
    )
    write_record(Workspace.here().root / "bench" / f"{weights.parent.name}-{weights.stem}.json", found)
    if json:
        return as_json(found)
    _show(found)


def _counts(text: str) -> list[int]:
    try:
        counts = [int(each) for each in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1 or max(counts) > _MOST_CLIENTS:
        raise UserError(f"--clients {text!r}: write numbers from 1 to {_MOST_CLIENTS} with commas, such as 1,4,16")
    return counts


def _weights(workspace: Workspace, base: str) -> Path:
    """A base's fastest file in the workspace, or the file that is named."""
    folder = workspace.models / base
    candidates = [serving_weights(folder), Path(base)]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise ModelFileError(f"{base}: no such base here and no such file; `freehold pull {base}` fetches a base")
    return found


def _show(found: Bench) -> None:
    say(f"{found.engine} {found.version} · {found.weights} · {found.cores} cores")
    table(
        ["clients", "requests/s", "tokens/s", "first token p50 ms", "p95 ms", "prompt cached", "n"],
        [
            [
                each.clients,
                round(each.requests_per_second, 2),
                round(each.tokens_per_second, 1),
                round(each.first_token_p50_ms),
                round(each.first_token_p95_ms),
                f"{each.cached:.0%}",
                each.requests,
            ]
            for each in found.levels
        ],
    )
