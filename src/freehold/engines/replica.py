"""One supervised child that serves HTTP on loopback: how it is reached, watched, and spoken to."""

import http.client
import json
import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from freehold.engines.engine import Address
from freehold.engines.supervise import Child, State, Supervisor
from freehold.errors import EngineError, UserError

log = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 600.0
_START_TIMEOUT_S = 300.0


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


class Server(Protocol):
    """What differs between servers. `pulse` is a path that only the main loop answers: how a hang is told."""

    @property
    def name(self) -> str: ...

    @property
    def pulse(self) -> str: ...

    def launch(self) -> tuple[Child, Reach]:
        """Start one and wait until it is ready; raises where it cannot start."""

    def refusal(self, status: int, content: bytes) -> EngineError | UserError:
        """What an answer other than 200 means: the one boundary where its errors are translated."""


class Replica:
    """A supervised child that keeps `server`; killed, and so started again, where its loop is silent for `hang_s`."""

    def __init__(self, server: Server, hang_s: float) -> None:
        self._server, self._hang_s = server, hang_s
        self._supervisor = Supervisor(server.name, server.launch)
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
        reach, content = self.send(path, body)
        return reach, json.loads(content)

    def send(self, path: str, body: object) -> tuple[Reach, bytes]:
        """One request and what came back, as it came; raises like `post`."""
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
            raise self._server.refusal(response.status, content)
        return reach, content

    def events(self, path: str, body: object) -> Iterator[tuple[Reach, Any]]:
        """The server-sent events of one request; closing the iterator ends the decoding."""
        reach = self.reach()
        connection = _connect(reach)
        try:
            response = _send(connection, reach, path, body)
            if response.status != 200:
                raise self._server.refusal(response.status, response.read())
            for line in response:
                if line.startswith(b"data: {"):
                    yield reach, json.loads(line[6:])
        except (OSError, http.client.HTTPException) as error:
            cut = f"{self._server.name} ended in the middle of an answer ({type(error).__name__})"
            raise EngineError(cut) from None
        finally:
            connection.close()

    def alive(self, timeout_s: float) -> bool:
        """Whether its main loop answers within `timeout_s`."""
        reach = self.reach()
        connection = _connect(reach, timeout_s)
        try:
            connection.request("GET", self._server.pulse, headers={"Authorization": f"Bearer {reach.secret}"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _watch(self) -> None:
        while not self._stopped.wait(self._hang_s / 4):
            try:
                if self.ready and not self.alive(self._hang_s) and not self._stopped.is_set():
                    log.error("%s has not answered for %.0f s; it is started again", self._server.name, self._hang_s)
                    self._supervisor.kill()
            except EngineError:
                continue  # it is being started again already


def _connect(reach: Reach, timeout_s: float = ANSWER_TIMEOUT_S) -> http.client.HTTPConnection:
    """A connection for one request: a kept one would hold a thread of the server's, and be closed by it when idle."""
    return http.client.HTTPConnection(reach.host, reach.port, timeout=timeout_s)


def _send(connection: http.client.HTTPConnection, reach: Reach, path: str, body: object) -> http.client.HTTPResponse:
    headers = {"Authorization": f"Bearer {reach.secret}", "Content-Type": "application/json", "Connection": "close"}
    connection.request("POST", path, msgspec.json.encode(body), headers)
    return connection.getresponse()
