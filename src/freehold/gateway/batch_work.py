"""The work of batches, in the background of the running gateway: whoever waits for an answer goes first.

A line takes the same way as a request: keys, budgets, routing, the meter, capture and redaction. Its answer is on disk,
sealed, before it counts, and a line that is on disk is never asked again: `kill -9` at any moment, and the next start
goes on. What was under way at that moment is asked again, since nobody has its answer; it was billed, and stays on the
bill. One process of a workspace does the work, however many serve.
"""

import asyncio
import logging
import random
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace
from starlette.types import Message

from freehold.data import retention
from freehold.errors import DataError, FreeholdError, ResourceError
from freehold.gateway.batch_line import Bounds, Fault, Line, check, numbered, read
from freehold.gateway.batches import Details, opened, sealed
from freehold.gateway.call import Caller
from freehold.gateway.door import Asking, Desk, Door
from freehold.gateway.endpoints import ENDPOINTS
from freehold.gateway.faults import GatewayError, fault_of
from freehold.gateway.files import FilePages
from freehold.gateway.owners import Owners
from freehold.gateway.roster import Served
from freehold.store import batches as rows
from freehold.store.batches import Batch
from freehold.store.database import Store
from freehold.store.deployments import RemoteTarget
from freehold.store.sealed import Vault, Writer
from freehold.store.workspace import Workspace

log = logging.getLogger(__name__)

AT_ONCE = 8
OWNED_AT_ONCE = 4  # half of an engine's slots: a request that comes in between finds one free
PATIENCE_S = 2.0  # under constant traffic a batch still begins a line this often
BATCHES_AT_ONCE = 8
TRIES = 5
_LOOK_S = 0.5
_REPORT_S = 1.0
_AFTER_FAULT_S = 5.0
_LONGEST_PAUSE_S = 30.0
_HOUR_S = 3600.0
_DAY_US = 86_400_000_000
DRAIN_S = 30.0
_BREATH_LINES = 256
_PASSING = frozenset((408, 409, 429, 500, 502, 503, 504))


class _Named(msgspec.Struct):
    model: Any = None


_NAMED = msgspec.json.Decoder(_Named)


@dataclass(slots=True)
class _Reply:
    """What a line was answered, as a client would have received it."""

    status: int = 0
    id: str = ""
    content: bytes = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = dict(message["headers"])
            self.id = headers.get(b"x-freehold-exchange", b"").decode()
        else:
            self.content += message.get("body", b"")


@dataclass(slots=True)
class _Job:
    """A batch under way."""

    batch: Batch
    details: Details
    output: Writer
    errors: Writer
    done: bytearray
    completed: int = 0
    failed: int = 0
    over: str | None = None
    reported: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    under_way: set["asyncio.Task[None]"] = field(default_factory=set)

    def is_done(self, number: int) -> bool:
        return number < len(self.done) and bool(self.done[number])

    def mark(self, number: int) -> None:
        if number >= len(self.done):
            self.done.extend(bytes(number + 1024 - len(self.done)))
        self.done[number] = 1


