"""What is vendored is what was published; the widget stays small."""

import hashlib
from importlib.resources import files
from pathlib import Path

from freehold.console import assets


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_htmx_is_as_published() -> None:
    digest = _sha256(assets.read("htmx.min.js")[0])
    assert digest == "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717" and digest in (
        assets.__doc__ or ""
    )
    assert "Zero-Clause BSD" in files("freehold.console").joinpath("assets", "htmx.LICENSE").read_text()


def test_axe_is_as_published() -> None:
    """axe-core 4.11.0 (MPL-2.0), npm `axe-core`; used by tests only."""
    content = (Path(__file__).parent / "vendored" / "axe.min.js").read_bytes()
    assert _sha256(content) == "e9e5863c33a874f09bc01acd9234b7e3c871479f5eef8802fa582544465e6d01"


def test_the_widget_is_under_20_kilobytes() -> None:
    assert len(assets.read("widget.js")[0]) < 20_000
