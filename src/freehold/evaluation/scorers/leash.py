"""A stranger's program on a short leash: a child process with limits, no network, and one folder that it may write in.

The child is another Python in isolated mode, in an empty folder with an empty environment, with limits on time, memory
and file size. Network is taken away by a name space of its own, writing outside its folder by Landlock
(docs.kernel.org/userspace-api/landlock.html); both need a Linux that allows them, and `holes` measures whether this one
does. That stops accidents and runaways; it is no wall against code that means harm, which may still read: run untrusted
models on a machine that you can lose.
"""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

_SECONDS = 10  # of computing; a busy machine is no fault of the program's, so the clock gets six times that
_MEMORY = 1024**3
_FILE_SIZE = 16 * 1024**2
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_NO_NEW_PRIVILEGES = 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT = 444, 445, 446  # the same numbers on every architecture
_LANDLOCK_VERSION, _BENEATH = 1, 1
_FILE_WRITES, _FOLDER_WRITES = 0b10, 0b1_1111_1111_0000  # to write a file; to remove, and to make, in a folder
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15  # since versions 2, 3 and 5
_TCP, _SCOPES = 0b11, 0b11  # bind and connect, since version 4; signals and abstract sockets, since version 6


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def runs(source: str) -> bool:
    """Whether a Python program ends without an error, within the limits."""
    with tempfile.TemporaryDirectory(prefix="freehold-tests-") as folder, _writes_held_to(folder) as rules:
        Path(folder, "answer.py").write_text(source, encoding="utf-8", errors="replace")
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "answer.py"],
            cwd=folder,
            env={"PATH": "", "HOME": folder, "TMPDIR": folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_leash(rules),  # the limits must hold before the first line runs
        )
        try:
            return child.wait(timeout=6 * _SECONDS) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            _end(child)


@lru_cache(maxsize=1)
def holes() -> tuple[str, ...]:
    """What a program can reach on this machine that it should not, found by trying it."""
    found = []
    with tempfile.TemporaryDirectory(prefix="freehold-outside-") as outside, socket.create_server(("", 0)) as door:
        runs(f"open({str(Path(outside, 'here'))!r}, 'w')")
        if os.listdir(outside):
            found.append("files outside its folder")
        port = door.getsockname()[1]
        if runs(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=5)"):
            found.append("the network")
    return tuple(found)


def _leash(rules: int | None) -> Callable[[], None]:
    """What the child does before it starts."""
    library = _library()

    def leash() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_SIZE, _FILE_SIZE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if library is not None:
            library.unshare(_NEW_USER | _NEW_NET)
            library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
            if rules is not None:
                library.syscall(_RESTRICT, rules, 0)

    return leash


@contextmanager
def _writes_held_to(folder: str) -> Iterator[int | None]:
    """A Landlock ruleset, as a descriptor for the child to take on; None where this system has none."""
    library = _library()
    version = library.syscall(_CREATE_RULESET, None, 0, _LANDLOCK_VERSION) if library is not None else 0
    if library is None or version < 1:
        yield None
        return
    files = _FILE_WRITES | (_TRUNCATE if version > 2 else 0) | (_IOCTL if version > 4 else 0)
    every = files | _FOLDER_WRITES | (_REFER if version > 1 else 0)
    asked = _Ruleset(every, _TCP if version > 3 else 0, _SCOPES if version > 5 else 0)
    rules: int = library.syscall(_CREATE_RULESET, ctypes.byref(asked), ctypes.sizeof(asked), 0)
    try:
        for path, allowed in ((folder, every), (os.devnull, files)):
            at = os.open(path, os.O_PATH | os.O_CLOEXEC)
            library.syscall(_ADD_RULE, rules, _BENEATH, ctypes.byref(_Beneath(allowed, at)), 0)
            os.close(at)
        yield rules
    finally:
        os.close(rules)


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End the child and whatever it started in its session."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
