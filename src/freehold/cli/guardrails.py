"""`freehold deploy guard` and `deploy cache`: what a deployment checks, and what it answers from memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from freehold.cli.amounts import recorded
from freehold.cli.output import as_json, say, table
from freehold.errors import UserError, did_you_mean
from freehold.store.workspace import Workspace

if TYPE_CHECKING:
    from freehold.store.deployments import Deployment
    from freehold.store.guardrails import Guardrail

_MIB = 1024 * 1024


def guard(  # noqa: PLR0913 (one parameter an option)
    name: Annotated[str, typer.Argument(help="The public model name.")],
    guardrail: Annotated[
        str | None, typer.Argument(help="The guardrail's own name; without one they are listed.")
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(
            help="What to check before the model: pattern, deny, length, language, schema, "
            "classifier, model, or python:FILE.py:NAME."
        ),
    ] = None,
    after: Annotated[str | None, typer.Option(help="What to check in the answer: the same.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the check, NAME=VALUE; NAME=@FILE reads a file.")
    ] = None,
    action: Annotated[
        Literal["block", "redact", "flag"], typer.Option(help="What to do with what is found.")
    ] = "block",
    reads: Annotated[
        Literal["user", "last", "all"], typer.Option(help="Whose words of a request are checked.")
    ] = "user",
    timeout_ms: Annotated[int, typer.Option(help="How long a check may take.", min=1, max=600_000)] = 1000,
    on_failure: Annotated[
        Literal["block", "pass"], typer.Option(help="What to do when a check breaks or takes too long.")
    ] = "block",
    off: Annotated[bool, typer.Option("--off", help="Take the guardrail away.")] = False,
    reason: Annotated[str, typer.Option(help="Why; kept with the row.")] = "freehold deploy guard",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check requests or answers of a deployment while it runs; show what is checked."""
    from freehold.store import deployments
    from freehold.store.guardrails import Guardrail

    deployment = deployments.current(recorded(), name)
    if guardrail is None or not (before or after or off):
        if guardrail is not None:
            _require(deployment, guardrail)
        return _show([each for each in deployment.guardrails if guardrail in (None, each.name)], json)
    if off:
        _require(deployment, guardrail)
        return _change(deployment, [each for each in deployment.guardrails if each.name != guardrail], reason)
    if (before is None) == (after is None):
        raise UserError("name one of --before and --after")
    check = before or after or ""
    wanted = Guardrail(
        name=guardrail,
        when="before" if before else "after",
        check=_absolute(check),
        settings=_settings(setting or ()),
        action=action,
        reads=reads,
        timeout_ms=timeout_ms,
        on_failure=on_failure,
    )
    _checked(Workspace.here(), deployment, wanted)
    kept = [each for each in deployment.guardrails if each.name != guardrail]
    at = next((at for at, each in enumerate(deployment.guardrails) if each.name == guardrail), len(kept))
    _change(deployment, [*kept[:at], wanted, *kept[at:]], reason)


def cache(  # noqa: PLR0913 (one parameter an option)
    name: Annotated[str, typer.Argument(help="The public model name.")],
    on: Annotated[
        bool | None, typer.Option("--on/--off", help="Whether equal requests are answered from memory.")
    ] = None,
    max_mib: Annotated[int, typer.Option(help="How much is kept, in MiB.", min=1)] = 64,
    max_age_s: Annotated[float, typer.Option(help="How long an answer is kept.", min=0.1)] = 3600.0,
    shared: Annotated[bool, typer.Option("--shared", help="Let all keys have each other's answers.")] = False,
    sampled: Annotated[
        bool, typer.Option("--sampled", help="Keep answers too that asked for neither temperature 0 nor a seed.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why; kept with the row.")] = "freehold deploy cache",
) -> None:
    """Answer equal requests of a deployment from memory; without --on or --off, show whether that is so."""
    from msgspec.structs import replace

    from freehold.store import deployments
    from freehold.store.guardrails import CacheRule

    store = recorded()
    deployment = deployments.current(store, name)
    if on is not None:
        rule = CacheRule(max_bytes=max_mib * _MIB, max_age_s=max_age_s, shared=shared, sampled=sampled)
        deployment = replace(deployment, cache=rule if on else None)
        deployments.deploy(store, deployment, reason)
    held = deployment.cache
    if held is None:
        return say(f"{name} answers nothing from memory; --on lets it")
    whose = "all keys together" if held.shared else "each key by itself"
    which = "every request" if held.sampled else "temperature 0 or a seed"
    say(f"{name}: {held.max_bytes // _MIB} MiB, {held.max_age_s:g} s an answer, {whose}, {which}")


def _show(guardrails: "Sequence[Guardrail]", json: bool) -> None:
    if json:
        return as_json(list(guardrails))
    if not guardrails:
        return say("no guardrail; set one with --before or --after")
    rows = [
        [
            each.name,
            each.when,
            each.check,
            each.action,
            each.reads if each.when == "before" else "–",
            f"{each.timeout_ms} ms, then {each.on_failure}",
        ]
        for each in guardrails
    ]
    table(["guardrail", "when", "check", "action", "reads", "at most"], rows)


def _change(deployment: "Deployment", guardrails: "Sequence[Guardrail]", reason: str) -> None:
    from msgspec.structs import replace

    from freehold.store import deployments

    row = deployments.deploy(recorded(), replace(deployment, guardrails=tuple(guardrails)), reason)
    names = ", ".join(each.name for each in guardrails) or "no guardrail"
    say(f"{deployment.name}: {names} (row {row}); a running gateway follows within a second")


def _require(deployment: "Deployment", guardrail: str) -> None:
    names = [each.name for each in deployment.guardrails]
    if guardrail not in names:
        raise UserError(f"{deployment.name} has no guardrail {guardrail}{did_you_mean(guardrail, names)}")


def _checked(workspace: Workspace, deployment: "Deployment", wanted: "Guardrail") -> None:
    """Raise `UserError` where the check cannot be made as it is set."""
    from freehold.gateway import checks
    from freehold.gateway.guardrails import LONGEST_QUESTION, MODEL_SETTINGS
    from freehold.store import deployments
    from freehold.store.guardrails import MODEL

    if wanted.check != MODEL:
        checks.make(workspace.root, wanted.check, wanted.settings)
        return
    unknown = next((each for each in wanted.settings if each not in MODEL_SETTINGS), None)
    if unknown is not None or "model" not in wanted.settings:
        what = f"{unknown} is not known" if unknown else "model is missing"
        raise UserError(f"model: {what}; its settings are {', '.join(MODEL_SETTINGS)}")
    if len(wanted.settings.get("question", "")) > LONGEST_QUESTION:
        raise UserError(f"question is longer than {LONGEST_QUESTION:,} characters")
    if wanted.settings["model"] == deployment.name:
        raise UserError(f"{deployment.name} cannot be its own guardrail; name another deployed model")
    deployments.current(recorded(), wanted.settings["model"])


def _settings(given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise UserError(f"--set {each}: write NAME=VALUE")
        if value.startswith("@"):
            path = Path(value[1:])
            if not path.is_file():
                raise UserError(f"--set {each}: there is no file {path}")
            value = path.read_text(encoding="utf-8")
        found[name] = value
    return found


def _absolute(check: str) -> str:
    """A stranger's file by its whole path: the gateway may run in another folder."""
    from freehold.store.guardrails import PYTHON

    if not check.startswith(PYTHON):
        return check
    path, _, name = check.removeprefix(PYTHON).rpartition(":")
    return f"{PYTHON}{Path(path).resolve()}:{name}"
