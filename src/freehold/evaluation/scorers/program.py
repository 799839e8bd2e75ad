"""Programs: an answer is right when its tests pass, run in a child process that is held on a short leash.

The child is another Python in isolated mode, in an empty folder with an empty environment, with limits on time, memory
and file size, and, where the kernel allows it, with no network. That stops accidents and runaways; it is no wall
against code that means harm: run untrusted models on a machine that you can lose.
"""

import ctypes
import math
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

_SECONDS = 10  # of computing; a busy machine is no fault of the program's, so the clock gets six times that
_CLOCK_SECONDS = 6 * _SECONDS
_MEMORY = 1024**3
_FILE_SIZE = 16 * 1024**2
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)```", re.S)


def passes(answer: str, reference: str) -> float:
    """1 where the program in `answer` runs, and then the tests in `reference`, without an error; else 0."""
    return float(_runs(f"{program(answer)}\n\n{reference}\n"))


def program(answer: str) -> str:
    """The code of an answer: what stands in its first fence, or all of it."""
    fenced = _FENCE.search(answer)
    return fenced.group(1) if fenced else answer


def pass_at_k(samples: int, right: int, k: int) -> float:
    """The chance that one of k samples passes, from `right` of `samples` that did (Chen et al. 2021, unbiased)."""
    if samples - right < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / each for each in range(samples - right + 1, samples + 1))


def _runs(source: str) -> bool:
    with tempfile.TemporaryDirectory(prefix="freehold-tests-") as folder:
        Path(folder, "answer.py").write_text(source, encoding="utf-8", errors="replace")
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "answer.py"],
            cwd=folder,
            env={"PATH": "", "HOME": folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_leash,  # the limits must hold before the first line runs
        )
        try:
            return child.wait(timeout=_CLOCK_SECONDS) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            _end(child)


def _leash() -> None:
    """In the child, before it starts: limits, and no network where unprivileged name spaces are allowed."""
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_SIZE, _FILE_SIZE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).unshare(_NEW_USER | _NEW_NET)


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End the child and whatever it started in its session."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
