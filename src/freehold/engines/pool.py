"""Any number of adapters on one base: loaded when first asked for, changed under traffic, proven to be themselves.

llama.cpp fixes its adapters when it starts. An adapter that is asked for is therefore loaded in a small engine of its
own, where nothing else can answer for it: its golden fingerprint is taken there, and it answers at once. When no
further one has come for a while, what serves them for good is started, proven and switched to: a second engine with
all of them, or a merged copy of each. Those before finish what they have begun and are stopped. No request is dropped,
and none is answered by an engine that a probe has caught: such an engine is quarantined, its unfinished answers are
errors, and a new one is started from the files.
"""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from freehold.engines.adapters import AdapterFiles
from freehold.engines.engine import Answer, Completion, Piece
from freehold.engines.generation import Generation, Maker, Makers
from freehold.engines.probes import Goldens, Probed, Shelf
from freehold.errors import EngineError, FreeholdError, NotFoundError, UserError
from freehold.records import Record

log = logging.getLogger(__name__)

_BELIEVED_S = 5.0  # how long an adapter that could not be loaded is not tried again
_MOST_APART = 8  # newcomers in engines of their own; with more, they are settled without waiting for a pause


class Policy(Record, frozen=True, kw_only=True):
    """How many adapters are kept loaded (the least recently used goes first), how many seconds answers under way may
    take when an engine is replaced, how many lie between probes (0: only when loaded), and after how many without a
    change the adapters that were loaded one by one are settled: put together, or each merged (0: never).
    """

    loaded: int = 16
    drain_s: float = 120.0
    probe_every_s: float = 60.0
    settle_s: float = 10.0


