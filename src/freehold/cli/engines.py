"""`freehold engines` and `freehold bench`: what answers, and how fast on this machine."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from freehold.cli.output import as_json, say, table
from freehold.cli.progress import Terminal
from freehold.engines import environments
from freehold.engines.bench import Bench, Level, measure
from freehold.engines.contract import check
from freehold.engines.llamacpp import LlamaCpp
from freehold.engines.native import NATIVE, WHEEL, gain, preferred
from freehold.engines.plan import plan
from freehold.engines.registry import ENGINES, installed
from freehold.engines.serving import serving_plan
from freehold.engines.ways import Ways
from freehold.engines.ways import measure as measure_ways
from freehold.errors import ModelFileError, UserError
from freehold.store.layout import WEIGHTS_FILE, serving_weights
from freehold.store.workspace import Workspace, write_record

_MOST_CLIENTS = 256
_CLIENTS = (1, 4, 16)
_CONTEXT = 1024
_SMALLEST = "smollm2-135m-instruct"
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


engines = typer.Typer(add_completion=False, help="Which engines are installed; build or install others.")


@engines.callback(invoke_without_command=True)
def installed_engines(context: typer.Context, json: JsonOption = False) -> None:
    """Say which engines are installed, and how to install the rest."""
    if context.invoked_subcommand is not None:
        return
    rows = [
        {"name": name, "what": kind.what, "installed": installed(kind), "install": kind.install or None}
        for name, kind in ENGINES.items()
    ]
    server = environments.native_server()
    rows.insert(1, {"name": NATIVE, "what": "llama.cpp for this machine; used where `freehold bench` finds it faster",
                    "installed": str(server) if server else None, "install": "freehold engines build"})  # fmt: skip
    if json:
        return as_json(rows)
    table(
        ["engine", "what it is", "installed"],
        [[row["name"], row["what"], row["installed"] or f"no: {row['install']}"] for row in rows],
    )


@engines.command("build")
def build_engine(
    again: Annotated[bool, typer.Option("--again", help="Build even where one is there already.")] = False,
    base: Annotated[str, typer.Option(help="The base that it is put to the contract and measured with.")] = _SMALLEST,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each number of clients is measured.")] = 10.0,
) -> None:
    """Compile llama.cpp for this machine, or find one on PATH; put it to the contract, and use it where it is faster.

    Takes 14 minutes on 2 quiet cores, needs cmake and a C++ compiler; interrupted, it goes on where it was.
    """
    from freehold.engines.build_native import build

    server = environments.native_server()
    if server is None or again:
        server = build(Terminal())
        say(f"built {server}")
    else:
        say(f"{server} is there already; --again builds one all the same")
    weights = _found_weights(Workspace.here(), base)
    if weights is None:
        say(f"not tried yet: {base} is not here; freehold pull {base}, then freehold bench decides whether it is used")
        return
    _bench_all(weights, list(_CLIENTS), seconds)


@engines.command("install")
def install_engine(name: Annotated[str, typer.Argument(help="The engine: vllm.")]) -> None:
    """Install an engine into an environment of its own (vLLM: about 3.4 GB)."""
    from freehold.engines.install_vllm import install

    if name != "vllm":
        raise UserError(f"{name}: only vllm is installed so; `freehold engines` gives the line for the others")
    say(f"installed {install(Terminal())}")


def bench(
    base: Annotated[str, typer.Argument(help="A base that was pulled, or a GGUF file.")] = _SMALLEST,
    clients: Annotated[str, typer.Option(help="Numbers of clients at once.")] = "1,4,16",
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each is measured.")] = 10.0,
    adapters: Annotated[
        int, typer.Option(min=0, help="Also measure how so many adapters of a pulled base are served best.")
    ] = 0,
    speculate: Annotated[
        str | None, typer.Option(help="Only compare: without and with speculative decoding, such as ngram-simple.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Tokens a second and time to first token on this machine; with --adapters, the best way to serve many."""
    counts, workspace = _counts(clients), Workspace.here()
    if speculate is not None:
        compared = _speculating(_weights(workspace, base), counts, seconds, speculate)
        return as_json(compared) if json else None
    if adapters and not (workspace.models / base / WEIGHTS_FILE).is_file():
        raise ModelFileError(f"{base}: no such base here; `freehold pull {base}` fetches it, and --adapters needs one")
    found = _bench_all(_weights(workspace, base), counts, seconds, quiet=json)
    ways = None
    if adapters:
        ways = measure_ways(workspace.models / base, workspace.benches, adapters, seconds, Terminal())
    if json:
        return as_json(found if ways is None else {"levels": found, "ways": ways})
    if ways is not None:
        _show_ways(ways, serving_plan(workspace.models / base, adapters, _CONTEXT, workspace.benches))