class BatchWork:
    """Answers every open batch."""

    def __init__(self, workspace: Workspace, desk: Desk, store: Store, owners: Owners, files: FilePages) -> None:
        self._workspace = workspace
        self._desk = desk
        self._store = store
        self._owners = owners
        self._files = files
        self._vault = Vault(workspace)
        self._doors = {f"/v1{endpoint.path}": Door(endpoint, desk) for endpoint in ENDPOINTS}
        self._owned = asyncio.Semaphore(OWNED_AT_ONCE)
        self._wake = asyncio.Event()

    def begun(self) -> None:
        """There is something to do."""
        self._wake.set()

    async def follow(self) -> None:
        """Work for ever, in the one process that holds the lock."""
        while True:
            try:
                with self._workspace.exclusively("batches"):
                    await self._work()
            except ResourceError:
                await asyncio.sleep(_LOOK_S)  # another process works

    async def _work(self) -> None:
        running: dict[str, asyncio.Task[None]] = {}
        cleaned = -_HOUR_S
        try:
            while True:
                running = {id: task for id, task in running.items() if not task.done()}
                try:
                    for batch in (await asyncio.to_thread(rows.still_open, self._store))[:BATCHES_AT_ONCE]:
                        if batch.id not in running:
                            running[batch.id] = asyncio.create_task(self._run(batch))
                    if time.monotonic() - cleaned > _HOUR_S:
                        cleaned = time.monotonic()
                        await asyncio.to_thread(self._clean)
                except Exception as error:  # the store is down: the next look finds what there is
                    log.error("batches cannot be looked at: %s", error)
                self._wake.clear()
                await _within(self._wake.wait(), _LOOK_S)
        finally:
            for task in running.values():
                task.cancel()
            await asyncio.gather(*running.values(), return_exceptions=True)

    async def _run(self, batch: Batch) -> None:
        try:
            details = opened(self._vault, batch)
            if batch.status == "validating" and not await self._validated(batch, details):
                return
            await self._answer(batch, details)
        except DataError as error:
            await asyncio.to_thread(self._fail, batch, [Fault("damaged_file", str(error))])
        except Exception as error:  # a full disk, a store that is down: tried again from where it stands
            log.exception("batch %s stopped for now: %s", batch.id, error)
            await asyncio.sleep(_AFTER_FAULT_S)

    async def _validated(self, batch: Batch, details: Details) -> bool:
        """Whether every line is one; else the batch has failed, each fault with its line."""
        bounds = Bounds(batch.endpoint, self._desk.max_body)
        total, faults = await asyncio.to_thread(check, _gently(self._lines(batch)), bounds)
        if faults:
            await asyncio.to_thread(self._fail, batch, faults)
            return False
        await asyncio.to_thread(rows.move, self._store, batch.id, "in_progress", total=total)
        return True

    def _fail(self, batch: Batch, faults: list[Fault]) -> None:
        details = replace(opened(self._vault, batch), faults=faults)
        rows.move(self._store, batch.id, "failed", details=sealed(self._vault, details))

    def _lines(self, batch: Batch) -> Iterator[bytes]:
        return self._vault.lines(batch.input_file, Bounds(batch.endpoint, self._desk.max_body).line)

    # -- answering ---------------------------------------------------------------------------------------------------

    async def _answer(self, batch: Batch, details: Details) -> None:
        job = await asyncio.to_thread(self._opened, batch, details)
        try:
            await self._report(job)
            await self._each(job)
            if job.over == "expired":
                await self._expire(job)
            ended = job.over or "completed"
        finally:
            await _out(job)
            job.output.close()
            job.errors.close()
        await asyncio.to_thread(self._finish, job, ended)

    def _opened(self, batch: Batch, details: Details) -> _Job:
        output, errors = (self._vault.writer(rows.answers_id(batch.id, kind)) for kind in ("output", "errors"))
        done = _marked(output.numbers, errors.numbers)
        completed, failed = len(output.numbers), len(errors.numbers)
        return _Job(batch, details, output, errors, done, completed, failed)

    async def _each(self, job: _Job) -> None:
        """Begin every line that is not answered yet, while there is room; return when the last one is out."""
        for number, text in numbered(self._lines(job.batch)):
            if job.is_done(number):
                if number % _BREATH_LINES == 0:
                    await asyncio.sleep(0)
                continue
            line = read(text)
            await self._turn(job, line)
            if job.over:
                break
            task = asyncio.create_task(self._line(job, number, line))
            job.under_way.add(task)
            while len(job.under_way) >= AT_ONCE:
                await self._some(job)
        while job.under_way:
            await self._some(job)

    async def _some(self, job: _Job) -> None:
        """Wait for a line to be out, for a while; raises what a line raised."""
        ready, _ = await asyncio.wait(job.under_way, timeout=_REPORT_S, return_when=asyncio.FIRST_COMPLETED)
        job.under_way -= ready
        for task in ready:
            task.result()
        await self._report(job)

    async def _turn(self, job: _Job, line: Line) -> None:
        """Wait while somebody's request is under way, and while the caller's own key is needed and not known."""
        end = time.monotonic() + PATIENCE_S
        while self._desk.under_way and time.monotonic() < end:
            await asyncio.sleep(0.01)
        while not job.over and not self._owners.is_known(job.batch.owner) and self._needs_key(line):
            await self._owners.learn(job.batch.owner)
            await asyncio.sleep(0.0 if self._owners.is_known(job.batch.owner) else _LOOK_S)
            await self._report(job)
        await self._report(job)

    def _needs_key(self, line: Line) -> bool:
        """Whether a line goes to an upstream with the caller's own key."""
        served = self._served(line)
        if served is None:
            return True
        return any(isinstance(each, RemoteTarget) and not each.api_key for each in served.deployment.targets)

    def _served(self, line: Line) -> Served | None:
        """What stands behind the model that a line names, where it is deployed here."""
        return self._desk.routes.roster.served.get(str(_NAMED.decode(line.body).model))

    async def _line(self, job: _Job, number: int, line: Line) -> None:
        served = self._served(line)
        if served is not None and not isinstance(served.deployment.target, RemoteTarget):
            async with self._owned:
                reply = await self._patiently(job, line)
        else:
            reply = await self._patiently(job, line)
        if reply is not None:
            await self._write(job, number, reply.status == 200, record(line.custom_id, reply))

    async def _patiently(self, job: _Job, line: Line) -> _Reply | None:
        """The answer, after a few tries where a fault may pass; None where the batch is over before there is one."""
        reply, tries = _Reply(), 0
        while tries < TRIES and not job.over:
            reply = _Reply()
            wait = None
            try:
                await self._once(job, line, reply)
            except Exception as error:
                fault = _told(error)
                reply.status, reply.content = fault.status, msgspec.json.encode(fault.document(line.url))
                wait = fault.retry_after_s if fault.status == 429 else None  # the key's own limit: no try is used up
            if reply.status not in _PASSING:
                return reply
            tries += wait is None
            await asyncio.sleep(wait or min(_LONGEST_PAUSE_S, 2.0**tries) * random.uniform(0.5, 1.0))
        return None if job.over else reply

    async def _once(self, job: _Job, line: Line, reply: _Reply) -> None:
        owner, details = job.batch.owner, job.details
        caller = Caller(
            secret=self._owners.secret(owner),
            session=details.session,
            subject=details.subject,
            tags={**details.tags, "batch": job.batch.id},
            keep=details.keep,
            headers=[("content-type", "application/json")],
        )
        asking = Asking(time.perf_counter(), caller, self._owners.allowed(owner), bytes(line.body))
        await self._doors[line.url].answer(asking, _nobody_hangs_up, reply.send)

    async def _write(self, job: _Job, number: int, fine: bool, content: bytes) -> None:
        """An answer is on disk before it counts."""
        writer = job.output if fine else job.errors
        async with job.lock:
            await asyncio.to_thread(_put, writer, number, content)
        job.mark(number)
        if fine:
            job.completed += 1
        else:
            job.failed += 1

    async def _report(self, job: _Job) -> None:
        """Every second: write down how far it is, and see whether it is to end."""
        now = time.monotonic()
        if now - job.reported < _REPORT_S:
            return
        job.reported = now
        known = await asyncio.to_thread(rows.progress, self._store, job.batch.id, job.completed, job.failed)
        if known == "cancelling":
            job.over = "cancelled"
        elif time.time_ns() // 1000 >= job.batch.expires_at:
            job.over = "expired"

    # -- ending ------------------------------------------------------------------------------------------------------

    async def _expire(self, job: _Job) -> None:
        """Say of every line that was not answered in time that it was not."""
        error = {"code": "batch_expired", "message": "the batch expired before this request was answered"}
        for number, text in numbered(self._lines(job.batch)):
            if not job.is_done(number):
                late = {"id": "", "custom_id": read(text).custom_id, "response": None, "error": error}
                job.errors.append(number, msgspec.json.encode(late) + b"\n")
                job.failed += 1
            if number % _BREATH_LINES == 0:
                await asyncio.sleep(0)

    def _finish(self, job: _Job, ended: str) -> None:
        batch = job.batch
        if ended == "completed":
            rows.move(self._store, batch.id, "finalizing", completed=job.completed, failed=job.failed)
        ids: dict[str, str | None] = {}
        for kind, writer in (("output", job.output), ("errors", job.errors)):
            id = rows.answers_id(batch.id, kind)
            ids[kind] = id if writer.size else None
            if not writer.size:
                self._vault.erase(id)
            elif rows.find_file(self._store, batch.owner, id) is None:
                rows.add_file(
                    self._store, self._files.answers(id, batch.owner, writer.size, f"{batch.id}_{kind}.jsonl")
                )
        changes = {"output_file": ids["output"], "error_file": ids["errors"]}
        counts = {"completed": job.completed, "failed": job.failed}
        rows.move(self._store, batch.id, ended, **changes, **counts)

    def _clean(self) -> None:
        """Files whose time is over, by their own or by the retention policy, and what broken uploads left behind."""
        now, policy = time.time_ns() // 1000, retention.policy(self._workspace)
        born_before = now - policy.days * _DAY_US if policy else 0
        for id in rows.expired_files(self._store, now, born_before):
            rows.remove_file(self._store, id)
            self._vault.erase(id)
        rows.erase_strays(self._store, self._vault)


