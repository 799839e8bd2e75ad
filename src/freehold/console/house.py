"""What every page of the console stands on, and one visit to a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from starlette.responses import HTMLResponse, RedirectResponse, Response

from freehold.console.render import templates
from freehold.console.works import Works
from freehold.errors import UserError
from freehold.gateway.door import Desk
from freehold.store import audit, sessions
from freehold.store.database import Store
from freehold.store.sessions import Session
from freehold.store.users import Role
from freehold.store.workspace import Workspace


@dataclass(frozen=True)
class House:
    """What pages share. `desk` is where chats are answered, None where the console stands alone."""

    workspace: Workspace
    store: Store
    desk: Desk | None
    works: Works


class Fields:
    """What came in a query or a form, as text; a name may come more than once."""

    def __init__(self, pairs: Sequence[tuple[str, str]] = ()) -> None:
        self.pairs = list(pairs)

    def get(self, name: str, default: str = "") -> str:
        """The first value of that name, without spaces around it."""
        return next((value.strip() for key, value in self.pairs if key == name), default)

    def every(self, name: str) -> list[str]:
        return [value.strip() for key, value in self.pairs if key == name and value.strip()]

    def need(self, name: str, what: str) -> str:
        """A value that must be there; `what` is how the page calls it."""
        value = self.get(name)
        if not value:
            raise UserError(f"{what} is empty; fill it in")
        return value

    def number(self, name: str, what: str, default: int | None = None, least: int = 1) -> int | None:
        """A whole number, or the default where nothing was said."""
        value = self.get(name)
        if not value:
            return default
        if not value.isascii() or not value.isdigit() or len(value) > 15 or int(value) < least:
            raise UserError(f"{what} is {value!r}; write a whole number of {least} or more")
        return int(value)

    def share(self, name: str, what: str) -> float:
        """Per cent as a share of 1."""
        value = self.get(name) or "0"
        try:
            share = float(value.rstrip("%")) / 100
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise UserError(f"{what} is {value!r}; write a number from 0 to 100")
        return share

    def __bool__(self) -> bool:
        return bool(self.pairs)


@dataclass
class Visit:
    """One request for a page by a signed-in person (`who` is None on the pages before sign-in)."""

    house: House
    path: str
    params: Mapping[str, str]
    query: Fields
    form: Fields
    who: Session | None
    secure: bool = False
    client: str = ""
    host: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return self.house.store

    @property
    def workspace(self) -> Workspace:
        return self.house.workspace

    @property
    def user(self) -> Session:
        assert self.who is not None
        return self.who

    @property
    def origin(self) -> str:
        """The address under which this console was asked."""
        return f"{'https' if self.secure else 'http'}://{self.host}"

    def may(self, role: str) -> bool:
        return self.who is not None and self.who.role.may(Role(role))

    def page(self, template: str, status: int = 200, **values: Any) -> Response:  # noqa: ANN401 (what a template names)
        """A page from its template, which sees `visit` and these values."""
        notice = self.who.notice if self.who else None
        html = templates().get_template(template).render(visit=self, notice=notice, **values)
        if self.who and notice:
            sessions.tell(self.store, self.who, None)
        return HTMLResponse(html, status)

    def go(self, path: str, notice: str = "") -> Response:
        """Another page next, which says the notice once."""
        if self.who and notice:
            sessions.tell(self.store, self.who, notice)
        return RedirectResponse(path, 303)

    def log(self, action: str, subject: str, detail: str = "") -> None:
        """Write a change into the audit log, in this person's name."""
        audit.note(self.store, self.user.user, action, subject, detail)

    def address(self, **changed: object) -> str:
        """This page's own address with some of its query changed; what is empty is left out."""
        asked = {name: value for name, value in self.query.pairs if value} | {k: str(v) for k, v in changed.items()}
        asked = {name: value for name, value in asked.items() if value}
        return self.path + (f"?{urlencode(asked)}" if asked else "")
