"""`/v1/batches`: many requests in one file, answered in the background at low priority (`batch_work.py`).

Source of the shapes: OpenAI's API reference, *Batch*. What a client wrote is stored sealed (invariant 5).
"""

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.gateway import body
from freehold.gateway.batch_line import Fault
from freehold.gateway.call import Caller, caller_of
from freehold.gateway.endpoints import ENDPOINTS
from freehold.gateway.faults import GatewayError
from freehold.gateway.files import AFTER, Page, bound, paged
from freehold.gateway.operations import JSON, REFUSED, Asked, Operation, Says
from freehold.gateway.owners import Owners
from freehold.store import batches as rows
from freehold.store.batches import Batch
from freehold.store.database import Store
from freehold.store.sealed import Vault

ADDRESSES = tuple(f"/v1{endpoint.path}" for endpoint in ENDPOINTS)
_WINDOW = re.compile(r"([1-9][0-9]{0,2})h")
_LONGEST_WINDOW_H = 168
_HOURS = "^([1-9][0-9]?|1[0-5][0-9]|16[0-8])h$"  # the same, for the schema
_LONGEST_BODY = 64 * 1024
_MOST = 100
_HOUR_US = 3_600_000_000


class Create(msgspec.Struct):
    """What a batch is made of."""

    input_file_id: str
    endpoint: Annotated[str, msgspec.Meta(extra_json_schema={"enum": ADDRESSES})]
    completion_window: Annotated[str, msgspec.Meta(extra_json_schema={"pattern": _HOURS})] = "24h"
    metadata: dict[str, str] | None = None


class Faults(msgspec.Struct, frozen=True):
    """The lines that no batch can be made of."""

    object: str
    data: list[Fault]


class RequestCounts(msgspec.Struct, frozen=True):
    """How far a batch is."""

    total: int
    completed: int
    failed: int


class BatchDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A batch, as OpenAI's clients read it. Times are seconds since 1970, UTC."""

    id: str
    object: str = "batch"
    endpoint: str
    errors: Faults | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int | None
    expires_at: int | None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts
    metadata: dict[str, str] | None


_LIMIT = Asked("limit", "how many", Annotated[int, msgspec.Meta(ge=1, le=_MOST)])
_BEGIN = Says(
    "Begin a batch over an uploaded file.",
    {JSON: Create},
    {JSON: BatchDocument},
    (400, 404, 413, *REFUSED),
    tagged=True,
)
_LIST = Says(
    "The caller's batches, newest first.",
    gives={JSON: Page[BatchDocument]},
    fails=(400, *REFUSED),
    query=(_LIMIT, AFTER),
)
_RETRIEVE = Says("A batch.", gives={JSON: BatchDocument}, fails=(*REFUSED, 404))
_CANCEL = Says("Stop a batch; what is answered is kept.", gives={JSON: BatchDocument}, fails=(*REFUSED, 404, 409))


class Details(msgspec.Struct):
    """What is sealed of a batch: the client's own words, and under which headers it came."""

    window: str
    metadata: dict[str, str] | None = None
    tags: dict[str, str] = {}
    session: str | None = None
    subject: str | None = None
    keep: bool = True
    faults: list[Fault] = []


_CREATE = msgspec.json.Decoder(Create)
_DETAILS = msgspec.json.Decoder(Details)


def sealed(vault: Vault, details: Details) -> str:
    """A batch's details as they are stored."""
    return vault.seal(msgspec.json.encode(details))


def opened(vault: Vault, batch: Batch) -> Details:
    """A batch's details as they were given."""
    return _DETAILS.decode(vault.unseal(batch.details))


