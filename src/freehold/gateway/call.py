"""Who calls, and what with: the headers that are ours, and those that go on to an upstream.

No key and no Authorization header goes further than this process and the upstream (invariant 5): a `Call` is never
stored.
"""

import os
import re
import time
from dataclasses import dataclass, field

from starlette.types import Scope

from freehold.gateway.endpoints import Endpoint
from freehold.gateway.faults import GatewayError

# RFC 9110, section 7.6.1, and what is ours or is written anew.
_NOT_PASSED_ON = frozenset(
    b"host content-length connection keep-alive transfer-encoding te trailer upgrade proxy-authorization "
    b"proxy-authenticate accept-encoding expect cookie".split()
)
_OURS = b"x-freehold-"
_TAG = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST = 256


@dataclass(slots=True)
class Caller:
    """What the headers say. `secret` is the caller's own key; `keep` is False where the caller opted out of capture."""

    secret: str | None = None
    session: str | None = None
    subject: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    keep: bool = True
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Call:
    """One request on its way: `headers` are passed on, without the caller's key."""

    id: str
    endpoint: Endpoint
    model: str
    stream: bool
    content: bytes
    caller: Caller
    machine_s: float | None = None  # what an owned model took of its machine, once it has answered
    adapter: str | None = None  # the SHA-256 of the adapter file that its engine used, once it answers

    def told_by(self, inner: "Call") -> None:
        """Take over what is known of the answer from the call that was made for this one."""
        self.machine_s, self.adapter = inner.machine_s, inner.adapter


def new_id(at_ns: int | None = None) -> str:
    """128 bits in hex that sort by time, as UUIDv7 does (RFC 9562): neighbours in the store were asked together."""
    return f"{(at_ns or time.time_ns()) // 1_000_000:012x}{os.urandom(10).hex()}"


def caller_of(scope: Scope) -> Caller:
    """Read the headers; raises `GatewayError` of 400 on one of ours that cannot be kept as it is."""
    caller = Caller()
    for raw_name, raw_value in scope["headers"]:
        name: bytes = raw_name.lower()
        if name in _NOT_PASSED_ON:
            continue
        value: str = raw_value.decode("latin-1")
        if name == b"authorization":
            caller.secret = value.removeprefix("Bearer ").strip()
        elif name == b"x-api-key":
            caller.secret = value.strip()
        elif name.startswith(_OURS):
            _take(caller, name[len(_OURS) :].decode("latin-1"), value)
        else:
            caller.headers.append((name.decode("latin-1"), value))
    return caller


def _take(caller: Caller, name: str, value: str) -> None:
    if name == "session":
        caller.session = _plain(name, value)
    elif name == "subject":
        caller.subject = _plain(name, value)
    elif name == "tags":
        caller.tags = dict(_tag(part.strip()) for part in value.split(",") if part.strip())
    elif name == "capture":
        if value not in ("on", "off"):
            raise _wrong(name, f"is {value!r}; it may be on or off")
        caller.keep = value == "on"
    else:
        raise _wrong(name, "is not known; there are session, subject, tags and capture")


def _tag(part: str) -> tuple[str, str]:
    name, equals, value = part.partition("=")
    if not equals or not _TAG.fullmatch(name.strip()):
        raise _wrong("tags", f"holds {part!r}; write name=value, names of letters, digits, dot, dash and underscore")
    return name.strip(), _plain("tags", value.strip())


def _plain(name: str, value: str) -> str:
    if len(value) > _LONGEST or _UNPRINTABLE.search(value):
        raise _wrong(name, f"must be at most {_LONGEST} printable characters")
    return value


def _wrong(name: str, what: str) -> GatewayError:
    return GatewayError(400, f"the header X-Freehold-{name.title()} {what}", code="invalid_header", param=name)