def record(custom_id: str, reply: _Reply) -> bytes:
    """A line as OpenAI's Batch API writes it."""
    try:
        content: Any = msgspec.Raw(msgspec.json.encode(msgspec.json.decode(reply.content)))
    except msgspec.MsgspecError:
        content = reply.content.decode(errors="replace")
    response = {"status_code": reply.status, "request_id": reply.id, "body": content}
    line = {"id": f"batch_req_{reply.id}", "custom_id": custom_id, "response": response, "error": None}
    return msgspec.json.encode(line) + b"\n"


def _marked(*numbers: "array[int]") -> bytearray:
    """One byte a line: whether it is done."""
    done = bytearray(1 + max((max(each) for each in numbers if each), default=0))
    for each in numbers:
        for number in each:
            done[number] = 1
    return done


async def _out(job: _Job) -> None:
    """When the gateway stops, what is under way comes out first, as for any request."""
    job.over = job.over or "stopped"
    if job.under_way:
        await asyncio.wait(job.under_way, timeout=DRAIN_S)
    for task in job.under_way:
        task.cancel()
    await asyncio.gather(*job.under_way, return_exceptions=True)


def _put(writer: Writer, number: int, content: bytes) -> None:
    writer.append(number, content)
    writer.flush()


def _told(error: Exception) -> GatewayError:
    if not isinstance(error, FreeholdError):
        log.exception("a batch's line failed")
    return fault_of(error)


def _gently(lines: Iterator[bytes]) -> Iterator[bytes]:
    """The lines, with a breath now and then: they are read in a thread, and requests need the interpreter too."""
    for at, line in enumerate(lines, 1):
        yield line
        if at % _BREATH_LINES == 0:
            time.sleep(0.001)


async def _nobody_hangs_up() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def _within(waiting: Any, seconds: float) -> None:  # noqa: ANN401 (a coroutine)
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return
