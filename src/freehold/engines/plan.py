"""How an engine uses this machine: children, threads and slots, each with its reason, and the memory that they need.

Measured with SmolLM2-135M (Q8_0) on 2 cores, processor time a label request: one adapter 166 ms; 8 adapters 293 ms in
one child of 2 threads that mixes them as they come, 209 ms with each adapter kept to its slot, 178 ms in children of
one thread each. A child of one thread needs no batch to be quick, and no two threads wait for each other: with one
adapter and 16 clients, F16, children of one thread answered 5.3 to 6.0 requests a second where one of two threads
answered 3.2 to 3.4, and whoever asked alone waited no longer (194 and 197 ms, 201 and 419).
"""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from msgspec.structs import replace

from freehold.engines.adapters import AdapterFiles
from freehold.engines.copies import Copies, Merged
from freehold.engines.fits import check_adapters, shape_of
from freehold.engines.generation import Check, Make, Maker, Makers
from freehold.engines.llamacpp import LlamaCpp, Settings
from freehold.engines.pool import Policy, Pool
from freehold.engines.probes import Shelf
from freehold.engines.slots import Turns
from freehold.errors import ResourceError
from freehold.records import Record, digest
from freehold.store.workspace import file_sha256

_MOST_CHILDREN = 8
_FEW_CORES = 2  # measured on these; on more, whoever asks alone is answered by all of them
_SLOTS = 8
_MOST_SLOTS = 64  # a child; eight for each of eight adapters at home in it, so that each finds its prompt there
_LEAST_SLOTS = 4
_NEWCOMER_SLOTS = 4  # memory that was never touched is what a start waits for
_MOST_COPY_CHILDREN = 64  # of all copies: a busy one needs a child a core, and a hundred need memory
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
    children, threads, slots = min(cores, _MOST_CHILDREN), 1, min(_MOST_SLOTS, max(_SLOTS, 4 * adapters))
    if adapters > 1:
        reason = f"{adapters} adapters: llama.cpp never batches two of them, so {children} children of one thread each"
    elif cores > _FEW_CORES:
        children, threads = 1, children
        reason = "one adapter at most: one child with every core batches its requests and answers each soonest"
    else:
        reason = "one adapter at most, few cores: a child of one thread a core, because two threads wait for each other"
    settings = Settings(children=children, slots=slots, threads=threads, context=context,
                        log=str(log) if log else None, program=program)  # fmt: skip
    return Plan(settings=settings, reason=reason)


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


@dataclass(frozen=True)
class Serving:
    """One base as it is served: its weights, tokens of context a request, log, native server, and merged copies.

    `speculate` is llama.cpp's name of a method of speculative decoding.
    """

    weights: Path
    context: int
    log: Path | None = None
    program: str | None = None
    copies: Copies | None = None
    speculate: str | None = None

    def pool(self, policy: Policy | None = None, shelf: Path | None = None) -> Pool:
        """Every adapter of the base, behind one `Engine`; `shelf` is where golden fingerprints are kept."""
        policy, turns = policy or Policy(), Turns(os.cpu_count() or 1)
        together = Maker(self._engine(self._together), self._check(self._together))
        alone = Maker(self._engine(self._alone), self._check(self._alone))
        copy = self._copy_maker(self.copies, policy, turns) if self.copies else None
        return Pool(Makers(together, alone, copy), policy, Shelf(shelf, self._setting) if shelf else None)

    def _together(self, files: AdapterFiles) -> Settings:
        planned = plan(len(files.paths), self.context, self.log, program=self.program)
        return in_memory(self.weights, planned.settings, files)

    def _small(self) -> Settings:
        """A small child beside others: one thread, and as many slots as one adapter keeps busy."""
        planned = plan(1, self.context, self.log, program=self.program).settings
        return replace(planned, children=1, threads=1)

    def _alone(self, files: AdapterFiles) -> Settings:
        return in_memory(self.weights, replace(self._small(), slots=_NEWCOMER_SLOTS), files)

    def _engine(self, settings: Callable[[AdapterFiles], Settings]) -> Make:
        return lambda files: LlamaCpp(self.weights, files.paths, self._drafting(settings(files)), files.digests)

    def _drafting(self, settings: Settings) -> Settings:
        return replace(settings, speculate=self.speculate)

    def _check(self, settings: Callable[[AdapterFiles], Settings]) -> Check:
        def check(files: AdapterFiles) -> None:
            check_adapters(self.weights, files)
            check_memory(self.weights, settings(files), files)

        return check

    def _copy_maker(self, copies: Copies, policy: Policy, turns: Turns) -> Maker:
        def settings(path: Path) -> Settings:
            children = min(os.cpu_count() or 1, max(1, _MOST_COPY_CHILDREN // policy.loaded))
            return in_memory(path, replace(self._small(), children=children), AdapterFiles())

        def check(files: AdapterFiles) -> None:
            check_adapters(self.weights, files)
            check_memory(self.weights, settings(self.weights), AdapterFiles())

        def make(files: AdapterFiles) -> Merged:
            [(name, path)] = files.paths.items()
            copy = copies.of(files.digests[name], path)
            engine = LlamaCpp(copy.path, settings=self._drafting(settings(copy.path)), copy=copy.sha256, turns=turns)
            return Merged(name, files.digests[name], engine)

        return Maker(make, check)

    def _setting(self) -> str:
        """What a fingerprint depends on beside its adapter: the base's content, the engine's build, the processor."""
        engine: object = version("xllamacpp")
        if self.program is not None:
            found = Path(self.program).stat()
            engine = [self.program, found.st_size, found.st_mtime_ns]
        return digest([file_sha256(self.weights), engine, platform.processor() or platform.machine(), _model_name()])


def _mb(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MB"


def _model_name() -> str:
    """The processor as Linux names it: another rounds differently."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
