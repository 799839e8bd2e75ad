"""What several worker processes share, kept by the process that started them: engines, limits, the journal's reader.

A worker's connection is its lease: what it wants of the engines holds while it lives. What it had reserved when it was
killed is settled by the rows that it left, once its journal is in the store, so that no budget is overrun and none is
held for ever.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from freehold.errors import FreeholdError, NotFoundError
from freehold.gateway.children import Children, RunningChild
from freehold.gateway.embedders import Embedders, RunningEmbedder
from freehold.gateway.keyring import Keyring
from freehold.gateway.limits import Allowed, Reservation
from freehold.gateway.metrics import Metrics
from freehold.gateway.shared import Ask, Embed, Needs, Own, Reserve, Settle, Sum, Want
from freehold.gateway.wire import FAILED, Message, Wire, refused
from freehold.store.database import Store
from freehold.store.exchanges import found

log = logging.getLogger(__name__)

_LOOK_S = 0.1


@dataclass(slots=True, eq=False)
class Lease:
    """What one worker holds."""

    wire: Wire
    pid: int
    engines: Needs = field(default_factory=dict)
    embedders: tuple[str, ...] = ()
    held: dict[str, tuple[Allowed, Reservation]] = field(default_factory=dict)
    told: Sum | None = None
    under_way: dict[int, "asyncio.Task[None]"] = field(default_factory=dict)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    names: list[str] = field(default_factory=list)


class House:
    """Answers workers. `failing` tells whether the store takes nothing at present."""

    def __init__(self, store: Store, engines: tuple[Children, Embedders], keyring: Keyring, journal: Path) -> None:
        self._store, self._keyring, self._journal = store, keyring, journal
        self._children, self._embedders = engines
        self.failing: Callable[[], bool] = lambda: False
        self._leases: set[Lease] = set()
        self._engines: dict[str, RunningChild] = {}
        self._vectors: dict[str, RunningEmbedder] = {}
        self._gone = Metrics()
        self._owners: dict[str, str] = {}
        self._changing = asyncio.Lock()
        self._settling: set[asyncio.Task[None]] = set()

    async def answer(self, lease: Lease) -> None:
        """Answer one worker until it is gone."""
        self._leases.add(lease)
        try:
            async for message in lease.wire.messages():
                self._heard(lease, message)
        finally:
            self._leases.discard(lease)
            for task in lease.under_way.values():
                task.cancel()
            if lease.told is not None:
                self._gone.add(lease.told.counts)
            if lease.held:
                settling = asyncio.create_task(self._settle_for(lease))
                self._settling.add(settling)
                settling.add_done_callback(self._settling.discard)
            lease.wire.close()

    def _heard(self, lease: Lease, message: Message) -> None:
        if message.word == "settle":
            return self._settle(lease, msgspec.msgpack.decode(message.content, type=Settle))
        if message.word == "own":
            own = msgspec.msgpack.decode(message.content, type=Own)
            self._owners[own.owner] = own.secret
            return None
        if message.word == "leave":
            if message.id in lease.under_way:
                lease.under_way[message.id].cancel()
            return None
        if message.word == "ready":
            lease.names = msgspec.msgpack.decode(message.content, type=list[str])
            lease.ready.set()
            return None
        task = asyncio.create_task(self._answer(lease, message))
        lease.under_way[message.id] = task
        task.add_done_callback(lambda _: lease.under_way.pop(message.id, None))
        return None

    async def _answer(self, lease: Lease, message: Message) -> None:
        try:
            await self._do(lease, message)
            if message.id:
                lease.wire.send(Message(message.id, "end"))
        except Exception as error:  # an engine's code may raise anything: it is the worker's to tell its client
            if not isinstance(error, FreeholdError):
                log.exception("%s failed", message.word)
            if message.id:
                lease.wire.send(Message(message.id, FAILED, refused(error)))

    async def _do(self, lease: Lease, message: Message) -> None:
        decode = msgspec.msgpack.decode

        def reply(value: object) -> None:
            lease.wire.send(Message(message.id, "answer", msgspec.msgpack.encode(value)))

        if message.word == "reserve":
            reply(await self._reserve(lease, decode(message.content, type=Reserve)))
        elif message.word == "complete":
            asked = decode(message.content, type=Ask)
            reply(await self._engine(asked.base).complete(asked.request))
        elif message.word == "stream":
            asked = decode(message.content, type=Ask)
            async for piece in self._engine(asked.base).stream(asked.request):
                reply(piece)
        elif message.word == "embed":
            given = decode(message.content, type=Embed)
            if given.base not in self._vectors:
                raise NotFoundError(f"{given.base} embeds nothing here now")
            reply(await self._vectors[given.base].embed(given.inputs))
        elif message.word == "owner":
            reply(self._owners.get(decode(message.content, type=str), ""))
        elif message.word == "sum":
            lease.told = decode(message.content, type=Sum)
            reply(self._sum())
        else:
            wanted = decode(message.content, type=Want)
            reply(await self._lease(lease, wanted, keeps=message.word == "keep"))

    # Engines

    def _engine(self, base: str) -> RunningChild:
        if base not in self._engines:
            raise NotFoundError(f"{base} is not running now")
        return self._engines[base]

    async def _lease(self, lease: Lease, wanted: Want, keeps: bool) -> dict[str, bytes]:
        """Start what a worker wants beside what all have; what nobody wants any more is stopped once it says `keep`."""
        async with self._changing:
            others = [each for each in self._leases if each is not lease]
            if wanted.engines is not None:
                own = wanted.engines if keeps else _union([lease.engines, wanted.engines])
                running, failed = await self._children.want(_union([*(each.engines for each in others), own]))
                self._children.keep_only(running)
                self._engines, lease.engines = running, own
                return {base: refused(error) for base, error in failed.items() if base in wanted.engines}
            asked = wanted.embedders or ()
            held = asked if keeps else tuple({*lease.embedders, *asked})
            bases = {*held, *(base for each in others for base in each.embedders)}
            vectors, cannot = await self._embedders.want(sorted(bases))
            self._embedders.keep_only(vectors)
            self._vectors, lease.embedders = vectors, held
            return {base: refused(error) for base, error in cannot.items() if base in asked}

    # Limits

    async def _reserve(self, lease: Lease, wanted: Reserve) -> Reservation:
        allowed = self._keyring.of(wanted.key)
        if allowed is None:  # made a moment ago
            await self._keyring.refresh()
            allowed = self._keyring.of(wanted.key)
        if allowed is None:
            raise NotFoundError("this key is not known here")
        held = allowed.reserve(wanted.tokens, wanted.cost, wanted.now_us)
        lease.held[wanted.exchange] = (allowed, held)
        return held

    def _settle(self, lease: Lease, came_to: Settle) -> None:
        allowed, held = lease.held.pop(came_to.exchange, (None, None))
        if allowed is not None and held is not None:
            allowed.settle(held, came_to.tokens, came_to.cost)

    async def _settle_for(self, lease: Lease) -> None:
        """What a worker had reserved when it ended: by its rows, when its journal is in the store."""
        while any(self._journal.glob(f"*-{lease.pid}.journal")):
            await asyncio.sleep(_LOOK_S)
        for exchange, (allowed, held) in lease.held.items():
            allowed.settle(held, *await asyncio.to_thread(_spent, self._store, exchange, allowed))
        if lease.held:
            log.warning("a worker ended with %d requests under way; they are settled by its rows", len(lease.held))

    # Metrics

    def _sum(self) -> Sum:
        total, gauges = Metrics(), dict[str, float]()
        total.add(self._gone.counts())
        for each in self._leases:
            told = each.told
            if told is not None:
                total.add(told.counts)
                for name, value in told.gauges.items():
                    gauges[name] = gauges.get(name, 0.0) + value
        return Sum(total.counts(), gauges, self.failing())


def _union(needs: Iterable[Needs]) -> Needs:
    found: dict[str, set[str]] = {}
    for each in needs:
        for base, adapters in each.items():
            found.setdefault(base, set()).update(adapters)
    return {base: tuple(sorted(adapters)) for base, adapters in sorted(found.items())}


def _spent(store: Store, exchange: str, allowed: Allowed) -> tuple[int, int]:
    """Tokens and pico-units of the rows of an exchange; nothing where it left none."""
    try:
        _, attempts, _ = found(store, exchange)
    except NotFoundError:
        return 0, 0
    currency = allowed.key.allowance.currency
    tokens = sum(each.input_tokens + each.output_tokens for each in attempts)
    return tokens, sum(each.cost or 0 for each in attempts if each.currency == currency)
