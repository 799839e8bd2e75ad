"""The child process that keeps a server which is a program of its own: `python -m freehold.engines.program_child`.

It speaks what `llamacpp_child` speaks: a line of setup in, a line of outcome out, and it ends with its parent. The
program and whatever it started end with it: they are one group of processes, and a small watcher ends the group when
this process is gone, `kill -9` included. (vLLM's workers outlive their server otherwise, with gigabytes each.) On Linux
the program itself ends even where the watcher was killed as well. The secret reaches the program through a pipe that it
reads as a file: no command line and no environment shows it.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import msgspec

from freehold.engines.llamacpp_child import Ready, Refused, write
from freehold.orphans import end_with_starter

_POLL_S = 0.02


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What to run. In `command`, `{port}` becomes a free port and `{keys}` a path from which `secret` can be read once.
    It must answer `/health` within `ready_s`. `environment` is added to this process's own.
    """

    command: tuple[str, ...]
    secret: str
    environment: dict[str, str] = {}
    ready_s: float = 300.0


def main() -> None:
    """Start the program, report, and live until the parent's end of the pipe closes or the program ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    report = os.dup(1)
    os.dup2(2, 1)
    setup = msgspec.json.decode(sys.stdin.buffer.readline(), type=Program)
    port = _free_port()
    try:
        server = _start(setup, port)
        _end_with_us(server.pid, report)
    except OSError as error:
        write(report, Refused(f"{setup.command[0]} cannot be run ({error.strerror})"))
        os._exit(2)
    threading.Thread(target=_end_with_parent, args=(server,), daemon=True).start()
    if not _becomes_ready(server, port, setup.ready_s):
        ended = server.poll()
        how = "is not ready yet" if ended is None else f"ended with exit code {ended}"
        _end(server.pid)
        write(report, Refused(f"{os.path.basename(setup.command[0])} {how}"))
        os._exit(2)
    write(report, Ready(f"http://127.0.0.1:{port}"))
    code = server.wait()
    _end(server.pid)
    os._exit(code if code >= 0 else 128 - code)


def _start(setup: Program, port: int) -> "subprocess.Popen[bytes]":
    reading, writing = os.pipe()
    os.write(writing, setup.secret.encode() + b"\n")
    os.close(writing)
    names = {"{port}": str(port), "{keys}": f"/dev/fd/{reading}"}
    try:
        return subprocess.Popen(
            [names.get(word, word) for word in setup.command],
            stdin=subprocess.DEVNULL,
            pass_fds=(reading,),
            start_new_session=True,
            preexec_fn=end_with_starter,  # there is one thread yet: it is safe, and lives as long as this process does
            env=os.environ | setup.environment,
        )
    finally:
        os.close(reading)


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _end_with_us(group: int, report: int) -> None:
    """Fork a watcher that ends the group when this process is gone: its end of the pipe closes then."""
    reading, writing = os.pipe()
    if os.fork() != 0:
        os.close(reading)
        os.set_inheritable(writing, False)
        return
    os.setsid()
    os.close(writing)
    os.close(report)
    silence = os.open(os.devnull, os.O_RDWR)
    for each in (0, 1, 2):
        os.dup2(silence, each)
    os.read(reading, 1)
    _end(group)
    os._exit(0)


def _end_with_parent(server: "subprocess.Popen[bytes]") -> None:
    while sys.stdin.buffer.read(1):
        pass
    _end(server.pid)
    os._exit(0)


def _becomes_ready(server: "subprocess.Popen[bytes]", port: int, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):  # it does not listen yet
            if _is_healthy(port):
                return True
        time.sleep(_POLL_S)
    return False


def _is_healthy(port: int) -> bool:
    """Whether `/health` is answered with 200; by hand, because importing an HTTP client takes as long as all the rest
    of this process, and whoever asked for an adapter waits for it."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        with connection.makefile("rb") as answer:
            return answer.readline().split(b" ")[1:2] == [b"200"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
