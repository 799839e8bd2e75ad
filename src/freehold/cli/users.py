"""`freehold users`: who may use the console."""

import getpass
from typing import Annotated

import typer

from freehold.cli.amounts import recorded
from freehold.cli.output import as_json, say, table

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
NameArgument = Annotated[str, typer.Argument(help="The user's name.")]

users = typer.Typer(no_args_is_help=True, add_completion=False, help="Who may use the console, and in which role.")


@users.command("list")
def list_users(json: JsonOption = False) -> None:
    """List the users and their roles."""
    from freehold.store.users import every

    found = every(recorded())
    if json:
        return as_json([{"name": each.name, "role": each.role, "created_at": each.created_at} for each in found])
    table(["name", "role"], [[each.name, each.role] for each in found])


@users.command("invite")
def invite_user(
    role: Annotated[str, typer.Argument(help="viewer, voter, editor or admin.")],
    json: JsonOption = False,
) -> None:
    """Make a token that lets one person in; shown once, good for a week."""
    from freehold.store import audit
    from freehold.store import users as people

    store = recorded()
    wanted = people.role(role)
    token = people.invite(store, wanted, _me())
    audit.note(store, _me(), "invited", wanted.value)
    if json:
        as_json({"token": token, "role": wanted})
    else:
        say(token)
        say("this is the only time that it is shown; whoever holds it opens /join of the console")


@users.command("role")
def set_role(name: NameArgument, role: Annotated[str, typer.Argument(help="viewer, voter, editor or admin.")]) -> None:
    """Give a user another role."""
    from freehold.store import audit
    from freehold.store import users as people

    store = recorded()
    people.set_role(store, name, people.role(role))
    audit.note(store, _me(), "role changed", name, role)
    say(f"{name} is {role} now")


@users.command("remove")
def remove_user(name: NameArgument) -> None:
    """End a user and their sessions."""
    from freehold.store import audit
    from freehold.store import users as people

    store = recorded()
    people.remove(store, name)
    audit.note(store, _me(), "user removed", name)
    say(f"{name} was removed")


@users.command("log")
def show_log(
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20, json: JsonOption = False
) -> None:
    """Show who changed what in the console."""
    from freehold.cli.gateway import _moment
    from freehold.store.audit import newest

    found = newest(recorded(), limit)
    if json:
        return as_json(found)
    table(
        ["at (UTC)", "who", "did", "to", "in words"],
        [[_moment(each.at), each.user, each.action, each.subject, each.detail] for each in found],
    )


def _me() -> str:
    """Whoever sits at this terminal."""
    return f"{getpass.getuser()} at a terminal"
