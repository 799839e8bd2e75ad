"""Any OpenAI-compatible API: the incumbent, or a closed model hosted privately.

What fails for a moment (429, 5xx, a cut connection) is tried again with a jittered, doubling pause, or as long as the
address asks (Retry-After). The key is sent and never kept: no message of ours repeats it.
"""

import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from freehold.engines.chat import Chat
from freehold.engines.engine import Answer, JsonSchema, Sampling
from freehold.engines.supervise import backoff_s
from freehold.errors import EngineError, NotFoundError, UserError
from freehold.records import Record

_LONGEST_PAUSE_S = 60.0
_MAY_BE_LEFT_OUT = {"temperature", "top_p", "seed"}


class Patience(Record, frozen=True, kw_only=True):
    """How long an address is waited for: seconds an answer, and tries in all."""

    timeout_s: float = 120.0
    attempts: int = 6


class _PassingError(Exception):
    """A failure that may pass; `pause_s` is what the address asks for, if it does."""

    def __init__(self, message: str, pause_s: float | None = None) -> None:
        super().__init__(message)
        self.pause_s = pause_s


class _Links(threading.local):
    """One kept connection a thread, so that a latency is an answer's and not a handshake's."""

    link: http.client.HTTPConnection | None = None


class Remote:
    """A `ChatEndpoint` at `base_url` (up to and including /v1). `api_key` is the key itself, read from the environment.

    Raises `UserError` for an address that is no http(s) URL.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        api_key: str | None = None,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"{base_url}: is no http or https address; write one such as https://api.openai.com/v1")
        self._model, self._key = model, api_key
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._path = f"{parts.path.rstrip('/')}/chat/completions"
        self._patience = patience or Patience()
        self._sleep = sleep
        self._links = _Links()
        self._left_out: set[str] = set()  # parameters that this model refused

    def chat(self, request: Chat) -> Answer:
        for attempt in range(self._patience.attempts):
            try:
                return self._try(request)
            except _PassingError as failure:
                last = failure
                if attempt + 1 < self._patience.attempts:
                    self._sleep(min(failure.pause_s or backoff_s(attempt), _LONGEST_PAUSE_S))
        raise EngineError(f"{self._host} failed {self._patience.attempts} times for {self._model}; last: {last}")

    def _try(self, request: Chat) -> Answer:
        begun = time.monotonic()
        status, headers, content = self._post(self._body(request))
        if status == 200:
            return _answer(content, (time.monotonic() - begun) * 1000)
        message, parameter = self._complaint(content)
        if status == 400 and parameter in _MAY_BE_LEFT_OUT | {"max_tokens"} and parameter not in self._left_out:
            self._left_out.add(parameter)
            return self._try(request)
        raise self._refusal(status, headers, message)

    def _body(self, request: Chat) -> dict[str, Any]:
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        # models that reason refuse the older name
        body["max_completion_tokens" if "max_tokens" in self._left_out else "max_tokens"] = sampling.max_tokens
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        body |= _constraint(sampling)
        return {name: value for name, value in body.items() if name == "max_tokens" or name not in self._left_out}

    def _post(self, body: Mapping[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        link = self._links.link = self._links.link or self._open()
        try:
            link.request("POST", self._path, msgspec.json.encode(body), headers)
            response = link.getresponse()
            return response.status, dict(response.headers.items()), response.read()
        except (OSError, http.client.HTTPException) as error:
            link.close()
            self._links.link = None
            raise _PassingError(f"no answer ({type(error).__name__}{f': {error}' if str(error) else ''})") from None

    def _open(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        proxy = None if proxy_bypass(self._host) else getproxies().get("https" if self._secure else "http")
        if proxy is None or not self._secure:  # a plain address is a machine of one's own
            return kind(self._host, self._port, timeout=self._patience.timeout_s)
        through = urlsplit(proxy)
        link = kind(through.hostname or "", through.port, timeout=self._patience.timeout_s)
        link.set_tunnel(self._host, self._port)
        return link

    def _complaint(self, content: bytes) -> tuple[str, str | None]:
        """What the address says is wrong, without the key, and the parameter that it names."""
        try:
            error = json.loads(content)["error"]
            message, parameter = str(error["message"]), error.get("param")
        except (ValueError, KeyError, TypeError):
            message, parameter = content[:200].decode(errors="replace"), None
        return (message.replace(self._key, "…") if self._key else message), parameter

    def _refusal(self, status: int, headers: Mapping[str, str], message: str) -> Exception:
        """An HTTP failure as ours: the one boundary where a remote's errors are translated."""
        if status in (408, 409, 429) or status >= 500:
            return _PassingError(f"HTTP {status}: {message}", _retry_after_s(headers))
        if status in (401, 403):
            return UserError(f"{self._host} refuses the key (HTTP {status}); set the one that the task file refers to")
        if status == 404:
            return NotFoundError(f"{self._host} has no model {self._model} (HTTP 404: {message})")
        return UserError(f"{self._host} refuses the request (HTTP {status}): {message}")


def _constraint(sampling: Sampling) -> dict[str, Any]:
    if sampling.constraint is None:
        return {}
    if isinstance(sampling.constraint, JsonSchema):
        schema = {"name": "answer", "schema": sampling.constraint.json_schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    raise UserError("a remote model can be held to a JSON Schema only; ask it for a free answer and score that")


def _answer(content: bytes, latency_ms: float) -> Answer:
    try:
        result = json.loads(content)
        choice, usage = result["choices"][0], result.get("usage") or {}
        details = usage.get("prompt_tokens_details") or {}
        return Answer(
            text=choice["message"]["content"] or "",
            input_tokens=usage.get("prompt_tokens", 0),
            output_tokens=usage.get("completion_tokens", 0),
            cached_tokens=details.get("cached_tokens") or 0,
            finish_reason="length" if choice.get("finish_reason") == "length" else "stop",
            latency_ms=latency_ms,
        )
    except (ValueError, KeyError, IndexError, TypeError, msgspec.ValidationError):
        raise EngineError(f"the address answered something that is no chat completion: {content[:200]!r}") from None


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    value = next((each for name, each in headers.items() if name.lower() == "retry-after"), "")
    try:
        return max(0.0, float(value))
    except ValueError:
        return None
