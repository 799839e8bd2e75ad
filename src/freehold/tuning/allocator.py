"""The C library's allocator, told to keep what a training step frees for the next one.

Left alone, glibc gives memory of a step's larger tensors back to the kernel, and every step pays for getting it again
page by page: a seventh of the processor time of a step, measured on SmolLM2-135M. But batches differ in shape, so what
is kept goes to pieces, and the process would grow with every step: now and then all that is free is given back.
Elsewhere than on glibc nothing is done.

oneDNN, which multiplies matrices for torch on a CPU, keeps what it made for each of 1,024 shapes; batches differ in
shape, and hundreds of megabytes came of it. So it keeps fewer, unless the environment says otherwise.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # malloc.h
_KEPT = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: (1 << 31) - 1, _TOP_PAD: 64 << 20}
_SHAPES_KEPT = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32", "LRU_CACHE_CAPACITY": "32"}  # oneDNN's, and torch's around it
_AFTERWARDS = {_TRIM_THRESHOLD: 64 << 20, _TOP_PAD: 128 << 10}


@contextmanager
def memory_kept() -> Iterator[None]:
    """Freed memory stays with the process while the block runs, and goes back to the kernel after it."""
    for variable, shapes in _SHAPES_KEPT.items():
        os.environ.setdefault(variable, shapes)  # read when the first product is computed
    library = _glibc()
    if library is None:
        yield
        return
    library.malloc_trim(0)  # what came before is of no use to a step
    for name, value in _KEPT.items():
        library.mallopt(name, value)
    try:
        yield
    finally:
        for name, value in _AFTERWARDS.items():
            library.mallopt(name, value)
        library.malloc_trim(0)


def give_back() -> None:
    """All that is free goes back to the kernel, gaps between what is held included."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@cache
def _glibc() -> Any:  # noqa: ANN401 (a ctypes library)
    """The C library of this process where it is glibc, else None."""
    try:
        library = ctypes.CDLL(None)
        found = library.gnu_get_libc_version, library.mallopt, library.malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return library if all(found) else None
