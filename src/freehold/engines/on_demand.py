"""An engine that is started by the first request: where every answer is on record already, none is."""

import threading
from collections.abc import Iterator, Sequence
from types import TracebackType

from freehold.engines.engine import Answer, Completion, Engine, Piece


class OnDemand:
    """Wraps an `Engine`; as a context manager it stops what it started."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._started = False

    def start(self) -> None:
        with self._lock:
            if not self._started:
                self._engine.start()
                self._started = True

    def complete(self, request: Completion) -> Answer:
        self.start()
        return self._engine.complete(request)

    def stream(self, request: Completion) -> Iterator[Piece]:
        self.start()
        return self._engine.stream(request)

    def tokenize(self, text: str) -> Sequence[int]:
        self.start()
        return self._engine.tokenize(text)

    def stop(self) -> None:
        with self._lock:
            if self._started:
                self._engine.stop()
                self._started = False

    def __enter__(self) -> "OnDemand":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
