"""Engines by name."""

import pytest

from freehold.engines.fake import Fake
from freehold.engines.registry import ENGINES, Kind, engine, installed
from freehold.errors import MissingPackageError, NotFoundError


def test_an_engine_by_name() -> None:
    assert engine("fake") is Fake
    assert engine("llamacpp").__name__ == "LlamaCpp"


def test_a_wrong_name_is_met_with_the_right_one() -> None:
    with pytest.raises(NotFoundError, match="did you mean llamacpp"):
        engine("llamacp")


def test_a_missing_package_gives_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "odd", Kind("no.such:Thing", "no-such-package", "pip install no-such-package", ""))
    with pytest.raises(MissingPackageError, match="pip install no-such-package"):
        engine("odd")


def test_a_plug_in_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "mine", Kind("freehold.engines.fake:Fake", None, "", ""))
    assert engine("mine") is Fake
    assert installed(ENGINES["mine"])