def _show_ways(ways: Ways, why: Iterable[str]) -> None:
    """What engines, encodings and merged copies answered under label requests, and what is used from now on."""
    table(
        ["engine", "encoding", "how", "adapters", "requests/s", "n"],
        [[each.engine, each.encoding, each.way, each.adapters, each.requests_per_second, each.requests]
         for each in ways.rates],
    )  # fmt: skip
    for line in why:
        say(line)


def _bench_all(weights: Path, counts: list[int], seconds: float, quiet: bool = False) -> list[Bench]:
    """Measure every llama.cpp that is here, keep the figures, and say which one is used for it."""
    benches, server = Workspace.here().benches, environments.native_server()
    found = [_measured(WHEEL, None, weights, counts, seconds)]
    if server is not None:
        found.append(_measured(NATIVE, str(server), weights, counts, seconds))
    for each in found:
        kind = "-native" if each.engine == NATIVE else ""
        write_record(benches / f"{weights.parent.name}-{weights.stem}{kind}.json", each)
    if quiet:
        return found
    for each in found:
        _show(each)
    if server is not None:
        times = gain(benches) or 0.0
        used = "the native server" if times > 1 else "the wheel"
        say(f"native: {times:.2f} times the wheel's requests; {used} is used")
    return found


def _speculating(weights: Path, counts: list[int], seconds: float, method: str) -> list[Bench]:
    """What serves here without and with speculative decoding, one after the other; nothing of it is kept."""
    program = preferred(Workspace.here().benches)
    kind = NATIVE if program else WHEEL
    plain = _measured(kind, program, weights, counts, seconds)
    drafting = _measured(f"{kind}, {method}", program, weights, counts, seconds, method)
    for each in (plain, drafting):
        _show(each)
    ratio = drafting.levels[-1].tokens_per_second / plain.levels[-1].tokens_per_second
    say(f"{method}: {ratio:.2f} times the tokens a second at {counts[-1]} clients")
    return [plain, drafting]


def _measured(
    kind: str, program: str | None, weights: Path, counts: list[int], seconds: float, method: str | None = None
) -> Bench:
    """One llama.cpp measured; a native one is put to the contract first. Raises `EngineError` where it breaks it."""
    settings = msgspec.structs.replace(plan(0, _CONTEXT, program=program).settings, speculate=method)
    engine = LlamaCpp(weights, settings=settings)
    engine.start()
    levels: list[Level] = []
    try:
        if program is not None:
            Terminal().say("contract", f"{check(engine)} clauses kept by {program}")
        with Terminal().step(f"bench {kind} {weights.name}", len(counts)) as step:
            for count in counts:
                levels += measure(engine, [count], seconds)
                step.advance()
    finally:
        engine.stop()
    version = program or installed(ENGINES["llamacpp"]) or ""
    return Bench(engine=kind, version=version, weights=weights.name, cores=os.cpu_count() or 1, levels=tuple(levels))


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
    found = _found_weights(workspace, base)
    if found is None:
        raise ModelFileError(f"{base}: no such base here and no such file; `freehold pull {base}` fetches a base")
    return found


def _found_weights(workspace: Workspace, base: str) -> Path | None:
    candidates = [serving_weights(workspace.models / base), Path(base)]
    return next((path for path in candidates if path.is_file()), None)


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
