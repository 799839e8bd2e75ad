"""Reading what a client sent: within the limit, and typed, with the wrong field named."""

import re
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from freehold.gateway.faults import GatewayError

DEFAULT_LIMIT_BYTES = 16 * 1024 * 1024
_PATIENCE_BYTES = 64 * 1024 * 1024

T = TypeVar("T")
_WHERE = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)


async def read(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body; a `GatewayError` of 413 where it is over the limit (bytes).

    What is over the limit is read and dropped for a while: a client that is still writing would see a broken pipe, and
    never the refusal.
    """
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    most = limit + _PATIENCE_BYTES
    if declared.isdigit() and int(declared) > most:
        raise _too_large(limit)
    parts: list[bytes] = []
    size, more = 0, True
    while more and size <= most:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size <= limit:
            parts.append(chunk)
    if size > limit:
        raise _too_large(limit)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def typed(content: bytes, decoder: "msgspec.json.Decoder[T]") -> T:
    """A JSON body as one of our request shapes; a `GatewayError` of 400 that names the field otherwise."""
    try:
        return decoder.decode(content)
    except msgspec.ValidationError as error:
        raise _wrong_type(str(error)) from None
    except msgspec.DecodeError as error:
        raise GatewayError(400, f"the body is not JSON: {error}", code="invalid_json") from None
    except UnicodeDecodeError as error:
        raise GatewayError(
            400, f"the body is not UTF-8: {error.reason} at byte {error.start}", code="invalid_json"
        ) from None


def _too_large(limit: int) -> GatewayError:
    return GatewayError(
        413,
        f"the body is larger than {limit:,} bytes; send less, or start `freehold serve` with a larger --max-body",
        code="body_too_large",
    )


def _wrong_type(message: str) -> GatewayError:
    match = _WHERE.match(message)
    what, path = (match["what"], match["path"]) if match else (message, None)
    missing = re.search(r"missing required field `([^`]+)`", what)
    param = (path or "$").removeprefix("$").removeprefix(".")
    if missing:
        param = f"{param}.{missing[1]}" if param else missing[1]
        return GatewayError(400, f"{param} is missing", code="missing_field", param=param)
    if "matching regex" in what:  # the one pattern that a request has: a name is a line of text
        what = "it may hold no control characters"
    where = f"{param}: " if param else "the body: "
    return GatewayError(400, where + what[:1].lower() + what[1:], code="invalid_type", param=param or None)
