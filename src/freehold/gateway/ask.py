"""Questions to a deployed model, from the terminal: through the gateway where one runs, else by its path without one.

A running gateway leaves its address in the workspace (`gateway.json`), and takes it away when it stops.
"""

import asyncio
import http.client
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from freehold.errors import NotFoundError, UserError
from freehold.gateway.backends import Backends
from freehold.gateway.chat import ChatRequest, Reply, Turn
from freehold.gateway.children import Children
from freehold.gateway.roster import Roster
from freehold.store.database import connect
from freehold.store.deployments import Deployment, EmbedderTarget, RemoteTarget, current
from freehold.store.workspace import Workspace, write_atomically

ADDRESS_FILE = "gateway.json"
_CONNECT_S = 1.0


class Address(msgspec.Struct, frozen=True):
    """Where a running gateway of this workspace answers, without /v1; over TLS, the certificate that it shows."""

    url: str
    certificate: str | None = None


class _Said(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Said
    finish_reason: str | None = None


class _Counts(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Counts = msgspec.field(default_factory=_Counts)


@contextmanager
def announced(workspace: Workspace, url: str, certificate: str | None = None) -> Iterator[None]:
    """The gateway's address is in the workspace while the block runs."""
    path = workspace.root / ADDRESS_FILE
    write_atomically(path, msgspec.json.encode(Address(url, certificate)))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def ask(workspace: Workspace, backends: Backends, name: str, message: str) -> Reply:
    """The answer of what is deployed as `name`. Raises `NotFoundError` naming a near name."""
    store = connect(workspace.database_url)
    current(store, name)
    store.dispose()
    running = _through(workspace.root / ADDRESS_FILE, name, message)
    if running is not None:
        return running
    replies: list[Reply] = []
    ask_each(workspace, backends, name, [message], replies.append)
    return replies[0]


def ask_each(
    workspace: Workspace, backends: Backends, name: str, messages: Sequence[str], heard: Callable[[Reply], None]
) -> None:
    """Start what is deployed as `name`, ask it each message by itself, and stop it; replies are heard as they come."""
    store = connect(workspace.database_url)
    deployment = current(store, name)
    store.dispose()
    if isinstance(deployment.target, RemoteTarget):
        raise NotFoundError(f"{name} is answered by a remote model; ask it through `freehold serve`")
    if isinstance(deployment.target, EmbedderTarget):
        raise UserError(f"{name} answers with vectors; ask it at /v1/embeddings, through `freehold serve`")
    alone = replace(deployment, shares=(), fallbacks=(), shadow=None, cascade=None)
    chats = [ChatRequest(model=name, messages=[Turn(role="user", content=message)]) for message in messages]
    ask_conversations(workspace, backends, alone, chats, heard)


def ask_conversations(
    workspace: Workspace,
    backends: Backends,
    deployment: Deployment,
    chats: Sequence[ChatRequest],
    heard: Callable[[Reply], None],
) -> None:
    """Start a deployment's own target, put each conversation to it, one after the other, and stop it."""
    asyncio.run(_ask_each(workspace, backends, deployment, chats, heard))


async def _ask_each(
    workspace: Workspace,
    backends: Backends,
    deployment: Deployment,
    chats: Sequence[ChatRequest],
    heard: Callable[[Reply], None],
) -> None:
    store = connect(workspace.database_url)
    children = Children(backends.engine_for)
    try:
        roster = Roster(workspace, store, children, backends.load_classifier)
        await roster.adopt({deployment.name: deployment})
        respondent = roster.served[deployment.name].respondent(deployment.target)
        for chat in chats:
            heard(await respondent.answer(chat))
    finally:
        await children.stop()
        store.dispose()


def _connection(address: Address) -> http.client.HTTPConnection:
    parts = urlsplit(address.url)
    host = parts.hostname or "127.0.0.1"
    if address.certificate is None:
        return http.client.HTTPConnection(host, parts.port, timeout=_CONNECT_S)
    context = ssl.create_default_context(cafile=address.certificate)
    context.check_hostname = False  # it is this machine's own, and the very certificate that it serves with
    return http.client.HTTPSConnection(host, parts.port, timeout=_CONNECT_S, context=context)


def _through(address: Path, name: str, message: str) -> Reply | None:
    """The running gateway's answer; None where none runs (one that was killed leaves its address), or it refuses."""
    try:
        connection = _connection(msgspec.json.decode(address.read_bytes(), type=Address))
        connection.connect()
        connection.sock.settimeout(None)
        asked = {"model": name, "messages": [{"role": "user", "content": message}]}
        connection.request("POST", "/v1/chat/completions", msgspec.json.encode(asked))
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            return None
        answer = msgspec.json.decode(content, type=_Completion)
    except (OSError, http.client.HTTPException, msgspec.MsgspecError):
        return None
    choice = answer.choices[0]
    return Reply(
        text=choice.message.content or "",
        finish_reason=choice.finish_reason or "stop",
        input_tokens=answer.usage.prompt_tokens,
        output_tokens=answer.usage.completion_tokens,
    )
