"""Fixtures that every room's tests share."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.catalogue.pull import pull
from freehold.cli.main import run
from freehold.errors import UserError
from freehold.progress import SILENT
from freehold.store.workspace import Workspace


@pytest.fixture(autouse=True)
def _no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test never touches the developer's own workspace."""
    for name in ("FREEHOLD_HOME", "FREEHOLD_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    os.environ.setdefault("COLUMNS", "120")


@pytest.fixture
def freehold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`freehold("plan", "x.yaml")` in a fresh folder; returns the exit code."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> int:
        return run([str(argument) for argument in arguments])

    return call


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """The folder of the real small base, pulled once into $FREEHOLD_TEST_MODELS (else ~/.cache/freehold-tests).

    Skips where no source answers. Many test processes may ask at once: one pulls, the others wait.
    """
    root = Path(os.environ.get("FREEHOLD_TEST_MODELS") or Path.home() / ".cache" / "freehold-tests")
    root.mkdir(parents=True, exist_ok=True)
    workspace = Workspace(root)
    with (root / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            pull("smollm2-135m-instruct", workspace, SILENT)
        except UserError as error:
            if "no source" in str(error):
                pytest.skip(str(error))
            raise
    return workspace.models / "smollm2-135m-instruct"


@pytest.fixture(scope="session")
def smollm2(smollm2_folder: Path) -> Path:
    """The real small base's weights, a GGUF file."""
    return smollm2_folder / "weights.gguf"