class BatchPages:
    """The routes of batches; `begun` is called when there is something to do."""

    def __init__(self, store: Store, vault: Vault, owners: Owners, begun: Callable[[], None]) -> None:
        self._store = store
        self._vault = vault
        self._owners = owners
        self._begun = begun

    def routes(self) -> list[BaseRoute]:
        return [
            Operation("POST", "/v1/batches", self.create, _BEGIN),
            Operation("GET", "/v1/batches", self.list, _LIST),
            Operation("GET", "/v1/batches/{id}", self.retrieve, _RETRIEVE),
            Operation("POST", "/v1/batches/{id}/cancel", self.cancel, _CANCEL),
        ]

    async def create(self, request: Request) -> Response:
        caller = caller_of(request.scope)
        owner = self._owners.of(caller)
        asked = body.typed(await body.read(request.scope, request.receive, _LONGEST_BODY), _CREATE)
        await self._check(asked, owner)
        now = time.time_ns() // 1000
        batch = Batch(
            id=f"batch_{secrets.token_hex(12)}",
            owner=owner,
            endpoint=asked.endpoint,
            input_file=asked.input_file_id,
            details=sealed(self._vault, _details(asked, caller)),
            created_at=now,
            expires_at=now + _hours(asked.completion_window) * _HOUR_US,
        )
        await asyncio.to_thread(rows.add_batch, self._store, batch)
        self._begun()
        return self._answer(batch)

    async def list(self, request: Request) -> Response:
        owner = self._owners.of(caller_of(request.scope))
        limit = bound(request.query_params.get("limit", "20"), _MOST)
        after = request.query_params.get("after")
        found = await asyncio.to_thread(rows.list_batches, self._store, owner, limit + 1, after)
        return _json(paged([self._document(each) for each in found], limit))

    async def retrieve(self, request: Request) -> Response:
        return self._answer(await self._found(request))

    async def cancel(self, request: Request) -> Response:
        batch = await self._found(request)
        if batch.status not in ("cancelling", "cancelled"):
            if not await asyncio.to_thread(rows.move, self._store, batch.id, "cancelling"):
                what = f"{batch.id} has ended already: it is {batch.status}"
                raise GatewayError(409, what, code="batch_ended")
            self._begun()
        return self._answer(await self._found(request))

    async def _check(self, asked: Create, owner: str) -> None:
        """Raise `GatewayError` for what no batch can be made of."""
        if asked.endpoint not in ADDRESSES:
            what = f"endpoint is {asked.endpoint!r}; it may be {', '.join(ADDRESSES)}"
            raise GatewayError(400, what, code="unsupported_value", param="endpoint")
        _hours(asked.completion_window)
        file = await asyncio.to_thread(rows.find_file, self._store, owner, asked.input_file_id)
        if file is None:
            what = f"there is no file {asked.input_file_id} of this key"
            raise GatewayError(404, what, code="file_not_found", param="input_file_id")
        if file.purpose != "batch":
            what = f"{file.id} was written by a batch; upload one with the purpose batch"
            raise GatewayError(400, what, code="unsupported_value", param="input_file_id")

    async def _found(self, request: Request) -> Batch:
        owner, id = self._owners.of(caller_of(request.scope)), request.path_params["id"]
        batch = await asyncio.to_thread(rows.find_batch, self._store, owner, id)
        if batch is None:
            raise GatewayError(404, f"there is no batch {id} of this key", code="batch_not_found", param="id")
        return batch

    def _answer(self, batch: Batch) -> Response:
        return _json(self._document(batch))

    def _document(self, batch: Batch) -> BatchDocument:
        details = opened(self._vault, batch)

        def reached(status: str) -> int | None:
            return _seconds(batch.reached(status))

        return BatchDocument(
            id=batch.id,
            endpoint=batch.endpoint,
            errors=Faults("list", details.faults) if details.faults else None,
            input_file_id=batch.input_file,
            completion_window=details.window,
            status=batch.status,
            output_file_id=batch.output_file,
            error_file_id=batch.error_file,
            created_at=_seconds(batch.created_at),
            expires_at=_seconds(batch.expires_at),
            request_counts=RequestCounts(batch.total, batch.completed, batch.failed),
            metadata=details.metadata,
            in_progress_at=reached("in_progress"),
            finalizing_at=reached("finalizing"),
            completed_at=reached("completed"),
            failed_at=reached("failed"),
            expired_at=reached("expired"),
            cancelling_at=reached("cancelling"),
            cancelled_at=reached("cancelled"),
        )


def _details(asked: Create, caller: Caller) -> Details:
    return Details(
        window=asked.completion_window,
        metadata=asked.metadata,
        tags=caller.tags,
        session=caller.session,
        subject=caller.subject,
        keep=caller.keep,
    )


def _hours(window: str) -> int:
    match = _WINDOW.fullmatch(window)
    if match is None or int(match[1]) > _LONGEST_WINDOW_H:
        what = f"completion_window is {window!r}; it may be 1h to {_LONGEST_WINDOW_H}h"
        raise GatewayError(400, what, code="unsupported_value", param="completion_window")
    return int(match[1])


def _seconds(at: int | None) -> int | None:
    return None if at is None else at // 1_000_000


def _json(value: Any) -> Response:  # noqa: ANN401 (any JSON-able value)
    return Response(msgspec.json.encode(value), media_type="application/json")
