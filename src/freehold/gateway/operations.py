"""An address with what it takes and gives, said where it is routed: requests are routed by these, and
`/openapi.json` is made of the same (`openapi.py`), so that there is no second list to fall behind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.routing import Route

EVENTS = "text/event-stream"
JSON = "application/json"
FORM = "multipart/form-data"
ANY = "*/*"

REFUSED = (401, 403, 503)  # whoever has no key, or one for something else; what cannot be done now


@dataclass(frozen=True, slots=True)
class Asked:
    """One parameter of an address's query, as a type whose schema it has."""

    name: str
    says: str
    kind: Any = str


@dataclass(frozen=True, slots=True)
class Says:
    """`takes` and `gives` name a body's type by its media type, None for bytes; `fails` are statuses of refusals.

    `also` are answers of another status than 200 that are no refusals, as JSON of a type.
    `passes`: an upstream's own refusal, whatever its status, comes back as it is. `tagged`: it takes our headers.
    """

    summary: str
    takes: Mapping[str, Any] = field(default_factory=dict)
    gives: Mapping[str, Any] = field(default_factory=dict)
    fails: tuple[int, ...] = ()
    also: Mapping[int, Any] = field(default_factory=dict)
    query: tuple[Asked, ...] = ()
    passes: bool = False
    tagged: bool = False
    open: bool = False  # answered without a key


class Operation(Route):
    """One method at one address."""

    def __init__(self, method: str, path: str, answer: Callable[..., Any], says: Says) -> None:
        super().__init__(path, answer, methods=[method])
        self.method = method
        self.says = says


class ErrorObject(msgspec.Struct, frozen=True):
    """OpenAI's error object."""

    message: str
    type: str
    param: str | None
    code: str | None


class Refusal(msgspec.Struct, frozen=True):
    """Every refusal, in OpenAI's words."""

    error: ErrorObject


class MessagesError(msgspec.Struct, frozen=True):
    """Anthropic's error object, with our code."""

    type: str
    message: str
    code: str | None


class MessagesRefusal(msgspec.Struct, frozen=True):
    """A refusal in Anthropic's words."""

    type: str
    error: MessagesError
