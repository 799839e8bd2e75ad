"""`freehold batch`: many requests from a file, answered into a file."""

import asyncio
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from freehold.cli.output import as_json, say
from freehold.errors import EngineError, UserError
from freehold.store.workspace import Workspace

if TYPE_CHECKING:
    from freehold.gateway.batch import Outcome
    from freehold.progress import Progress


class _Where(NamedTuple):
    """A running gateway, or else the upstream of this batch's own."""

    gateway: str | None
    upstream: str | None
    at_once: int


def batch(
    source: Annotated[Path, typer.Argument(help="Requests, one a line, in OpenAI's batch format.", metavar="IN")],
    target: Annotated[Path, typer.Argument(help="Where the answers go; run again to go on.", metavar="OUT")],
    gateway: Annotated[
        str | None, typer.Option(help="A running gateway's address; left out, one runs for this batch.")
    ] = None,
    upstream: Annotated[str | None, typer.Option(help="Where models go that are not owned here.")] = None,
    at_once: Annotated[int, typer.Option(help="How many requests are under way at once.", min=1, max=256)] = 8,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Answer a file of requests; what is answered is never asked again. The key is $OPENAI_API_KEY, if it is set."""
    from freehold.cli.progress import Terminal

    if not source.is_file():
        raise UserError(f"{source}: no such file; name a file of requests in OpenAI's batch format")
    if gateway is not None and upstream is not None:
        raise UserError("--upstream is for a gateway of this batch's own; the running one has its upstream already")
    address = gateway.rstrip("/").removesuffix("/v1") if gateway else None
    outcome = asyncio.run(_run(source, target, _Where(address, upstream, at_once), Terminal()))
    if json:
        as_json({"answered": outcome.answered, "before": outcome.before, "failed": outcome.failed})
    else:
        say(f"{outcome.answered} answered now, {outcome.before} before, {outcome.failed} failed; answers in {target}")
    if outcome.failed:
        failed = target.with_name(target.name + ".failed")
        raise EngineError(f"{outcome.failed} failed, see {failed}; run the same again to try them once more")


async def _run(source: Path, target: Path, where: "_Where", progress: "Progress") -> "Outcome":
    from freehold.gateway import backends, serve
    from freehold.gateway import batch as batches

    key = os.environ.get("OPENAI_API_KEY")
    if where.gateway is not None:
        return await batches.run(source, target, batches.Door(where.gateway, key, where.at_once), progress)
    workspace = Workspace.here()
    settings = serve.Settings(port=_free_port(), upstream=where.upstream)
    async with serve.serving(workspace, settings, backends.of(workspace)):
        return await batches.run(source, target, batches.Door(settings.url, key, where.at_once), progress)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
