"""How a base and its adapters are served on this machine, and why: from kept figures of `freehold bench` and memory."""

from collections.abc import Iterator
from pathlib import Path

from freehold.engines.adapters import AdapterFiles
from freehold.engines.native import gain
from freehold.engines.plan import in_memory, needed_bytes, plan
from freehold.engines.ways import COPIES, ONE, TOGETHER, Served, Ways, served

_MB = 1 << 20
_HOW = "freehold bench {} --adapters 16"


def serving_plan(folder: Path, adapters: int, context: int, benches: Path) -> Iterator[str]:
    """A line for the engine and the encoding, one for children and slots, and one for how adapters are served."""
    found = served(folder, benches)
    yield _engine(found, benches, folder.name)
    planned = plan(adapters, context, program=found.program)
    settings = in_memory(found.weights, planned.settings, AdapterFiles())
    needed = needed_bytes(found.weights, settings, AdapterFiles()) / _MB
    fewer = f" (of {planned.settings.slots}: half of the memory holds no more)" if settings != planned.settings else ""
    yield f"serving: {planned.reason}; {settings.slots} slots a child{fewer}, {needed:,.0f} MB and the adapters"
    if adapters > 1:
        yield _adapters(found, adapters, folder.name)


def _engine(found: Served, benches: Path, base: str) -> str:
    chosen = f"the native server {found.program}" if found.program else "xllamacpp's wheel"
    if found.ways is not None:
        return f"engine: {chosen}, weights as {found.encoding}: the quickest measured here of {_measured(found.ways)}"
    times = gain(benches)
    if times is None:
        why = "no native server was measured beside it: freehold engines build"
    else:
        why = f"the native server was measured at {times:.2f} times the wheel's requests"
    return f"engine: {chosen}, {found.weights.name}; {why}; encodings are not measured: {_HOW.format(base)}"


def _measured(ways: Ways) -> str:
    rates = sorted((each for each in ways.rates if each.way == ONE), key=lambda each: -each.requests_per_second)
    told = [f"{each.engine} {each.encoding} {each.requests_per_second:.1f}" for each in rates]
    return f"{', '.join(told)} requests/s with one adapter and {ways.clients} clients"


def _adapters(found: Served, adapters: int, base: str) -> str:
    needed = adapters * found.weights.stat().st_size / _MB
    together, copies = (found.ways.of(way) if found.ways else None for way in (TOGETHER, COPIES))
    if together is None or copies is None:
        why = f"merged copies would take {needed:,.0f} MB and are not measured: {_HOW.format(base)}"
        return f"adapters: beside the base, requests grouped by adapter; {why}"
    rates = (
        f"{copies.requests_per_second:.1f} requests/s as merged copies, {together.requests_per_second:.1f} beside the "
        f"base, measured with {copies.adapters}"
    )
    if not found.merges:
        return f"adapters: beside the base, requests grouped by adapter; copies are not worth {needed:,.0f} MB: {rates}"
    return f"adapters: merged into copies as far as memory holds them ({needed:,.0f} MB for {adapters}): {rates}"
