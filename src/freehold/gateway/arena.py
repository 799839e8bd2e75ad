"""The arena over HTTP: deal a blind comparison, take a vote. Whose answers they are never leaves this machine."""

import asyncio
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.data import freeze
from freehold.errors import NotFoundError
from freehold.evaluation import report as reports
from freehold.evaluation.arena.ballot import Ballot, Shown
from freehold.gateway import body
from freehold.gateway.call import caller_of
from freehold.gateway.door import Desk
from freehold.gateway.operations import JSON, REFUSED, Operation, Says
from freehold.store.bouts import LONGEST_NAME, WINNERS, Bouts
from freehold.store.database import Store
from freehold.store.documents import Documents
from freehold.store.workspace import Workspace


class Vote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a voter sends."""

    id: str
    winner: Annotated[str, msgspec.Meta(extra_json_schema={"enum": WINNERS})]
    voter: Annotated[str, msgspec.Meta(extra_json_schema={"minLength": 1, "maxLength": LONGEST_NAME})]


class Cast(msgspec.Struct, frozen=True):
    """A vote was kept."""

    id: str
    winner: str


_VOTE = msgspec.json.Decoder(Vote)
_DEAL = Says("Deal a blind comparison of a task.", gives={JSON: Shown}, fails=(*REFUSED, 404, 409))
_CAST = Says("Vote on a comparison.", {JSON: Vote}, {JSON: Cast}, (400, 404, 413, *REFUSED))


class ArenaPages:
    """Two addresses over the newest report of a task."""

    def __init__(self, desk: Desk, workspace: Workspace, store: Store) -> None:
        self._desk, self._workspace, self._store = desk, workspace, store

    def routes(self) -> list[BaseRoute]:
        return [
            Operation("POST", "/freehold/v1/arena/{task}/bouts", self.deal, _DEAL),
            Operation("POST", "/freehold/v1/arena/votes", self.vote, _CAST),
        ]

    async def deal(self, request: Request) -> Response:
        """The next comparison: its id, the question, and two answers."""
        self._desk.keyring.whose(caller_of(request.scope).secret)
        shown = await asyncio.to_thread(self._dealt, request.path_params["task"])
        return Response(msgspec.json.encode(shown), media_type="application/json")

    async def vote(self, request: Request) -> Response:
        """Keep one vote on a comparison that was dealt."""
        self._desk.keyring.whose(caller_of(request.scope).secret)
        content = await body.read(request.scope, request.receive, self._desk.max_body)
        said = body.typed(content, _VOTE)
        await asyncio.to_thread(Bouts(self._store).cast, said.id, said.winner, said.voter)
        return Response(msgspec.json.encode(Cast(said.id, said.winner)), media_type="application/json")

    def _dealt(self, task: str) -> Shown:
        document = Documents(self._store).newest("report", task)
        if document is None:
            raise NotFoundError(f"{task}: there is no report yet; `freehold run` makes one")
        report = reports.read(self._workspace, document.digest)
        examples = {each.id: each for each in freeze.examples(self._workspace, report.dataset)}
        rows = reports.read_rows(self._workspace, report)
        return Ballot(report, rows, examples, Bouts(self._store)).deal()
