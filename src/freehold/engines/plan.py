"""How an engine uses this machine: children, threads and slots, each with its reason, and the memory that they need.

Measured with SmolLM2-135M (Q8_0) on 2 cores, processor time a label request: one adapter 166 ms; 8 adapters 293 ms in
one child of 2 threads that mixes them as they come, 209 ms with each adapter kept to its slot, 178 ms in children of
one thread each. A child of one thread needs no batch to be quick, and no two threads wait for each other.
"""

import os
from pathlib import Path

from msgspec.structs import replace

from freehold.engines.adapters import AdapterFiles
from freehold.engines.fits import check_adapters, shape_of
from freehold.engines.llamacpp import LlamaCpp, Settings
from freehold.engines.pool import Policy, Pool
from freehold.errors import ResourceError
from freehold.records import Record

_MOST_CHILDREN = 8
_MOST_SLOTS = 32  # a child; four for each of eight adapters that are at home in it, so that each finds its prompt there
_LEAST_SLOTS = 4
_SPARE_BYTES = 256 << 20  # for everything else on the machine
_CHILD_BYTES = 160 << 20  # Python, llama.cpp and its compute buffers; 70 MB were measured with SmolLM2-135M


class Plan(Record, frozen=True, kw_only=True):
    """Settings and why."""

    settings: Settings
    reason: str


def plan(
    adapters: int, context: int, log: Path | None = None, cores: int | None = None, program: str | None = None
) -> Plan:
    """The settings for so many adapters and so many tokens of context a request, on a native server where named."""
    cores = cores or os.cpu_count() or 1
    common = {"context": context, "log": str(log) if log else None, "program": program}
    if adapters <= 1:
        return Plan(
            settings=Settings(children=1, slots=8, threads=min(cores, _MOST_CHILDREN), **common),  # type: ignore[arg-type]
            reason="one adapter at most: one child with every core batches its requests and answers each soonest",
        )
    children = min(cores, _MOST_CHILDREN)
    return Plan(
        settings=Settings(children=children, slots=min(_MOST_SLOTS, max(8, 2 * adapters)), threads=1, **common),  # type: ignore[arg-type]
        reason=f"{adapters} adapters: llama.cpp never batches two of them, so {children} children of one thread each",
    )


def needed_bytes(weights: Path, settings: Settings, files: AdapterFiles) -> int:
    """Memory that an engine takes: weights (shared by its children), and keys, values and adapters of each child."""
    shape = shape_of(weights)
    adapters = sum(path.stat().st_size for path in files.paths.values() if path.exists())
    cells = settings.slots * settings.context * shape.bytes_a_token
    return weights.stat().st_size + settings.children * (cells + adapters + _CHILD_BYTES)


def check_memory(weights: Path, settings: Settings, files: AdapterFiles) -> None:
    """Raise `ResourceError` where the memory at hand does not hold such an engine, saying what would."""
    import psutil

    needed, at_hand = needed_bytes(weights, settings, files) + _SPARE_BYTES, psutil.virtual_memory().available
    if needed > at_hand:
        raise ResourceError(
            f"an engine for {weights.name} with {len(files.paths)} adapters needs {_mb(needed)} and {_mb(at_hand)} are "
            "free; load fewer adapters, shorten the context, or use a smaller encoding of the base"
        )


def in_memory(weights: Path, settings: Settings, files: AdapterFiles) -> Settings:
    """The same with as many slots as half of the memory at hand holds: a second engine must fit beside the first."""
    import psutil

    half = psutil.virtual_memory().available // 2
    slots = settings.slots
    while slots > _LEAST_SLOTS and needed_bytes(weights, replace(settings, slots=slots), files) > half:
        slots //= 2
    return replace(settings, slots=slots)


def pool(
    weights: Path, context: int, log: Path | None = None, policy: Policy | None = None, program: str | None = None
) -> Pool:
    """Every adapter of one base, behind one `Engine`."""
    policy = policy or Policy()

    def settings(files: AdapterFiles) -> Settings:
        return in_memory(weights, plan(len(files.paths), context, log, program=program).settings, files)

    def make(files: AdapterFiles) -> LlamaCpp:
        return LlamaCpp(weights, files.paths, settings(files), files.digests)

    def check(files: AdapterFiles) -> None:
        check_adapters(weights, files)
        check_memory(weights, settings(files), files)

    return Pool(make, policy, check)


def _mb(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MB"
