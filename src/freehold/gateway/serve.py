"""Running the gateway: one process on one port, until SIGTERM or Ctrl-C, then draining.

The engines are children of this process. The server is embedded in this process's event loop, so that one loop owns
requests, children and the record, and one signal stops them in order: no new connections, answers out, children down.
"""

import asyncio
import contextlib
import gc
import ipaddress
import logging
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import aiohttp
import uvloop
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from freehold.data.patterns import Patterns
from freehold.data.subject import Subjects
from freehold.errors import FreeholdError, RefusedError, UserError
from freehold.gateway import logs, reload, retention, rollback
from freehold.gateway.app import build
from freehold.gateway.arena import ArenaPages
from freehold.gateway.ask import announced
from freehold.gateway.backends import Backends
from freehold.gateway.batch_work import BatchWork
from freehold.gateway.batches import BatchPages
from freehold.gateway.check_pool import CheckPool
from freehold.gateway.children import Children
from freehold.gateway.door import Desk
from freehold.gateway.embedders import Embedders
from freehold.gateway.files import FilePages
from freehold.gateway.http_client import HttpClient
from freehold.gateway.http_server import Address, Tls, bound, listening
from freehold.gateway.journal import Journal
from freehold.gateway.keeper import JOURNAL, Keeper, recover
from freehold.gateway.keeper_process import KeeperProcess
from freehold.gateway.keyring import Keyring
from freehold.gateway.machine import MachinePrice
from freehold.gateway.owners import Owners
from freehold.gateway.prices import follow as follow_prices
from freehold.gateway.prices import read as read_prices
from freehold.gateway.recorder import NoRedaction, Policy, Recorder
from freehold.gateway.reload import To
from freehold.gateway.roster import LOOK_EVERY_S, Roster
from freehold.gateway.routes import Routes
from freehold.gateway.shared import SharedChildren, SharedEmbedders, SharedLimits, Tally
from freehold.gateway.traces import Traces
from freehold.gateway.wire import Asking
from freehold.records import Record
from freehold.store.database import Store, connect
from freehold.store.sealed import Vault
from freehold.store.workspace import Workspace

log = logging.getLogger(__name__)

SWITCH_S = 0.0005


class Settings(Record, frozen=True, kw_only=True):
    """How the gateway is run.

    `upstream` is the address (up to and including /v1) that every model not owned here goes to; `upstream_key` is a
    reference such as ${OPENAI_API_KEY}, for callers with one of Freehold's own keys. `upstream_guardrails` names the
    deployment whose guardrails hold for what goes there. `max_body` is in bytes. `on_full` says what happens when the
    disk takes nothing. `machine_hour` is what an hour of this machine costs. `tls_cert` and `tls_key` are PEM files.
    `beyond_loopback` is the explicit word without which other machines are served over TLS only; keys are a must then.
    `log_json` writes a line a request. `traces` is an OTLP collector's address. `workers` is how many processes answer.
    `keeper_apart` gives the keeper a process of its own, so that it takes no moment from requests.
    `speculate` is a method of speculative decoding for the engines here.
    """

    host: str = "127.0.0.1"
    port: int = 8400
    upstream: str | None = None
    upstream_key: str | None = None
    upstream_guardrails: str | None = None
    max_body: int = 16 * 1024 * 1024
    on_full: Policy = "refuse"
    redact: bool = True
    machine_hour: Decimal | None = None
    currency: str = "USD"
    beyond_loopback: bool = False
    require_keys: bool = False
    tls_cert: str | None = None
    tls_key: str | None = None
    log_json: bool = False
    workers: int = 1
    traces: str | None = None
    keeper_apart: bool = False
    speculate: str | None = None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.port}"

    @property
    def address(self) -> Address:
        tls = Tls(self.tls_cert, self.tls_key) if self.tls_cert and self.tls_key else None
        return Address(self.host, self.port, tls)

    @property
    def to(self) -> To:
        """Where what is not owned goes, by the options."""
        return To(self.upstream, self.upstream_key, self.upstream_guardrails)


class Room(Protocol):
    """Another room's pages on the same port, and what it does in the background.

    `follow` is all of that; where the keeper has a process of its own, that one derives what `derives` names
    (module:name of a `Derived`), and `begin` is the rest.
    """

    derives: str

    def routes(self) -> Sequence[BaseRoute]: ...

    async def begin(self) -> None: ...

    async def follow(self) -> None: ...


