"""Screenshots of a running console for `docs/img/`: `python docs/take_screenshots.py URL NAME PASSWORD TASK`."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parent / "img"
SIZE = {"width": 1120, "height": 700}


def main(url: str, name: str, password: str, task: str) -> None:
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            context = browser.new_context(color_scheme=scheme, viewport=SIZE)
            page = context.new_page()
            page.goto(f"{url}/sign-in")
            page.get_by_label("Name").fill(name)
            page.get_by_label("Password").fill(password)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url(f"{url}/")
            if scheme == "light":
                _shoot(page, f"{url}/", "overview")
                _shoot(page, f"{url}/traffic?live=off", "traffic")
                _shoot(page, f"{url}/deployments/{task}", "deployment", scroll="#canary")
            else:
                _shoot(page, f"{url}/evaluation", "evaluation", "tbody a")
                _arena(page, url, task)
            context.close()
        browser.close()


def _arena(page: Page, url: str, task: str) -> None:
    page.goto(f"{url}/arena/{task}")
    page.get_by_label("To both").fill("my pay is short again, third month running")
    page.get_by_role("button", name="Ask both").click()
    page.get_by_role("button", name="Both are bad").wait_for(timeout=180_000)
    page.screenshot(path=FOLDER / "arena.jpg", type="jpeg", quality=62)


def _shoot(page: Page, address: str, name: str, follow: str = "", scroll: str = "") -> None:
    page.goto(address)
    if follow:
        page.locator(follow).first.click()
        page.wait_for_load_state()
    if scroll:
        page.locator(scroll).evaluate("each => each.scrollIntoView({block: 'center'})")
    page.screenshot(path=FOLDER / f"{name}.jpg", type="jpeg", quality=62)


if __name__ == "__main__":
    main(*sys.argv[1:])
