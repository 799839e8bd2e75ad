"""llama.cpp's own server, in a supervised child process: the default engine.

Requests go to its native `/completion`, which takes token ids, a grammar, and the adapter's scale per request. Which
adapter answered is known because every request names the scale of every loaded adapter: 1 for one, 0 for the rest.
"""

import http.client
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from freehold.engines.engine import Address, Answer, Completion, JsonSchema, Labels, Piece, Sampling
from freehold.engines.grammar import checked_schema, telling_prefixes, to_gbnf
from freehold.engines.llamacpp_child import AdapterFile, Outcome, Ready, Setup
from freehold.engines.supervise import Child, Supervisor
from freehold.errors import EngineError, MissingPackageError, ModelFileError, NotFoundError, UserError
from freehold.records import Record

_ANSWER_TIMEOUT_S = 600.0
_START_TIMEOUT_S = 300.0
_ATTEMPTS = 2


class Settings(Record, frozen=True, kw_only=True):
    """How the engine uses the machine. `context` is tokens a slot; `threads` None means one a core, at most 8."""

    slots: int = 8
    context: int = 1024
    batch: int = 512
    threads: int | None = None
    log: str | None = None


@dataclass(frozen=True)
class _Reach:
    """Where one life of the child is, and the digests of what it loaded."""

    host: str
    port: int
    secret: str
    digests: Mapping[str, str]


class _Connection(threading.local):
    """One kept connection a thread, to one life of the child."""

    reach: _Reach | None = None
    link: http.client.HTTPConnection | None = None


