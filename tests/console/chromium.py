"""Debian's Chromium, driven by Playwright: pages that remember what their console said, and axe-core to judge them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

AXE = Path(__file__).parent / "vendored" / "axe.min.js"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium; skips where none is installed."""
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


class Watched:
    """A page that remembers what went wrong on it."""

    def __init__(self, page: Any) -> None:  # noqa: ANN401 (Playwright's page)
        self.page = page
        self.wrong: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))

    def _said(self, message: Any) -> None:  # noqa: ANN401 (Playwright's console message)
        if message.type == "error":
            self.wrong.append(f"{message.text} {message.location}")

    def hurt(self) -> bool:
        """Whether a hostile text ran as a script."""
        return bool(self.page.evaluate("window.hurt === 1"))

    def violations(self) -> list[str]:
        """What axe-core calls serious or critical (WCAG 2.2 A and AA, best practices)."""
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found = self.page.evaluate("axe.run({resultTypes: ['violations']})")
        return [
            f"{each['id']} ({each['impact']}): {node['html'][:160]}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"][:3]
        ]
