"""`/v1/files`: what batches read and what they answered, sealed on disk. Each caller sees their own.

Source of the shapes: OpenAI's API reference, *Files*.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from freehold.gateway.call import caller_of
from freehold.gateway.faults import GatewayError
from freehold.gateway.operations import FORM, JSON, REFUSED, Asked, Operation, Says
from freehold.gateway.owners import Owners
from freehold.gateway.upload import received
from freehold.store import batches as rows
from freehold.store.batches import File
from freehold.store.database import Store
from freehold.store.sealed import Vault

DAYS_KEPT = 30
_DAY_US = 86_400_000_000
_MOST = 10_000


class _Listed(Protocol):
    @property
    def id(self) -> str: ...


D = TypeVar("D", bound=_Listed)


class FileDocument(msgspec.Struct, frozen=True):
    """A file, as OpenAI's clients read it. Times are seconds since 1970, UTC."""

    id: str
    object: str
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: str = "processed"
    status_details: str | None = None


class Form(msgspec.Struct):
    """What is uploaded: the file, and what for."""

    file: bytes
    purpose: Literal["batch"]


class Page(msgspec.Struct, Generic[D], frozen=True):
    """A page of a list."""

    object: str
    data: list[D]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(msgspec.Struct, frozen=True):
    """A file is gone."""

    id: str
    object: str
    deleted: bool


AFTER = Asked("after", "the id behind which to go on")
_LIMIT = Asked("limit", "how many", Annotated[int, msgspec.Meta(ge=1, le=_MOST)])
_FAILS = (*REFUSED, 404)
_UPLOAD = Says("Take a file of requests.", {FORM: Form}, {JSON: FileDocument}, (400, 413, *REFUSED))
_LIST = Says(
    "The caller's files, newest first.",
    gives={JSON: Page[FileDocument]},
    fails=(400, *REFUSED),
    query=(_LIMIT, AFTER, Asked("purpose", "only those for this")),
)
_RETRIEVE = Says("A file.", gives={JSON: FileDocument}, fails=_FAILS)
_DELETE = Says("Delete a file.", gives={JSON: Deleted}, fails=(409, *_FAILS))
_CONTENT = Says("What a file holds.", gives={"application/jsonl": None}, fails=_FAILS)


class FilePages:
    """The routes of files."""

    def __init__(self, store: Store, vault: Vault, owners: Owners) -> None:
        self._store = store
        self._vault = vault
        self._owners = owners

    def routes(self) -> list[BaseRoute]:
        return [
            Operation("POST", "/v1/files", self.upload, _UPLOAD),
            Operation("GET", "/v1/files", self.list, _LIST),
            Operation("GET", "/v1/files/{id}", self.retrieve, _RETRIEVE),
            Operation("DELETE", "/v1/files/{id}", self.delete, _DELETE),
            Operation("GET", "/v1/files/{id}/content", self.content, _CONTENT),
        ]

    async def upload(self, request: Request) -> Response:
        owner = self._owners.of(caller_of(request.scope))
        id = f"file-{secrets.token_hex(12)}"
        try:
            upload = await received(request.scope, request.receive, lambda: self._vault.writer(id))
            purpose = upload.fields.get("purpose")
            if purpose != "batch":
                what = f"purpose is {purpose!r}; files are taken for batches, with the purpose batch"
                raise GatewayError(400, what, code="unsupported_value", param="purpose")
            file = self._file(id, owner, "batch", upload.size, str(upload.filename))
            await asyncio.to_thread(rows.add_file, self._store, file)
        except BaseException:
            self._vault.erase(id)
            raise
        return _json(self._document(file))

    def answers(self, id: str, owner: str, size: int, filename: str) -> File:
        """The row of a file that a batch wrote."""
        return self._file(id, owner, "batch_output", size, filename)

    async def list(self, request: Request) -> Response:
        owner = self._owners.of(caller_of(request.scope))
        asked = request.query_params
        limit = bound(asked.get("limit"), _MOST)
        after, purpose = asked.get("after"), asked.get("purpose")
        found = await asyncio.to_thread(rows.list_files, self._store, owner, limit + 1, after, purpose)
        return _json(paged([self._document(each) for each in found], limit))

    async def retrieve(self, request: Request) -> Response:
        return _json(self._document(await self._found(request)))

    async def delete(self, request: Request) -> Response:
        file = await self._found(request)
        if any(each.input_file == file.id for each in await asyncio.to_thread(rows.still_open, self._store)):
            what = f"{file.id} is read by a batch that has not ended; cancel that first"
            raise GatewayError(409, what, code="file_in_use")
        await asyncio.to_thread(rows.remove_file, self._store, file.id)
        self._vault.erase(file.id)
        return _json(Deleted(file.id, "file", True))

    async def content(self, request: Request) -> Response:
        file = await self._found(request)
        return StreamingResponse(self._pieces(file.id), media_type="application/jsonl")

    async def _pieces(self, id: str) -> AsyncIterator[bytes]:
        frames = self._vault.frames(id)
        while (some := await asyncio.to_thread(_several, frames)) is not None:
            yield some

    async def _found(self, request: Request) -> File:
        owner, id = self._owners.of(caller_of(request.scope)), request.path_params["id"]
        file = await asyncio.to_thread(rows.find_file, self._store, owner, id)
        if file is None:
            raise GatewayError(404, f"there is no file {id} of this key", code="file_not_found", param="id")
        return file

    def _file(self, id: str, owner: str, purpose: str, size: int, filename: str) -> File:
        now = time.time_ns() // 1000
        details = self._vault.seal(filename.encode())
        expires = now + DAYS_KEPT * _DAY_US
        return File(id=id, owner=owner, purpose=purpose, size=size, details=details, created_at=now, expires_at=expires)

    def _document(self, file: File) -> FileDocument:
        return FileDocument(
            id=file.id,
            object="file",
            bytes=file.size,
            created_at=file.created_at // 1_000_000,
            expires_at=file.expires_at // 1_000_000,
            filename=self._vault.unseal(file.details).decode(),
            purpose=file.purpose,
        )


def _several(frames: Any) -> bytes | None:  # noqa: ANN401 (an iterator of frames)
    """Some of them at once: a thread for each line of answers would be slow."""
    parts, size = [], 0
    for _, content in frames:
        parts.append(content)
        size += len(content)
        if size >= 1 << 18:
            break
    return b"".join(parts) if parts else None


def bound(limit: str | None, most: int) -> int:
    """How many to list; a `GatewayError` of 400 for what is no number in range."""
    if limit is None:
        return most
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit) <= most:
        raise GatewayError(400, f"limit must be 1 to {most}", code="invalid_value", param="limit")
    return int(limit)


def paged(documents: list[D], limit: int) -> Page[D]:
    """A page of a list, when one more than `limit` was looked for."""
    shown = documents[:limit]
    first, last = (shown[0].id, shown[-1].id) if shown else (None, None)
    return Page("list", shown, first, last, len(documents) > limit)


def _json(value: Any) -> Response:  # noqa: ANN401 (any JSON-able value)
    return Response(msgspec.json.encode(value), media_type="application/json")
