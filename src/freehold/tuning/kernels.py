"""`kernels.c` and `attention.c`, compiled for this machine where it has a C compiler.

Where it has none there are no kernels, and torch does the same. Compiling takes a second, once a process and kind of
number, and leaves nothing behind. The kernels share the threads of torch's own OpenMP.
"""

import ctypes
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_SOURCES = [str(Path(__file__).with_name(name)) for name in ("kernels.c", "attention.c")]
_COMPILE = ("-std=gnu11", "-Ofast", "-march=native", "-mprefer-vector-width=512", "-fopenmp", "-fPIC", "-c")
_DEFINED: dict[str, tuple[str, ...]] = {"torch.bfloat16": (), "torch.float32": ("-DFLOAT32",)}
_SECONDS = 60


class Shape(ctypes.Structure):
    """How a packed row of tokens is made up (`forward.py`), and a model's heads: `shape` of attention.c. `starts` is
    where a tensor's numbers lie, which the caller holds meanwhile."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("prefix", "examples", "heads", "groups", "width")),
        ("starts", ctypes.c_void_p),
    ]


class Kernels:
    """The functions of both, called with tensors, numbers and shapes."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def __getattr__(self, name: str) -> "Callable[..., None]":
        function = self._library[name]
        function.restype = None

        def call(*arguments: "Tensor | Shape | int | float | None") -> None:
            function(*map(_argument, arguments))

        setattr(self, name, call)
        return call


def _argument(value: Any) -> Any:  # noqa: ANN401 (as ctypes takes it)
    if isinstance(value, int):
        return ctypes.c_int64(value)
    if isinstance(value, float):
        return ctypes.c_float(value)
    return value if value is None or isinstance(value, Shape) else ctypes.c_void_p(value.data_ptr())


def kernels(dtype: "torch.dtype", device: "torch.device") -> Kernels | None:
    """The kernels for states of this kind, bf16 or float32 on a CPU; None for others, and without a compiler."""
    defined = _DEFINED.get(str(dtype))
    return None if defined is None or device.type != "cpu" else compiled(defined)


@cache
def compiled(defined: tuple[str, ...]) -> Kernels | None:
    """The kernels with these options of the compiler, or None where they cannot be compiled here."""
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    with tempfile.TemporaryDirectory() as folder:
        built, library = [f"{folder}/{Path(source).stem}.o" for source in _SOURCES], f"{folder}/kernels.so"
        # linked in a step of its own: -Ofast there would have the library change how its process rounds
        for command in (
            [compiler, *_COMPILE, *defined, *_SOURCES],
            [compiler, "-shared", *built, "-o", library, *_openmp(), "-lm"],
        ):
            try:
                subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS, cwd=folder)
            except (OSError, subprocess.SubprocessError):
                return None
        try:
            return Kernels(ctypes.CDLL(library))
        except OSError:
            return None


def _openmp() -> list[str]:
    """torch's own OpenMP, so that there is one team of threads; the system's where torch has it from there."""
    import torch

    found = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    return [str(found[0])] if found else ["-fopenmp"]