class LlamaCpp:
    """A `LocalEngine` over one base and the adapters that it loads at start.

    `adapters` maps the name that a request gives to a GGUF file. `digests` names the SHA-256 that an adapter must
    have: it is checked at every start, and a file that differs is refused (`ModelFileError`).
    """

    def __init__(
        self,
        weights: Path,
        adapters: Mapping[str, Path] | None = None,
        settings: Settings | None = None,
        digests: Mapping[str, str] | None = None,
    ) -> None:
        self._weights = weights
        self._adapters = dict(adapters or {})
        self._settings = settings or Settings()
        self._expected = dict(digests or {})
        self._supervisor = Supervisor(f"llamacpp ({weights.name})", self._launch)
        self._connection = _Connection()
        self._token_counts: dict[str, int] = {}

    def start(self) -> None:
        self._supervisor.start()

    def stop(self) -> None:
        self._supervisor.stop()

    @property
    def pid(self) -> int | None:
        """The child's process id, for supervision and tests."""
        return self._supervisor.pid

    @property
    def restarts(self) -> int:
        """How often the child had to be started again."""
        return self._supervisor.restarts

    def complete(self, request: Completion) -> Answer:
        begun = time.monotonic()
        stops = self._stops(request.sampling)
        body = self._body(request, stops)
        reach, result = self._post("/completion", body)
        return self._answer(request, stops, reach, result, begun)

    def stream(self, request: Completion) -> Iterator[Piece]:
        begun = time.monotonic()
        body = self._body(request, {}) | {"stream": True}
        reach = self._reach()
        connection = _open(reach)
        try:
            yield from self._pieces(request, reach, connection, (body, begun))
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(f"llama.cpp ended in the middle of an answer ({_cause(error)})") from None
        finally:
            connection.close()

    def tokenize(self, text: str) -> Sequence[int]:
        _, result = self._post("/tokenize", {"content": text, "parse_special": True, "add_special": False})
        return tuple(result["tokens"])

    def address(self) -> Address:
        reach = self._reach()
        return Address(url=f"http://{reach.host}:{reach.port}/v1", secret=reach.secret)

    def _pieces(
        self, request: Completion, reach: _Reach, connection: http.client.HTTPConnection, sent: tuple[Any, float]
    ) -> Iterator[Piece]:
        body, begun = sent
        response = _send(connection, reach, "/completion", body)
        if response.status != 200:
            raise _refusal(response.status, response.read())
        text = []
        for line in response:
            if not line.startswith(b"data: "):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                raise EngineError(f"llama.cpp stopped in the middle of an answer: {event['error'].get('message')}")
            text.append(event["content"])
            if event["stop"]:
                result = event | {"content": "".join(text)}
                yield Piece(text=event["content"], answer=self._answer(request, {}, reach, result, begun))
                return
            yield Piece(text=event["content"])
        raise EngineError("llama.cpp closed the connection in the middle of an answer")

    def _stops(self, sampling: Sampling) -> dict[str, str]:
        """Prefixes at which decoding may stop because the rest of the label is forced."""
        constraint = sampling.constraint
        return telling_prefixes(constraint.labels) if isinstance(constraint, Labels) and not sampling.stop else {}

    def _body(self, request: Completion, stops: Mapping[str, str]) -> dict[str, Any]:
        if not request.prompt:
            raise UserError("the prompt is empty; an engine needs at least one token")
        sampling = request.sampling
        body: dict[str, Any] = {
            "prompt": request.prompt,
            "n_predict": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": 1 if sampling.temperature == 0 else 0,
            "min_p": 0.0,
            "stop": list(sampling.stop or stops),
            "cache_prompt": True,
        }
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if self._adapters:
            body["lora"] = self._scales(request.adapter)
        elif request.adapter is not None:
            self._scales(request.adapter)
        if isinstance(sampling.constraint, JsonSchema):
            body["json_schema"] = checked_schema(sampling.constraint.json_schema)
        elif sampling.constraint is not None:
            body["grammar"] = to_gbnf(sampling.constraint)
        return body

    def _scales(self, adapter: str | None) -> list[dict[str, float]]:
        if adapter is not None and adapter not in self._adapters:
            raise NotFoundError(f"adapter {adapter} is not loaded in this engine; it has {sorted(self._adapters)}")
        return [{"id": at, "scale": float(name == adapter)} for at, name in enumerate(self._adapters)]

    def _answer(
        self,
        request: Completion,
        stops: Mapping[str, str],
        reach: _Reach,
        result: Any,  # noqa: ANN401
        begun: float,
    ) -> Answer:
        told = stops.get(result["stopping_word"]) if result["stop_type"] == "word" else None
        return Answer(
            text=result["content"] if told is None else told,
            input_tokens=result["tokens_evaluated"],
            output_tokens=result["tokens_predicted"] if told is None else self._count(told),
            cached_tokens=result["timings"]["cache_n"],
            finish_reason="length" if result["stop_type"] == "limit" else "stop",
            latency_ms=(time.monotonic() - begun) * 1000,
            adapter=reach.digests[request.adapter] if request.adapter is not None else None,
        )

    def _count(self, label: str) -> int:
        """Tokens of a label and of the end of its turn."""
        if label not in self._token_counts:
            self._token_counts[label] = len(self.tokenize(label)) + 1
        return self._token_counts[label]

    def _launch(self) -> tuple[Child, _Reach]:
        digests = self._checked()
        secret = secrets.token_urlsafe(32)
        setup = Setup(
            weights=str(self._weights),
            adapters=tuple(AdapterFile(str(path)) for path in self._adapters.values()),
            secret=secret,
            slots=self._settings.slots,
            context=self._settings.context,
            batch=self._settings.batch,
            threads=self._settings.threads or min(os.cpu_count() or 1, 8),
        )
        log = Path(self._settings.log) if self._settings.log else None
        child = Child("freehold.engines.llamacpp_child", msgspec.json.encode(setup), log, _ENVIRONMENT)
        return child, _reached(child, secret, digests)

    def _checked(self) -> dict[str, str]:
        for path in (self._weights, *self._adapters.values()):
            if not path.is_file():
                raise ModelFileError(f"{path}: no such model file; `freehold pull` or `freehold run` makes it")
        digests = {name: file_sha256(path) for name, path in self._adapters.items()}
        for name, expected in self._expected.items():
            if digests.get(name) != expected:
                raise ModelFileError(
                    f"{self._adapters.get(name)}: is not the adapter {name} that was recorded "
                    f"(SHA-256 {str(digests.get(name))[:12]}…, recorded {expected[:12]}…); export it again"
                )
        return digests

    def _reach(self) -> _Reach:
        return self._supervisor.reach(_START_TIMEOUT_S)

    def _post(self, path: str, body: Any) -> tuple[_Reach, Any]:  # noqa: ANN401
        """One request, sent again once where the child went away before it answered (nothing was delivered yet)."""
        cause: Exception | None = None
        for _ in range(_ATTEMPTS):
            reach = self._reach()
            connection = self._kept(reach)
            try:
                response = _send(connection, reach, path, body)
                content = response.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.reach, cause = None, error
                connection.close()
                time.sleep(0.1)  # the watcher sees the end of the child a moment later
                continue
            if response.status != 200:
                raise _refusal(response.status, content)
            return reach, json.loads(content)
        raise EngineError(f"llama.cpp went away before it answered ({_cause(cause)})")

    def _kept(self, reach: _Reach) -> http.client.HTTPConnection:
        kept = self._connection
        if kept.link is None or kept.reach is not reach:
            if kept.link is not None:
                kept.link.close()
            kept.link, kept.reach = _open(reach), reach
        return kept.link


