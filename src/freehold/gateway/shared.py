"""What a worker process has not itself, and asks its house for: engines, embedders, limits, the sum of metrics."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

import msgspec

from freehold.engines.embedder import Embedding, Input
from freehold.engines.engine import Answer, Completion, Piece
from freehold.errors import FreeholdError
from freehold.gateway.children import Children, RunningChild
from freehold.gateway.embedders import Embedders, RunningEmbedder
from freehold.gateway.limits import Allowed, Reservation
from freehold.gateway.metrics import Counts, Metrics
from freehold.gateway.wire import Asking, error_of

Needs = dict[str, tuple[str, ...]]


class Want(msgspec.Struct, frozen=True):
    """The bases that a worker needs, with their adapters, and the embedding models."""

    engines: Needs | None = None
    embedders: tuple[str, ...] | None = None


class Reserve(msgspec.Struct, frozen=True):
    """What a request of a key may take at most; `cost` None is unknown."""

    key: str
    exchange: str
    tokens: int
    cost: int | None
    now_us: int


class Settle(msgspec.Struct, frozen=True):
    """What it came to."""

    exchange: str
    tokens: int
    cost: int


class Ask(msgspec.Struct, frozen=True):
    """A completion that the engine of a base is asked."""

    base: str
    request: Completion


class Embed(msgspec.Struct, frozen=True):
    """Texts, or their token ids, that an embedding model is given."""

    base: str
    inputs: list[str | list[int]]


class Own(msgspec.Struct, frozen=True):
    """A caller's own key, under the owner that it makes: for the worker that works on batches, in memory only."""

    owner: str
    secret: str


class Sum(msgspec.Struct, frozen=True):
    """Counts and gauges; from the house, those of all workers together."""

    counts: Counts
    gauges: dict[str, float]
    failing: bool = False


_PIECE = msgspec.msgpack.Decoder(tuple[Piece, float])


class SharedChild(RunningChild):
    """An engine that runs in the house."""

    def __init__(self, base: str, adapters: tuple[str, ...], house: Asking) -> None:
        self.base, self.adapters, self._house = base, adapters, house

    async def complete(self, request: Completion) -> tuple[Answer, float]:
        return await self._house.ask("complete", Ask(self.base, request), tuple[Answer, float])

    async def stream(self, request: Completion) -> AsyncIterator[tuple[Piece, float]]:
        async for content in self._house.stream("stream", Ask(self.base, request)):
            yield _PIECE.decode(content)


class SharedChildren(Children):
    """The house's engines, as one worker needs them."""

    def __init__(self, house: Asking) -> None:
        self._house = house

    async def want(self, needs: Needs) -> tuple[dict[str, RunningChild], dict[str, FreeholdError]]:
        failed = await self._house.ask("want", Want(engines=needs), dict[str, bytes])
        found: dict[str, RunningChild] = {
            base: SharedChild(base, adapters, self._house) for base, adapters in needs.items() if base not in failed
        }
        return found, {base: error_of(content) for base, content in failed.items()}

    def keep_only(self, wanted: dict[str, RunningChild]) -> None:
        self._house.tell("keep", Want(engines={base: child.adapters for base, child in wanted.items()}))

    async def stop(self) -> None:
        """The house ends its engines itself."""


class SharedEmbedder(RunningEmbedder):
    """An embedding model that runs in the house."""

    def __init__(self, base: str, house: Asking) -> None:
        self.base, self._house = base, house

    async def embed(self, inputs: Sequence[Input]) -> tuple[list[Embedding], float]:
        plain = [each if isinstance(each, str) else list(each) for each in inputs]
        return await self._house.ask("embed", Embed(self.base, plain), tuple[list[Embedding], float])


class SharedEmbedders(Embedders):
    """The house's embedding models, as one worker needs them."""

    def __init__(self, house: Asking) -> None:
        self._house = house

    async def want(self, bases: Iterable[str]) -> tuple[dict[str, RunningEmbedder], dict[str, FreeholdError]]:
        wanted = tuple(bases)
        failed = await self._house.ask("want", Want(embedders=wanted), dict[str, bytes])
        found: dict[str, RunningEmbedder] = {
            base: SharedEmbedder(base, self._house) for base in wanted if base not in failed
        }
        return found, {base: error_of(content) for base, content in failed.items()}

    def keep_only(self, wanted: dict[str, RunningEmbedder]) -> None:
        self._house.tell("keep", Want(embedders=tuple(wanted)))

    async def stop(self) -> None:
        """The house ends them itself."""


class SharedLimits:
    """Limits that hold for all workers together: the house reserves and settles. A key without any asks nobody."""

    def __init__(self, house: Asking) -> None:
        self._house = house

    async def reserve(self, allowed: Allowed, exchange: str, held: Reservation, now_us: int) -> Reservation | None:
        if not allowed.is_limited:
            return None
        wanted = Reserve(allowed.key.id, exchange, held.tokens, held.most, now_us)
        try:
            return await self._house.ask("reserve", wanted, Reservation)
        except asyncio.CancelledError:  # it may be held by now, and nobody will settle it
            self._house.tell("settle", Settle(exchange, 0, 0))
            raise

    def settle(self, allowed: Allowed, exchange: str, held: Reservation, spent: tuple[int, int]) -> None:
        self._house.tell("settle", Settle(exchange, *spent))


class Tally:
    """This worker's part of the metrics, told to the house; and the sum of all."""

    def __init__(self, house: Asking, metrics: Metrics) -> None:
        self._house, self._metrics = house, metrics
        self._failing = False

    def is_failing(self) -> bool:
        """Whether the store takes nothing, as the house said last."""
        return self._failing

    async def sum(self, gauges: dict[str, float]) -> Sum:
        total = await self._house.ask("sum", Sum(self._metrics.counts(), gauges), Sum)
        self._failing = total.failing
        return total
