"""The one shape in which the gateway says no: OpenAI's error object, whatever went wrong and wherever.

    {"error": {"message": …, "type": …, "param": …, "code": …}}

At /v1/messages it is Anthropic's: `{"type": "error", "error": {…}}`. Clients map the HTTP status to their exceptions;
`code` is stable and may be matched on.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Scope

from freehold.errors import FreeholdError

_TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
}
# Anthropic's names, by status (its API reference, *Errors*).
_ANTHROPIC = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class GatewayError(FreeholdError):
    """The request cannot be answered."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s

    @property
    def kind(self) -> str:
        """OpenAI's name for the class of error."""
        return _TYPES.get(self.status) or ("server_error" if self.status >= 500 else "invalid_request_error")

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}}

    def document(self, path: str) -> dict[str, Any]:
        """The refusal in the words of the dialect that is spoken at this path."""
        if path.endswith("/messages"):
            kind = _ANTHROPIC.get(self.status) or ("api_error" if self.status >= 500 else "invalid_request_error")
            return {"type": "error", "error": {"type": kind, "message": str(self), "code": self.code}}
        return self.body

    def event(self, path: str) -> bytes:
        """The last event of a stream that failed."""
        name = b"event: error\n" if path.endswith("/messages") else b""
        return name + b"data: " + msgspec.json.encode(self.document(path)) + b"\n\n"

    def response(self, path: str) -> Response:
        headers: Mapping[str, str] | None = None
        if self.retry_after_s is not None:
            headers = {"retry-after": str(self.retry_after_s)}
        return Response(msgspec.json.encode(self.document(path)), self.status, headers, "application/json")


def fault_of(error: Exception) -> GatewayError:
    """Any error as the client sees it. What is ours to mend shows no detail: the log has it."""
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, FreeholdError):
        return GatewayError(error.http_status, str(error), code=_code(error))
    return GatewayError(500, "Freehold failed on this request; its log says why", code="internal_error")


def unserved(scope: Scope, status: int, detail: str) -> GatewayError:
    """Starlette's own refusals: an address that is not served, a method that is not allowed."""
    where = f"{scope['method']} {scope['path']}"
    if status == 404:
        return GatewayError(404, f"{where} is not served here; docs/gateway.md lists what is", code="unknown_url")
    if status == 405:
        return GatewayError(405, f"{where}: this address takes another method", code="method_not_allowed")
    return GatewayError(status, f"{where}: {detail}")


def _code(error: FreeholdError) -> str:
    name = type(error).__name__.removesuffix("Error")
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
