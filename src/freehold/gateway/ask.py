"""One question to a deployed model, from the terminal: the path of a request to the gateway, without the gateway."""

import asyncio
from collections.abc import Callable, Sequence

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
    replies: list[Reply] = []
    ask_each(workspace, backends, name, [message], replies.append)
    return replies[0]


def ask_each(
    workspace: Workspace, backends: Backends, name: str, messages: Sequence[str], heard: Callable[[Reply], None]
) -> None:
    """Start what is deployed as `name`, ask it each message by itself, and stop it; replies are heard as they come."""
    asyncio.run(_ask_each(workspace, backends, name, messages, heard))


async def _ask_each(
    workspace: Workspace, backends: Backends, name: str, messages: Sequence[str], heard: Callable[[Reply], None]
) -> None:
    store = connect(workspace.database_url)
    children = Children(backends.engine_for)
    try:
        roster = Roster(workspace, store, children, backends.load_classifier)
        deployment = current(store, name)
        if isinstance(deployment.target, RemoteTarget):
            raise NotFoundError(f"{name} is answered by a remote model; ask it through `freehold serve`")
        await roster.adopt({name: replace(deployment, shares=(), fallbacks=(), shadow=None)})
        respondent = roster.served[name].respondent(deployment.target)
        for message in messages:
            heard(await respondent.answer(ChatRequest(model=name, messages=[Turn(role="user", content=message)])))
    finally:
        await children.stop()
        store.dispose()
