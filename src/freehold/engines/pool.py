"""Any number of adapters on one base: loaded when first asked for, changed under traffic, proven to be themselves.

llama.cpp fixes its adapters when it starts. A changed set is therefore a second engine: started, proven by its probes,
switched to; the first one finishes what it has begun and is stopped. No request is dropped, and none is answered by an
engine that a probe has caught: such an engine is quarantined, its unfinished answers are errors, and a new one is
started from the files.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from freehold.engines.adapters import AdapterFiles
from freehold.engines.engine import Answer, Completion, Piece
from freehold.engines.probes import Goldens, Probed
from freehold.errors import EngineError, FreeholdError, NotFoundError, UserError
from freehold.records import Record

log = logging.getLogger(__name__)

_BELIEVED_S = 5.0  # how long an adapter that could not be loaded is not tried again


Make = Callable[[AdapterFiles], Probed]
"""Makes the engine that holds these adapters; nothing is started yet."""

Check = Callable[[AdapterFiles], None]
"""Raises `ResourceError` where the memory at hand does not suffice for a second engine with these adapters."""


class Policy(Record, frozen=True, kw_only=True):
    """How many adapters are kept loaded (the least recently used goes first), how many seconds answers under way may
    take when an engine is replaced, and how many lie between probes (0: only when loaded).
    """

    loaded: int = 16
    drain_s: float = 120.0
    probe_every_s: float = 60.0


class _Generation:
    """One engine, the adapters that it holds (by name, with their digests), and how many answers it has under way."""

    def __init__(self, engine: Probed, held: Mapping[str, str]) -> None:
        self.engine, self.held = engine, dict(held)
        self.in_flight = 0
        self.suspect = ""  # why it is quarantined


class Pool:
    """An `Engine` over all registered adapters."""

    def __init__(self, make: Make, policy: Policy | None = None, check: Check = lambda files: None) -> None:
        self._make, self._policy, self._check = make, policy or Policy(), check
        self._paths: dict[str, Path] = {}
        self._digests: dict[str, str] = {}
        self._goldens = Goldens(make)
        self._used: dict[str, float] = {}
        self._failed: dict[str, tuple[FreeholdError, float]] = {}  # why, and until when that is believed
        self._wanted: set[str] = set()
        self._current: _Generation | None = None
        self._changed = threading.Condition()
        self._loader: threading.Thread | None = None
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
            new = [name for name in adapters if name not in self.loaded]
            if new:
                self._load(tuple(new)[: self._policy.loaded])

    @property
    def stopped(self) -> bool:
        """Whether it was started and is stopped."""
        return not self._open and self.loads > 0

    def forget(self, name: str) -> None:
        """Let no further request have this adapter; those under way finish."""
        with self._changed:
            self._paths.pop(name, None)
            self._digests.pop(name, None)
            self._used.pop(name, None)
            self._failed.pop(name, None)
            self._goldens.forget(name)

    @property
    def loaded(self) -> frozenset[str]:
        """The adapters that answer at once."""
        current = self._current
        return frozenset(current.held) if current is not None and not current.suspect else frozenset()

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
        _refuse_suspect(generation)
        if request.adapter is not None and answer.adapter != generation.held[request.adapter]:
            raise EngineError(f"the engine answered with adapter {answer.adapter} where {request.adapter} was asked")
        return answer

    def stream(self, request: Completion) -> Iterator[Piece]:
        with self._holding(request.adapter) as generation:
            for piece in generation.engine.stream(request):
                _refuse_suspect(generation)
                yield piece

    def tokenize(self, text: str) -> Sequence[int]:
        with self._holding(None) as generation:
            return generation.engine.tokenize(text)

    def stop(self) -> None:
        with self._changed:
            self._open = False
            current, self._current = self._current, None
            self._changed.notify_all()
        if current is not None:
            self._retire(current)

    def probe(self) -> None:
        """Take every loaded adapter's fingerprint in every child; quarantine an engine in which one has moved."""
        with self._holding(None) as generation:
            try:
                self._goldens.prove(generation.engine, generation.held)
            except EngineError as error:
                generation.suspect = str(error)
        if generation.suspect:
            log.error("quarantined: %s", generation.suspect)
            self._replace(generation)

    @contextmanager
    def _holding(self, adapter: str | None) -> Iterator[_Generation]:
        """The engine that holds `adapter`, kept from being stopped while the block runs."""
        with self._changed:
            generation = self._await(adapter)
            generation.in_flight += 1
            if adapter is not None:
                self._used[adapter] = time.monotonic()
        try:
            yield generation
        finally:
            with self._changed:
                generation.in_flight -= 1
                self._changed.notify_all()

    def _await(self, adapter: str | None) -> _Generation:
        while True:
            if not self._open:
                raise EngineError("the pool is stopped")
            if adapter is not None and adapter not in self._paths:
                raise NotFoundError(f"adapter {adapter} is not registered; {len(self._paths)} others are")
            if adapter in self._failed and time.monotonic() < self._failed[adapter][1]:
                raise self._failed[adapter][0]
            current = self._current
            if current is not None:
                _refuse_suspect(current)
                if adapter is None or current.held.get(adapter) == self._digests[adapter]:
                    return current
            if adapter is not None:
                self._want(adapter)
            self._changed.wait()

    def _want(self, adapter: str) -> None:
        self._wanted.add(adapter)
        if self._loader is None:
            self._loader = threading.Thread(target=self._load_wanted, daemon=True)
            self._loader.start()

    def _begin(self, names: Sequence[str]) -> None:
        """Start with these; where one of them is at fault, with the base alone and then each that is sound."""
        try:
            self._switch(self._prepare(names))
        except FreeholdError:
            if not names:
                raise
            self._begin(())
            for name in names:
                self._load((name,))

    def _load_wanted(self) -> None:
        while True:
            with self._changed:
                wanted = tuple(sorted(self._wanted)[: self._policy.loaded])
                self._wanted.difference_update(wanted)
                if not wanted:
                    self._loader = None
                    return
            self._load(wanted)

    def _load(self, wanted: Sequence[str]) -> None:
        try:
            self._switch(self._prepare(wanted))
        except Exception as error:  # handed to whoever waits for these adapters
            if len(wanted) > 1:  # one of them is at fault: the others shall not suffer for it
                for name in wanted:
                    self._load((name,))
                return
            with self._changed:
                reason = error if isinstance(error, FreeholdError) else EngineError(f"{type(error).__name__}: {error}")
                self._failed[wanted[0]] = reason, time.monotonic() + _BELIEVED_S
                self._changed.notify_all()

    def _prepare(self, wanted: Sequence[str]) -> _Generation:
        """A started and proven engine with `wanted` and the most recently used others."""
        with self._changed:
            known = AdapterFiles(dict(self._paths), dict(self._digests))
            asked = [name for name in wanted if name in known.paths]
            kept = [name for name in self._held_by_use() if name not in wanted]
        known.only(*asked).checked()
        sound = [name for name in kept if _is_sound(known.only(name))]
        files = known.only(*[*asked, *sound][: self._policy.loaded])
        self._check(files)
        alone = len(files.paths) <= 1
        if not alone:
            self._goldens.take(files)
        generation = _Generation(self._make(files), files.digests)
        generation.engine.start()
        try:
            if alone:
                for name in (None, *files.paths):
                    self._goldens.take_from(generation.engine, name)
            self._goldens.prove(generation.engine, generation.held)
        except FreeholdError:
            generation.engine.stop()
            raise
        self.loads += 1
        return generation

    def _held_by_use(self) -> list[str]:
        """What the engine of now holds and is still registered, the most recently used first."""
        held = self._current.held if self._current else {}
        known = [name for name, digest in held.items() if self._digests.get(name) == digest]
        return sorted(known, key=lambda name: self._used.get(name, 0.0), reverse=True)

    def _switch(self, generation: _Generation) -> None:
        """Let new requests go to `generation`; the engine before it finishes what it has begun and is stopped."""
        with self._changed:
            if not self._open:
                generation.engine.stop()
                return
            before, self._current = self._current, generation
            self._changed.notify_all()
        if before is not None:
            threading.Thread(target=self._retire, args=(before,), daemon=True).start()

    def _retire(self, generation: _Generation) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: not generation.in_flight, self._policy.drain_s):
                log.warning("an engine is stopped with %d answers under way", generation.in_flight)
        generation.engine.stop()

    def _replace(self, caught: _Generation) -> None:
        """A new engine from the files in the place of a quarantined one."""
        with self._changed:
            if self._current is not caught:
                return
        try:
            self._switch(self._prepare(()))
        except FreeholdError as error:
            log.error("the quarantined engine cannot be replaced: %s", error)

    def _probe_for_ever(self) -> None:
        while self._open:
            time.sleep(self._policy.probe_every_s)
            if self._open and self._current is not None and not self._current.suspect:
                try:
                    self.probe()
                except FreeholdError as error:
                    log.error("the engine could not be probed: %s", error)


def _is_sound(file: AdapterFiles) -> bool:
    """Whether an adapter that is loaded could be loaded again; one whose file is gone must not hold up the others."""
    try:
        file.checked()
    except FreeholdError as error:
        log.error("an adapter that was loaded is dropped: %s", error)
        return False
    return True


def _refuse_suspect(generation: _Generation) -> None:
    if generation.suspect:
        raise EngineError(f"{generation.suspect}; it is quarantined and is being replaced")
