"""Who may do what here, and who changed what: users, invitations, roles, the audit log."""

from starlette.responses import Response

from freehold.console.house import Visit
from freehold.console.page import Page
from freehold.errors import NotFoundError
from freehold.store import audit, users
from freehold.store.users import Role

_LINES = 50


def show(visit: Visit) -> Response:
    """Everybody, and the newest changes."""
    return _page(visit, token=None)


def invite(visit: Visit) -> Response:
    """A token for one new user, shown on this page and never again."""
    role = users.role(visit.form.get("role"))
    token = users.invite(visit.store, role, visit.user.user)
    visit.log("invited", str(role))
    return _page(visit, token=token)


def change(visit: Visit) -> Response:
    """Another role for a user."""
    name, role = visit.params["name"], users.role(visit.form.get("role"))
    users.set_role(visit.store, name, role)
    visit.log("role changed", name, str(role))
    return visit.go("/people", f"{name} is {role} now")


def ask_removal(visit: Visit) -> Response:
    """Is that meant?"""
    name = visit.params["name"]
    if users.find(visit.store, name) is None:
        raise NotFoundError(f"there is no user {name}")
    return visit.page(
        "confirm.html",
        title=f"Remove {name}?",
        lines=["Every session of theirs ends at once, and the name is never given again."],
        action=f"/people/{name}/remove",
        fields=[],
        word="Remove",
        back="/people",
    )


def remove(visit: Visit) -> Response:
    """End a user."""
    name = visit.params["name"]
    users.remove(visit.store, name)
    visit.log("user removed", name)
    return visit.go("/people", f"{name} was removed")


def _page(visit: Visit, token: str | None) -> Response:
    number = visit.query.number("page", "page", 1) or 1
    changes = audit.newest(visit.store, _LINES, (number - 1) * _LINES)
    pages = max(1, -(-audit.count(visit.store) // _LINES))
    return visit.page(
        "people.html",
        people=users.every(visit.store),
        roles=list(Role),
        token=token,
        changes=changes,
        number=number,
        last=pages,
    )


PAGES = (
    Page("/people", show, role=Role.ADMIN),
    Page("/people/invite", invite, method="POST", role=Role.ADMIN),
    Page("/people/{name}/role", change, method="POST", role=Role.ADMIN),
    Page("/people/{name}/remove", ask_removal, role=Role.ADMIN),
    Page("/people/{name}/remove", remove, method="POST", role=Role.ADMIN),
)
