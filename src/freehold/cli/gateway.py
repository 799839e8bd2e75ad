"""`freehold serve`, `ask`, `exchanges` and `fake-upstream`: the gateway."""

import time
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from freehold.cli.amounts import amount, recorded
from freehold.cli.output import as_json, say, table
from freehold.store.workspace import Workspace

if TYPE_CHECKING:
    from freehold.gateway.serve import Settings

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def serve(  # noqa: PLR0913 (one parameter an option)
    upstream: Annotated[str | None, typer.Option(help="Where models go that are not owned here.")] = None,
    upstream_key: Annotated[
        str | None, typer.Option(help="For callers with a fh_ key: a reference such as '${OPENAI_API_KEY}'.")
    ] = None,
    upstream_guardrails: Annotated[
        str | None, typer.Option(help="A deployed name, whose guardrails hold for what goes to --upstream.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to answer on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to answer on.", min=1, max=65535)] = 8400,
    max_body: Annotated[int, typer.Option(help="The largest request taken, in MiB.", min=1)] = 16,
    on_full: Annotated[
        Literal["refuse", "serve-uncaptured"], typer.Option(help="What to do when the disk takes nothing.")
    ] = "refuse",
    redact: Annotated[bool, typer.Option(help="Hide personal and secret values before anything is stored.")] = True,
    machine_hour: Annotated[
        str | None, typer.Option(help="What an hour of this machine costs, such as '0.35 EUR'; prices owned models.")
    ] = None,
    beyond_loopback: Annotated[
        bool, typer.Option("--beyond-loopback", help="Let other machines in without TLS; keys become a must.")
    ] = False,
    tls_cert: Annotated[str | None, typer.Option(help="A certificate (PEM): answer over TLS.")] = None,
    tls_key: Annotated[str | None, typer.Option(help="The certificate's key (PEM, without a password).")] = None,
    log_format: Annotated[
        Literal["text", "json"], typer.Option(help="json writes a line a request, without content.")
    ] = "text",
    workers: Annotated[int, typer.Option(help="How many processes answer, on one port and one store.", min=1)] = 1,
    traces: Annotated[
        str | None, typer.Option(help="An OTLP collector, such as http://127.0.0.1:4318: send OpenTelemetry traces.")
    ] = None,
    speculate: Annotated[
        str | None, typer.Option(help="Draft free text ahead: a method of llama.cpp's, such as ngram-simple.")
    ] = None,
    require_keys: Annotated[bool, typer.Option("--require-keys", help="Answer only callers with a fh_ key.")] = False,
) -> None:
    """Answer OpenAI's API on this machine until Ctrl-C or SIGTERM, with the console beside it."""
    from freehold.console.app import Console
    from freehold.gateway import backends
    from freehold.gateway import serve as gateway
    from freehold.gateway.logs import logging_to_stderr
    from freehold.store import deployments
    from freehold.store.database import connect
    from freehold.store.users import first_token

    workspace = Workspace.here()
    price, currency = amount(machine_hour, "--machine-hour") if machine_hour else (None, "USD")
    settings = gateway.Settings(
        host=host,
        port=port,
        upstream=upstream,
        upstream_key=upstream_key,
        upstream_guardrails=upstream_guardrails,
        max_body=max_body * 1024 * 1024,
        on_full=on_full,
        redact=redact,
        machine_hour=price,
        currency=currency,
        beyond_loopback=beyond_loopback,
        require_keys=require_keys,
        tls_cert=tls_cert,
        tls_key=tls_key,
        log_json=log_format == "json",
        traces=traces,
        workers=workers,
        keeper_apart=True,
        speculate=speculate,
    )
    gateway.check_address(settings)
    if upstream_guardrails is not None:
        deployments.current(connect(workspace.database_url), upstream_guardrails)
    token = first_token(connect(workspace.database_url))

    def ready(names: list[str]) -> None:
        _announce(settings, workspace, token, names)

    with logging_to_stderr(log_format):
        if workers > 1:
            from freehold.gateway.workers import run

            return run(
                workspace,
                settings,
                backends.of(workspace, speculate),
                ready,
                f"{Console.__module__}:{Console.__name__}",
            )
        gateway.serve(workspace, settings, backends.of(workspace, speculate), ready, Console)


