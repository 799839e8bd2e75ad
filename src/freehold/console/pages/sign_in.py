"""Signing in and out, and the first time: a token, a name and a password."""

from http.cookies import SimpleCookie

from starlette.responses import RedirectResponse, Response

from freehold.console import passwords
from freehold.console.attempts import Attempts
from freehold.console.house import Visit
from freehold.console.page import COOKIE, Page
from freehold.errors import UserError
from freehold.gateway.faults import GatewayError
from freehold.store import audit, sessions, users

ATTEMPTS = Attempts()


def ask(visit: Visit) -> Response:
    """The form; whoever is signed in already goes on."""
    if visit.who is not None:
        return RedirectResponse(_local(visit.query.get("then")), 303)
    return visit.page("sign_in.html", then=visit.query.get("then"), held_path="", held=(), problem=None)


def enter(visit: Visit) -> Response:
    """Check a name and a password; a form that was under way when the session ended is shown again to be sent."""
    name = visit.form.get("name")
    held_path = visit.form.get("held_path")
    held = [(key.removeprefix("held."), value) for key, value in visit.form.pairs if key.startswith("held.")]
    try:
        ATTEMPTS.check(name, visit.client)
        user = users.find(visit.store, name)
        if not passwords.matches(user.password if user else None, visit.form.get("password")):
            ATTEMPTS.failed(name, visit.client)
            audit.note(visit.store, name[:64], "sign-in refused", visit.client)
            raise GatewayError(401, "that name and password do not go together", code="wrong_password")
    except GatewayError as problem:
        then = visit.form.get("then")
        return visit.page(
            "sign_in.html", problem.status, then=then, held_path=held_path, held=held, problem=str(problem)
        )
    ATTEMPTS.succeeded(name)
    cookie = sessions.begin(visit.store, name)
    visit.who = sessions.find(visit.store, cookie)
    audit.note(visit.store, name, "signed in", visit.client)
    if held_path.startswith("/") and not held_path.startswith("//"):
        response = visit.page("send_again.html", path=held_path, held=held)
    else:
        response = RedirectResponse(_local(visit.form.get("then")), 303)
    return _with_cookie(visit, response, cookie)


def leave(visit: Visit) -> Response:
    """End this session."""
    sessions.end(visit.store, visit.user)
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(COOKIE, path="/")
    return response


def invited(visit: Visit) -> Response:
    """The form for whoever holds a token."""
    return visit.page("join.html", token=visit.query.get("token"), name="", problem=None)


def join(visit: Visit) -> Response:
    """Make a user of a token."""
    token, name = visit.form.get("token"), visit.form.get("name")
    try:
        ATTEMPTS.check("invitation", visit.client)
        if visit.form.get("password") != visit.form.get("again"):
            raise UserError("the two passwords differ; type the same one twice")
        made = users.join(visit.store, token, name, passwords.hashed(visit.form.get("password")))
    except (UserError, GatewayError) as problem:
        if "token" in str(problem):
            ATTEMPTS.failed("invitation", visit.client)
        return visit.page("join.html", 400, token=token, name=name, problem=str(problem))
    audit.note(visit.store, made.name, "joined", made.name, f"as {made.role}")
    return _with_cookie(visit, RedirectResponse("/", 303), sessions.begin(visit.store, made.name))


def _with_cookie(visit: Visit, response: Response, cookie: str) -> Response:
    jar = SimpleCookie({COOKIE: cookie})
    for name, value in (("path", "/"), ("samesite", "Lax"), ("httponly", True), ("secure", visit.secure)):
        jar[COOKIE][name] = value
    response.headers.append("set-cookie", jar[COOKIE].OutputString())
    return response


def _local(then: str) -> str:
    """Only ever a page of this console."""
    return then if then.startswith("/") and not then.startswith(("//", "/\\")) else "/"


PAGES = (
    Page("/sign-in", ask, role=None),
    Page("/sign-in", enter, method="POST", role=None),
    Page("/sign-out", leave, method="POST"),
    Page("/join", invited, role=None),
    Page("/join", join, method="POST", role=None),
)