# libgomp's threads sleep while they wait: spinning ones stop all work as soon as another process wants a core
# (measured on 2 cores beside one busy process: 1.2 requests/s against fewer than 0.1).
_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive"}


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    import hashlib

    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _reached(child: Child, secret: str, digests: Mapping[str, str]) -> _Reach:
    """Wait for the child's report; raises where it could not start."""
    line = child.report()
    if line is None:
        code = child.wait()
        raise EngineError(f"llama.cpp ended while starting (exit code {code}): {child.last_words()[-600:]}")
    outcome = msgspec.json.decode(line, type=Outcome)
    if isinstance(outcome, Ready):
        parts = urlsplit(outcome.address)
        return _Reach(parts.hostname or "127.0.0.1", parts.port or 0, secret, digests)
    child.end()
    if "xllamacpp" in outcome.reason and "module" in outcome.reason:
        raise MissingPackageError("the embedded engine needs xllamacpp; install it with: pip install xllamacpp")
    raise ModelFileError(f"llama.cpp refuses to start: {outcome.reason}; {_telling(child.last_words())}")


def _telling(words: str) -> str:
    """The lines of a log that say what went wrong."""
    lines = [line for line in words.splitlines() if " E " in line or "error" in line.lower() or "fail" in line.lower()]
    return " · ".join(lines[:3]) or "see the log"


def _open(reach: _Reach) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(reach.host, reach.port, timeout=_ANSWER_TIMEOUT_S)


def _send(connection: http.client.HTTPConnection, reach: _Reach, path: str, body: Any) -> http.client.HTTPResponse:  # noqa: ANN401
    headers = {"Authorization": f"Bearer {reach.secret}", "Content-Type": "application/json"}
    connection.request("POST", path, msgspec.json.encode(body), headers)
    return connection.getresponse()


def _cause(error: Exception | None) -> str:
    return f"{type(error).__name__}: {error}" if error and str(error) else type(error).__name__


def _refusal(status: int, content: bytes) -> EngineError | UserError:
    """llama.cpp's error as ours: the one boundary where its errors are translated."""
    try:
        error = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        return EngineError(f"llama.cpp answered HTTP {status}: {content[:200]!r}")
    message = str(error.get("message", "")).strip()
    if error.get("type") == "exceed_context_size_error":
        return UserError(
            f"the prompt has {error.get('n_prompt_tokens')} tokens and this engine's context holds "
            f"{error.get('n_ctx')}; shorten the messages or serve with a longer context"
        )
    if status == 400:
        return UserError(f"llama.cpp refuses the request: {message}")
    return EngineError(f"llama.cpp answered HTTP {status}: {message}")
