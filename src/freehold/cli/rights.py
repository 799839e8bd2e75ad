"""`freehold rights`: may I use this model so?"""

import re
from typing import Annotated

import typer

from freehold.catalogue import rights as gate
from freehold.catalogue.rights import Behind, Verdict
from freehold.cli.output import as_json, say
from freehold.errors import UserError
from freehold.spec import Use

_SCALE = {"": 1, "K": 1_000, "M": 1_000_000, "B": 1_000_000_000}


def _flag(name: str, help_text: str) -> typer.models.OptionInfo:
    return typer.Option(f"--{name}/--no-{name}", help=help_text, callback=_agreed)  # type: ignore[no-any-return]


def _agreed(option: typer.CallbackParam, given: list[bool] | None) -> list[bool] | None:
    """Refuse a flag that is given both ways."""
    if given and len(set(given)) > 1:
        raise UserError(f"the use contradicts itself: --{option.opts[0][2:]} and its opposite are both given")
    return given


def _one(given: list[bool] | None) -> bool | None:
    return given[0] if given else None


def rights(  # noqa: PLR0913 (one parameter an option)
    model: Annotated[str, typer.Argument(help="A model, or MODEL@DATE for a copy obtained on a date.")],
    commercial: Annotated[list[bool] | None, _flag("commercial", "Whether money is earned with it.")] = None,
    mau: Annotated[str | None, typer.Option(help="Monthly active users of all your products, such as 800M.")] = None,
    hosted_service: Annotated[
        list[bool] | None, _flag("hosted-service", "Whether outsiders may call the model.")
    ] = None,
    redistribute: Annotated[list[bool] | None, _flag("redistribute", "Whether weights leave the company.")] = None,
    train_on_outputs: Annotated[
        list[bool] | None, _flag("train-on-outputs", "Whether its answers train other models.")
    ] = None,
    territory: Annotated[str | None, typer.Option(help="Where it is used: a country code or EU.")] = None,
    field: Annotated[str | None, typer.Option(help="The field of use, such as health or military.")] = None,
    teacher: Annotated[str | None, typer.Option(help="The model whose answers it is trained on.")] = None,
    contract: Annotated[
        str, typer.Option(help="Where your contract with the teacher allows training, such as 'MSA 2026, s4'.")
    ] = "",
    data: Annotated[list[str] | None, typer.Option(help="A licence of the training data; may be repeated.")] = None,
    adapter: Annotated[str | None, typer.Option(help="The licence of an adapter that is used with it.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Say whether a model may be used so, with the clause that decides. Not legal advice."""
    use = Use(
        commercial=_one(commercial),
        monthly_active_users=None if mau is None else _number(mau),
        hosted_service=_one(hosted_service),
        redistribute=_one(redistribute),
        train_on_outputs=_one(train_on_outputs),
        territory=territory,
        field=field,
    )
    if contract and not teacher:
        raise UserError("--contract is about a teacher's answers; name the model with --teacher")
    behind = Behind(teacher=teacher, contract=contract, data=tuple(data or ()), adapter=adapter)
    verdict = gate.check(model, use, behind)
    as_json(verdict) if json else _print(verdict)
    return verdict.exit_code


def _number(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMB]?)", text.strip().upper())
    if not match:
        raise UserError(f"--mau: {text} is not a number of users; write it as 800M, 25K or 1200")
    return int(float(match[1]) * _SCALE[match[2]])


def _print(verdict: Verdict) -> None:
    licences = " · ".join(verdict.licences)
    say(f"{verdict.headline} ({licences})" if not verdict.reasons else verdict.headline)
    deciding = [reason for reason in verdict.reasons if reason.answer is verdict.verdict]
    for reason in deciding:
        about = "" if reason.concerns == "the model" else f" ({reason.concerns})"
        say(f"  {reason.sentence}{about}   {reason.licence}, {reason.clause}")
    others = [f"{each.sentence} ({each.clause})" for each in verdict.reasons if each not in deciding]
    for title, lines in (("also", others), ("duties", verdict.duties)):
        for line in dict.fromkeys(lines):
            say(f"{title}: {line}")
    say(f"{verdict.notice} · facts read from the licence text on {verdict.read_on or 'no date: no text was read'}")
