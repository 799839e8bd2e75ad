"""Fixtures that every room's tests share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.cli.main import run


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
