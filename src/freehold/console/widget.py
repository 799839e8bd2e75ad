"""The chat widget of other sites: one script, and one address that answers it.

    <script src="https://…/widget.js" data-deployment="shop-help" data-key="fh_…" defer></script>

The key stands in the page for everybody to read. So it is good for one deployment only, asked from pages of its sites,
at its rate (`Keyring.visitor`); visitors say what they say, and nothing of how it is answered.
"""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from freehold.console import assets, chat
from freehold.console.house import House, Visit
from freehold.console.page import HEADERS, Page
from freehold.errors import FreeholdError, ResourceError, UserError
from freehold.gateway import body
from freehold.gateway.call import caller_of
from freehold.gateway.faults import fault_of

SCRIPT = "widget.js"
LARGEST = 256 * 1024
_KEPT_S = 300


class Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the widget sends."""

    messages: list[chat.Turn]


_SAID = msgspec.json.Decoder(Said)


def origin_of(text: str) -> str:
    """A site as browsers name it: scheme, host and port; raises `UserError`."""
    found = urlsplit(text.strip())
    if found.scheme not in ("http", "https") or not found.hostname or found.path not in ("", "/") or found.query:
        raise UserError(f"{text}: is not a site; write its beginning, such as https://shop.example")
    return f"{found.scheme}://{found.netloc.lower()}"


def routes(house: House) -> Sequence[BaseRoute]:
    """The script's address, and the one that it asks."""
    return [
        Page(f"/{SCRIPT}", _script, role=None).route(house),
        Route("/widget/chat", WidgetDoor(house), methods=["POST", "OPTIONS"]),
    ]


def _script(visit: Visit) -> Response:
    response = assets.response(SCRIPT, f"public, max-age={_KEPT_S}")
    response.headers["access-control-allow-origin"] = "*"
    response.headers["cross-origin-resource-policy"] = "cross-origin"
    return response


class WidgetDoor:
    """Answers the widget: under its key's limits, on its key's bill, and to pages of its key's sites."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"), None)
        across = _across(origin, send)
        if scope["method"] == "OPTIONS":
            return await Response(status_code=204, headers=_PREFLIGHT)(scope, receive, across)
        try:
            await self._answer(scope, receive, across, origin)
        except FreeholdError as error:
            fault = fault_of(error)
            retry = {"retry-after": str(fault.retry_after_s)} if fault.retry_after_s is not None else None
            await JSONResponse(fault.body, fault.status, retry)(scope, receive, across)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, origin: str | None) -> None:
        desk = self._house.desk
        if desk is None:
            raise ResourceError("no gateway runs beside this console; start `freehold serve`")
        allowed = desk.keyring.visitor(caller_of(scope).secret, origin)
        said = body.typed(await body.read(scope, receive, LARGEST), _SAID)
        messages = await asyncio.to_thread(chat.checked, said.messages)
        (model,) = allowed.key.allowance.models or ("",)
        asking = chat.Asking(model, messages, {}, "widget", blind=True)
        await chat.ask(desk, asking, receive, send, allowed)


_PREFLIGHT = {
    "access-control-allow-methods": "POST",
    "access-control-allow-headers": "authorization, content-type",
    "access-control-max-age": "600",
}


def _across(origin: str | None, send: Send) -> Send:
    """Let the page that asked read what comes back, a refusal too: the key decides, and not the address."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            safe = [(b"x-content-type-options", HEADERS["x-content-type-options"].encode()), (b"vary", b"Origin")]
            if origin is not None:
                safe.append((b"access-control-allow-origin", origin.encode("latin-1")))
            message["headers"] = [*message["headers"], *safe]
        await send(message)

    return sent
