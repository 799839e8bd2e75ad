"""How a base and its adapters are served on this machine, and why: from kept figures of `freehold bench` and memory."""

from collections.abc import Iterator
from pathlib import Path

from freehold.engines.adapters import AdapterFiles
from freehold.engines.native import gain, preferred
from freehold.engines.plan import in_memory, needed_bytes, plan

_MB = 1 << 20


def serving_plan(weights: Path, adapters: int, context: int, benches: Path) -> Iterator[str]:
    """A line for the engine, one for children and slots, and one for merged copies where there are adapters."""
    program, times = preferred(benches), gain(benches)
    if times is None:
        yield "engine: xllamacpp's wheel; no native server was measured beside it: freehold engines build"
    else:
        chosen = f"the native server {program}" if program else "xllamacpp's wheel"
        yield f"engine: {chosen}; the native server was measured at {times:.2f} times the wheel's requests"
    planned = plan(adapters, context, program=program)
    settings = in_memory(weights, planned.settings, AdapterFiles())
    needed = needed_bytes(weights, settings, AdapterFiles()) / _MB
    fewer = f" (of {planned.settings.slots}: half of the memory holds no more)" if settings != planned.settings else ""
    yield f"serving: {planned.reason}; {settings.slots} slots a child{fewer}, {needed:,.0f} MB and the adapters"
    if adapters > 1:
        copies = adapters * weights.stat().st_size / _MB
        yield (
            f"adapters: beside the base, requests grouped by adapter; merged copies would take {copies:,.0f} MB "
            "and are not served by the gateway (freehold export writes one)"
        )
