"""One question to a deployed model, from the terminal: the path of a request to the gateway, without the gateway."""

import asyncio

from msgspec.structs import replace

from freehold.errors import NotFoundError
from freehold.gateway.backends import Backends
from freehold.gateway.chat import ChatRequest, Reply, Turn
from freehold.gateway.children import Children
from freehold.gateway.roster import Roster
from freehold.store.database import connect
from freehold.store.deployments import RemoteTarget, current
from freehold.store.workspace import Workspace


def ask(workspace: Workspace, backends: Backends, name: str, message: str) -> Reply:
    """Start what is deployed as `name`, ask it once, and stop it. Raises `NotFoundError` naming a near name."""
    return asyncio.run(_ask(workspace, backends, name, message))


async def _ask(workspace: Workspace, backends: Backends, name: str, message: str) -> Reply:
    store = connect(workspace.database_url)
    children = Children(backends.engine_for)
    try:
        roster = Roster(workspace, store, children, backends.load_classifier)
        deployment = current(store, name)
        if isinstance(deployment.target, RemoteTarget):
            raise NotFoundError(f"{name} is answered by a remote model; ask it through `freehold serve`")
        await roster.adopt({name: replace(deployment, shares=(), fallbacks=(), shadow=None)})
        respondent = roster.served[name].respondent(deployment.target)
        return await respondent.answer(ChatRequest(model=name, messages=[Turn(role="user", content=message)]))
    finally:
        await children.stop()
        store.dispose()
