"""The ways in which a base and its adapters can be served here, measured; the quickest is the one that is used.

Encodings that llama.cpp has quick kernels for are candidates; of them those are used that `layout.allowed` names,
because adapters answer as trained beside them (`freehold parity --choose` finds that out; the coarser an encoding, the
fewer tasks it suits). Whether adapters stay beside their base or are merged into copies is measured too.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from msgspec.structs import replace

from freehold.engines import environments
from freehold.engines.copies import Copies
from freehold.engines.label_load import Load, ask
from freehold.engines.llamacpp import LlamaCpp
from freehold.engines.native import NATIVE, WHEEL, preferred
from freehold.engines.plan import Serving, plan
from freehold.engines.pool import Policy, Pool
from freehold.engines.quantise import Encoding, reencode
from freehold.engines.random_adapter import write_random_adapter
from freehold.errors import EngineError
from freehold.progress import Progress
from freehold.records import Record
from freehold.store.layout import WEIGHTS_FILE, allowed, encoded_file, serving_weights
from freehold.store.workspace import file_sha256, read_record, write_record

CANDIDATES: tuple[Encoding, ...] = ("F16", "BF16", "Q8_0", "Q4_0")
CLIENTS = 64
_CONTEXT = 512
_WARMING = 3  # a third of the time, before anything is counted
_WORTH = 1.05  # copies take a base's memory each: so much quicker they must be

ONE, TOGETHER, COPIES = "one adapter", "adapters together", "merged copies"


class Rate(Record, frozen=True, kw_only=True):
    """Requests a second of one way: `engine` as `freehold engines` names it, `adapters` of them asked for evenly."""

    engine: str
    encoding: str
    way: str
    adapters: int
    requests_per_second: float
    requests: int


class Ways(Record, frozen=True, kw_only=True):
    """What was measured of a base, on so many cores with so many clients. `weights` is the pulled file's SHA-256."""

    weights: str
    cores: int
    clients: int
    rates: tuple[Rate, ...]

    def best(self) -> Rate:
        """The engine and encoding that answer one adapter most often."""
        return max((each for each in self.rates if each.way == ONE), key=lambda each: each.requests_per_second)

    def of(self, way: str) -> Rate | None:
        """The figure of many adapters in this way, with the engine and the encoding that are used."""
        best = self.best()
        alike = (each for each in self.rates if (each.engine, each.encoding) == (best.engine, best.encoding))
        return next((each for each in alike if each.way == way), None)


@dataclass(frozen=True)
class Served:
    """How a base is served: its file, the native server or None for the wheel, and whether adapters are merged.

    `ways` is what that rests on; None where nothing was measured.
    """

    weights: Path
    program: str | None
    encoding: Encoding | None = None
    ways: Ways | None = None

    @property
    def build(self) -> str:
        """The program that computes the answers, so that another's are not taken for them."""
        return f"native {Path(self.program).stat().st_size}" if self.program else f"xllamacpp {version('xllamacpp')}"

    @property
    def merges(self) -> bool:
        """Whether merged copies were measured to be worth their memory."""
        together, copies = (self.ways.of(way) if self.ways else None for way in (TOGETHER, COPIES))
        return bool(together and copies and copies.requests_per_second > _WORTH * together.requests_per_second)

    def copies(self, folder: Path) -> Copies | None:
        """Where adapters are merged, what makes the copies."""
        return Copies(folder / WEIGHTS_FILE, self.encoding) if self.merges and self.encoding else None


def served(folder: Path, benches: Path) -> Served:
    """How the base in `folder` is served here."""
    ways = permitted(kept(folder, benches), allowed(folder))
    server = environments.native_server()
    if ways is None or (ways.best().engine == NATIVE and server is None):
        return Served(serving_weights(folder), preferred(benches))
    best = ways.best()
    program = str(server) if best.engine == NATIVE else None
    encoding = next(each for each in CANDIDATES if each == best.encoding)
    weights = folder / encoded_file(encoding)
    return Served(weights if weights.is_file() else serving_weights(folder), program, encoding, ways)


def permitted(ways: Ways | None, encodings: Sequence[str]) -> Ways | None:
    """What was measured of the encodings that may be used; None where nothing was."""
    rates = tuple(each for each in (ways.rates if ways else ()) if each.encoding in encodings)
    return replace(ways, rates=rates) if ways and any(each.way == ONE for each in rates) else None


def kept(folder: Path, benches: Path) -> Ways | None:
    """What was measured of this base on a machine of as many cores."""
    path = _path(folder, benches)
    if not path.is_file():
        return None
    found = read_record(path, Ways)
    return found if found.cores == os.cpu_count() else None


