"""One address of the console, and the guard before it: who asks, may they, and did they mean it.

A page is a function from a `Visit` to a response, run in a thread: the store is never read on the event loop. The guard
signs nobody in; it asks for a living session, a role, and for every change the session's own token from our own
pages (CSRF). What goes wrong becomes a page that says so, in one sentence.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, quote

from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from freehold.console.house import Fields, House, Visit
from freehold.errors import FreeholdError, RefusedError
from freehold.gateway import body
from freehold.gateway.faults import GatewayError, fault_of
from freehold.store import sessions
from freehold.store.users import Role

log = logging.getLogger(__name__)

COOKIE = "freehold_session"
LARGEST_FORM = 1024 * 1024
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}

Answering = Callable[[Visit, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Page:
    """An address. `role` is what it takes (None: nobody need be signed in); `stream` answers on the event loop."""

    path: str
    show: Callable[[Visit], Response] | None = None
    method: str = "GET"
    role: Role | None = Role.VIEWER
    stream: Answering | None = None

    def route(self, house: House) -> Route:
        return Route(self.path, Guarded(self, house), methods=[self.method])


class SessionEndedError(FreeholdError):
    """Your session has ended; sign in again."""

    http_status = 401


class Guarded:
    """The ASGI application of one page."""

    def __init__(self, page: Page, house: House) -> None:
        self._page = page
        self._house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit = _visit(self._house, scope)
        if self._page.method == "POST":
            content = await body.read(scope, receive, LARGEST_FORM)
            visit.form = Fields(parse_qsl(content.decode(errors="replace"), keep_blank_values=True))
        if self._page.stream is not None:
            return await self._streamed(visit, scope, receive, send)
        response = await asyncio.to_thread(self._answer, visit)
        await response(scope, receive, _with_headers(send))

    async def _streamed(self, visit: Visit, scope: Scope, receive: Receive, send: Send) -> None:
        """For scripts of ours: what goes wrong before the first byte is a JSON refusal."""
        assert self._page.stream is not None
        try:
            await asyncio.to_thread(self._admit, visit)
        except FreeholdError as error:
            fault = fault_of(error)
            return await JSONResponse(fault.body, fault.status)(scope, receive, _with_headers(send))
        await self._page.stream(visit, receive, _with_headers(send))

    def _answer(self, visit: Visit) -> Response:
        try:
            self._admit(visit)
            assert self._page.show is not None
            return self._page.show(visit)
        except SessionEndedError:
            return self._sign_in(visit)
        except FreeholdError as error:
            return refusal(visit, error)
        except Exception as error:  # the last boundary of a page: the log has it all
            log.exception("the page %s failed", visit.path)
            return refusal(visit, error)

    def _admit(self, visit: Visit) -> None:
        changes = self._page.method == "POST"
        if changes:
            _from_our_pages(visit)
        cookie = visit.headers.get("cookie", "")
        visit.who = sessions.find(self._house.store, _cookie(cookie)) if COOKIE in cookie else None
        if self._page.role is None:
            return
        if visit.who is None:
            raise SessionEndedError
        if changes:
            token = visit.form.get("csrf") or visit.headers.get("x-csrf", "")
            if not secrets.compare_digest(token.encode(), visit.who.csrf.encode()):
                raise RefusedError("this form is of an earlier session; open the page again and repeat what you did")
        if not visit.who.role.may(self._page.role):
            raise RefusedError(f"this takes the role {self._page.role}, and yours is {visit.who.role}; ask an admin")

    def _sign_in(self, visit: Visit) -> Response:
        """To the sign-in page and back; a form that was under way goes with it, and is not lost."""
        if visit.headers.get("hx-request"):
            return Response(status_code=401, headers={"hx-redirect": "/sign-in"})
        if self._page.method == "POST":
            held = [pair for pair in visit.form.pairs if pair[0] != "csrf"]
            return visit.page("sign_in.html", 401, then="", held_path=visit.path, held=held, problem=None)
        return RedirectResponse(f"/sign-in?then={quote(visit.address())}", 303)


def refusal(visit: Visit, error: Exception) -> Response:
    """What went wrong, as a page; what is ours to mend shows no detail."""
    fault = fault_of(error)
    headers = {"retry-after": str(fault.retry_after_s)} if fault.retry_after_s is not None else {}
    response = visit.page("refusal.html", fault.status, message=str(fault), missing=fault.status == 404)
    response.headers.update(headers)
    return response


def _visit(house: House, scope: Scope) -> Visit:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    client = scope.get("client") or ("", 0)
    return Visit(
        house=house,
        path=scope["path"],
        params=scope.get("path_params", {}),
        query=Fields(parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)),
        form=Fields(),
        who=None,
        secure=scope.get("scheme") == "https",
        client=str(client[0]),
        host=headers.get("host", ""),
        headers=headers,
    )


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _from_our_pages(visit: Visit) -> None:
    """A change comes from a page of this console: browsers say where from, and no other page may send one."""
    site, origin = visit.headers.get("sec-fetch-site"), visit.headers.get("origin")
    if site not in (None, "same-origin", "none") or origin not in (None, visit.origin):
        raise GatewayError(403, "this was sent from another site's page; nothing was changed", code="cross_site")


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message["headers"]}
            more = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in there]
            message["headers"] = [*message["headers"], *more]
        await send(message)

    return sent