Opening = Callable[[Workspace, Store, Desk], Room]
Ready = Callable[[list[str]], None]


def serve(
    workspace: Workspace,
    settings: Settings,
    backends: Backends,
    ready: Callable[[list[str]], None],
    opening: Opening | None = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; `ready` is told the served names once the port answers. Raises `ResourceError`.

    `opening` opens another room (the console) beside the gateway.
    """
    check_address(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_signalled(workspace, settings, backends, ready, opening))


def listen(app: ASGIApp, settings: Settings, ready: Callable[[], None]) -> None:
    """Serve one application until SIGTERM or Ctrl-C."""
    check_address(settings)

    async def run() -> None:
        async with listening(app, settings.address):
            ready()
            await signalled()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


async def signalled() -> None:
    """Until SIGTERM or Ctrl-C. SIGHUP asks for what happens anyway, within a second, and must not end the process."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: log.warning("SIGHUP: what is configured is followed anyway"))
    await stop.wait()


async def _until_signalled(
    workspace: Workspace,
    settings: Settings,
    backends: Backends,
    ready: Callable[[list[str]], None],
    opening: Opening | None,
) -> None:
    async with serving(workspace, settings, backends, opening) as roster:
        settle()
        ready(roster.names)
        await signalled()


def settle() -> None:
    """Make a process that has started ready to answer quickly.

    What stands now stays: the collector need not walk it again and again, least of all while somebody waits. And a
    thread that waits for its turn (the journal's, with answers that wait for it) gets it after half a millisecond.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    sys.setswitchinterval(SWITCH_S)


@asynccontextmanager
async def serving(
    workspace: Workspace,
    settings: Settings,
    backends: Backends,
    opening: Opening | None = None,
    house: Asking | None = None,
    number: int = 0,
) -> AsyncIterator[Roster]:
    """Serve while the block runs; at its end no connection is taken, answers under way go out, children stop.

    Of several workers each is given its number and its `house`, which does what only one process may do.
    """
    store = connect(workspace.database_url)
    children = Children(backends.engine_for) if house is None else SharedChildren(house)
    embedders = Embedders(backends.embedder_for) if house is None else SharedEmbedders(house)
    async with AsyncExitStack() as stack:
        stack.callback(store.dispose)
        stack.push_async_callback(children.stop)
        stack.push_async_callback(embedders.stop)
        if house is None:
            await asyncio.to_thread(recover, workspace.root / JOURNAL, store)
            await asyncio.to_thread(Subjects(workspace).hide_recorded, store)
        checks = CheckPool(workspace.root)
        stack.push_async_callback(checks.stop)
        roster = Roster(workspace, store, children, backends.load_classifier, embedders, checks.warm)
        journal = Journal(workspace.root / JOURNAL)
        keeper = kept(workspace, settings, store, lambda: journal.open_segment, stack) if house is None else None
        stack.callback(journal.close)  # before the keeper ends, so that it carries all of it
        desk = await _desk(workspace, settings, roster, _Parts(store, journal, checks), stack)
        works = [
            roster.follow(),
            follow_keys(desk.keyring),
            follow_prices(workspace.root, desk.reprice, LOOK_EVERY_S),
            reload.follow(workspace.root, settings.to, desk.routes.redirect, LOOK_EVERY_S),
        ]
        if keeper is not None:
            works += [rollback.watch(workspace, store), retention.keep(workspace)]
            desk.store_failing = lambda: keeper.failing
        elif house is not None:
            desk.tally = Tally(house, desk.metrics)
            desk.limits, desk.store_failing = SharedLimits(house), desk.tally.is_failing
            works.append(_tell(desk, desk.tally))
        batches = _Batches(workspace, store, desk, house)
        works.append(batches.follow())
        more = [*ArenaPages(desk, workspace, store).routes(), *batches.routes]
        derives = None
        if opening is not None:
            room = opening(workspace, store, desk)
            apart = settings.keeper_apart
            if number == 0:
                works.append(room.begin() if apart else room.follow())
            more, derives = [*more, *room.routes()], room.derives
        if isinstance(keeper, KeeperProcess):
            keeper.start(derives)
        await stack.enter_async_context(background(*works))
        app, shared = build(desk, store, more), house is not None
        await stack.enter_async_context(listening(app, settings.address, shared))
        if house is None:
            stack.enter_context(announced(workspace, settings.url, settings.tls_cert))
        yield roster


def kept(
    workspace: Workspace,
    settings: Settings,
    store: Store,
    open_segment: Callable[[], Path | None],
    stack: AsyncExitStack,
) -> Keeper | KeeperProcess:
    """The keeper, in this process or (then it is yet to be started) in one of its own; the stack ends it."""
    if settings.keeper_apart:
        apart = KeeperProcess(workspace.root)
        stack.push_async_callback(apart.stop)
        return apart
    keeper = Keeper(workspace.root / JOURNAL, store, open_segment)
    stack.callback(keeper.close)
    return keeper


@dataclass
class _Parts:
    """What a desk is made of besides."""

    store: Store
    journal: Journal
    checks: CheckPool


async def _tell(desk: Desk, tally: Tally) -> None:
    """Of several workers: tell the house every second what was counted here."""
    while True:
        with contextlib.suppress(FreeholdError):  # the house is gone, and so is this worker in a moment
            await tally.sum(desk.gauges)
        await asyncio.sleep(LOOK_EVERY_S)


class _Batches:
    """Files, batches, and the work on them."""

    def __init__(self, workspace: Workspace, store: Store, desk: Desk, house: Asking | None) -> None:
        vault, owners = Vault(workspace), Owners(desk.keyring, Subjects(workspace).pseudonym, house)
        files = FilePages(store, vault, owners)
        work = BatchWork(workspace, desk, store, owners, files)
        self.follow = work.follow
        self.routes = [*files.routes(), *BatchPages(store, vault, owners, work.begun).routes()]


async def _desk(workspace: Workspace, settings: Settings, roster: Roster, parts: _Parts, stack: AsyncExitStack) -> Desk:
    prices, people = read_prices(workspace.root), Subjects(workspace)
    http, client = await stack.enter_async_context(_client()), HttpClient()
    stack.callback(client.close)
    keyring = Keyring(parts.store, required=settings.require_keys or not is_loopback(settings.host))
    await keyring.refresh()
    await roster.refresh()
    machine = MachinePrice(settings.machine_hour, settings.currency) if settings.machine_hour is not None else None
    return Desk(
        routes=Routes(roster, http, client, settings.upstream, settings.upstream_key, settings.upstream_guardrails),
        keyring=keyring,
        recorder=Recorder(
            parts.journal,
            settings.on_full,
            Patterns(workspace.root) if settings.redact else NoRedaction,
            people.pseudonym,
            logs.request_line(keyring.name_of) if settings.log_json else None,
        ),
        prices=prices,
        machine=machine,
        max_body=settings.max_body,
        store_failing=lambda: False,
        checks=parts.checks,
        traces=_traces(settings, stack),
    )


def _traces(settings: Settings, stack: AsyncExitStack) -> Traces | None:
    if settings.traces is None:
        return None
    traces = Traces(settings.traces)
    stack.callback(traces.close)
    return traces


def _client() -> aiohttp.ClientSession:
    """For upstreams. They are asked for plain bytes: an answer is read on its way, and to press it costs time."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
    return aiohttp.ClientSession(connector=connector, headers={"accept-encoding": "identity"})


async def follow_keys(keyring: Keyring) -> None:
    """Look at the keys again for ever."""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            await keyring.refresh()
        except Exception as error:  # the store is down: the keys as they were known hold on
            log.error("the keys cannot be looked at (%s); those known before still hold", error)


@asynccontextmanager
async def background(*works: Coroutine[None, None, None]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def check_address(settings: Settings) -> None:
    """Refuse a port in use, an address beyond this machine without the explicit word, an upstream that is none."""
    check_tls(settings)
    reload.checked(settings.to, "--upstream", "--upstream-key")
    if not is_loopback(settings.host) and not settings.beyond_loopback and settings.tls_cert is None:
        raise RefusedError(
            f"{settings.host} is reachable from other machines; give --tls-cert and --tls-key, or --beyond-loopback "
            "where something in front of it speaks TLS"
        )
    with bound(settings.address):
        pass


def check_tls(settings: Settings) -> None:
    """Refuse a certificate without its key, and files that are no such pair."""
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise UserError("--tls-cert and --tls-key come together")
    if settings.tls_cert is None or settings.tls_key is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key, password="")
    except OSError as error:  # an SSLError is one
        why = error.strerror or type(error).__name__
        raise UserError(
            f"{settings.tls_cert} and {settings.tls_key} are no PEM certificate and its key ({why})"
        ) from None


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
