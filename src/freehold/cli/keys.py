"""`freehold keys`: Freehold's own keys."""

import time
from typing import Annotated, Literal

import typer

from freehold.cli.amounts import PICO, amount, recorded
from freehold.cli.output import as_json, say, table

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

keys = typer.Typer(no_args_is_help=True, add_completion=False, help="Freehold's own keys: create, list, revoke.")


@keys.command("create")
def create_key(  # noqa: PLR0913 (one parameter an option)
    name: Annotated[str, typer.Argument(help="What the key is called in lists and on bills.")],
    models: Annotated[str | None, typer.Option(help="The models it may use, with commas.")] = None,
    budget: Annotated[str | None, typer.Option(help="Such as '50 USD'.")] = None,
    period: Annotated[Literal["day", "month", "ever"], typer.Option(help="What the budget is for.")] = "month",
    requests: Annotated[int | None, typer.Option(help="Requests a minute.", min=1)] = None,
    tokens: Annotated[int | None, typer.Option(help="Tokens a minute.", min=1)] = None,
    days: Annotated[int | None, typer.Option(help="Days until it expires.", min=1)] = None,
    json: JsonOption = False,
) -> None:
    """Make a key. Its secret is shown once, and kept nowhere."""
    from freehold.store.keys import Allowance, create

    money_of, currency = amount(budget, "--budget") if budget else (None, "USD")
    allowance = Allowance(
        models=tuple(each.strip() for each in models.split(",")) if models else None,
        budget=int(money_of * PICO) if money_of is not None else None,
        currency=currency,
        period=period,
        requests_per_minute=requests,
        tokens_per_minute=tokens,
        expires_at=time.time_ns() // 1000 + days * 86_400_000_000 if days else None,
    )
    key, secret = create(recorded(), name, allowance)
    if json:
        as_json({"id": key.id, "name": key.name, "key": secret})
    else:
        say(secret)
        say(f"this is the only time that the key {name} is shown")


@keys.command("list")
def list_keys(json: JsonOption = False) -> None:
    """List the keys, without their secrets."""
    from freehold.gateway.prices import money
    from freehold.store.keys import every

    found = every(recorded())
    if json:
        return as_json(
            [{"id": k.id, "name": k.name, "revoked": k.revoked_at is not None, "allowance": k.allowance} for k in found]
        )
    rows = []
    for key in found:
        allowed = key.allowance
        budget = f"{money(allowed.budget, allowed.currency)} a {allowed.period}" if allowed.budget is not None else "–"
        state = "revoked" if key.revoked_at is not None else "living"
        rows.append([key.id, key.name, state, ", ".join(allowed.models or ()) or "all", budget])
    table(["id", "name", "state", "models", "budget"], rows)


@keys.command("revoke")
def revoke_key(name: Annotated[str, typer.Argument(help="The key's name or id.")]) -> None:
    """End a key; a running gateway follows within a second."""
    from freehold.store.keys import revoke

    revoke(recorded(), name)
    say(f"{name} is revoked")
