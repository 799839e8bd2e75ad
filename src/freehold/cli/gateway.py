"""`freehold serve` and `ask`: the gateway."""

import logging
import time
from typing import Annotated

import typer

from freehold.cli.output import as_json, say
from freehold.store.workspace import Workspace

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def serve(
    host: Annotated[str, typer.Option(help="The address to answer on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to answer on.", min=1, max=65535)] = 8400,
    max_body: Annotated[int, typer.Option(help="The largest request taken, in MiB.", min=1)] = 16,
) -> None:
    """Answer OpenAI's API on this machine until Ctrl-C or SIGTERM."""
    from freehold.gateway import backends
    from freehold.gateway import serve as gateway

    workspace = Workspace.here()
    settings = gateway.Settings(host=host, port=port, max_body=max_body * 1024 * 1024)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")

    def ready(names: list[str]) -> None:
        say(f"gateway on {settings.url}/v1")
        say(f"answers as {', '.join(names)}" if names else "nothing is deployed yet; `freehold run` deploys what wins")

    gateway.serve(workspace, settings, backends.of(workspace), ready)


def ask(
    task: Annotated[str, typer.Argument(help="The name that the model is deployed under.")],
    message: Annotated[str, typer.Argument(help="What to ask it.")],
    json: JsonOption = False,
) -> None:
    """Ask a deployed model once."""
    from freehold.gateway import backends
    from freehold.gateway.ask import ask as ask_once

    workspace = Workspace.here()
    begun = time.perf_counter()
    reply = ask_once(workspace, backends.of(workspace), task, message)
    if json:
        as_json(
            {
                "task": task,
                "answer": reply.text,
                "finish_reason": reply.finish_reason,
                "input_tokens": reply.input_tokens,
                "output_tokens": reply.output_tokens,
                "seconds": round(time.perf_counter() - begun, 3),
            }
        )
    else:
        say(reply.text)
