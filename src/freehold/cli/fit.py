"""`freehold fit`: what fits in memory here, how fast it would answer, and the cheapest setting that is fast enough."""

from typing import Annotated

import typer

from freehold.catalogue import fit as fitting
from freehold.catalogue import model, pull, shape
from freehold.catalogue.fit import Estimate, Machine, Setting
from freehold.cli.output import as_json, say, table
from freehold.cli.progress import Terminal
from freehold.engines.serving import serving_plan
from freehold.errors import UserError
from freehold.store.layout import serving_weights
from freehold.store.workspace import Workspace

_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_SMALLEST = "smollm2-135m-instruct"


def fit(  # noqa: PLR0913 (one parameter an option)
    name: Annotated[str, typer.Argument(help="The model's name.")],
    latency_ms: Annotated[float | None, typer.Option(min=0, help="The longest an answer may take.")] = None,
    slots: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 8,
    context: Annotated[int, typer.Option(min=64, help="Tokens a request.")] = 1024,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a typical prompt.")] = 300,
    answer_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a typical answer.")] = 10,
    memory: Annotated[str | None, typer.Option(help="Of a described machine, such as 24G.")] = None,
    bandwidth: Annotated[str | None, typer.Option(help="Its memory's bytes a second, such as 900G.")] = None,
    operations: Annotated[str | None, typer.Option(help="Its operations a second, such as 80T.")] = None,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Measure this machine first.")] = False,
    adapters: Annotated[int, typer.Option(min=0, help="Adapters on this base, kept loaded.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what fits this machine (or a described one), and how fast it would answer."""
    workspace = Workspace.here()
    entry = model.find(name, workspace)
    if calibrate:
        from freehold.evaluation.calibration import calibrate as measure

        measure(pull.pull(_SMALLEST, workspace, Terminal()), workspace, Terminal())
    machine = _machine(workspace, memory, bandwidth, operations)
    setting = Setting(slots=slots, context=context, prompt_tokens=prompt_tokens, answer_tokens=answer_tokens)
    rows = fitting.estimates(entry, machine, setting, workspace)
    best = fitting.cheapest(rows, latency_ms) if latency_ms is not None else None
    measured = shape.of(entry, workspace).measured
    if json:
        as_json({"model": entry.name, "memory": machine.memory, "setting": setting, "shape_measured": measured,
                 "calibration": machine.calibration, "estimates": rows, "cheapest": best,
                 "serving": _serving(workspace, entry.name, adapters, context)})  # fmt: skip
        return
    _print(rows, machine)
    if not measured:
        say(f"rough: {entry.name} does not lie here, so its shape is drawn from its number of parameters")
    if latency_ms is not None:
        say(_choice(best, latency_ms, machine))
    for line in _serving(workspace, entry.name, adapters, context):
        say(line)


def _serving(workspace: Workspace, base: str, adapters: int, context: int) -> list[str]:
    """How the gateway would serve so many adapters of a base that lies here, and why; nothing for any other base."""
    folder = workspace.models / base
    here = serving_weights(folder).is_file()
    return list(serving_plan(folder, adapters, context, workspace.benches)) if here else []


def _machine(workspace: Workspace, memory: str | None, bandwidth: str | None, operations: str | None) -> Machine:
    if memory is None and bandwidth is None and operations is None:
        return fitting.this_machine(workspace)
    if memory is None:
        raise UserError("a described machine needs --memory, such as 24G")
    if bandwidth is None or operations is None:
        return Machine(memory=int(_amount(memory)))
    return fitting.described(int(_amount(memory)), _amount(bandwidth), _amount(operations))


def _amount(text: str) -> float:
    number = text.strip().upper().removesuffix("/S").removesuffix("B")
    unit = number[-1:] if number[-1:] in _UNITS else ""
    try:
        return float(number.removesuffix(unit)) * _UNITS.get(unit, 1)
    except ValueError:
        raise UserError(f"{text}: is not an amount; write it as 24G or 80T") from None


def _print(rows: tuple[Estimate, ...], machine: Machine) -> None:
    say(f"memory free {machine.memory / 1e9:.1f} GB")
    table(
        ["encoding", "weights", "serving", "", "tuning", "", "prompt tok/s", "answer tok/s", "an answer"],
        [
            [row.encoding, _gb(row.weights_bytes), _gb(row.serving_bytes), _fits(row.serving_fits),
             _gb(row.tuning_bytes), _fits(row.tuning_fits), _rate(row.prompt_per_second),
             _rate(row.answer_per_second), f"{row.latency_ms:,.0f} ms" if row.latency_ms is not None else "–"]
            for row in rows
        ],
    )  # fmt: skip
    measured = machine.calibration
    if measured is None:
        say("speeds are not known: freehold fit MODEL --calibrate measures this machine (about a minute)")
    elif measured.measured_at:
        say(f"speeds scaled from {measured.base}, measured here on {measured.measured_at[:10]} ({measured.machine})")
    else:
        say("speeds from the data sheet: upper bounds, not measured")


def _choice(best: Estimate | None, latency_ms: float, machine: Machine) -> str:
    if best is not None:
        return f"cheapest within {latency_ms:g} ms: {best.encoding}, {_gb(best.serving_bytes)} of memory"
    if machine.calibration is None:
        return f"whether {latency_ms:g} ms can be met is not known before this machine is measured (--calibrate)"
    return f"no setting answers within {latency_ms:g} ms in this memory; a smaller model or a shorter prompt would"


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def _fits(fits: bool) -> str:
    return "fits" if fits else "too large"


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"
