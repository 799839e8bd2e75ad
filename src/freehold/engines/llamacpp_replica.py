"""One llama.cpp child: what it loads, how it is reached, and the HTTP to it."""

import http.client
import json
import logging
import secrets
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from freehold.engines.adapters import AdapterFiles
from freehold.engines.engine import Address
from freehold.engines.llamacpp_child import AdapterFile, Outcome, Ready, Setup
from freehold.engines.llamacpp_wire import refusal
from freehold.engines.supervise import Child, State, Supervisor
from freehold.errors import EngineError, MissingPackageError, ModelFileError

log = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 600.0
_START_TIMEOUT_S = 300.0

# libgomp's threads sleep while they wait: spinning ones stop all work as soon as another process wants a core
# (measured on 2 cores beside one busy process: 1.2 requests/s against fewer than 0.1).
_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive"}


class GoneError(Exception):
    """The child went away before it answered; nothing was delivered yet."""


@dataclass(frozen=True)
class Reach:
    """Where one life of the child is, and the digests of the adapters that it loaded."""

    host: str
    port: int
    secret: str
    digests: Mapping[str, str]

    @property
    def address(self) -> Address:
        return Address(url=f"http://{self.host}:{self.port}/v1", secret=self.secret)


class Replica:
    """A child of `LlamaCpp`. `setup` says how the machine is used; its secret and adapters are filled in here.

    A child whose main loop does not answer for `hang_s` is killed, and so started again.
    """

    def __init__(self, setup: Setup, adapters: AdapterFiles, log: Path | None, hang_s: float) -> None:
        self._setup, self._adapters, self._log, self._hang_s = setup, adapters, log, hang_s
        self._supervisor = Supervisor(f"llamacpp ({Path(setup.weights).name})", self._launch)
        self._stopped = threading.Event()
        self._watcher: threading.Thread | None = None

    def start(self) -> None:
        self._stopped.clear()
        self._supervisor.start()
        if self._watcher is None or not self._watcher.is_alive():
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()

    def stop(self) -> None:
        self._stopped.set()
        self._supervisor.stop()

    @property
    def ready(self) -> bool:
        return self._supervisor.state is State.READY

    @property
    def pid(self) -> int | None:
        return self._supervisor.pid

    @property
    def restarts(self) -> int:
        return self._supervisor.restarts

    def reach(self) -> Reach:
        """Where it answers, waiting while it starts again; raises `EngineError` where it cannot be reached."""
        return self._supervisor.reach(_START_TIMEOUT_S)

    def post(self, path: str, body: object) -> tuple[Reach, Any]:
        """One request and its JSON; raises `GoneError`, and what a refusal means."""
        reach = self.reach()
        connection = _connect(reach)
        try:
            response = _send(connection, reach, path, body)
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._supervisor.lost(reach)
            raise GoneError(f"{type(error).__name__} {error}".strip()) from None
        finally:
            connection.close()
        if response.status != 200:
            raise refusal(response.status, content)
        return reach, json.loads(content)

    def events(self, path: str, body: object) -> Iterator[tuple[Reach, Any]]:
        """The server-sent events of one request; closing the iterator ends the decoding."""
        reach = self.reach()
        connection = _connect(reach)
        try:
            response = _send(connection, reach, path, body)
            if response.status != 200:
                raise refusal(response.status, response.read())
            for line in response:
                if line.startswith(b"data: {"):
                    yield reach, json.loads(line[6:])
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(f"llama.cpp ended in the middle of an answer ({type(error).__name__})") from None
        finally:
            connection.close()

    def alive(self, timeout_s: float) -> bool:
        """Whether its main loop answers within `timeout_s`: `/slots` goes through the loop, `/health` does not."""
        reach = self.reach()
        connection = _connect(reach, timeout_s)
        try:
            connection.request("GET", "/slots", headers={"Authorization": f"Bearer {reach.secret}"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _watch(self) -> None:
        while not self._stopped.wait(self._hang_s / 4):
            try:
                if self.ready and not self.alive(self._hang_s) and not self._stopped.is_set():
                    log.error("llama.cpp has not answered for %.0f s; it is started again", self._hang_s)
                    self._supervisor.kill()
            except EngineError:
                continue  # it is being started again already

    def _launch(self) -> tuple[Child, Reach]:
        if not Path(self._setup.weights).is_file():
            raise ModelFileError(f"{self._setup.weights}: no such model file; `freehold pull` fetches it")
        digests = self._adapters.checked()
        files = tuple(AdapterFile(str(path)) for path in self._adapters.paths.values())
        setup = msgspec.structs.replace(self._setup, adapters=files, secret=secrets.token_urlsafe(32))
        child = Child("freehold.engines.llamacpp_child", msgspec.json.encode(setup), self._log, _ENVIRONMENT)
        return child, _reached(child, setup.secret, digests)


def _connect(reach: Reach, timeout_s: float = ANSWER_TIMEOUT_S) -> http.client.HTTPConnection:
    """A connection for one request: a kept one would hold a thread of the server's, and be closed by it when idle."""
    return http.client.HTTPConnection(reach.host, reach.port, timeout=timeout_s)


def _send(connection: http.client.HTTPConnection, reach: Reach, path: str, body: object) -> http.client.HTTPResponse:
    headers = {"Authorization": f"Bearer {reach.secret}", "Content-Type": "application/json", "Connection": "close"}
    connection.request("POST", path, msgspec.json.encode(body), headers)
    return connection.getresponse()


def _reached(child: Child, secret: str, digests: Mapping[str, str]) -> Reach:
    """Wait for the child's report; raises where it could not start."""
    line = child.report()
    if line is None:
        code = child.wait()
        raise EngineError(f"llama.cpp ended while starting (exit code {code}): {child.last_words()[-600:]}")
    outcome = msgspec.json.decode(line, type=Outcome)
    if isinstance(outcome, Ready):
        parts = urlsplit(outcome.address)
        return Reach(parts.hostname or "127.0.0.1", parts.port or 0, secret, digests)
    child.end()
    if "No module named" in outcome.reason:
        raise MissingPackageError("the embedded engine needs xllamacpp; install it with: pip install xllamacpp")
    raise ModelFileError(f"llama.cpp refuses to start: {outcome.reason}; {_telling(child.last_words())}")


def _telling(words: str) -> str:
    """The lines of a log that say what went wrong."""
    lines = [line for line in words.splitlines() if " E " in line or "error" in line.lower() or "fail" in line.lower()]
    return " · ".join(lines[:3]) or "see the log"