class Pool:
    """An `Engine` over all registered adapters. `shelf` keeps golden fingerprints from one life to the next."""

    def __init__(self, makers: Makers, policy: Policy | None = None, shelf: Shelf | None = None) -> None:
        self._makers, self._policy = makers, policy or Policy()
        self._paths: dict[str, Path] = {}
        self._digests: dict[str, str] = {}
        self._goldens = Goldens(makers.alone.make, shelf)
        self._used: dict[str, float] = {}
        self._failed: dict[str, tuple[FreeholdError, float]] = {}  # why, and until when that is believed
        self._wanted: set[str] = set()
        self._serving: list[Generation] = []  # the first also answers as the base
        self._changed = threading.Condition()
        self._loading = threading.Lock()
        self._loader: threading.Thread | None = None
        self._settler: threading.Thread | None = None
        self._loaded_at = 0.0
        self._open = False
        self.loads = 0

    def register(self, name: str, path: Path, digest: str) -> None:
        """Make an adapter known; it is loaded when first asked for. Raises `UserError` where the name is another's."""
        with self._changed:
            if self._digests.get(name, digest) != digest:
                raise UserError(f"adapter {name} is registered with another file; give this one another name")
            self._paths[name], self._digests[name] = path, digest
            self._failed.pop(name, None)

    def hold(self, adapters: Mapping[str, Path], digests: Mapping[str, str]) -> None:
        """Register these, and where the pool is running, load them before they are asked for."""
        for name, path in adapters.items():
            self.register(name, path, digests[name])
        if self._open:
            self._load([name for name in adapters if name not in self.loaded][: self._policy.loaded])

    @property
    def stopped(self) -> bool:
        """Whether it was started and is stopped."""
        return not self._open and self.loads > 0

    def forget(self, name: str) -> None:
        """Let no further request have this adapter; those under way finish."""
        with self._changed:
            self._digests.pop(name, None)
            self._paths.pop(name, None)
            self._used.pop(name, None)
            self._failed.pop(name, None)
            self._drop((name,))

    @property
    def loaded(self) -> frozenset[str]:
        """The adapters that answer at once."""
        with self._changed:
            return frozenset(name for each in self._serving if not each.suspect for name in each.names)

    @property
    def engines(self) -> tuple[Probed, ...]:
        """The engines that answer now."""
        with self._changed:
            return tuple(each.engine for each in self._serving)

    def start(self) -> None:
        with self._changed:
            if self._open:
                return
            self._open = True
        self._begin(tuple(self._paths)[: self._policy.loaded])
        if self._policy.probe_every_s:
            threading.Thread(target=self._probe_for_ever, daemon=True).start()

    def complete(self, request: Completion) -> Answer:
        with self._holding(request.adapter) as generation:
            answer = generation.engine.complete(request)
        generation.refuse()
        if request.adapter is not None and answer.adapter != generation.held[request.adapter]:
            raise EngineError(f"the engine answered with adapter {answer.adapter} where {request.adapter} was asked")
        return answer

    def stream(self, request: Completion) -> Iterator[Piece]:
        with self._holding(request.adapter) as generation:
            for piece in generation.engine.stream(request):
                generation.refuse()
                yield piece

    def tokenize(self, text: str) -> Sequence[int]:
        with self._holding(None) as generation:
            return generation.engine.tokenize(text)

    def stop(self) -> None:
        with self._changed:
            self._open = False
            serving, self._serving = self._serving, []
            self._changed.notify_all()
        for generation in serving:
            self._retire(generation)

    # Whether it is itself

    def probe(self) -> None:
        """Take every loaded adapter's fingerprint in every child; quarantine an engine in which one has moved."""
        with self._changed:
            serving = tuple(self._serving)
        for generation in serving:
            if generation in self._serving and not generation.suspect:
                self._prove(generation)

    def _prove(self, generation: Generation) -> None:
        with self._changed:
            generation.in_flight += 1
        try:
            self._goldens.prove(generation.engine, self._proven(generation))
        except EngineError as error:
            generation.suspect = str(error)
        finally:
            self._let_go(generation)
        if generation.suspect:
            log.error("quarantined: %s", generation.suspect)
            self._replace(generation)

    def _proven(self, generation: Generation) -> dict[str | None, str | None]:
        """What a probe of this engine asks for: its adapters, and the base where it answers for that."""
        base: dict[str | None, str | None] = {} if generation.alone else {None: None}
        return base | {name: generation.held[name] for name in sorted(generation.names)}

    def _replace(self, caught: Generation) -> None:
        """New engines from the files in the place of a quarantined one."""
        with self._changed:
            if caught not in self._serving:
                return
            base, names = caught is self._serving[0], sorted(caught.names & self._paths.keys())
        if not base:
            self._drop(names)
            return self._load(names)
        try:
            self._switch(self._prepare(names), (caught,))
        except FreeholdError as error:
            log.error("the quarantined engine cannot be replaced: %s", error)

    def _probe_for_ever(self) -> None:
        while self._open:
            time.sleep(self._policy.probe_every_s)
            if self._open:
                try:
                    self.probe()
                except FreeholdError as error:
                    log.error("the engine could not be probed: %s", error)

    # Who answers

    @contextmanager
    def _holding(self, adapter: str | None) -> Iterator[Generation]:
        """The engine that holds `adapter`, kept from being stopped while the block runs."""
        with self._changed:
            generation = self._await(adapter)
            generation.in_flight += 1
            if adapter is not None:
                self._used[adapter] = time.monotonic()
        try:
            yield generation
        finally:
            self._let_go(generation)

    def _let_go(self, generation: Generation) -> None:
        with self._changed:
            generation.in_flight -= 1
            if not generation.in_flight:
                self._changed.notify_all()

    def _await(self, adapter: str | None) -> Generation:
        while True:
            if not self._open:
                raise EngineError("the pool is stopped")
            if adapter is not None and adapter not in self._paths:
                raise NotFoundError(f"adapter {adapter} is not registered; {len(self._paths)} others are")
            if adapter in self._failed and time.monotonic() < self._failed[adapter][1]:
                raise self._failed[adapter][0]
            found = self._holder(adapter)
            if found is not None:
                found.refuse()
                return found
            if adapter is not None:
                self._want(adapter)
            self._changed.wait()

    def _holder(self, adapter: str | None) -> Generation | None:
        if adapter is None:
            return self._serving[0] if self._serving else None
        digest = self._digests[adapter]
        return next((each for each in self._serving if adapter in each.names and each.held[adapter] == digest), None)

    def _want(self, adapter: str) -> None:
        self._wanted.add(adapter)
        if self._loader is None:
            self._loader = threading.Thread(target=self._load_wanted, daemon=True)
            self._loader.start()

    # Loading

    def _begin(self, names: Sequence[str]) -> None:
        """Start with these; where one of them is at fault, with the base alone and then each that is sound."""
        try:
            self._switch(self._prepare(names))
        except FreeholdError:
            if not names:
                raise
            self._switch(self._prepare(()))
            self._load(names)
        self._settle_later()

    def _load_wanted(self) -> None:
        while True:
            with self._changed:
                wanted = sorted(self._wanted)[: self._policy.loaded]
                self._wanted.difference_update(wanted)
                if not wanted:
                    self._loader = None
                    return
            self._load(wanted)

    def _load(self, names: Iterable[str]) -> None:
        """Load each in an engine of its own; why one cannot be loaded is handed to whoever waits for it."""
        for name in names:
            try:
                with self._loading:
                    if self._lacks(name):
                        self._add(self._newcomer(name))
            except Exception as error:
                reason = error if isinstance(error, FreeholdError) else EngineError(f"{type(error).__name__}: {error}")
                with self._changed:
                    self._failed[name] = reason, time.monotonic() + _BELIEVED_S
                    self._changed.notify_all()

    def _lacks(self, name: str) -> bool:
        """Whether this registered adapter is not loaded."""
        with self._changed:
            return name in self._paths and self._holder(name) is None

    def _newcomer(self, name: str) -> Generation:
        """A small engine with one adapter, started and proven."""
        file = self._known().only(name)
        file.checked()
        self._makers.alone.check(file)
        generation = Generation(self._makers.alone.make(file), file.digests, alone=True, settled=False)
        self._goldens.start(generation.engine, self._proven(generation), alone=True)
        return generation

    def _known(self) -> AdapterFiles:
        with self._changed:
            return AdapterFiles(dict(self._paths), dict(self._digests))

    def _add(self, generation: Generation) -> None:
        """Let this engine answer for its adapters, and keep to the budget."""
        with self._changed:
            if not self._open:
                return generation.engine.stop()
            self._drop(generation.names)
            self._serving.append(generation)
            self._loaded_at = time.monotonic()
            self._used |= dict.fromkeys(generation.names, self._loaded_at)
            self._drop(self._by_use()[self._policy.loaded :])
            self.loads += 1
            self._changed.notify_all()
        self._settle_later()

    def _drop(self, names: Iterable[str]) -> None:
        """Let the engines of now no longer answer for these; one that answers for nothing is stopped."""
        with self._changed:
            for each in self._serving:
                each.names.difference_update(names)
            idle = [each for each in self._serving[1:] if not each.names]
            self._serving = [each for each in self._serving if each not in idle]
        for each in idle:
            self._retire_soon(each)

    def _by_use(self) -> list[str]:
        """What is loaded and still registered as it was, the most recently used first."""
        held = {name: each.held[name] for each in self._serving for name in each.names}
        known = [name for name, digest in held.items() if self._digests.get(name) == digest]
        return sorted(known, key=lambda name: self._used.get(name, 0.0), reverse=True)

    # What serves for good

    def _settle_later(self) -> None:
        with self._changed:
            if self._policy.settle_s and self._settler is None and self._unsettled():
                self._settler = threading.Thread(target=self._settle_in_time, daemon=True)
                self._settler.start()

    def _settle_in_time(self) -> None:
        """Settle when no adapter has come for a while, or too many have; again where others have come meanwhile."""
        tried = set[str]()
        while self._open and not tried >= (names := set(self._unsettled())):
            rest = self._loaded_at + self._policy.settle_s - time.monotonic()
            if rest > 0 and len(names) <= _MOST_APART:
                time.sleep(min(rest, 0.5))
                continue
            tried = names
            try:
                self.settle()
            except Exception as error:
                log.error("adapters stay where they are: %s", error, exc_info=not isinstance(error, FreeholdError))
        self._settler = None

    def _unsettled(self) -> list[str]:
        """Adapters that are not served as they shall be for good."""
        with self._changed:
            apart = self._makers.copy is not None
            found = [each for each in self._serving if not (each.settled and (each.alone or not apart))]
            return sorted(name for each in found for name in each.names)

    def settle(self) -> None:
        """Put the adapters that were loaded one by one where they are served for good."""
        if not self._open or not (names := self._unsettled()):
            return
        if self._makers.copy is not None:
            return self._merge(names, self._makers.copy)
        with self._changed:
            before, wanted = tuple(self._serving), self._by_use()
        generation = self._prepare(wanted)
        self._switch(generation, [each for each in before if not each.alone or each.names <= generation.names])

    def _merge(self, names: Sequence[str], copy: Maker) -> None:
        """An engine of its own for each, in the place of what answers for it now; then the base needs none of them."""
        for name in names:
            file = self._known().only(name) if name in self._paths else AdapterFiles()
            if file.paths:
                file.checked()
                copy.check(file)
                generation = Generation(copy.make(file), file.digests, alone=True)
                self._goldens.start(generation.engine, self._proven(generation), alone=False)
                with self._loading:
                    self._add(generation)
        base = self._serving[0]
        if base.held and not base.names:
            self._switch(self._prepare(()), (base,))

    def _prepare(self, names: Iterable[str]) -> Generation:
        """A started and proven engine with all of these whose files are sound."""
        known = self._known()
        sound = [name for name in names if name in known.paths and _is_sound(known.only(name))]
        files = known.only(*sound[: self._policy.loaded])
        self._makers.together.check(files)
        if files.paths:
            self._goldens.take(files)
        generation = Generation(self._makers.together.make(files), files.digests)
        self._goldens.start(generation.engine, self._proven(generation), alone=not files.paths)
        self.loads += 1
        return generation

    def _switch(self, generation: Generation, replaced: Sequence[Generation] = ()) -> None:
        """Let new requests go to `generation`; those before it finish what they have begun and are stopped."""
        with self._changed:
            if not self._open:
                return generation.engine.stop()
            if self._serving:  # what was dropped while it was being started stays so
                generation.names &= {name for each in self._serving for name in each.names}
            self._serving = [generation, *(each for each in self._serving if each not in replaced)]
            self._changed.notify_all()
        for each in replaced:
            self._retire_soon(each)

    def _retire_soon(self, generation: Generation) -> None:
        threading.Thread(target=self._retire, args=(generation,), daemon=True).start()

    def _retire(self, generation: Generation) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: not generation.in_flight, self._policy.drain_s):
                log.warning("an engine is stopped with %d answers under way", generation.in_flight)
        generation.engine.stop()


def _is_sound(file: AdapterFiles) -> bool:
    """Whether an adapter that is loaded could be loaded again; one whose file is gone must not hold up the others."""
    try:
        file.checked()
    except FreeholdError as error:
        log.error("an adapter that was loaded is dropped: %s", error)
        return False
    return True
