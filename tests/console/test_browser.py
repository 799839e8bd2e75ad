"""The console in Chromium: people's ways through it, with nothing in the browser's console, and axe-core content."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from chromium import Watched, browser
from console_house import CHINESE, PASSWORD, TASK, ConsoleHouse
from test_pages import addresses

from freehold.store import deployments, keys
from freehold.store.bouts import Bouts
from freehold.store.keys import Allowance

EXAMPLE = Path(__file__).parents[2] / "examples" / "widget" / "index.html"
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def state(chromium: Any, house: ConsoleHouse) -> Any:  # noqa: ANN401 (Playwright's storage state)
    """An admin, signed in through the page."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{house.url}/traffic?q=freezer")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/traffic?q=freezer")
    kept = context.storage_state()
    context.close()
    return kept


@pytest.fixture
def watched(chromium: Any, state: Any) -> Iterator[Watched]:  # noqa: ANN401
    context = chromium.new_context(storage_state=state)
    made = Watched(context.new_page())
    yield made
    context.close()
    assert made.wrong == []


def test_search_and_judge(house: ConsoleHouse, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{house.url}/traffic")
    page.get_by_label("Words in the texts").fill("退款")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("cell", name=CHINESE).first.wait_for()
    page.locator("tbody a").first.click()
    page.get_by_role("button", name="Right", exact=True).click()
    page.get_by_role("status").get_by_text("kept: accepted").wait_for()
    assert not watched.hurt()


def test_traffic_stays_live(house: ConsoleHouse, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{house.url}/traffic")
    with page.expect_response(lambda answer: answer.url.endswith("/traffic"), timeout=8000) as polled:
        pass
    assert polled.value.status == 200 and page.locator("#exchanges tbody tr").count() == 50


def test_a_blind_vote(house: ConsoleHouse, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{house.url}/arena/{TASK}")
    assert page.get_by_role("button", name="Both are bad").is_hidden(), "nobody votes before the answers are there"
    page.get_by_label("To both").fill("payroll is late again")
    page.get_by_role("button", name="Ask both").click()
    page.get_by_role("button", name="Both are bad").wait_for()
    content = page.content()
    assert "helper" not in content and "classifier" not in content, "the models' names are nowhere before the vote"
    assert all(page.locator(f"[data-side={side}] .turn.assistant").inner_text() for side in ("left", "right"))
    page.get_by_role("button", name="Left is better").click()
    page.get_by_text("Your vote is kept: left.").wait_for()
    shown = page.locator(".sides h2").all_inner_texts()
    assert sorted("helper" in each for each in shown) == [False, True]
    (vote,) = Bouts(house.store).votes(TASK)
    assert (vote.winner, vote.voter) == ("left", "admin")


def test_a_canary_is_moved_and_rolled_back(house: ConsoleHouse, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{house.url}/deployments/{TASK}")
    page.locator("#canary").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert page.locator("output[for=canary]").inner_text() == "5 %"
    page.locator("select[name=canary_to]").select_option(f"{TASK}:helper")
    page.get_by_role("button", name="Look at the change").click()
    page.get_by_text("5% of sessions, as a canary").wait_for()
    page.get_by_role("button", name="Change it").click()
    page.get_by_text("it holds now").wait_for()
    assert deployments.current(house.store, TASK).shares[0].share == 0.05
    page.get_by_role("link", name="Roll back to this").first.click()
    page.get_by_role("button", name="Roll back").click()
    page.get_by_text("it holds now").wait_for()
    assert deployments.current(house.store, TASK).shares == ()


def test_a_run_is_watched_as_it_goes(house: ConsoleHouse, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{house.url}/tuning")
    page.get_by_role("button", name="Start or resume").click()
    page.locator("svg polyline").wait_for(timeout=15_000)
    assert "left in this step" in page.locator("#run").inner_text()
    page.get_by_role("link", name="Stop…").click()
    page.get_by_role("button", name="Stop it").click()
    page.get_by_role("button", name="Resume").wait_for(timeout=15_000)


def test_the_playground_asks_side_by_side(house: ConsoleHouse, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{house.url}/playground?model={TASK}:helper&model={TASK}:classifier-tf-idf")
    page.get_by_label("To all of them").fill("safety first")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_text("safety", exact=True).wait_for()
    page.locator(".note").nth(1).get_by_text("ms").wait_for()


def test_the_widget_on_another_site(house: ConsoleHouse, chromium: Any, tmp_path: Path) -> None:  # noqa: ANN401
    with _site(tmp_path) as site:
        key = _widget_key(house, site)
        _paste(house, tmp_path, key)
        page = _open(chromium, site)
        page.get_by_role("button", name="Ask the shop").click()
        page.get_by_label("Write a message").fill("payroll please")
        page.keyboard.press("Enter")
        page.locator("freehold-chat p").nth(2).get_by_text("payroll").wait_for()
        found = Watched(page)
        assert found.violations() == []
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Ask the shop").wait_for()


def test_the_widget_on_a_forbidden_site(house: ConsoleHouse, chromium: Any, tmp_path: Path) -> None:  # noqa: ANN401
    with _site(tmp_path) as site:
        _paste(house, tmp_path, _widget_key(house, "https://shop.example"))
        page = _open(chromium, site)
        page.get_by_role("button", name="Ask the shop").click()
        page.get_by_label("Write a message").fill("payroll please")
        page.keyboard.press("Enter")
        page.locator("freehold-chat p.wrong").get_by_text("No answer came").wait_for()


@pytest.mark.slow
def test_every_page_is_clean_and_accessible(house: ConsoleHouse, watched: Watched) -> None:
    for scheme, size in (("light", None), ("dark", None), ("light", PHONE)):
        watched.page.emulate_media(color_scheme=scheme)
        watched.page.set_viewport_size(size or {"width": 1280, "height": 800})
        for path in addresses(house):
            watched.page.goto(house.url + path)
            assert watched.violations() == [], (path, scheme)
            assert not watched.hurt(), path
            if size is PHONE:
                wide = watched.page.evaluate("document.documentElement.scrollWidth")
                assert wide <= PHONE["width"], f"{path} is {wide} pixels wide on a phone"
    assert watched.wrong == []


def _open(chromium: Any, site: str) -> Any:  # noqa: ANN401
    page = chromium.new_context().new_page()
    page.goto(site)
    return page


def _widget_key(house: ConsoleHouse, site: str) -> str:
    import time

    allowance = Allowance(models=(f"{TASK}:classifier-tf-idf",), origins=(site,), requests_per_minute=20)
    _, secret = keys.create(house.store, f"widget of {site}", allowance)
    time.sleep(1.5)  # the gateway looks at its keys every second
    return secret


def _paste(house: ConsoleHouse, folder: Path, key: str) -> None:
    """What a shop owner does: the one line, with their own address and key."""
    text = EXAMPLE.read_text(encoding="utf-8")
    text = text.replace("http://127.0.0.1:8400", house.url).replace("fh_PASTE_YOUR_KEY", key)
    (folder / "index.html").write_text(text, encoding="utf-8")


class _site:  # noqa: N801 (a context manager)
    """Another origin: a plain web server over a folder."""

    def __init__(self, folder: Path) -> None:
        handler = partial(_Quiet, directory=str(folder))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...