def _announce(settings: "Settings", workspace: Workspace, token: str | None, names: list[str]) -> None:
    """What a person sees when the gateway answers."""
    from freehold.gateway.serve import is_loopback

    say(f"gateway on {settings.url}/v1 · console {settings.url}/ · recording to {workspace.root}")
    if token:
        say(f"first sign-in to the console, shown this once: {settings.url}/join?token={token}")
    reach = "loopback only" if is_loopback(settings.host) else "open to other machines"
    say(f"redaction {'on' if settings.redact else 'off'} · {reach}")
    say(f"answers as {', '.join(names)}" if names else "nothing is deployed yet; `freehold run` deploys what wins")
    if settings.upstream:
        say(f"every model not owned here goes to {settings.upstream} with the caller's key")


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


def exchanges(
    model: Annotated[str | None, typer.Option(help="Only this model's.")] = None,
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1)] = 20,
    count: Annotated[bool, typer.Option("--count", help="Only say how many there are.")] = False,
    json: JsonOption = False,
) -> None:
    """List what the gateway recorded, newest first."""
    from freehold.store import exchanges as kept

    store = recorded()
    if count:
        number = kept.count(store, model)
        return as_json({"count": number}) if json else say(str(number))
    rows = kept.listed(store, limit, model)
    if json:
        return as_json(rows)
    shown = [
        [
            each.id[:16],
            _moment(each.at),
            each.model,
            each.answered_by.removeprefix(f"{each.model}: "),
            each.status,
            round(each.latency_ms, 1),
        ]
        for each in rows
    ]
    table(["exchange", "at (UTC)", "model", "answered by", "status", "ms"], shown)


def fake_upstream(  # noqa: PLR0913 (one parameter an option)
    port: Annotated[int, typer.Option(help="The port to answer on.", min=1, max=65535)] = 8401,
    latency_ms: Annotated[float, typer.Option(help="Wait before each answer.", min=0)] = 0.0,
    errors: Annotated[float, typer.Option(help="Share of requests that fail.", min=0, max=1)] = 0.0,
    status: Annotated[int, typer.Option(help="The status that they fail with.", min=400, max=599)] = 500,
    rate_limit: Annotated[int | None, typer.Option(help="Answer 429 after this many requests.", min=0)] = None,
    cuts: Annotated[float, typer.Option(help="Share of streams that break off.", min=0, max=1)] = 0.0,
    split: Annotated[int | None, typer.Option(help="Send streams in pieces of this many bytes.", min=1)] = None,
    split_at: Annotated[int | None, typer.Option(help="Cut every answer in two behind this many bytes.", min=1)] = None,
    accents: Annotated[bool, typer.Option("--accents", help="Answer in letters of several bytes.")] = False,
    pause_ms: Annotated[float, typer.Option(help="Wait before each event of a stream.", min=0)] = 0.0,
    tokens: Annotated[int, typer.Option(help="Words an answer.", min=1)] = 12,
) -> None:
    """Answer OpenAI's API without a model, with dials, for tests and a first look."""
    from freehold.gateway import serve as gateway
    from freehold.gateway.fake_upstream import Dials, FakeUpstream

    dials = Dials(
        latency_ms=latency_ms,
        errors=errors,
        status=status,
        rate_limit=rate_limit,
        cuts=cuts,
        split=split,
        split_at=split_at,
        accents=accents,
        pause_ms=pause_ms,
        tokens=tokens,
    )
    settings = gateway.Settings(port=port)
    gateway.listen(FakeUpstream(dials), settings, lambda: say(f"fake upstream on {settings.url}/v1"))


def _moment(microseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(microseconds / 1e6))
