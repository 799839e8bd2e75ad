"""A process that must not outlive the one that started it, `kill -9` of that one included; on Linux."""

import contextlib
import ctypes
import signal

_PDEATHSIG = 1  # prctl(2)


def end_with_starter() -> None:
    """From now on this process ends with the thread that started it; elsewhere than on Linux nothing is done."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
