"""The console beside the gateway: every page's address, and what it does in the background."""

import asyncio
from collections.abc import Sequence

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.console import assets, widget
from freehold.console.follower import Follower
from freehold.console.house import House, Visit
from freehold.console.page import Page
from freehold.console.pages import (
    arena,
    data,
    decision,
    deployments,
    evaluation,
    keys,
    models,
    overview,
    people,
    playground,
    sign_in,
    traffic,
    tuning,
)
from freehold.console.works import Works
from freehold.gateway.door import Desk
from freehold.store.database import Store
from freehold.store.workspace import Workspace

ROOMS = (
    sign_in,
    overview,
    traffic,
    data,
    models,
    tuning,
    evaluation,
    arena,
    decision,
    deployments,
    keys,
    playground,
    people,
)


class Console:
    """A room beside the gateway's own addresses."""

    derives = "freehold.console.follower:Follower"

    def __init__(self, workspace: Workspace, store: Store, desk: Desk | None, works: Works | None = None) -> None:
        self.house = House(workspace, store, desk, works or Works(workspace, store))
        self._follower = Follower(store)

    def routes(self) -> Sequence[BaseRoute]:
        """Where each page is answered."""
        pages = (*FILES, *(page for room in ROOMS for page in room.PAGES))
        return [*(page.route(self.house) for page in pages), *widget.routes(self.house)]

    async def begin(self) -> None:
        """Read the catalogue once."""
        await asyncio.to_thread(models.warm)

    async def follow(self) -> None:
        """Begin, then keep what is derived near the end of the traffic, for ever."""
        await self.begin()
        await self._follower.follow()


def _icon(_: Visit) -> Response:
    """For pages that name none, such as a certificate."""
    return assets.response("mark.svg")


def _asset(visit: Visit) -> Response:
    return assets.response(visit.params["name"])


FILES = (Page("/assets/{digest}/{name}", _asset, role=None), Page("/favicon.ico", _icon, role=None))
