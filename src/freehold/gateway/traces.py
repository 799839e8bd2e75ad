"""OpenTelemetry traces (the extra `otel`): a span a request, below it a span an attempt. Never content.

Sources: W3C Trace Context (`traceparent`, taken in and passed on); OpenTelemetry's semantic conventions for HTTP
servers and for generative AI clients. Spans are made when their request is over, from what was measured anyway, and are
sent by a thread of OpenTelemetry's own.
"""

import os
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from freehold.errors import MissingPackageError
from freehold.gateway.call import Call
from freehold.gateway.recorder import Tried

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

TRACEPARENT = "traceparent"
_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED = 1
_OPERATIONS = {"chat.completions": "chat", "responses": "chat", "messages": "chat", "completions": "text_completion"}
_PROVIDERS = {"api.openai.com": "openai", "api.anthropic.com": "anthropic"}


@dataclass(slots=True)
class Trail:
    """The trace that one request belongs to: its own span, and its caller's where there is one."""

    trace: str
    span: str
    parent: str | None
    begun_ns: int = field(default_factory=time.time_ns)

    def attempt(self, call: Call) -> str:
        """A span for an attempt, whose id goes on to the upstream."""
        span = os.urandom(8).hex()
        headers = [each for each in call.caller.headers if each[0] != TRACEPARENT]
        call.caller.headers = [*headers, (TRACEPARENT, f"00-{self.trace}-{span}-01")]
        return span


@dataclass(slots=True)
class Ended:
    """What a request came to."""

    call: Call
    status: int
    key: str | None
    tried: list[Tried]


class Traces:
    """Sends spans to an OTLP collector's address over HTTP, such as http://127.0.0.1:4318."""

    def __init__(self, endpoint: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ModuleNotFoundError as error:
            what = f"--traces needs {error.name}; install it with: pip install 'freehold[otel]'"
            raise MissingPackageError(what) from None
        self._resource = Resource.create({"service.name": "freehold"})
        self._processor = BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces"))

    def begin(self, call: Call) -> Trail | None:
        """The trail of a request; None where its caller does not want it recorded."""
        given = next((value for name, value in call.caller.headers if name == TRACEPARENT), "")
        match = _PARENT.fullmatch(given)
        if match is None:
            return Trail(os.urandom(16).hex(), os.urandom(8).hex(), None)
        if not int(match[3], 16) & _SAMPLED:
            return None
        return Trail(match[1], os.urandom(8).hex(), match[2])

    def end(self, trail: Trail, ended: Ended) -> None:
        """Send the spans of a request that is over."""
        from opentelemetry.trace import SpanKind

        for tried in ended.tried:
            start = (tried.at - round(tried.seconds * 1_000_000)) * 1000
            name, attributes = _of_attempt(ended.call, tried)
            span = tried.span or os.urandom(8).hex()
            self._send(name, (trail.trace, span, trail.span), SpanKind.CLIENT, attributes, (start, tried.at * 1000))
        path = f"/v1{ended.call.endpoint.path}"
        ids, times = (trail.trace, trail.span, trail.parent), (trail.begun_ns, time.time_ns())
        self._send(f"POST {path}", ids, SpanKind.SERVER, _of_request(ended, path), times)

    def close(self) -> None:
        """Send what waits."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # OpenTelemetry's

    def _send(
        self,
        name: str,
        ids: tuple[str, str, str | None],
        kind: Any,  # noqa: ANN401 (OpenTelemetry's SpanKind)
        attributes: dict[str, Any],
        times: tuple[int, int],
    ) -> None:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import Status, StatusCode

        trace, span, parent = ids
        failed = "error.type" in attributes
        self._processor.on_end(
            ReadableSpan(
                name=name,
                context=_context(trace, span, remote=False),
                parent=_context(trace, parent, remote=kind.name == "SERVER") if parent is not None else None,
                resource=self._resource,
                attributes={name: value for name, value in attributes.items() if value is not None},
                kind=kind,
                status=Status(StatusCode.ERROR) if failed else Status(),
                start_time=times[0],
                end_time=times[1],
            )
        )


def _of_request(ended: Ended, path: str) -> dict[str, Any]:
    failed = {"error.type": str(ended.status)} if ended.status >= 500 else {}
    return {
        "http.request.method": "POST",
        "http.route": path,
        "url.path": path,
        "http.response.status_code": ended.status,
        "gen_ai.request.model": ended.call.model,
        "freehold.exchange": ended.call.id,
        "freehold.key": ended.key,
        **failed,
    }


def _of_attempt(call: Call, tried: Tried) -> tuple[str, dict[str, Any]]:
    operation = _OPERATIONS.get(call.endpoint.name, call.endpoint.name)
    where = urlsplit(tried.target) if tried.target.startswith("http") else None
    host = where.hostname if where is not None else None
    failed = {} if tried.outcome in ("ok", "cache", "guardrail") else {"error.type": tried.outcome}
    return f"{operation} {tried.model}", {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": _PROVIDERS.get(host or "", host) or "freehold",
        "gen_ai.request.model": call.model,
        "gen_ai.response.model": tried.model,
        "gen_ai.request.stream": call.stream,
        "gen_ai.usage.input_tokens": tried.tokens.input,
        "gen_ai.usage.output_tokens": tried.tokens.output,
        "server.address": host,
        "server.port": where.port if where is not None else None,
        "freehold.outcome": tried.outcome,
        **failed,
    }


def _context(trace: str, span: str, remote: bool) -> "SpanContext":
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(int(trace, 16), int(span, 16), is_remote=remote, trace_flags=TraceFlags(_SAMPLED))