def measure(folder: Path, benches: Path, adapters: int, seconds: float, progress: Progress) -> Ways:
    """Measure every way, keep the figures, and leave the base in the encoding that is used.

    Raises `ModelFileError` where the base is none, and what the engines raise.
    """
    may, lay = allowed(folder), {each for each in CANDIDATES if (folder / encoded_file(each)).is_file()}
    server = environments.native_server()
    engines: dict[str, str | None] = {WHEEL: None} | ({NATIVE: str(server)} if server else {})
    with tempfile.TemporaryDirectory(dir=folder, prefix=".ways.") as work:
        bench = _Bench(folder, Path(work), seconds, progress)
        files = bench.adapters(adapters)
        rates = [bench.one(name, program, each) for name, program in engines.items() for each in CANDIDATES]
        ways = Ways(weights=file_sha256(folder / WEIGHTS_FILE), cores=os.cpu_count() or 1, clients=CLIENTS,
                    rates=tuple(rates))  # fmt: skip
        best = (permitted(ways, may) or ways).best()
        if adapters > 1:
            many = bench.many(best, engines[best.engine], files)
            ways = Ways(weights=ways.weights, cores=ways.cores, clients=CLIENTS, rates=(*ways.rates, *many))
    write_record(_path(folder, benches), ways)
    for each in CANDIDATES:  # what lay there and may be used stays: tuning and evaluation are on one of them
        if each != best.encoding and not (each in may and each in lay):
            (folder / encoded_file(each)).unlink(missing_ok=True)
    return ways


def _path(folder: Path, benches: Path) -> Path:
    return benches / "ways" / f"{folder.name}.json"


class _Bench:
    """One base, measured for so many seconds a way; what is written for that lies in `work`."""

    def __init__(self, folder: Path, work: Path, seconds: float, progress: Progress) -> None:
        self._folder, self._work, self._seconds, self._progress = folder, work, seconds, progress

    def adapters(self, count: int) -> dict[str, Path]:
        """Adapters of random weights: they cost what real ones cost."""
        files = {f"adapter-{at}": self._work / f"{at}.gguf" for at in range(max(1, count))}
        for at, path in enumerate(files.values()):
            write_random_adapter(self._folder / WEIGHTS_FILE, path, at)
        return files

    def one(self, engine: str, program: str | None, encoding: Encoding) -> Rate:
        """One adapter beside the base in this encoding."""
        settings = plan(2, _CONTEXT, program=program).settings
        name, path = "adapter-0", self._work / "0.gguf"
        with self._progress.step(f"{engine} {encoding} {ONE}"):
            made = LlamaCpp(self._encoded(encoding), {name: path}, settings)
            made.start()
            try:
                return self._rate(made, engine, encoding, ONE, [name])
            finally:
                made.stop()

    def many(self, best: Rate, program: str | None, files: dict[str, Path]) -> Iterator[Rate]:
        """All adapters beside the base, and all as merged copies."""
        encoding = next(each for each in CANDIDATES if each == best.encoding)
        for way, copies in ((TOGETHER, None), (COPIES, Copies(self._folder / WEIGHTS_FILE, encoding))):
            serving = Serving(self._encoded(encoding), _CONTEXT, program=program, copies=copies)
            try:
                with self._progress.step(f"{best.engine} {encoding} {way}"), _open(serving, files) as pool:
                    yield self._rate(pool, best.engine, encoding, way, list(files))
            except EngineError as error:  # merged in a coarse encoding, a copy may say something else than its adapter
                self._progress.say("bench", f"{way} in {encoding} are left out: {error}")

    def _rate(self, engine: LlamaCpp | Pool, name: str, encoding: str, way: str, adapters: list[str]) -> Rate:
        load = Load(way, adapters, [1] * len(adapters))
        ask(engine, load, self._seconds / _WARMING, CLIENTS)
        seen = ask(engine, load, self._seconds, CLIENTS)
        return Rate(engine=name, encoding=encoding, way=way, adapters=len(adapters),
                    requests_per_second=round(seen.rate, 2), requests=seen.requests)  # fmt: skip

    def _encoded(self, encoding: Encoding) -> Path:
        target = self._folder / encoded_file(encoding)
        if not target.is_file():
            reencode(self._folder / WEIGHTS_FILE, target, encoding)
        return target


@contextmanager
def _open(serving: Serving, files: dict[str, Path]) -> Iterator[Pool]:
    """A pool with these adapters loaded as they are served for good."""
    pool = serving.pool(Policy(loaded=len(files), probe_every_s=0, settle_s=0))
    for name, path in files.items():
        pool.register(name, path, file_sha256(path))
    try:
        pool.start()
        pool.settle()
        yield pool
    finally:
        pool.stop()
